//! What nodes say to each other once they have said Hello.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use skerry_api::bodies::{Laws, PluginCalls};
use skerry_api::documents::{Address, WriteRequest, Written};
use skerry_api::problem::Problem;
use skerry_channel::message::{Push, Pushed};
use skerry_model::{CatalogVersion, NodeId, PluginDigest, PluginName, ShardId};

use super::super::snapshot;
use super::super::types::{LogId, TypeConfig};
use crate::catalog::Step;

/// Which connection a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Votes, heartbeats and read indexes: small, and never behind anything large.
    Control,
    /// Log entries, pipelined in order.
    Append,
    /// Requests of clients on their way to a leader, and snapshots.
    Bulk,
}

/// A request, with the number that its answer carries.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// Counts up per connection.
    pub id: u64,
    /// The shard it is for.
    pub shard: ShardId,
    /// What is asked.
    pub request: Request,
}

/// An answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The request's number.
    pub id: u64,
    /// What is answered.
    pub response: Response,
}

/// What a node asks of another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// A vote.
    Vote(VoteRequest<TypeConfig>),
    /// Whether a vote would be granted.
    PreVote(VoteRequest<TypeConfig>),
    /// A heartbeat.
    Heartbeat(AppendEntriesRequest<TypeConfig>),
    /// Entries, in order on this connection.
    Append(AppendEntriesRequest<TypeConfig>),
    /// Leadership is handed over.
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// A part of a snapshot, from the leader.
    Snapshot(snapshot::Part),
    /// The index that a linearizable read must see, from the leader.
    ReadIndex,
    /// A client's write, for the leader.
    Write(Address, WriteRequest),
    /// An edge's push, for the leader.
    Push(Push),
    /// A step of the catalog, for the leader of shard 0.
    Catalog(Step),
    /// A plugin to stage and activate, for the leader of shard 0.
    Deploy(PluginName, Bytes),
    /// Whether the node has this plugin stored and compiled.
    HasPlugin(PluginDigest),
    /// What became of the node's calls to these versions.
    PluginCalls(Vec<PluginDigest>),
    /// The leader is to hand its leadership to this node.
    HandOver(NodeId),
    /// Whether the node's disk is nearly full, so that it must not lead.
    IsLowOnDisk,
    /// The next part of a snapshot, for a node that cannot start without one.
    Fetch {
        /// The node.
        node: NodeId,
        /// The snapshot that it is at, and the chunk it wants; none to begin.
        at: Option<(LogId, u64)>,
    },
}

/// What a node answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// To a vote or pre-vote.
    Vote(VoteResponse<TypeConfig>),
    /// To a heartbeat.
    Heartbeat(AppendEntriesResponse<TypeConfig>),
    /// To entries.
    Append(StreamAppendResult<TypeConfig>),
    /// To a handover.
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// To a part of a snapshot.
    Snapshot(snapshot::Reply),
    /// To a read index.
    ReadIndex(u64),
    /// To a write.
    Written(Box<Result<Written, Problem>>),
    /// To a push.
    Pushed(Box<Result<Pushed, Problem>>),
    /// To a step of the catalog: the version that has it.
    Catalog(Box<Result<CatalogVersion, Problem>>),
    /// To a deployment.
    Deployed(Box<Result<Deployment, Problem>>),
    /// To a question about a plugin: why not, if not.
    HasPlugin(Result<(), String>),
    /// To a question about calls, in the order of the versions.
    PluginCalls(Vec<PluginCalls>),
    /// The leadership is being handed over.
    HandedOver,
    /// To a question about the disk.
    IsLowOnDisk(bool),
    /// A part of a snapshot; none where nothing has been applied.
    Fetched(Option<snapshot::Part>),
    /// This node is not the leader; nothing was done.
    NotLeader(Option<NodeId>),
    /// The node cannot answer; nothing is known of what was done.
    Failed(String),
}

/// What a deployment came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    /// The version that is active now.
    pub digest: PluginDigest,
    /// The version that was active before.
    pub replaced: Option<PluginDigest>,
    /// Nodes that have stored and compiled it.
    pub staged_on: Vec<NodeId>,
    /// What the law check has tried.
    pub laws: Laws,
    /// The catalog that has it.
    pub catalog: CatalogVersion,
}
