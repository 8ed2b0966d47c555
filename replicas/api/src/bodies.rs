//! Bodies of the routes beside documents, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skerry_model::automerge_id::Inbox;
use skerry_model::policy::{Choice, Policy, World};
use skerry_model::{ClusterId, CollectionName, DocumentKey, NodeId, PluginDigest, PluginName, ShardId, Term, Timeline};

/// `PUT /v1/collections/{c}`: what a collection is to be. Template and text are fixed at creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CollectionSpec {
    /// The policy.
    pub policy: Policy,
    /// What every document of it starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Map<String, Value>>,
    /// JSON Pointers of the fields that merge by character.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub text: Vec<String>,
    /// Whether the core writes back, as ordinary changes, what was decided where writes met.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settle: bool,
    /// Where documents go that clients of Automerge make under ids of their own: keys that begin like this. One collection
    /// has one; fixed at creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<Inbox>,
}

/// Body of `POST /v1/collections/{c}/documents/{key}/conflicts`: how open conflicts end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// By JSON Pointer: a candidate by its place, a value, or `"remove"`.
    pub settle: BTreeMap<String, Choice>,
}

/// `GET /v1/collections` and `/v1/collections/{c}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: CollectionName,
    /// What it is.
    #[serde(flatten)]
    pub spec: CollectionSpec,
    /// The plugin version that applies now, under a plugin policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginDigest>,
}

/// `GET /v1/collections`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collections {
    /// By name.
    pub collections: Vec<Collection>,
}

/// `PUT /v1/plugins/{name}`: what was deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// The plugin.
    pub name: PluginName,
    /// The version that is active now.
    pub digest: PluginDigest,
    /// The version that was active before.
    pub replaced: Option<PluginDigest>,
    /// Nodes that have stored and compiled it.
    pub staged_on: Vec<NodeId>,
    /// Collections whose policy follows the plugin.
    pub collections: Vec<CollectionName>,
    /// What the law check has tried.
    pub laws: Laws,
}

/// `GET /v1/plugins/{name}`; with `Accept: application/wasm` the answer is the component itself, and `?digest=` names
/// an older version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugin {
    /// The plugin.
    pub name: PluginName,
    /// What it is.
    pub world: World,
    /// The version that is active.
    pub active: PluginDigest,
    /// Every version that is kept, in the order of their deployment.
    pub versions: Vec<PluginVersion>,
    /// Collections whose policy names the plugin.
    pub collections: Vec<CollectionName>,
    /// The version that the cluster has rolled back by itself, until the next deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<PluginDigest>,
    /// Why it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// BLAKE3 of the component.
    pub digest: PluginDigest,
    /// Size of the component, in bytes.
    pub bytes: u64,
    /// For a merge policy, the version of its states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_version: Option<u32>,
    /// The runtime profile that it was deployed under.
    pub profile: String,
    /// Calls to it on all nodes that answered.
    pub calls: PluginCalls,
}

/// What became of calls to a plugin since the nodes have started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PluginCalls {
    /// Calls that gave an answer, be it a refusal in the plugin's own words.
    pub answered: u64,
    /// Calls that trapped, passed a limit or broke the contract.
    pub failed: u64,
    /// Calls that a node could not run for reasons of its own.
    pub not_run: u64,
    /// Fuel of the calls that gave an answer.
    pub fuel: u64,
}

/// What the law check has tried before a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Laws {
    /// The runtime profile.
    pub profile: String,
    /// Cases tried.
    pub cases: u32,
    /// Of these, the ones that the plugin decided or took, and did not refuse in its own words.
    pub answered: u32,
    /// Conflicts or states of real documents among what cases were made from.
    pub live: u64,
    /// Fuel of the call that took the most.
    pub fuel_most: u64,
    /// The limit of a call.
    pub fuel_limit: u64,
    /// What breaks no law and is worth knowing.
    pub advice: Vec<String>,
}

/// `PUT /v1/plugins/{name}?dry_run=true`: what a deployment would change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// The plugin.
    pub name: PluginName,
    /// The version.
    pub digest: PluginDigest,
    /// What it is.
    pub world: World,
    /// What the law check has tried.
    pub laws: Laws,
    /// Collections that would follow it.
    pub collections: Vec<CollectionName>,
    /// Documents that were looked at.
    pub documents: u64,
    /// Whether these are all of the collections.
    pub complete: bool,
    /// Of these, the ones that would read differently.
    pub changed: u64,
    /// Of these, the ones that the plugin would fail on or refuse.
    pub undecided: u64,
    /// Some of those that would read differently.
    pub examples: Vec<ViewChange>,
}

/// A document that would read differently.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewChange {
    /// Its collection.
    pub collection: CollectionName,
    /// Its key.
    pub key: DocumentKey,
    /// What it reads as now.
    pub before: Value,
    /// What it would read as.
    pub after: Value,
    /// Why the plugin would decide nothing, when it would not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// Body of `POST /v1/plugins/{name}/rollback`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The version to go back to; without it, the one that was deployed before the active one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PluginDigest>,
}

/// Answer of `POST /v1/plugins/{name}/rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The plugin.
    pub name: PluginName,
    /// The version that is active now.
    pub digest: PluginDigest,
    /// The version that was.
    pub replaced: PluginDigest,
    /// Collections that follow it.
    pub collections: Vec<CollectionName>,
}

