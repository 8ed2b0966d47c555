//! The edges of a world: the real edge, its sync loop included, over simulated storage, with a wire of the simulation in
//! the place of HTTP. What it says reaches what stands behind `POST /v1/sync` on the nodes.

mod machine;
mod storm;
mod wire;
mod writers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use skerry_api::documents::Address;
use skerry_api::problem::{Kind as ProblemKind, Problem};
use skerry_channel::frame;
use skerry_channel::message::Push;
use skerry_channel::push::receiver::Watermark;
use skerry_edge::Operation;
use skerry_edge::replica::StrandedChange;
use skerry_host::documents::read;
use skerry_host::node::Node;
use skerry_model::document::View;
use skerry_model::{Origin, ShardId};

use self::machine::EdgeMachine;
use self::storm::EdgeStorm;
pub(super) use self::writers::{CHANGING, COLLECTING, COUNTING, GROWING, LOADING, TEXT};
use self::writers::{Writers, added, documents};
use super::faults::Counts;
use super::machine::Machine;
use crate::checkers::{Added, EdgeView, Shown, StoredWrite};

/// The edges of a world.
pub(super) struct Edges {
    machines: Vec<EdgeMachine>,
    writers: Writers,
    storm: EdgeStorm,
    /// The nodes' URLs, in the order of their machines.
    cores: Vec<String>,
    /// How often each node had been started when it was last looked at.
    runs: Vec<u64>,
    stranded: Arc<Mutex<BTreeMap<usize, Vec<StrandedChange>>>>,
}

impl Edges {
    /// So many edges. With `may_be_restored` the core may forget what it has acknowledged.
    pub(super) fn new(seed: u64, count: usize, cores: Vec<String>, may_be_restored: bool) -> Self {
        let machine = |at: usize| EdgeMachine::new(at + 1, seed ^ ((at as u64 + 1) << 32), cores.clone());
        Self {
            machines: (0..count).map(machine).collect(),
            writers: Writers::new(seed ^ 0x3217, may_be_restored),
            storm: EdgeStorm::new(seed ^ 0x5707),
            runs: vec![0; cores.len()],
            cores,
            stranded: Arc::default(),
        }
    }

    pub(super) fn start_all(&mut self) {
        self.machines.iter_mut().filter(|machine| machine.edge().is_none()).for_each(EdgeMachine::start);
    }

    /// Faults, and writes.
    pub(super) fn live(&mut self, now_us: u64, nodes: &[Machine], counts: &mut Counts) {
        self.storm.blow(&mut self.machines, now_us, counts);
        self.writers.ask(&self.machines, nodes);
        self.writers.try_again(&self.machines);
    }

    /// No more faults.
    pub(super) fn calm(&mut self) {
        self.storm.end(&mut self.machines);
    }

    /// The core is lost: from here on no edge reaches a node.
    pub(super) fn lose_core(&self) {
        self.machines.iter().for_each(|edge| edge.wire.set_lost(true));
    }

    /// A core is there again, which shows this: what clients of the core wrote and it lacks is not asked for any more.
    pub(super) fn find_core(&self, shown: &Shown) {
        self.writers.forget_at_core(shown);
        self.machines.iter().for_each(|edge| edge.wire.set_lost(false));
    }

    /// Carries what was said to the nodes, and lets time go on by one tick.
    pub(super) fn tick(&mut self, now_us: u64, tick: Duration, nodes: &[Machine], runs: &[u64]) {
        for (at, node) in nodes.iter().enumerate() {
            if self.runs[at] != runs[at] || !node.is_up() {
                self.machines.iter().for_each(|edge| edge.wire.reset(&self.cores[at]));
            }
        }
        self.runs.copy_from_slice(runs);
        for edge in &mut self.machines {
            for letter in edge.wire.advance_to(now_us) {
                let at = self.cores.iter().position(|core| *core == letter.url);
                // Nobody listens: whoever waits for the answer hears that at once.
                let Some((at, node)) = at.and_then(|at| Some((at, nodes[at].node()?))) else { continue };
                let (number, request, wire) = (letter.number, letter.request.clone(), edge.wire.clone());
                wire.taken(letter);
                nodes[at].spawn(async move { wire.answered(number, answer(&node, &request).await) });
            }
            edge.tick(now_us, tick);
        }
    }

    pub(super) fn take_pushes(&self) -> Vec<Push> {
        self.machines.iter().flat_map(|edge| edge.wire.take_pushes()).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.machines.iter().for_each(|edge| counts.merge(&edge.wire.counts()));
        counts
    }

    pub(super) fn trace(&self, hasher: &mut blake3::Hasher) {
        for edge in &self.machines {
            hasher.update(edge.wire.trace().as_bytes());
        }
    }

    /// How far a node's shard says that each edge has come.
    pub(super) fn watermarks(&self, node: &Node, shard: ShardId) -> Vec<(Origin, Watermark)> {
        let Some(shard) = node.shard(shard) else { return Vec::new() };
        let store = shard.state.store();
        let of = |edge: &EdgeMachine| {
            let watermark = read::watermark(&store, &edge.replica).ok().flatten()?;
            Some((edge.replica.clone(), watermark))
        };
        self.machines.iter().filter_map(of).collect()
    }

