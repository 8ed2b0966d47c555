//! What is done to the nodes and the links between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use tokio::runtime::Handle;

use super::cluster::{Cluster, NODES};

/// Elections take one second at most, so that some faults end before them and most do not.
const FAULT_MS: std::ops::Range<u64> = 600..3_000;
const DELAY_MS: std::ops::Range<u64> = 20..300;
const RESET_PAUSE_MS: std::ops::Range<u64> = 20..200;

/// Everything that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// SIGKILL of one node, of two, or of all.
    Kill,
    /// SIGSTOP of a node or two, and SIGCONT.
    Pause,
    /// A node hears nothing and is not heard.
    Partition,
    /// A node cannot talk to another one, which both others can.
    CutBetweenTwo,
    /// What a node sends to one or both of the others does not arrive.
    CutOneWay,
    /// Everything from and to a node takes long.
    SlowLinks,
    /// Connections are reset, one after the other.
    Resets,
    /// SIGTERM and a new start, node by node.
    RollingRestart,
    /// A node's disk takes nothing more.
    FullDisk,
}

const ALL: [Fault; 9] = [
    Fault::Kill,
    Fault::Pause,
    Fault::Partition,
    Fault::CutBetweenTwo,
    Fault::CutOneWay,
    Fault::SlowLinks,
    Fault::Resets,
    Fault::RollingRestart,
    Fault::FullDisk,
];

/// Chooses faults, each as often as the others, and does them.
pub(super) struct Faults {
    random: StdRng,
    runtime: Handle,
    begun: Instant,
    /// What is left of the current round.
    round: Vec<Fault>,
    pub(super) counts: BTreeMap<Fault, u64>,
    /// How often a node gave up because its disk was full.
    pub(super) ended_by_full_disk: u64,
}

impl Faults {
    /// As the seed decides.
    pub(super) fn new(seed: u64, runtime: &Handle, cluster: &Cluster) -> Self {
        let possible = ALL.into_iter().filter(|fault| *fault != Fault::FullDisk || cluster.disk(0).is_some());
        Self {
            random: StdRng::seed_from_u64(seed),
            runtime: runtime.clone(),
            begun: Instant::now(),
            round: Vec::new(),
            counts: possible.map(|fault| (fault, 0)).collect(),
            ended_by_full_disk: 0,
        }
    }

    /// Whether each was done at least once.
    pub(super) fn all_done(&self) -> bool {
        self.counts.values().all(|count| *count > 0)
    }

    /// Does the next one and undoes it; afterwards all nodes run and serve.
    pub(super) fn strike(&mut self, cluster: &mut Cluster) {
        if self.round.is_empty() {
            self.round = self.counts.keys().copied().collect();
            self.round.shuffle(&mut self.random);
        }
        let Some(fault) = self.round.pop() else { return };
        let nodes = self.nodes(cluster);
        println!("chaos: after {} ms: {fault:?} {:?}", self.begun.elapsed().as_millis(), nodes.map(|node| node + 1));
        match fault {
            Fault::Kill => self.kill(cluster, &nodes),
            Fault::Pause => self.pause(cluster, &nodes),
            Fault::RollingRestart => roll(cluster, &nodes),
            Fault::FullDisk => self.fill(cluster, nodes[0]),
            Fault::Resets => self.reset(cluster),
            Fault::Partition | Fault::CutBetweenTwo | Fault::CutOneWay | Fault::SlowLinks => {
                self.disturb(fault, cluster, nodes);
            }
        }
        cluster.ready();
        *self.counts.entry(fault).or_default() += 1;
    }

    /// The nodes in the order in which they suffer: mostly a leader first.
    fn nodes(&mut self, cluster: &Cluster) -> [usize; NODES] {
        let mut nodes = std::array::from_fn(|node| node);
        nodes.shuffle(&mut self.random);
        let shard = self.random.random_range(0..NODES);
        if self.random.random_bool(0.6)
            && let Some(leader) = cluster.leader(&self.runtime, shard)
            && let Some(at) = nodes.iter().position(|node| *node == leader)
        {
            nodes.swap(0, at);
        }
        nodes
    }

    /// Lets the fault last for a while.
    fn last(&mut self) {
        let lasts = Duration::from_millis(self.random.random_range(FAULT_MS));
        self.runtime.block_on(async { tokio::time::sleep(lasts).await });
    }

    fn kill(&mut self, cluster: &mut Cluster, nodes: &[usize]) {
        let killed = &nodes[..*[1, 1, 2, NODES].choose(&mut self.random).expect("there are some")];
        killed.iter().for_each(|node| cluster.kill(*node));
        self.last();
        killed.iter().for_each(|node| cluster.start_node(*node));
    }

    fn pause(&mut self, cluster: &mut Cluster, nodes: &[usize]) {
        let paused = &nodes[..self.random.random_range(1..NODES)];
        paused.iter().for_each(|node| cluster.node(*node).signal("STOP"));
        self.last();
        paused.iter().for_each(|node| cluster.node(*node).signal("CONT"));
    }

    fn fill(&mut self, cluster: &mut Cluster, node: usize) {
        let disk = |cluster: &Cluster, act: fn(&super::cluster::Disk)| act(cluster.disk(node).expect("each has one"));
        disk(cluster, super::cluster::Disk::fill);
        self.last();
        disk(cluster, super::cluster::Disk::free);
        // A node that cannot write its log gives up; one that had nothing to write goes on.
        if cluster.node(node).has_ended() {
            self.ended_by_full_disk += 1;
            cluster.start_node(node);
        }
    }

    fn reset(&mut self, cluster: &Cluster) {
        let until = Instant::now() + Duration::from_millis(self.random.random_range(FAULT_MS));
        while Instant::now() < until {
            let (from, to) = (self.random.random_range(0..NODES), self.random.random_range(0..NODES));
            cluster.links.reset(from, to);
            let pause = Duration::from_millis(self.random.random_range(RESET_PAUSE_MS));
            self.runtime.block_on(async { tokio::time::sleep(pause).await });
        }
    }

    fn disturb(&mut self, fault: Fault, cluster: &Cluster, [node, second, third]: [usize; NODES]) {
        let links = &cluster.links;
        let both = [(node, second), (second, node), (node, third), (third, node)];
        match fault {
            Fault::SlowLinks => {
                for (from, to) in both {
                    links.delay(from, to, Duration::from_millis(self.random.random_range(DELAY_MS)));
                }
            }
            Fault::CutBetweenTwo => both[..2].iter().for_each(|(from, to)| links.cut(*from, *to)),
            Fault::CutOneWay => {
                links.cut(node, second);
                if self.random.random_bool(0.5) {
                    links.cut(node, third);
                }
            }
            _ => both.iter().for_each(|(from, to)| links.cut(*from, *to)),
        }
        self.last();
        // What a cut held back arrives late, or never.
        if self.random.random_bool(0.5) {
            both.iter().for_each(|(from, to)| links.reset(*from, *to));
        }
        links.heal();
    }
}

/// Each node ends when it is told to, and serves again before the next one is told.
fn roll(cluster: &mut Cluster, nodes: &[usize]) {
    for node in nodes {
        assert!(cluster.node(*node).stop(), "{}", cluster.node(*node).said());
        cluster.start_node(*node);
        cluster.ready();
    }
}
