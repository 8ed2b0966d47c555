//! What the clients of both workloads share: the nodes, their randomness, when to stop, and what an answer means.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value};
use skerry_api::client::{Client, Error};
use skerry_api::documents::{Address, Conditions, Consistency, ETag, Read, Written};
use skerry_api::problem::{Kind, Outcome};
use skerry_tests::simulation::history::{Heard, History};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::lists::{self, Lists};
use super::registers;

const REGISTER_CLIENTS: u64 = 5;
const LIST_CLIENTS: u64 = 3;
/// How long a client waits for an answer, one of these; the longest is longer than a node waits for a quorum.
const PATIENCE: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(3), Duration::from_secs(12)];
/// Between two requests of a client, so that the nodes keep up on a small machine.
const PAUSE_MS_MAX: u64 = 50;

/// The collection of both workloads.
pub(super) const COLLECTION: &str = "chaos";

/// What all clients share.
pub(super) struct Shared {
    nodes: Mutex<Vec<Client>>,
    pub(super) history: Mutex<History>,
    pub(super) lists: Mutex<Lists>,
    /// Names the documents that are in use. It counts up, so that no document's history grows past what can be searched.
    pub(super) generation: AtomicU64,
    values: AtomicU64,
    stop: AtomicBool,
}

impl Shared {
    /// Of a client for each node.
    pub(super) fn new(nodes: Vec<Client>) -> Arc<Self> {
        Arc::new(Self {
            nodes: Mutex::new(nodes),
            history: Mutex::default(),
            lists: Mutex::default(),
            generation: AtomicU64::new(0),
            values: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        })
    }

    /// A client for each node.
    pub(super) fn nodes(&self) -> Vec<Client> {
        self.nodes.lock().clone()
    }

    /// From here on the clients ask this one instead of the one that they asked.
    pub(super) fn turn_to(&self, node: usize, client: Client) {
        self.nodes.lock()[node] = client;
    }

    /// A value that nobody wrote before.
    pub(super) fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }
}

/// The clients while they run.
pub(super) struct Clients {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts all of them.
    pub(super) fn start(runtime: &Handle, shared: &Arc<Shared>, seed: u64) -> Self {
        let client =
            |number: u64| One { shared: Arc::clone(shared), random: StdRng::seed_from_u64(seed.wrapping_add(number)) };
        let registers = (1..=REGISTER_CLIENTS).map(|number| runtime.spawn(registers::run(client(number))));
        let lists = (1..=LIST_CLIENTS).map(|number| runtime.spawn(lists::run(client(REGISTER_CLIENTS + number))));
        Self { shared: Arc::clone(shared), tasks: registers.chain(lists).collect() }
    }

    /// Waits until each has heard, or waited long enough, for what it asked last.
    pub(super) fn stop(self, runtime: &Handle) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            runtime.block_on(task).expect("a client met only answers that it knows");
        }
    }
}

/// One client.
pub(super) struct One {
    pub(super) shared: Arc<Shared>,
    pub(super) random: StdRng,
}

impl One {
    /// Waits a moment; whether to go on.
    pub(super) async fn goes_on(&mut self) -> bool {
        let pause = Duration::from_millis(self.random.random_range(0..PAUSE_MS_MAX));
        tokio::time::sleep(pause).await;
        !self.shared.stop.load(Ordering::Relaxed)
    }

    /// A node and how long to wait for it.
    pub(super) fn chooses(&mut self) -> (Client, Duration) {
        let node = self.shared.nodes().choose(&mut self.random).cloned().expect("there are nodes");
        (node, PATIENCE[self.random.random_range(0..PATIENCE.len())])
    }
}

/// A document's place.
pub(super) fn address(key: &str) -> Address {
    let collection = COLLECTION.parse().expect("it is a valid name");
    Address { collection, key: key.parse().expect("it is a valid key") }
}

/// A document of one field.
pub(super) fn document(field: &str, value: Value) -> Map<String, Value> {
    Map::from_iter([(field.to_owned(), value)])
}

/// What was heard of a write; `None` when nothing was in time.
pub(super) fn written(answer: Option<Result<Written, Error>>) -> Heard {
    match answer {
        Some(Ok(_)) => Heard::Done,
        Some(Err(error)) => failed(&error),
        None => Heard::Unknown,
    }
}

/// What a linearizable read found: the field and the version, or that there is no document; `Err` when it heard nothing.
pub(super) async fn read(
    node: &Client,
    at: &Address,
    field: &str,
    patience: Duration,
) -> Result<Option<(Value, ETag)>, ()> {
    let asked = node.get(at, Consistency::Linearizable);
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(Read { view, stamp, .. })) => {
            let mut object = view.object().expect("a node answers with an object");
            Ok(Some((object.remove(field).expect("every write has the field"), stamp.etag)))
        }
        Ok(Err(error)) => match failed(&error) {
            Heard::Refused => Ok(None),
            _ => Err(()),
        },
        Err(_elapsed) => Err(()),
    }
}

/// Conditions of a write to a document that must be at this version, or not be there.
pub(super) fn only_at(version: Option<ETag>) -> Conditions {
    use skerry_api::documents::Match;

    match version {
        Some(etag) => Conditions { if_match: Some(Match::Tags(vec![etag])), if_none_match: None },
        None => Conditions { if_match: None, if_none_match: Some(Match::Any) },
    }
}

/// What an error says of what was asked. An answer that no fault explains is a bug and ends the test.
fn failed(error: &Error) -> Heard {
    match error {
        Error::Problem { problem } => match (problem.kind, problem.outcome) {
            (Kind::PreconditionFailed | Kind::DocumentNotFound, _) => Heard::Refused,
            (Kind::Overloaded, _) | (Kind::Unavailable, Some(Outcome::NotProposed)) => Heard::NotDone,
            (Kind::Unavailable | Kind::DiskFull, _) => Heard::Unknown,
            (kind, _) => panic!("a node answered {kind:?}: {}", problem.detail),
        },
        Error::Unreachable { .. } => Heard::NotDone,
        Error::Interrupted { .. } | Error::TimedOut { .. } => Heard::Unknown,
        other => panic!("a node answered what no node answers: {other}"),
    }
}
