//! What the two sides say to each other, in one POST each.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::automerge_id::Inbox;
use skerry_model::document::View;
use skerry_model::engine::{Delta, Version};
use skerry_model::limits::{COLLECTIONS_MAX, TEXT_FIELDS_MAX};
use skerry_model::policy::{Policy, World};
use skerry_model::{
    CatalogVersion, ClusterId, CollectionId, CollectionName, DocumentKey, Epoch, Incarnation, Origin, PluginDigest,
    ShardId, Timeline, VersionId,
};

use crate::bounded;
use crate::change::{Chain, Mark};
use crate::limits::{DELTAS_MAX, MANIFEST_ENTRIES_MAX, PULL_DOCUMENTS_MAX, PUSH_CHANGES_MAX, SHARDS_MAX};
use crate::pull::{Cursor, Position};
use crate::push::sender::Confirmed;
use crate::subscription::Subscription;

/// The protocol's version, stated in every hello.
pub const PROTOCOL: u16 = 1;

/// From the edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who is there.
    Hello(Hello),
    /// Changes of the edge's own.
    Push(Push),
    /// What is new.
    Pull(Pull),
}

/// From the core.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To a hello.
    Welcome(Welcome),
    /// To a push.
    Pushed(Pushed),
    /// To a pull.
    Pulled(Pulled),
    /// The core cannot take the request; what to do stands in the text.
    Refused(Refusal),
}

/// Who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u16,
    /// The edge.
    pub replica: Origin,
    /// What it writes under.
    pub incarnation: Incarnation,
    /// The line of history that it knows; none before the first welcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// What an edge needs to know of its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// Its line of history.
    pub timeline: Timeline,
    /// How many shards it has; fixed for good.
    pub shards: u16,
    /// The core's clock, in milliseconds since 1970: the edge corrects its own by it.
    pub now_ms: u64,
    /// Collections and plugins.
    pub catalog: Catalog,
    /// To an edge that knows another line of history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// What an edge needs to find its way to a core that has been restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Whether work that the core had acknowledged and no longer has is to be offered again; else it is stranded.
    pub replay: bool,
    /// How far the core has come with each of the edge's chains, in the order of shards.
    #[serde(deserialize_with = "bounded::list::<SHARDS_MAX, _, _>")]
    pub confirmed: Vec<Option<Taken>>,
}

/// How far the core has come with one chain, and what it said of the last batch: its answer may have been lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The place on the chain.
    pub confirmed: Confirmed,
    /// Sequence number of the last batch's first change.
    pub batch_first: u64,
    /// That batch's verdicts.
    #[serde(deserialize_with = "bounded::list::<PUSH_CHANGES_MAX, _, _>")]
    pub verdicts: Vec<Verdict>,
}

impl Taken {
    /// What the core said of a change that lies within it; `None` for one before the last batch.
    #[must_use]
    pub fn verdict(&self, incarnation: &Incarnation, sequence: u64) -> Option<&Verdict> {
        let at = sequence.checked_sub(self.batch_first)?;
        self.verdicts.get(usize::try_from(at).ok()?).filter(|_| *incarnation == self.confirmed.incarnation)
    }
}

/// A batch of changes of one shard, dense and in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The edge.
    pub replica: Origin,
    /// What the changes were written under; an edge may still have some of an earlier one.
    pub incarnation: Incarnation,
    /// The cluster's line of history that the edge knows.
    pub timeline: Timeline,
    /// The shard.
    pub shard: ShardId,
    /// Sequence number of the first change.
    pub first: u64,
    /// The chain before it.
    pub before: Chain,
    /// Change frames; at least one.
    #[serde(deserialize_with = "bounded::list::<PUSH_CHANGES_MAX, _, _>")]
    pub changes: Vec<Bytes>,
}

/// What became of one change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Committed.
    Accepted,
    /// The document had it already.
    Repeated,
    /// Not taken; the watermark passes over it, and the edge strands it.
    Refused(Refusal),
}

/// A refusal for a person to read and a program to tell apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable, like the `type` of an HTTP problem: `collection-gone`, `document-too-large`, …
    pub kind: String,
    /// One sentence.
    pub detail: String,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pushed {
    /// Taken, now or when it came before.
    Judged {
        /// How far the chain has come.
        mark: Mark,
        /// One for each change of the batch.
        #[serde(deserialize_with = "bounded::list::<PUSH_CHANGES_MAX, _, _>")]
        verdicts: Vec<Verdict>,
    },
    /// The core stands elsewhere on the chain than the batch begins; the edge compares.
    Elsewhere {
        /// The incarnation that the core knows, or none before the first push.
        incarnation: Option<Incarnation>,
        /// Where it stands.
        mark: Option<Mark>,
    },
    /// Another copy of this edge's folder has written here: take a new incarnation.
    Fork {
        /// The incarnation that the core knows.
        incarnation: Incarnation,
    },
    /// The core has been restored: it is on another line of history now.
    OtherTimeline {
        /// Its timeline.
        timeline: Timeline,
    },
}

