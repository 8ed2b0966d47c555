//! What a seed decides: which fault comes next, whom it meets, and how long it lasts.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;

use super::cluster::{Cluster, NODES, SHARDS};

/// Elections take one second at most, so that some faults end before them and most do not.
pub(super) const FAULT_MS: Range<u64> = 600..3_000;

/// Chooses among faults, each as often as the others.
pub(super) struct Choices<F> {
    pub(super) random: StdRng,
    pub(super) runtime: Handle,
    begun: Instant,
    /// What is left of the current round.
    round: Vec<F>,
    pub(super) counts: BTreeMap<F, u64>,
}

impl<F: Copy + Ord + Debug> Choices<F> {
    /// As the seed decides.
    pub(super) fn new(seed: u64, runtime: &Handle, possible: impl IntoIterator<Item = F>) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            runtime: runtime.clone(),
            begun: Instant::now(),
            round: Vec::new(),
            counts: possible.into_iter().map(|fault| (fault, 0)).collect(),
        }
    }

    /// Whether each was chosen at least once.
    pub(super) fn all_done(&self) -> bool {
        self.counts.values().all(|count| *count > 0)
    }

    /// The next one, and the nodes in the order in which they suffer: mostly a leader first.
    pub(super) fn next(&mut self, cluster: &Cluster) -> (F, [usize; NODES]) {
        if self.round.is_empty() {
            self.round = self.counts.keys().copied().collect();
            self.round.shuffle(&mut self.random);
        }
        let fault = self.round.pop().expect("some are possible");
        let nodes = self.nodes(cluster);
        let (after, ids) = (self.begun.elapsed().as_millis(), nodes.map(|node| cluster.places()[node].id));
        println!("chaos: after {after} ms: {fault:?} {ids:?}");
        *self.counts.entry(fault).or_default() += 1;
        (fault, nodes)
    }

    fn nodes(&mut self, cluster: &Cluster) -> [usize; NODES] {
        let mut nodes = std::array::from_fn(|node| node);
        nodes.shuffle(&mut self.random);
        let shard = self.random.random_range(0..SHARDS);
        if self.random.random_bool(0.6)
            && let Some(leader) = cluster.leader(&self.runtime, shard)
            && let Some(at) = nodes.iter().position(|node| *node == leader)
        {
            nodes.swap(0, at);
        }
        nodes
    }

    /// A time within these bounds.
    pub(super) fn millis(&mut self, bounds: Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(bounds))
    }

    /// Lets whatever is under way last for a while.
    pub(super) fn last(&mut self, bounds: Range<u64>) {
        let lasts = self.millis(bounds);
        self.runtime.block_on(async { tokio::time::sleep(lasts).await });
    }
}
