//! What an operator is shown of a survivor, as people and programs read it.

use std::collections::BTreeSet;

use serde::Serialize;
use skerry_model::{ClusterId, NodeId, ShardId, Timeline};

use super::plan::Plan;
use super::{Shard, Survivor};
use crate::consensus::types::LogId;

/// What a folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line of history.
    pub timeline: Timeline,
    /// The node.
    pub node: NodeId,
    /// Whether a recovery of this folder was cut short and has to be finished.
    pub half_recovered: bool,
    /// Every shard, in their order.
    pub shards: Vec<ShardReport>,
}

/// What a folder holds of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardReport {
    /// The shard.
    pub id: ShardId,
    /// Whom the node has voted for last.
    pub vote: Option<Promise>,
    /// The last entry of the log: of two survivors the one with the higher term holds more, within a term the one with
    /// the higher index.
    pub last: Option<Place>,
    /// The last entry that the node knew to be committed, which may be an older one after a crash.
    pub committed: Option<Place>,
    /// The last entry applied.
    pub applied: Option<Place>,
    /// The SCN that the whole log leads to.
    pub scn: u64,
    /// Its time, in milliseconds since 1970: when the newest record was written.
    pub time_ms: u64,
    /// Nodes with a vote.
    pub voters: BTreeSet<NodeId>,
}

/// A place in a log. Ordered by how much whoever has it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The term in which the entry was written.
    pub term: u64,
    /// The entry.
    pub index: u64,
}

/// A vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Promise {
    /// The term.
    pub term: u64,
    /// For whom.
    pub node: NodeId,
}

/// What came of a recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line of history from here on.
    pub timeline: Timeline,
    /// Its only member.
    pub node: NodeId,
    /// Nodes that are not part of it any more, and never come back under their ids.
    pub removed: BTreeSet<NodeId>,
    /// Whether anything had to be done.
    pub changed: bool,
}

impl Report {
    pub(super) fn of(survivor: &Survivor) -> Self {
        Self {
            cluster: survivor.cluster,
            timeline: survivor.timeline,
            node: survivor.node(),
            half_recovered: survivor.identity.recovering.is_some(),
            shards: survivor.shards.iter().map(ShardReport::of).collect(),
        }
    }
}

impl ShardReport {
    fn of(shard: &Shard) -> Self {
        let place = |id: LogId| Place { term: id.leader_id.term, index: id.index };
        let promise = shard.vote.map(|vote| Promise { term: vote.leader_id.term, node: vote.leader_id.voted_for });
        Self {
            id: shard.id,
            vote: promise,
            last: shard.reached.last.map(place),
            committed: shard.committed.map(place),
            applied: shard.applied.map(place),
            scn: shard.reached.scn.bits(),
            time_ms: shard.reached.scn.millis(),
            voters: shard.reached.membership.voter_ids().collect(),
        }
    }
}

impl Recovered {
    pub(super) fn of(plan: &Plan, changed: bool) -> Self {
        let (cluster, timeline, node) = (plan.sole.cluster, plan.sole.timeline, plan.sole.node);
        Self { cluster, timeline, node, removed: plan.removed.clone(), changed }
    }
}
