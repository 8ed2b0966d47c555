//! A core that is lost and put back to an older copy of one node's folder, as its operator does it with `skerry recover`,
//! while edges go on writing.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use skerry_host::recovery::{Choices, Error, Folder};
use skerry_store::Mode;
use skerry_store::simulated::Disk;

use super::World;
use super::edges::shown_by_node;
use super::faults::Kind;
use super::machine::{SimulatedClock, SimulatedRandom};
use super::storm::Storm;

/// When and how a core is put back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// How long the storm blows before the copy is made, in microseconds.
    pub until_copied_us: u64,
    /// How long it blows from there until the core is lost.
    pub until_lost_us: u64,
    /// How long edges are without a core.
    pub without_core_us: u64,
    /// How long it blows over the restored core.
    pub afterwards_us: u64,
    /// Whether all is well, and edges and core are in step, when the core is lost.
    pub at_rest: bool,
    /// Whether edges offer again what the copy lacks.
    pub replay: bool,
    /// What random ids follow from.
    pub seed: u64,
}

impl Restored {
    pub(super) fn draw(random: &mut StdRng, storm_us: u64) -> Self {
        let mut some = |most: u64| random.random_range(0..most);
        let (until_copied_us, until_lost_us) = (some(storm_us), some(storm_us / 2));
        let (without_core_us, afterwards_us) = (some(3_000_000), some(storm_us / 2));
        let (at_rest, replay) = (random.random_bool(0.5), random.random_bool(0.5));
        let seed = random.next_u64();
        Self { until_copied_us, until_lost_us, without_core_us, afterwards_us, at_rest, replay, seed }
    }
}

impl World {
    pub(super) fn live_with_restore(&mut self, mut storm: Storm, restored: &Restored) -> Result<(), String> {
        self.endure(&mut storm, restored.until_copied_us)?;
        let mut random = StdRng::seed_from_u64(restored.seed);
        let mut copies: Vec<(usize, Disk)> =
            (0..self.machines.len()).map(|at| (at, self.machines[at].disk.copy())).collect();
        copies.shuffle(&mut random);
        self.endure(&mut storm, restored.until_lost_us)?;
        storm.end(self);
        if restored.at_rest {
            self.edges.calm();
            self.heal()?;
            self.hear_all()?;
            self.rest()?;
        }
        self.clients.history.check().map_err(|wrong| wrong.to_string())?;
        (0..self.machines.len()).for_each(|at| self.power_off(at));
        self.faults.add(Kind::Restore);
        self.edges.lose_core();
        // What clients are not told any more, they do not wait for.
        self.changing.clear();
        let end = self.now_us + restored.without_core_us;
        while self.now_us < end {
            self.edges.live(self.now_us, &self.machines, &mut self.faults);
            self.tick()?;
        }
        let (at, copy) = self.recover_one(copies, restored.replay, &SimulatedRandom::new(random))?;
        // Spare machines that have not come yet still may.
        self.retired.extend((0..self.machines.len()).filter(|other| *other != at && self.runs[*other] > 0));
        self.machines[at].disk = copy;
        self.checkers_of_core = crate::checkers::of_core();
        storm.begin_again(self.machines[at].id);
        self.start(at);
        self.serve()?;
        let node = self.machines[at].node().ok_or("the restored node does not run")?;
        let shown = shown_by_node(&node).ok_or("the restored node does not show what it holds")?;
        self.edges.find_core(&shown);
        self.endure(&mut storm, restored.afterwards_us)?;
        storm.end(self);
        self.edges.calm();
        self.heal()?;
        self.rest()
    }

    /// The first of these copies that can be made a cluster of its own: who had not been a member then cannot.
    fn recover_one(
        &self,
        copies: Vec<(usize, Disk)>,
        replay: bool,
        random: &SimulatedRandom,
    ) -> Result<(usize, Disk), String> {
        let mut wrong = "there is none".to_owned();
        for (at, copy) in copies {
            match recover(&copy, replay, &self.machines[at].clock(), random) {
                Ok(()) => return Ok((at, copy)),
                Err(error @ (Error::NoMember { .. } | Error::NoCluster | Error::Empty { .. })) => {
                    wrong = error.to_string()
                }
                Err(error) => return Err(format!("the copy of machine {at} was not recovered: {error}")),
            }
        }
        Err(format!("no copy was recovered: {wrong}"))
    }
}

/// Makes the copy the only member of its cluster, on another line of history.
fn recover(copy: &Disk, replay_edges: bool, clock: &SimulatedClock, random: &SimulatedRandom) -> Result<(), Error> {
    let folder = Folder::on(Arc::new(copy.log()), Arc::new(copy.state()), Mode::Inline);
    let choices = Choices { replay_edges, older_copy: true };
    let recovered = async {
        let folder = folder?;
        let cluster = folder.report()?.cluster;
        folder.make_sole_member(cluster, choices, clock, random).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O needs nothing");
    runtime.block_on(recovered).map(drop)
}
