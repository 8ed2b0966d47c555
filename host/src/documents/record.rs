//! The log record: the outcome of an evaluation with its preconditions. Every replica installs it and decides nothing
//! but whether the preconditions hold.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_tuple::{Deserialize_tuple, Serialize_tuple};
use skerry_channel::change::Mark;
use skerry_channel::push::receiver::Watermark;
use skerry_model::automerge_id::AutomergeId;
use skerry_model::engine::{Delta, Version as Seen};
use skerry_model::{
    CatalogVersion, ClusterId, CollectionId, DocumentKey, Epoch, Incarnation, Origin, PluginDigest, Scn, Timeline,
    VersionId,
};

use super::effects::EffectHash;
use super::keys::head::Stored;
use super::keys::version::Body;
use crate::catalog::Step;
use crate::consensus::types::Command;

/// The record format this version writes and reads.
const FORMAT: u16 = 5;

/// A record cannot be read; the log is damaged or was written by a later version.
#[derive(Debug, thiserror::Error)]
#[error("a log record of {bytes} bytes cannot be read: {reason}")]
pub struct Unreadable {
    bytes: usize,
    reason: String,
}

/// One log record.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct Record {
    format: u16,
    /// The leader's proposal for the SCN; the record gets max(proposed, last + 1).
    pub proposed: Scn,
    /// What changes.
    pub effect: Effect,
}

/// What a record changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// A line of history begins: the first record of a shard, and the one behind everything that a recovery has kept.
    Found {
        /// The cluster.
        cluster: ClusterId,
        /// The timeline.
        timeline: Timeline,
    },
    /// Documents change, and with a push its watermark moves: what was evaluated while the records before were under way.
    /// Each of them is installed or not by its own preconditions; one that touches what one before it touches is not.
    Documents(Vec<Documents>),
    /// The catalog takes one step.
    Catalog {
        /// The version the step makes; it applies only over the one before.
        version: CatalogVersion,
        /// The step.
        step: Step,
    },
    /// The leader's hash of all effects up to an index, for every replica to compare with its own. Changes nothing.
    Compare {
        /// The index of the last record in it.
        index: u64,
        /// The leader's hash there.
        effects: EffectHash,
    },
    /// Entries of the feed up to an SCN go: who stands before it copies the shard by comparison.
    ForgetFeed {
        /// The SCN.
        up_to: Scn,
    },
    /// A part of a plugin's component.
    PluginChunk {
        /// The component.
        digest: PluginDigest,
        /// Which part, from 0.
        chunk: u32,
        /// How many there are.
        chunks: u32,
        /// The part.
        bytes: Bytes,
    },
}

/// Documents that change together, all or none.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct Documents {
    /// The catalog that they were evaluated under.
    pub catalog: CatalogVersion,
    /// Each document once.
    pub documents: Vec<DocumentEffect>,
    /// The push that they came by.
    pub push: Option<PushEffect>,
}

/// What one document becomes.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct DocumentEffect {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub key: DocumentKey,
    /// The genesis its history stands on.
    pub epoch: Epoch,
    /// The version it was computed from; it applies only over that one.
    pub expected: Option<VersionId>,
    /// The name under which clients of Automerge find it, with its first version.
    pub automerge: Option<AutomergeId>,
    /// Its versions, in their order; at least one.
    pub versions: Vec<VersionEffect>,
}

/// One version that comes into being.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct VersionEffect {
    /// Who wrote it.
    pub origin: Origin,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it reads as.
    pub body: Body,
    /// How far that is from a whole copy.
    pub stored: Stored,
    /// The plugin version that computed the view.
    pub plugin: Option<PluginDigest>,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// Why the plugin did not choose, when it should have.
    pub fallback: Option<String>,
    /// The merge half, for a collection that merges.
    pub merge: Option<MergeEffect>,
}

/// What a merge document took, and what it then has seen.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct MergeEffect {
    /// The changes, in the order they were taken.
    pub deltas: Vec<Delta>,
    /// What the engine calls the document's version.
    pub seen: Seen,
}

/// The watermark after a push. Verdicts are part of it, so that a repeat gets the same ones.
#[derive(Debug, Clone, PartialEq, Serialize_tuple, Deserialize_tuple)]
pub struct PushEffect {
    /// The edge.
    pub replica: Origin,
    /// Where its chain stood when the push was judged; it applies only there.
    pub expected: Option<(Incarnation, Mark)>,
    /// Where it stands now.
    pub watermark: Watermark,
}

/// What came of applying a record; the same on every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// It was installed.
    Installed {
        /// Its SCN.
        scn: Scn,
    },
    /// Of changes to documents, each by itself.
    Documents {
        /// The record's SCN. Version `n` of the record carries the ordinal (index of the record, n).
        scn: Scn,
        /// Where each change's versions begin among the record's; `None` where a precondition no longer held.
        first: Vec<Option<u32>>,
    },
    /// A precondition no longer held; nothing changed and the leader evaluates again.
    Stale,
    /// The entry was Raft's own.
    Nothing,
}

/// What is around the bytes of a part of a record, and more.
const FRAME: usize = 512;

impl VersionEffect {
    /// About how many bytes it takes in a record, seldom less than it does.
    #[must_use]
    pub fn approximate_bytes(&self) -> usize {
        let deltas = self.merge.iter().flat_map(|merge| &merge.deltas).map(|delta| delta.0.len() + FRAME);
        FRAME + self.body.carried_bytes() + deltas.sum::<usize>() + self.fallback.as_ref().map_or(0, String::len)
    }
}

impl Documents {
    /// About how many bytes it takes in a record, seldom less than it does.
    #[must_use]
    pub fn approximate_bytes(&self) -> usize {
        let document = |effect: &DocumentEffect| {
            let versions = effect.versions.iter().map(VersionEffect::approximate_bytes);
            FRAME + effect.key.as_str().len() + versions.sum::<usize>()
        };
        let verdicts = self.push.iter().map(|push| FRAME + push.watermark.verdicts.len() * FRAME);
        FRAME + self.documents.iter().map(document).sum::<usize>() + verdicts.sum::<usize>()
    }
}

impl Record {
    /// A record.
    #[must_use]
    pub const fn new(proposed: Scn, effect: Effect) -> Self {
        Self { format: FORMAT, proposed, effect }
    }

    fn approximate_bytes(&self) -> usize {
        match &self.effect {
            Effect::Documents(changes) => changes.iter().map(Documents::approximate_bytes).sum(),
            Effect::PluginChunk { bytes, .. } => bytes.len(),
            Effect::Found { .. } | Effect::Catalog { .. } | Effect::Compare { .. } | Effect::ForgetFeed { .. } => 0,
        }
    }

    /// The bytes that the log carries.
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    #[must_use]
    pub fn encode(&self) -> Command {
        let mut bytes = Vec::with_capacity(self.approximate_bytes());
        ciborium::into_writer(self, &mut bytes).expect("records serialize, and memory takes every write");
        // The log keeps what is recent in memory.
        bytes.shrink_to_fit();
        Command::new(bytes)
    }

    /// The record of bytes from the log.
    ///
    /// # Errors
    /// [`Unreadable`]: the node must stop, since all others have installed it.
    pub fn decode(command: &Command) -> Result<Self, Unreadable> {
        let bytes = command.bytes().len();
        let unreadable = |reason: String| Unreadable { bytes, reason };
        let record: Self = ciborium::from_reader(&**command.bytes()).map_err(|error| unreadable(error.to_string()))?;
        if record.format != FORMAT {
            return Err(unreadable(format!("format {}, this version reads {FORMAT}", record.format)));
        }
        Ok(record)
    }
}