/// What is new since these cursors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The edge.
    pub replica: Origin,
    /// What it wants to hold.
    pub subscription: Subscription,
    /// The catalog it knows.
    pub catalog: CatalogVersion,
    /// One per shard.
    #[serde(deserialize_with = "bounded::list::<SHARDS_MAX, _, _>")]
    pub cursors: Vec<Cursor>,
    /// For shards that are copied by comparison: what the edge holds behind the cursor.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<SHARDS_MAX, _, _>")]
    pub manifests: Vec<Manifest>,
    /// How long the core may wait for news, in milliseconds.
    pub wait_ms: u32,
}

/// What an edge holds of a shard, in the order of collections and keys behind a cursor, so that only what differs is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The shard.
    pub shard: ShardId,
    /// Documents, with the version that was published here last.
    #[serde(deserialize_with = "bounded::list::<MANIFEST_ENTRIES_MAX, _, _>")]
    pub held: Vec<(CollectionId, DocumentKey, VersionId)>,
    /// Whether the edge holds more behind the last of them.
    pub more: bool,
}

/// News.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// At most one per shard; none where nothing is new.
    #[serde(deserialize_with = "bounded::list::<SHARDS_MAX, _, _>")]
    pub batches: Vec<Batch>,
    /// Those of the edge's cursors that the feed no longer reaches back to: it copies these shards by comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<SHARDS_MAX, _, _>")]
    pub too_old: Vec<Cursor>,
    /// Collections and plugins, when the edge's were older. Never older than the batches.
    pub catalog: Option<Catalog>,
    /// The cluster's line of history. When the edge's cursors are of another, there are no batches.
    pub timeline: Timeline,
}

impl Pulled {
    /// No news.
    #[must_use]
    pub fn nothing(timeline: Timeline) -> Self {
        Self { batches: Vec::new(), too_old: Vec::new(), catalog: None, timeline }
    }
}

impl Manifest {
    /// Whether it is of one of these cursors, and lists what lies behind it in its order.
    #[must_use]
    pub fn fits(&self, cursors: &[Cursor]) -> bool {
        let Some(cursor) = cursors.iter().find(|cursor| cursor.shard == self.shard) else { return false };
        let place = |(collection, key, _): &(CollectionId, DocumentKey, VersionId)| (*collection, key.clone());
        let after = match &cursor.position {
            Position::Copy { after, .. } => Some(after.clone()),
            Position::Start => None,
            Position::Feed { .. } => return false,
        };
        let places = after.into_iter().chain(self.held.iter().map(place));
        places.is_sorted_by(|one, next| one < next) && (!self.more || !self.held.is_empty())
    }
}

/// Part of the feed: applied whole together with its cursor, and only by a receiver that stands at `from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Where the receiver must stand.
    pub from: Cursor,
    /// Where it stands afterwards.
    pub to: Cursor,
    /// What changed, each document once.
    #[serde(deserialize_with = "bounded::list::<PULL_DOCUMENTS_MAX, _, _>")]
    pub documents: Vec<Document>,
    /// Of what a manifest listed, what is there no longer; the rest of it between the two places is as the core has it.
    /// None where no manifest was compared: a copy then leaves out what is gone.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::optional::<MANIFEST_ENTRIES_MAX, _, _>"
    )]
    pub gone: Option<Vec<(CollectionId, DocumentKey)>>,
    /// Whether more is ready.
    pub more: bool,
}

/// A document as the core has published it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The collection.
    pub collection: CollectionId,
    /// The key.
    pub key: DocumentKey,
    /// The genesis its history stands on.
    pub epoch: Epoch,
    /// The version published.
    pub version: VersionId,
    /// What it reads as; `None` when it is deleted.
    pub view: Option<View>,
    /// The plugin version that the view was computed with.
    pub plugin: Option<PluginDigest>,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// Why the plugin did not choose, when it should have.
    pub fallback: Option<String>,
    /// What a merge document has to take, and what it then has seen; `None` for a strict one.
    pub merge: Option<MergeState>,
}

impl Document {
    /// About how large its content is: deltas and view, in bytes.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        let deltas = self.merge.iter().flat_map(|merge| &merge.deltas).map(|delta| delta.0.len()).sum::<usize>();
        deltas + self.view.as_ref().map_or(0, |view| view.bytes().len())
    }
}

/// The merge half of a published document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeState {
    /// What happened since the cursor, or everything.
    #[serde(deserialize_with = "bounded::list::<DELTAS_MAX, _, _>")]
    pub deltas: Vec<Delta>,
    /// What the document has seen with them; left out where these are all deltas that there are and their own names say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Version>,
}

/// Collections and active plugins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Its version.
    pub version: CatalogVersion,
    /// The collections, by name.
    #[serde(deserialize_with = "bounded::list::<COLLECTIONS_MAX, _, _>")]
    pub collections: Vec<Collection>,
}

/// A collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Its id for good.
    pub id: CollectionId,
    /// Its name.
    pub name: CollectionName,
    /// Its policy.
    pub policy: Policy,
    /// The version of the policy's plugin that applies now.
    pub plugin: Option<PluginDigest>,
    /// What that plugin is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub world: Option<World>,
    /// Canonical JSON of its template.
    pub template: Option<View>,
    /// JSON Pointers of its text fields.
    #[serde(deserialize_with = "bounded::list::<TEXT_FIELDS_MAX, _, _>")]
    pub text: Vec<String>,
    /// Whether the core writes back what was decided.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settle: bool,
    /// Where documents go that clients of Automerge make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inbox: Option<Inbox>,
}