    /// Every edge that runs.
    pub(super) fn views(&self) -> Vec<EdgeView> {
        let stored = self.writers.stored();
        let view = |edge: &EdgeMachine| {
            let running = edge.edge().filter(|_| !edge.has_stopped())?;
            // Beside another load a load has no room, and is shown nowhere until the core has refused it.
            let is_load = |write: &StoredWrite| write.document.starts_with(LOADING);
            let by_this = stored.iter().filter(|write| write.by.as_ref() == Some(&edge.replica) && !is_load(write));
            Some(EdgeView {
                replica: edge.replica.clone(),
                stored: by_this.cloned().collect(),
                stranded: running.status().stranded,
                shown: shown_by_edge(edge)?,
            })
        };
        self.machines.iter().filter_map(view).collect()
    }

    /// Every write that was answered and that nothing takes back.
    pub(super) fn stored(&self) -> Vec<StoredWrite> {
        self.writers.stored()
    }

    /// How often one was to be added to each counter.
    pub(super) fn asked(&self) -> BTreeMap<String, usize> {
        self.writers.asked()
    }

    /// Whether every edge has said all and heard all, and nobody is about to write.
    pub(super) fn are_in_step(&self) -> bool {
        !self.writers.are_busy()
            && self.machines.iter().all(|machine| {
                let status = machine.edge().map(skerry_edge::Edge::status);
                status.is_some_and(|status| status.connected && status.unsent == 0 && status.copied)
            })
    }

    /// How the edges are, for a report.
    pub(super) fn states(&self) -> String {
        let state = |machine: &EdgeMachine| match machine.edge() {
            Some(edge) => format!("{:?}", edge.status()),
            None => format!("{} does not run", machine.replica),
        };
        self.machines.iter().map(state).collect::<Vec<_>>().join("; ")
    }

    /// What every edge shows, by its name.
    pub(super) fn shown(&self) -> Vec<(String, Shown)> {
        self.machines.iter().filter_map(|edge| Some((edge.replica.to_string(), shown_by_edge(edge)?))).collect()
    }

    /// Asks every edge for what the core refused; the answers come with time.
    pub(super) fn ask_for_stranded(&self) {
        for (at, machine) in self.machines.iter().enumerate() {
            let Some(edge) = machine.edge().cloned() else { continue };
            let stranded = Arc::clone(&self.stranded);
            machine.spawn(async move {
                if let Ok(found) = edge.stranded(None, usize::MAX).await {
                    stranded.lock().insert(at, found);
                }
            });
        }
    }

    /// What stranded writes would have added, once every edge has answered.
    pub(super) fn stranded(&self) -> Option<Vec<(String, Added)>> {
        let answers = self.stranded.lock();
        let added = answers.values().flatten().flat_map(|change| {
            let fields = match &change.operation {
                Operation::Patch { patch } => patch,
                Operation::Operate { operation, .. } => operation,
                Operation::Put { .. } | Operation::Delete | Operation::Settle { .. } => return Vec::new(),
            };
            added(&change.key, fields)
        });
        (answers.len() == self.machines.len()).then(|| added.collect())
    }
}

/// What a node answers to a frame, as its HTTP route does.
async fn answer(node: &Node, request: &[u8]) -> Result<Bytes, Problem> {
    let request = frame::decode(request).map_err(|error| Problem::new(ProblemKind::Malformed, error.to_string()))?;
    let answer = node.sync(request).await?;
    frame::encode(&answer).map_err(|error| Problem::new(ProblemKind::TooLarge, error.to_string()))
}

fn name(at: &Address) -> String {
    format!("{}/{}", at.collection, at.key)
}

fn text(view: &View) -> String {
    String::from_utf8_lossy(view.bytes()).into_owned()
}

/// `None` while its disk has failed.
fn shown_by_edge(machine: &EdgeMachine) -> Option<Shown> {
    let reader = machine.edge()?.reader();
    let shown =
        |at: Address| Some((name(&at), reader.get(&at).ok()?.ok().map(|read| (text(&read.view), read.conflicts))));
    documents().map(shown).collect()
}

/// What a node shows of the documents that edges write; `None` while it does not run.
pub(super) fn shown_by_node(node: &Node) -> Option<Shown> {
    let shown = |at: Address| {
        let shard = node.shard(skerry_model::ids::shard_of(
            &at.collection,
            &at.key,
            u16::try_from(node.shards().len()).expect("a node has few shards"),
        ))?;
        let collection = shard.state.catalog().collection(&at.collection)?.id;
        let newest = read::newest(&shard.state.store(), collection, &at.key).ok()?;
        let view = newest.and_then(|(head, seen)| seen.view.map(|view| (text(&view), head.conflicts)));
        Some((name(&at), view))
    };
    documents().map(shown).collect()
}
