//! Faults as they come: each begins at a random moment and is over after a while.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use skerry_host::catalog::MemberStep;
use skerry_model::NodeId;

use super::World;
use super::faults::Kind;
use super::network::Weather;

/// Time between faults on average, in microseconds.
const EVERY_US: u64 = 500_000;
/// How far a clock may be off, in milliseconds: two of them are up to 500 ms apart, the fault model's bound.
const SKEW_MS_MAX: i64 = 250;
/// Nodes that a cluster may have.
const NODES_MAX: usize = 7;
/// What a disk takes normally, in microseconds.
const DISK_US: u64 = 200;

/// The weather of one world.
pub(super) struct Storm {
    random: StdRng,
    next_us: u64,
    /// What is to be undone, and when.
    until: Vec<(u64, Undo)>,
    /// Spare machines that have come.
    came: usize,
    /// Who should be part of the cluster if every change was heard; those who have been in it longest first.
    members: Vec<NodeId>,
}

/// A change of the membership.
enum Change {
    Add,
    Remove,
    Replace,
}

enum Undo {
    Mend(Vec<(NodeId, NodeId)>),
    Weather,
    Start(usize),
    Resume(usize),
    Disk(usize),
}

impl Storm {
    /// The storm of a world; every clock is off from here on.
    pub(super) fn begin(seed: u64, world: &mut World) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5707);
        for machine in &world.machines {
            let skew = match random.random_range(0..4) {
                0 => -SKEW_MS_MAX,
                1 => SKEW_MS_MAX,
                _ => random.random_range(-SKEW_MS_MAX..=SKEW_MS_MAX),
            };
            machine.skew_ms.store(skew, Ordering::Relaxed);
            world.faults.add(Kind::Skew);
        }
        let members = world.plan.founders.iter().map(|(id, _)| *id).collect();
        Self { random, next_us: 0, until: Vec::new(), came: 0, members }
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

    /// The cluster is one node alone, on another line of history.
    pub(super) fn begin_again(&mut self, alone: NodeId) {
        self.until.clear();
        self.members = vec![alone];
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
        match self.random.random_range(0..15) {
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
                let step = self.random.random_range(-2 * SKEW_MS_MAX..=2 * SKEW_MS_MAX);
                let clock = &world.machines[at].skew_ms;
                let skew = (clock.load(Ordering::Relaxed) + step).clamp(-SKEW_MS_MAX, SKEW_MS_MAX);
                clock.store(skew, Ordering::Relaxed);
                world.faults.add(Kind::ClockJump);
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
            11 => self.transfer(world, at),
            12 => self.change(world, &Change::Add),
            13 => self.change(world, &Change::Remove),
            _ => self.change(world, &Change::Replace),
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

    /// A spare machine comes, who has been there longest goes, or both. It is asked for once: what is wanted is logged, and
    /// then happens by itself.
    fn change(&mut self, world: &mut World, change: &Change) {
        let founders = world.plan.founders.len();
        let asked = self.random.random_range(0..founders + self.came);
        let Some(node) = world.machines[asked].node() else { return };
        let spare = world.plan.spares.get(self.came).cloned();
        let (step, kind) = match (change, spare) {
            (Change::Add, Some((new, address))) if self.members.len() < NODES_MAX => {
                (MemberStep::Add(new, address), Kind::Add)
            }
            // The last one stays; that the rest can decide is the cluster's own to see to.
            (Change::Remove, _) if self.members.len() > 1 => (MemberStep::Remove(self.members[0]), Kind::Remove),
            (Change::Replace, Some((new, address))) => {
                (MemberStep::Replace { old: self.members[0], new, address }, Kind::Replace)
            }
            _ => return,
        };
        if let MemberStep::Add(new, _) | MemberStep::Replace { new, .. } = &step {
            world.start(founders + self.came);
            self.came += 1;
            self.members.push(*new);
        }
        if let MemberStep::Remove(old) | MemberStep::Replace { old, .. } = &step {
            self.members.retain(|member| member != old);
            world.leaving.insert(*old);
        }
        world.faults.add(kind);
        // Where that gets no answer a spare machine goes on waiting.
        let changing = Arc::<()>::default();
        world.changing.push((asked, Arc::clone(&changing)));
        world.machines[asked].spawn(async move {
            drop(node.change_members(step).await);
            drop(changing);
        });
    }

    fn transfer(&mut self, world: &mut World, at: usize) {
        let Some(node) = world.machines[at].node() else { return };
        for shard in node.shards().iter().filter(|shard| shard.raft.is_leader()) {
            let others: Vec<NodeId> = shard.voters().into_iter().filter(|other| *other != node.id()).collect();
            let Some(to) = others.choose(&mut self.random).copied() else { continue };
            let raft = shard.raft.clone();
            // Whether it works out is seen in who leads.
            world.machines[at].spawn(async move { drop(raft.trigger().transfer_leader(to).await) });
            world.faults.add(Kind::Transfer);
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
