//! V03: a leader that was paused and resumed after its successor has worked serves nothing stale and changes nothing.
//!
//! The leader is stopped, the others elect a successor, and that one writes. Only then reads and writes are put into the
//! sockets of the stopped leader, so that what it answers first, before it can have heard of any of this, is what
//! counts. Each answer is held against what the successor did.

use std::net::SocketAddr;

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, Cluster, http, until};

use super::exchange::{Answer, Exchange};
use super::flawed::Unfenced;

/// Connections per kind of request; every other one has carried a request before the leader is stopped.
const EACH: usize = 6;
const ROUNDS: usize = 4;
const COLLECTION: &str = "fences";
const BEFORE: u64 = 1;
const SUCCESSOR: u64 = 2;
const QUEUED: u64 = 3;

/// What the check needs of an implementation: nodes that serve the document routes and can be held still.
pub(super) trait Nodes {
    /// How many there are.
    fn count(&self) -> usize;
    /// Where a node serves HTTP.
    fn address(&self, node: usize) -> SocketAddr;
    /// The leader, as a node that is not held still sees it.
    fn leader_seen_by(&self, node: usize) -> Option<usize>;
    /// Holds a node still, whatever it is doing.
    fn pause(&mut self, node: usize);
    /// Lets it go on as if nothing had been.
    fn resume(&mut self, node: usize);
}

/// What is asked of the stopped leader about one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A read.
    Read,
    /// A write to the version that the successor has replaced.
    Guarded,
    /// The creation of what the successor has created.
    Creation,
    /// A write without conditions: it may happen, under its successor, but then it must be there.
    Free,
}

const KINDS: [Kind; 4] = [Kind::Read, Kind::Guarded, Kind::Creation, Kind::Free];

/// A request that waits in the leader's sockets.
struct Queued {
    kind: Kind,
    path: String,
    exchange: Exchange,
    /// The condition of the write.
    condition: String,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    stale_reads: Vec<String>,
    old_writes: Vec<String>,
    /// Reads that showed what the successor wrote.
    fresh_reads: usize,
    /// Requests that were not answered with success.
    refused: usize,
}

/// One pause of the leader.
fn pause_and_resume(nodes: &mut impl Nodes, round: usize, outcome: &mut Outcome) {
    let leader = until("a leader that all agree on", || {
        let leader = nodes.leader_seen_by(0)?;
        (0..nodes.count()).all(|node| nodes.leader_seen_by(node) == Some(leader)).then_some(leader)
    });
    let mut queued = prepare(nodes.address(leader), round);
    let follower = (leader + 1) % nodes.count();
    nodes.pause(leader);
    until("a successor", || nodes.leader_seen_by(follower).filter(|successor| *successor != leader));
    for Queued { path, .. } in &queued {
        write_for_sure(nodes.address(follower), path, SUCCESSOR);
    }
    for Queued { kind, path, exchange, condition } in &mut queued {
        let sent = match kind {
            Kind::Read => exchange.send("GET", path, "", None),
            Kind::Guarded | Kind::Creation | Kind::Free => exchange.send("PUT", path, condition, Some(&value(QUEUED))),
        };
        sent.expect("a stopped node's sockets take requests");
    }
    nodes.resume(leader);
    for request in queued {
        judge(nodes, follower, request, outcome);
    }
}

/// Writes every document but those that are to be created, on the leader, and opens the connections.
fn prepare(leader: SocketAddr, round: usize) -> Vec<Queued> {
    let mut queued = Vec::new();
    for (kind, number) in KINDS.iter().flat_map(|kind| (0..EACH).map(move |number| (*kind, number))) {
        let path = format!("/v1/collections/{COLLECTION}/documents/{kind:?}-{round}-{number}");
        let condition = match kind {
            Kind::Creation => "If-None-Match: *".to_owned(),
            Kind::Guarded => format!("If-Match: {}", write_for_sure(leader, &path, BEFORE)),
            Kind::Read | Kind::Free => {
                write_for_sure(leader, &path, BEFORE);
                String::new()
            }
        };
        let mut exchange = Exchange::open(leader).expect("the leader takes connections");
        if number % 2 == 0 {
            exchange.send("GET", &path, "", None).expect("the leader is there");
            exchange.answer().expect("the leader answers");
        }
        queued.push(Queued { kind, path, exchange, condition });
    }
    queued
}

