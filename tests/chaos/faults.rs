//! What is done to the nodes and the links between them.

use std::time::Instant;

use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::runtime::Handle;

use super::choices::{Choices, FAULT_MS};
use super::clients::Shared;
use super::cluster::{Cluster, NODES};
use super::disk::Disk;
use super::links::Links;
use super::membership;
use super::places::{Ports, next_id};
use super::run::Nemesis;

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
    /// Shards are handed to other nodes, one after the other.
    TransferLeader,
    /// A new node takes a node's place, and somebody may be killed meanwhile.
    Replace,
}

const ALL: [Fault; 11] = [
    Fault::Kill,
    Fault::Pause,
    Fault::Partition,
    Fault::CutBetweenTwo,
    Fault::CutOneWay,
    Fault::SlowLinks,
    Fault::Resets,
    Fault::RollingRestart,
    Fault::FullDisk,
    Fault::TransferLeader,
    Fault::Replace,
];

/// Chooses faults and does them.
pub(super) struct Faults {
    choices: Choices<Fault>,
    links: Links,
    ports: Ports,
    /// How often a node gave up because its disk was full.
    ended_by_full_disk: u64,
}

impl Faults {
    /// As the seed decides.
    pub(super) fn new(seed: u64, runtime: &Handle, cluster: &Cluster, links: Links, ports: Ports) -> Self {
        let possible = ALL.into_iter().filter(|fault| *fault != Fault::FullDisk || cluster.disk(0).is_some());
        Self { choices: Choices::new(seed, runtime, possible), links, ports, ended_by_full_disk: 0 }
    }

    fn kill(&mut self, cluster: &mut Cluster, nodes: &[usize]) {
        let killed = &nodes[..*[1, 1, 2, NODES].choose(&mut self.choices.random).expect("there are some")];
        killed.iter().for_each(|node| cluster.kill(*node));
        self.choices.last(FAULT_MS);
        killed.iter().for_each(|node| cluster.start_node(*node));
    }

    fn pause(&mut self, cluster: &mut Cluster, nodes: &[usize]) {
        let paused = &nodes[..self.choices.random.random_range(1..NODES)];
        paused.iter().for_each(|node| cluster.node(*node).signal("STOP"));
        self.choices.last(FAULT_MS);
        paused.iter().for_each(|node| cluster.node(*node).signal("CONT"));
    }

    fn fill(&mut self, cluster: &mut Cluster, node: usize) {
        let disk = |cluster: &Cluster, act: fn(&Disk)| act(cluster.disk(node).expect("each has one"));
        disk(cluster, Disk::fill);
        self.choices.last(FAULT_MS);
        disk(cluster, Disk::free);
        // A node that cannot write its log gives up; one that had nothing to write goes on.
        if cluster.node(node).has_ended() {
            self.ended_by_full_disk += 1;
            cluster.start_node(node);
        }
    }

    fn reset(&mut self) {
        let until = Instant::now() + self.choices.millis(FAULT_MS);
        while Instant::now() < until {
            let (from, to) = (self.choices.random.random_range(0..NODES), self.choices.random.random_range(0..NODES));
            self.links.reset(from, to);
            self.choices.last(RESET_PAUSE_MS);
        }
    }

    fn disturb(&mut self, fault: Fault, [node, second, third]: [usize; NODES]) {
        let links = &self.links;
        let both = [(node, second), (second, node), (node, third), (third, node)];
        match fault {
            Fault::SlowLinks => {
                for (from, to) in both {
                    links.delay(from, to, self.choices.millis(DELAY_MS));
                }
            }
            Fault::CutBetweenTwo => both[..2].iter().for_each(|(from, to)| links.cut(*from, *to)),
            Fault::CutOneWay => {
                links.cut(node, second);
                if self.choices.random.random_bool(0.5) {
                    links.cut(node, third);
                }
            }
            _ => both.iter().for_each(|(from, to)| links.cut(*from, *to)),
        }
        self.choices.last(FAULT_MS);
        // What a cut held back arrives late, or never.
        if self.choices.random.random_bool(0.5) {
            both.iter().for_each(|(from, to)| links.reset(*from, *to));
        }
        links.heal();
    }
}

impl Nemesis for Faults {
    fn strike(&mut self, cluster: &mut Cluster, shared: &Shared) {
        let (fault, nodes) = self.choices.next(cluster);
        match fault {
            Fault::Kill => self.kill(cluster, &nodes),
            Fault::Pause => self.pause(cluster, &nodes),
            Fault::RollingRestart => roll(cluster, &nodes),
            Fault::FullDisk => self.fill(cluster, nodes[0]),
            Fault::Resets => self.reset(),
            Fault::Partition | Fault::CutBetweenTwo | Fault::CutOneWay | Fault::SlowLinks => {
                self.disturb(fault, nodes);
            }
            Fault::TransferLeader => membership::transfer(&mut self.choices, cluster),
            Fault::Replace => {
                let place = self.ports.place(next_id(cluster.places()[nodes[0]].id));
                self.links.carry_to(place).expect("its port is free");
                membership::replace(&mut self.choices, cluster, shared, place);
            }
        }
        cluster.ready();
    }

    fn all_done(&self) -> bool {
        self.choices.all_done()
    }

    fn told(&self) -> String {
        format!("{:?}; {} nodes ended on a full disk", self.choices.counts, self.ended_by_full_disk)
    }
}

/// Each node ends when it is told to, and serves again before the next one is told.
fn roll(cluster: &mut Cluster, nodes: &[usize]) {
    for node in nodes {
        cluster.restart(*node);
        cluster.ready();
    }
}
