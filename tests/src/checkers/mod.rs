//! What must hold of a cluster at every moment, one checker a file, each with its source. They look at nodes from outside:
//! what a running node says of itself, and what its disk holds.

use std::collections::BTreeMap;
use std::fmt;

use skerry_channel::message::Push;
use skerry_channel::push::receiver::Watermark;
use skerry_host::documents::effects::EffectHash;
use skerry_model::{NodeId, Origin, Scn, ShardId};

use crate::simulation::network::Grant;

mod committed_immutable;
mod committed_on_quorum;
mod edge_chain;
mod edge_convergence;
pub(crate) mod edge_writes_kept;
mod election_safety;
mod leader_completeness;
mod log_matching;
mod monotonic;
mod scn_order;
mod state_machine_safety;
mod state_order;
mod vote_safety;

/// What one shard looks like on one node.
#[derive(Debug, Clone, Default)]
pub struct ShardView {
    /// What the running node says; `None` when none runs.
    pub running: Option<RunningView>,
    /// The vote on the disk.
    pub vote: Option<VoteView>,
    /// The last index purged from the log on the disk; the node's state holds what was there.
    pub purged: Option<u64>,
    /// The log on the disk: an entry's index, its term, and a digest of its contents.
    pub log: Vec<LogLine>,
    /// How far the running node says that each edge has come; with the log.
    pub watermarks: Vec<(Origin, Watermark)>,
}

impl ShardView {
    /// The entries on the disk that the running node has applied. Applied 0 is nothing: entry 0 is the first membership,
    /// which is committed with the entry behind it. What a snapshot took the place of does not count.
    pub fn applied_log(&self) -> impl Iterator<Item = &LogLine> {
        let running = self.running.filter(|running| running.applied > 0);
        let is_applied = move |line: &&LogLine| {
            running.is_some_and(|running| running.gone < line.index && line.index <= running.applied)
        };
        self.log.iter().filter(is_applied)
    }
}

/// A vote on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VoteView {
    /// Its term.
    pub term: u64,
    /// The candidate, or the leader.
    pub to: NodeId,
    /// Whether it acknowledges a leader that was elected, by this vote or without it.
    pub elected: bool,
}

/// One entry on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// A digest of its contents.
    pub digest: [u8; 32],
}

/// What a running node says of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunningView {
    /// How often the process was started.
    pub run: u64,
    /// The term it is in.
    pub term: u64,
    /// Whether it leads.
    pub leads: bool,
    /// Index of its last entry.
    pub last: u64,
    /// Index up to which it knows entries to be committed.
    pub committed: u64,
    /// Index up to which it knows its state machine to have applied: read together with `committed`, and behind `applied`.
    pub reported: u64,
    /// Index up to which it has applied.
    pub applied: u64,
    /// SCN of what it applied last.
    pub scn: Scn,
    /// Its hash over everything that it has applied.
    pub effects: EffectHash,
    /// How often it found that its effects were not its leader's.
    pub divergences: u64,
    /// Index up to which its log is gone, whatever its disk still holds there: a snapshot took its place.
    pub gone: u64,
    /// Nodes that are a majority of the voters it knows of, at least.
    pub majority: usize,
}

/// A cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Every shard on every node.
    pub nodes: Vec<(NodeId, Vec<ShardView>)>,
    /// Votes granted since the last moment.
    pub grants: Vec<Grant>,
    /// What edges sent since the last moment.
    pub pushes: Vec<Push>,
    /// Every edge that runs; with the logs.
    pub edges: Vec<EdgeView>,
    /// Everything once nothing moves any more; only at the very end.
    pub rest: Option<RestView>,
}

/// What a report quotes of a document.
const EXCERPT_CHARS: usize = 2_000;

/// What a replica shows of each document that edges write: its view and how many conflicts are open in it; `None` where
/// there is no document.
pub type Shown = BTreeMap<String, Option<(String, u32)>>;

/// The beginning of what is shown of a document, for a report.
fn excerpt(shown: &Shown, document: &str) -> String {
    let view = shown.get(document).and_then(Option::as_ref);
    view.map_or_else(
        || "no document".to_owned(),
        |(view, conflicts)| {
            format!("{} with {conflicts} conflicts", view.chars().take(EXCERPT_CHARS).collect::<String>())
        },
    )
}

/// What a write added to a document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Added {
    /// A field or item that nobody else writes.
    Part(String),
    /// A letter of a text, which nobody else writes.
    Letter(char),
    /// One more to a counter.
    One,
}

/// A write that was answered, and that nothing takes back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredWrite {
    /// The edge that stored it; `None` for one that the core acknowledged.
    pub by: Option<Origin>,
    /// The document.
    pub document: String,
    /// What it added.
    pub added: Added,
}