/// Holds the old leader's answer against what the successor's side shows afterwards.
fn judge(nodes: &impl Nodes, follower: usize, request: Queued, outcome: &mut Outcome) {
    let Queued { kind, path, mut exchange, .. } = request;
    let answer = exchange.answer().expect("a resumed node answers what waited");
    let value_of = |answer: &Answer| answer.body.get("value").and_then(Value::as_u64);
    if !answer.is_success() {
        outcome.refused += 1;
    }
    if kind == Kind::Read {
        match (answer.status, value_of(&answer)) {
            (200, Some(SUCCESSOR)) => outcome.fresh_reads += 1,
            (503, _) => {}
            _ => outcome.stale_reads.push(format!("{path}: {answer:?}")),
        }
        return;
    }
    let there = until("the successor's side to answer", || {
        let answer = ask(nodes.address(follower), "GET", &path, None)?;
        (answer.status == 200).then(|| value_of(&answer)).flatten()
    });
    let may_be_unknown = answer.status == 503 && answer.body.get("outcome") == Some(&json!("unknown"));
    let is_explained = match kind {
        Kind::Free if answer.is_success() => there == QUEUED,
        Kind::Free if may_be_unknown => there == SUCCESSOR || there == QUEUED,
        _ => matches!(answer.status, 412 | 503) && there == SUCCESSOR,
    };
    if !is_explained {
        outcome.old_writes.push(format!("{path}: {answer:?}, and then it is {there}"));
    }
}

/// Writes through a node until it says that it is done; answers the version.
fn write_for_sure(node: SocketAddr, path: &str, number: u64) -> String {
    until(format!("a write of {path}"), || {
        ask(node, "PUT", path, Some(&value(number))).filter(Answer::is_success)?.etag
    })
}

fn ask(node: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Option<Answer> {
    let mut exchange = Exchange::open(node).ok()?;
    exchange.send(method, path, "", body).ok()?;
    exchange.answer().ok()
}

fn value(number: u64) -> Value {
    json!({ "value": number })
}

/// Skerry, as real processes.
struct Skerry(Cluster);

impl Skerry {
    fn start(reads: &str) -> Self {
        let binaries = Binaries {
            skerry: env!("CARGO_BIN_EXE_skerry-under-test"),
            edge: env!("CARGO_BIN_EXE_skerry-edge-under-test"),
        };
        let cluster = Cluster::start_with(binaries, 3, 1, &["--reads", reads]);
        let url = format!("{}/v1/collections/{COLLECTION}", cluster.url(0));
        let (status, answer) = http(&url, "PUT", Some(&json!({ "policy": "strict" }))).expect("a node answers");
        assert!(status < 300, "{answer}");
        Self(cluster)
    }
}

impl Nodes for Skerry {
    fn count(&self) -> usize {
        self.0.urls().len()
    }

    fn address(&self, node: usize) -> SocketAddr {
        let url = self.0.url(node);
        url.strip_prefix("http://").and_then(|address| address.parse().ok()).expect("a node's URL is an address")
    }

    fn leader_seen_by(&self, node: usize) -> Option<usize> {
        let (_, cluster) = http(&format!("{}/v1/cluster", self.0.url(node)), "GET", None).ok()?;
        usize::try_from(cluster.pointer("/shards/0/leader")?.as_u64()?).ok()?.checked_sub(1)
    }

    fn pause(&mut self, node: usize) {
        self.0.node(node).signal("STOP");
    }

    fn resume(&mut self, node: usize) {
        self.0.node(node).signal("CONT");
    }
}

#[track_caller]
fn check_skerry(reads: &str) {
    let mut skerry = Skerry::start(reads);
    let mut outcome = Outcome::default();
    for round in 0..ROUNDS {
        pause_and_resume(&mut skerry, round, &mut outcome);
    }
    let Outcome { stale_reads, old_writes, fresh_reads, refused } = outcome;
    println!("v03, reads by {reads}: {fresh_reads} fresh reads, {refused} requests refused");
    assert!(stale_reads.is_empty(), "{stale_reads:#?}");
    assert!(old_writes.is_empty(), "{old_writes:#?}");
    assert!(fresh_reads > 0, "no read was answered, so none could have been stale");
}

#[test]
fn a_resumed_leader_serves_and_changes_nothing_stale() {
    check_skerry("quorum");
}

/// Its lease has run out while it was stopped, and it must notice before it answers.
#[test]
fn a_resumed_leader_does_not_trust_its_lease() {
    check_skerry("lease");
}

#[test]
fn an_unfenced_leader_is_found_out() {
    let mut outcome = Outcome::default();
    pause_and_resume(&mut Unfenced::start(), 0, &mut outcome);
    let Outcome { stale_reads, old_writes, .. } = outcome;
    assert_eq!(stale_reads.len(), EACH, "{stale_reads:#?}");
    // Each writes over, creates anew or loses what its successor had done.
    assert_eq!(old_writes.len(), 3 * EACH, "{old_writes:#?}");
}
