//! Faults as they come: each begins at a random moment and is over after a while.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use skerry_model::NodeId;

use super::World;
use super::faults::Kind;
use super::network::Weather;

/// Time between faults on average, in microseconds.
const EVERY_US: u64 = 500_000;
/// How far a clock may be off, in milliseconds.
const SKEW_MS_MAX: i64 = 250;
/// What a disk takes normally, in microseconds.
const DISK_US: u64 = 200;

/// The weather of one world.
pub(super) struct Storm {
    random: StdRng,
    next_us: u64,
    /// What is to be undone, and when.
    until: Vec<(u64, Undo)>,
}

enum Undo {
    Mend(Vec<(NodeId, NodeId)>),
    Weather,
    Start(usize),
    Resume(usize),
    Disk(usize),
}

impl Storm {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed ^ 0x5707), next_us: 0, until: Vec::new() }
    }

    /// Undoes what is over, and begins what begins.
    pub(super) fn blow(&mut self, world: &mut World) {
        let now = world.now_us;
        let (over, lasting) = std::mem::take(&mut self.until).into_iter().partition(|(until, _)| *until <= now);
        self.until = lasting;
        over.into_iter().for_each(|(_, undo)| undo_one(world, undo));
        self.bury(world);
        if now >= self.next_us {
            self.next_us = now + self.random.random_range(0..2 * EVERY_US);
            self.strike(world);
        }
    }

    /// Undoes everything.
    pub(super) fn end(&mut self, world: &mut World) {
        for (_, undo) in std::mem::take(&mut self.until) {
            undo_one(world, undo);
        }
    }

    /// A process that has ended by itself is started again, as its operator would.
    fn bury(&mut self, world: &mut World) {
        for at in 0..world.machines.len() {
            if world.machines[at].ended().is_some() {
                world.kill(at);
                let until = world.now_us + self.random.random_range(50_000..1_000_000);
                self.until.push((until, Undo::Start(at)));
            }
        }
    }

    fn strike(&mut self, world: &mut World) {
        let count = world.machines.len();
        let at = self.random.random_range(0..count);
        let id = world.machines[at].id;
        let others: Vec<NodeId> =
            world.machines.iter().map(|machine| machine.id).filter(|other| *other != id).collect();
        let now = world.now_us;
        let lasts = |random: &mut StdRng, most: u64| now + random.random_range(100_000..most);
        match self.random.random_range(0..12) {
            0 | 1 => {
                let mut ids: Vec<NodeId> = world.machines.iter().map(|machine| machine.id).collect();
                ids.shuffle(&mut self.random);
                let (left, right) = ids.split_at(self.random.random_range(0..=count / 2));
                let pairs = left.iter().flat_map(|a| right.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
                self.cut(world, pairs.collect(), Kind::Partition);
            }
            2 => {
                let hears = self.random.random_bool(0.5);
                let pairs = others.iter().map(|other| if hears { (id, *other) } else { (*other, id) });
                self.cut(world, pairs.collect(), Kind::OneWay);
            }
            3 => {
                let random = &mut self.random;
                let slow = random.random_bool(0.5);
                let most = if slow { 300_000 } else { 5_000 };
                world.wires.set_weather(Weather {
                    delay_us: 100..random.random_range(1_000..most),
                    lost: random.random_range(0.0..0.2),
                    repeated: random.random_range(0.0..0.2),
                    overtaking: random.random_range(0.0..0.3),
                });
                world.faults.add(Kind::SlowNetwork);
                let until = lasts(random, 4_000_000);
                self.until.push((until, Undo::Weather));
            }
            4 | 5 => self.stop(world, at, false),
            6 => self.stop(world, at, true),
            7 if world.machines[at].is_up() && !world.machines[at].is_paused() => {
                world.machines[at].set_paused(true);
                world.faults.add(Kind::Pause);
                let until = lasts(&mut self.random, 4_000_000);
                self.until.push((until, Undo::Resume(at)));
            }
            8 => {
                let skew = self.random.random_range(-SKEW_MS_MAX..=SKEW_MS_MAX);
                world.machines[at].skew_ms.store(skew, std::sync::atomic::Ordering::Relaxed);
                world.faults.add(Kind::Skew);
            }
            9 => {
                world.machines[at].disk_us = self.random.random_range(5_000..800_000);
                world.faults.add(Kind::SlowDisk);
                let until = lasts(&mut self.random, 4_000_000);
                self.until.push((until, Undo::Disk(at)));
            }
            10 => {
                world.machines[at].disk.set_full(true);
                world.faults.add(Kind::FullDisk);
                let until = lasts(&mut self.random, 2_000_000);
                self.until.push((until, Undo::Disk(at)));
            }
            _ => self.transfer(world, at, &others),
        }
    }

    fn cut(&mut self, world: &mut World, pairs: Vec<(NodeId, NodeId)>, kind: Kind) {
        if pairs.is_empty() {
            return;
        }
        pairs.iter().for_each(|(from, to)| world.wires.cut(*from, *to));
        world.faults.add(kind);
        let until = world.now_us + self.random.random_range(100_000..5_000_000);
        self.until.push((until, Undo::Mend(pairs)));
    }

    fn stop(&mut self, world: &mut World, at: usize, power: bool) {
        if !world.machines[at].is_up() {
            return;
        }
        if power {
            world.power_off(at);
        } else {
            world.kill(at);
        }
        world.faults.add(if power { Kind::PowerLoss } else { Kind::Kill });
        let until = world.now_us + self.random.random_range(20_000..4_000_000);
        self.until.push((until, Undo::Start(at)));
    }

    fn transfer(&mut self, world: &mut World, at: usize, others: &[NodeId]) {
        let Some(node) = world.machines[at].node().filter(|_| !others.is_empty()) else { return };
        let to = others[self.random.random_range(0..others.len())];
        for shard in node.shards() {
            if shard.raft.is_leader() {
                let raft = shard.raft.clone();
                // Whether it works out is seen in who leads.
                world.machines[at].spawn(async move { drop(raft.trigger().transfer_leader(to).await) });
                world.faults.add(Kind::Transfer);
            }
        }
    }
}

fn undo_one(world: &mut World, undo: Undo) {
    match undo {
        Undo::Mend(pairs) => pairs.iter().for_each(|(from, to)| world.wires.mend(*from, *to)),
        Undo::Weather => world.wires.set_weather(Weather::fair()),
        Undo::Start(at) => {
            if !world.machines[at].is_up() {
                world.start(at);
            }
        }
        Undo::Resume(at) => world.machines[at].set_paused(false),
        Undo::Disk(at) => {
            world.machines[at].disk.set_full(false);
            world.machines[at].disk_us = DISK_US;
        }
    }
}
