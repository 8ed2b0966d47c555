//! What happens to edges: they are rougher places than core nodes.

use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::faults::{Counts, Kind};
use super::machine::EdgeMachine;
use super::wire::Manners;

/// Time between faults of an edge on average, in microseconds.
const EVERY_US: u64 = 1_200_000;
/// How far an edge's clock may be off: some forty years, in milliseconds.
const SKEW_MS_MAX: i64 = 40 * 365 * 24 * 3_600 * 1_000;

/// The weather of one world's edges.
pub(crate) struct EdgeStorm {
    random: StdRng,
    next_us: u64,
    /// What is over when, and of which edge.
    until: Vec<(u64, usize, Undo)>,
}

enum Undo {
    Start,
    Mend,
    Manners,
}

impl EdgeStorm {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), next_us: 0, until: Vec::new() }
    }

    /// Undoes what is over, and begins what begins.
    pub(crate) fn blow(&mut self, edges: &mut [EdgeMachine], now_us: u64, counts: &mut Counts) {
        if edges.is_empty() {
            return;
        }
        let (over, lasting) = std::mem::take(&mut self.until).into_iter().partition(|(until, ..)| *until <= now_us);
        self.until = lasting;
        over.into_iter().for_each(|(_, at, undo)| undo_one(&mut edges[at], &undo));
        for (at, edge) in edges.iter_mut().enumerate() {
            let is_waited_for = self.until.iter().any(|(_, of, undo)| *of == at && matches!(undo, Undo::Start));
            if edge.has_stopped() && !is_waited_for {
                edge.kill();
                self.until.push((now_us + self.random.random_range(20_000..1_000_000), at, Undo::Start));
            }
        }
        if now_us >= self.next_us {
            self.next_us = now_us + self.random.random_range(0..2 * EVERY_US) / edges.len() as u64;
            let at = self.random.random_range(0..edges.len());
            self.strike(at, &mut edges[at], now_us, counts);
        }
    }

    /// Undoes everything; every edge runs.
    pub(crate) fn end(&mut self, edges: &mut [EdgeMachine]) {
        for (_, at, undo) in std::mem::take(&mut self.until) {
            undo_one(&mut edges[at], &undo);
        }
        for edge in edges {
            edge.spare();
            if edge.has_stopped() {
                edge.kill();
                edge.start();
            }
        }
    }

    fn strike(&mut self, at: usize, edge: &mut EdgeMachine, now_us: u64, counts: &mut Counts) {
        let random = &mut self.random;
        match random.random_range(0..9) {
            0 | 1 if !edge.has_stopped() => {
                edge.kill();
                counts.add(Kind::EdgeCrash);
                self.until.push((now_us + random.random_range(20_000..3_000_000), at, Undo::Start));
            }
            2 => {
                edge.kill_at_commit(random.random_range(0..5), random.random_bool(0.5));
                counts.add(Kind::EdgeCommitCut);
            }
            3..5 => {
                edge.wire.set_cut(true);
                counts.add(Kind::EdgeCutOff);
                self.until.push((now_us + random.random_range(500_000..8_000_000), at, Undo::Mend));
            }
            5 | 6 => {
                edge.skew_ms.store(random.random_range(-SKEW_MS_MAX..SKEW_MS_MAX), Ordering::Relaxed);
                counts.add(Kind::EdgeClock);
            }
            _ => {
                edge.wire.set_manners(Manners {
                    delay_us_max: random.random_range(1_000..500_000),
                    requests_lost: random.random_range(0.0..0.2),
                    answers_lost: random.random_range(0.0..0.5),
                    repeated: random.random_range(0.0..0.5),
                });
                self.until.push((now_us + random.random_range(500_000..5_000_000), at, Undo::Manners));
            }
        }
    }
}

fn undo_one(edge: &mut EdgeMachine, undo: &Undo) {
    match undo {
        Undo::Start if edge.edge().is_none() => edge.start(),
        Undo::Start => {}
        Undo::Mend => edge.wire.set_cut(false),
        Undo::Manners => edge.wire.set_manners(Manners::GOOD),
    }
}