/// `GET /v1/plugins`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plugins {
    /// By name.
    pub plugins: Vec<Plugin>,
}

/// `GET /v1/cluster`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line of history.
    pub timeline: Timeline,
    /// The node that answers.
    pub node: NodeId,
    /// Every node of the cluster.
    pub members: Vec<Member>,
    /// Every shard, as the node that answers sees it.
    pub shards: Vec<Shard>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its id.
    pub id: NodeId,
    /// Base URL of its HTTP API.
    pub http: String,
    /// host:port that other nodes reach it at.
    pub node: String,
    /// Whether it answers the node that was asked.
    pub reachable: bool,
    /// Whether it is to lead nothing.
    pub drained: bool,
}

/// Body of `POST /v1/cluster/members/{id}`: where the new node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// Base URL of its HTTP API.
    pub http: String,
    /// host:port that other nodes reach it at.
    pub node: String,
}

/// Body of `POST /v1/cluster/members/{id}/replace`: the node that comes instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// Its id, which no node ever had.
    pub id: NodeId,
    /// Base URL of its HTTP API.
    pub http: String,
    /// host:port that other nodes reach it at.
    pub node: String,
}

/// Body of `POST /v1/cluster/members/{id}/drain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Whether it is to lead nothing, or may lead again.
    pub drained: bool,
}

/// Body of `POST /v1/cluster/transfer-leader`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The shard.
    pub shard: ShardId,
    /// The node that is to lead it.
    pub to: NodeId,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// The term the node is in.
    pub term: Term,
    /// The leader, where the node knows one.
    pub leader: Option<NodeId>,
    /// Nodes with a vote.
    pub voters: BTreeSet<NodeId>,
    /// Nodes that follow without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Index of the last record in the node's log.
    pub last_index: u64,
    /// Index of the last record applied.
    pub applied_index: u64,
    /// The SCN of the last record applied.
    pub scn: u64,
    /// The SCN that the feed reaches back to; 0 as long as it is whole.
    #[serde(default)]
    pub feed_from: u64,
}

/// `GET /v1/sync/status` on an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncStatus {
    /// The edge.
    pub replica: String,
    /// Number of the incarnation it writes under.
    pub incarnation: u32,
    /// The core it syncs with.
    pub core: String,
    /// Whether the last exchange with the core worked.
    pub connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// Documents held.
    pub documents: u64,
    /// Changes stored here that the core has not judged yet.
    pub unsent: u64,
    /// Changes that the core refused; they wait for a person.
    pub stranded: u64,
    /// Whether the first copy is complete.
    pub copied: bool,
    /// Views of the core's that this edge's plugins decided otherwise since it started; more than 0 is an alarm.
    #[serde(default)]
    pub divergences: u64,
}

/// `GET` and `PUT /v1/sync/subscription` on an edge: `{"subscription": "all"}`, or a list of `COLLECTION` and
/// `COLLECTION/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(expecting = "expected {\"subscription\": \"all\"}, or a list of \"COLLECTION\" and \"COLLECTION/PREFIX\"")]
pub struct SubscriptionBody {
    /// What the edge holds.
    pub subscription: Holds,
}

/// What an edge holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"all\", or a list of \"COLLECTION\" and \"COLLECTION/PREFIX\"")]
pub enum Holds {
    /// Everything, also collections made later.
    All(All),
    /// These collections, and the parts of collections whose keys begin with a prefix.
    Only(Vec<String>),
}

/// The word `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum All {
    /// `all`.
    #[serde(rename = "all")]
    All,
}

/// What a write wanted, as an edge keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// The document shall read like this.
    Put(Value),
    /// An RFC 7396 merge patch.
    Patch(Value),
    /// The document shall be gone.
    Delete,
    /// An operation of the policy.
    Operation(Value),
    /// Open conflicts end.
    Settle(Value),
}

/// A write that the core refused; it waits at the edge for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrandedWork {
    /// Its name at this edge, for good.
    pub id: String,
    /// The collection, when it still exists.
    pub collection: Option<CollectionName>,
    /// The document.
    pub key: DocumentKey,
    /// When it was written, in milliseconds since 1970.
    pub time: i64,
    /// What it wanted.
    pub wanted: Wanted,
    /// Why it was not taken, the same for the same reason.
    pub kind: String,
    /// Why, in one sentence.
    pub detail: String,
}

/// `GET /v1/stranded?limit=&after=` on an edge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrandedPage {
    /// What was refused, in the order of shards and, in each, of writing.
    pub stranded: Vec<StrandedWork>,
    /// What the next page comes after; none when nothing is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Body of `POST /v1/stranded` on an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrandedAction {
    /// To be made again, on the document as it is now.
    Retry(String),
    /// To be given up for good.
    Discard(String),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrandedDone {
    /// Which.
    pub id: String,
    /// How it ended.
    pub outcome: StrandedOutcome,
}

/// How refused work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrandedOutcome {
    /// It waits for the core again, as a write of now.
    MadeAgain,
    /// The document reads like that already.
    Moot,
    /// It is gone.
    Discarded,
}