/// One edge.
#[derive(Debug, Clone)]
pub struct EdgeView {
    /// Which.
    pub replica: Origin,
    /// What it has stored and answered.
    pub stored: Vec<StoredWrite>,
    /// How many of its changes the core refused.
    pub stranded: u64,
    /// What it shows.
    pub shown: Shown,
}

/// A world at rest.
#[derive(Debug, Clone)]
pub struct RestView {
    /// What every replica shows, nodes and edges, by its name.
    pub replicas: Vec<(String, Shown)>,
    /// Every write that was answered.
    pub stored: Vec<StoredWrite>,
    /// What the core refused, which their edges keep and list, by document.
    pub stranded: Vec<(String, Added)>,
    /// How often one was to be added to each counter, whatever became of it.
    pub asked: BTreeMap<String, usize>,
}

impl View {
    /// Each shard on each node.
    pub fn shards(&self) -> impl Iterator<Item = (NodeId, ShardId, &ShardView)> {
        self.nodes
            .iter()
            .flat_map(|(node, shards)| (0..).zip(shards).map(|(number, shard)| (*node, ShardId::new(number), shard)))
    }

    /// One shard on every node.
    pub fn of(&self, shard: ShardId) -> impl Iterator<Item = (NodeId, &ShardView)> {
        self.shards().filter(move |(_, at, _)| *at == shard).map(|(node, _, view)| (node, view))
    }
}

/// What a checker found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The checker.
    pub checker: &'static str,
    /// What it saw.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.checker, self.what)
    }
}

/// Looks at one moment after the other.
pub trait Checker {
    /// Its name.
    fn name(&self) -> &'static str;

    /// What is wrong now, if anything is.
    ///
    /// # Errors
    /// What it saw.
    fn look(&mut self, view: &View) -> Result<(), String>;
}

/// The checkers of what a core promises while its history goes on: after a restore they begin anew.
#[must_use]
pub fn of_core() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(vote_safety::VoteSafety::default()),
        Box::new(monotonic::Monotonic::default()),
        Box::new(log_matching::LogMatching::default()),
        Box::new(leader_completeness::LeaderCompleteness::default()),
        Box::new(committed_on_quorum::CommittedOnQuorum::default()),
        Box::new(committed_immutable::CommittedImmutable::default()),
        Box::new(state_machine_safety::StateMachineSafety::default()),
        Box::new(state_order::StateOrder),
        Box::new(scn_order::ScnOrder::default()),
    ]
}

/// The checkers of what edges are promised, whatever becomes of the core.
#[must_use]
pub fn of_edges() -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(edge_chain::EdgeChain::default()),
        Box::new(edge_writes_kept::EdgeWritesKept),
        Box::new(edge_convergence::EdgeConvergence),
    ]
}

/// Lets every checker look.
///
/// # Errors
/// The first violation.
pub fn look<'a>(checkers: impl IntoIterator<Item = &'a mut Box<dyn Checker>>, view: &View) -> Result<(), Violation> {
    for checker in checkers {
        checker.look(view).map_err(|what| Violation { checker: checker.name(), what })?;
    }
    Ok(())
}

#[cfg(test)]
mod testing {
    use super::*;

    /// A node that leads in a term, or not.
    pub(super) fn running(term: u64, leads: bool, applied: u64) -> ShardView {
        let running = RunningView {
            run: 1,
            term,
            leads,
            last: applied,
            committed: applied,
            reported: applied,
            applied,
            scn: Scn::from_bits(applied),
            effects: EffectHash::default(),
            divergences: 0,
            gone: 0,
            majority: 2,
        };
        ShardView { running: Some(running), ..ShardView::default() }
    }

    /// The same with a log: terms from index 1 on.
    pub(super) fn with_log(mut view: ShardView, terms: &[u64]) -> ShardView {
        view.log = (1..).zip(terms).map(|(index, &term)| line(index, term, 0)).collect();
        view
    }

    pub(super) fn line(index: u64, term: u64, contents: u8) -> LogLine {
        LogLine { index, term, digest: [contents; 32] }
    }

    /// One shard on nodes 1, 2, …
    pub(super) fn view(shards: Vec<ShardView>) -> View {
        let nodes = (1..).map(NodeId::new).zip(shards.into_iter().map(|shard| vec![shard])).collect();
        View { nodes, ..View::default() }
    }

    /// The checker takes the first moments, and not the last.
    #[track_caller]
    pub(super) fn refuses(mut checker: impl Checker, moments: Vec<View>) {
        let (last, before) = moments.split_last().unwrap();
        for moment in before {
            checker.look(moment).unwrap();
        }
        checker.look(last).unwrap_err();
    }
}
