//! A cluster of which each node is in a network namespace of its own: mutual TLS over a real TCP whose packets vanish.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::runtime::Handle;

use super::choices::{Choices, FAULT_MS};
use super::clients::Shared;
use super::cluster::{Cluster, NODES};
use super::command::command;
use super::network::{self, Network};
use super::node::{Launch, SKERRY};
use super::places::{Place, Ports, first_id};
use super::run::{Nemesis, Run};
use super::wire::{Weather, address};

const LENGTH: Duration = Duration::from_secs(25);
const HTTP: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7_400);
const NODE_PORT: u16 = 8_400;
/// At times longer than a peer may owe an answer before it is called anew.
const SILENCE_MS: Range<u64> = 600..7_000;
const FLAP_MS: Range<u64> = 20..500;
const LATE_MS: Range<u64> = 0..40;
const LOST: Range<f64> = 0.01..0.2;
const TWICE: Range<f64> = 0.0..0.1;
const GONE: Weather = Weather { lost: 1.0, twice: 0.0, late: Duration::ZERO };

/// Everything that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A node's link is down, and what is sent to it and by it vanishes. It may be killed meanwhile, and no peer hears.
    LinkDown,
    /// A node's link goes down and up again and again.
    Flapping,
    /// What a node sends to one or both of the others vanishes.
    LostOneWay,
    /// Packets are lost, late, doubled and out of order on all links.
    BadWire,
}

const ALL: [Fault; 4] = [Fault::LinkDown, Fault::Flapping, Fault::LostOneWay, Fault::BadWire];

/// Chooses faults and does them.
struct Faults<'a> {
    choices: Choices<Fault>,
    network: &'a Network,
}

impl<'a> Faults<'a> {
    fn new(seed: u64, runtime: &Handle, network: &'a Network) -> Self {
        Self { choices: Choices::new(seed, runtime, ALL), network }
    }

    fn cut(&mut self, cluster: &mut Cluster, node: usize) {
        let dies = self.choices.random.random_bool(0.3);
        self.network.link(node, false);
        self.choices.last(SILENCE_MS);
        if dies {
            cluster.kill(node);
        }
        self.network.link(node, true);
        if dies {
            cluster.start_node(node);
        }
    }

    fn flap(&mut self, node: usize) {
        let until = Instant::now() + self.choices.millis(FAULT_MS);
        while Instant::now() < until {
            for is_up in [false, true] {
                self.network.link(node, is_up);
                self.choices.last(FLAP_MS);
            }
        }
    }

    fn lose(&mut self, [node, second, third]: [usize; NODES]) {
        let both = self.choices.random.random_bool(0.5);
        self.network.wire.set(node, second, GONE);
        if both {
            self.network.wire.set(node, third, GONE);
        }
        self.choices.last(SILENCE_MS);
    }

    fn spoil(&mut self) {
        for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))) {
            let lost = self.choices.random.random_range(LOST);
            let twice = self.choices.random.random_range(TWICE);
            self.network.wire.set(from, to, Weather { lost, twice, late: self.choices.millis(LATE_MS) });
        }
        self.choices.last(SILENCE_MS);
    }
}

impl Nemesis for Faults<'_> {
    fn strike(&mut self, cluster: &mut Cluster, _: &Shared) {
        let (fault, nodes) = self.choices.next(cluster);
        match fault {
            Fault::LinkDown => self.cut(cluster, nodes[0]),
            Fault::Flapping => self.flap(nodes[0]),
            Fault::LostOneWay => self.lose(nodes),
            Fault::BadWire => self.spoil(),
        }
        self.network.wire.heal();
        cluster.ready();
    }

    fn all_done(&self) -> bool {
        self.choices.all_done()
    }

    fn told(&self) -> String {
        format!("{:?}", self.choices.counts)
    }
}

#[test]
fn nothing_is_lost_or_stale_when_packets_vanish() {
    let run = Run::new("namespaces", LENGTH);
    let mut ports = Ports::new();
    let doors = std::array::from_fn(|_| ports.address());
    let network = match Network::start(run.seed, doors, HTTP) {
        Ok(network) => network,
        Err(reason) => return println!("chaos: no network namespaces, so this is left out: {reason}"),
    };
    let certificates = tempfile::tempdir().expect("there is room for a folder");
    let places = std::array::from_fn(|slot| {
        let node = SocketAddr::from((address(slot), NODE_PORT));
        Place { id: first_id(slot), http: HTTP, door: doors[slot], listens: node, called: node }
    });
    let launch = Launch {
        within: ["nsenter", &format!("--net={}", network::path("{id}")), "--"].map(str::to_owned).to_vec(),
        options: certified(certificates.path(), &places),
        reads: run.reads(),
    };
    let mut cluster = Cluster::found(launch, places);
    cluster.start();
    run.holds(&mut cluster, &mut Faults::new(run.seed, run.runtime(), &network));
}

/// Makes certificates for nodes at these places; answers the options of one that uses them.
fn certified(folder: &Path, places: &[Place]) -> Vec<String> {
    let out = folder.display().to_string();
    let names: Vec<_> = places.iter().map(|place| format!("{}={}", place.id, place.called.ip())).collect();
    let words = ["cluster", "cert", "--out", &out].into_iter().chain(names.iter().map(String::as_str));
    command(SKERRY, &words.collect::<Vec<_>>()).expect("nothing is in the folder yet");
    let options = [("--node-ca", "ca.pem"), ("--node-cert", "node-{id}.pem"), ("--node-key", "node-{id}-key.pem")];
    options.iter().flat_map(|(option, file)| [(*option).to_owned(), format!("{out}/{file}")]).collect()
}
