//! A core node: its shards, and the way of every request to the leader that can take it.

mod audit;
pub(crate) mod automerge;
mod catalog;
mod deploy;
mod documents;
mod evaluation;
mod group;
mod leadership;
mod membership;
mod plugins;
mod propose;
mod purge;
mod reads;
mod recovery;
mod requests;
mod retention;
mod review;
mod room;
mod shard;
mod slots;
mod start;
mod turns;

use std::sync::Arc;

use skerry_model::engine::Author;
use skerry_model::env::Clock;
use skerry_model::ids::{Nonce, shard_of};
use skerry_model::{CollectionName, DocumentKey, Incarnation, NodeId, Origin, PluginDigest, ShardId, Timeline};
use skerry_store::room::Headroom;
use skerry_store::{LogWriter, LogWriterCounters};

use crate::consensus::network::peers::Peers;
use crate::consensus::network::refusals::Refusals;
use crate::consensus::snapshot::Thresholds;
use crate::documents::evaluate::Health;
use crate::documents::live::LiveDocuments;
use crate::env::executor::Executor;
use crate::identity::Identities;

pub use audit::AuditOptions;
pub(crate) use documents::known;
pub use plugins::NodePlugins;
pub use shard::Shard;
pub use start::{Options, Reads, Running, StartError, start};

/// A core node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

pub(crate) struct Inner {
    id: NodeId,
    peers: Arc<Peers>,
    refusals: Refusals,
    log: Arc<LogWriter>,
    identities: Identities,
    folders: parking_lot::Mutex<std::collections::BTreeMap<NodeId, Nonce>>,
    /// Held while a folder is remembered, so that of two that call as one node the second is found out.
    remembering: tokio::sync::Semaphore,
    shards: Vec<Arc<Shard>>,
    live: Arc<LiveDocuments>,
    slots: slots::Slots<slots::Place>,
    /// Evaluations that one version of a plugin may run at once.
    plugin_turns: slots::Slots<PluginDigest>,
    catalog_turn: tokio::sync::Semaphore,
    pull_turn: std::sync::atomic::AtomicUsize,
    /// When all shards' read indexes were last taken for [`Node::be_in_touch`].
    in_touch: parking_lot::Mutex<Option<tokio::time::Instant>>,
    plugins: Arc<NodePlugins>,
    health: Arc<Health>,
    audit: audit::Audit,
    /// Held while a plugin is tried.
    trials: tokio::sync::Semaphore,
    executor: Arc<dyn Executor>,
    clock: Arc<dyn Clock>,
    headroom: Arc<Headroom>,
    reads: Reads,
    core: Author,
    thresholds: Thresholds,
    /// How long an edge may be silent before it compares what it holds.
    rejoin_window: std::time::Duration,
    /// Until then the node grants no vote: before its restart it may have acknowledged a leader's lease.
    votes_from: tokio::time::Instant,
}

impl Node {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.0.id
    }

    /// The cluster's nodes.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// The cluster's line of history.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.0.peers.founding().timeline
    }

    /// The node's clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.clock
    }

    /// What its log has written since the start.
    #[must_use]
    pub fn log_counters(&self) -> &LogWriterCounters {
        self.0.log.counters()
    }

    /// The connections that it has refused.
    #[must_use]
    pub fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// Every shard, in their order.
    #[must_use]
    pub fn shards(&self) -> &[Arc<Shard>] {
        &self.0.shards
    }

    /// A shard by its id.
    #[must_use]
    pub fn shard(&self, id: ShardId) -> Option<&Arc<Shard>> {
        self.0.shards.get(usize::from(id.get()))
    }

    /// The shard of a document.
    #[must_use]
    pub fn shard_of(&self, collection: &CollectionName, key: &DocumentKey) -> &Arc<Shard> {
        let shards = u16::try_from(self.0.shards.len()).expect("a cluster has at most a few shards");
        self.shard(shard_of(collection, key, shards)).expect("the remainder is below the count")
    }

    /// Its plugins.
    #[must_use]
    pub fn plugins(&self) -> &NodePlugins {
        &self.0.plugins
    }

    /// Where evaluations run.
    #[must_use]
    pub fn executor(&self) -> &dyn Executor {
        &*self.0.executor
    }

    /// Which shard a pull begins with; another one each time.
    pub(crate) fn next_turn(&self) -> usize {
        self.0.pull_turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % self.0.shards.len()
    }

    /// What merge documents in memory hold together, in bytes.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.0.live.bytes()
    }

    /// Shard 0, which logs the catalog.
    pub(crate) fn catalog_shard(&self) -> &Arc<Shard> {
        &self.0.shards[0]
    }
}

/// The core as a writer: one actor for each line of history, so that what a restore took back never meets a reused
/// sequence number.
fn core_author(timeline: Timeline) -> Author {
    let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes(*timeline.as_bytes()) };
    Author::new(Origin::core(), &incarnation)
}
