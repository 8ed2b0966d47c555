//! The seam behind which documents merge: one trait for both engines (apply, merge, version, delta since a version,
//! view). Log, history, channel and API treat deltas and versions as bytes.

pub mod json;
pub mod state;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::document::{self, View};
use crate::ids::{Incarnation, Origin, PluginDigest};
use crate::limits::CLIENT_AHEAD_MS_MAX;
use crate::policy::{Chooser, Conflict, ConflictSet};

/// Why a document did not change. Whatever is refused leaves the document as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not what the engine writes.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// Which bytes.
        what: &'static str,
        /// What was found.
        reason: String,
    },
    /// A change builds on one that is not here.
    #[error("the change builds on {hash}, which this replica does not have")]
    MissingDependency {
        /// Hexadecimal hash of the change that is missing.
        hash: String,
    },
    /// A change that another replica's name stands under.
    #[error("the change is by actor {actor}, but {origin} writes as {expected}")]
    WrongActor {
        /// The actor in the change.
        actor: String,
        /// Who sent it.
        origin: Origin,
        /// What its actors begin with.
        expected: String,
    },
    /// Two different changes under one sequence number of one actor.
    #[error("actor {actor} has already used sequence number {sequence} for another change")]
    SequenceReused {
        /// The actor.
        actor: String,
        /// The number.
        sequence: u64,
    },
    /// A bound was reached.
    #[error("{what} would be {found}, the limit is {max}")]
    Limit {
        /// What is bounded.
        what: &'static str,
        /// What it would have been.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// A base that this document never was at.
    #[error("the base version is not one of this document")]
    UnknownBase,
    /// The policy does not take it.
    #[error("{reason}")]
    Refused {
        /// Why, in one sentence.
        reason: String,
    },
    /// The policy's plugin failed by its own fault, which is the same on every replica.
    #[error("{reason}")]
    PluginFailed {
        /// What it did, in one sentence.
        reason: String,
    },
    /// A write that leaves no valid document.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// The plugin cannot run here now; try again.
    #[error("{reason}")]
    Unavailable {
        /// What was missing.
        reason: String,
    },
}

/// What a document has seen. Equal versions have equal content; what the bytes mean is the engine's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub Bytes);

/// Changes on their way from one replica to another; what the bytes mean is the engine's. Taking one twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta(pub Bytes);

/// Who writes, and under which incarnation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The replica.
    pub origin: Origin,
    /// Which run of its numbers it writes under.
    pub incarnation: u32,
    /// What its Automerge actors begin with: [`Incarnation::actor`].
    pub actor: [u8; 16],
}

impl Author {
    /// The author that a replica is under an incarnation.
    #[must_use]
    pub fn new(origin: Origin, incarnation: &Incarnation) -> Self {
        let actor = incarnation.actor(&origin);
        Self { origin, incarnation: incarnation.number, actor }
    }
}

/// What a local write wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Write {
    /// The document shall read like this. Only what differs from what the writer saw is written, so that a conflict it
    /// did not touch stays open.
    Put(Map<String, Value>),
    /// An RFC 7396 merge patch. What it names is written, also where the value is the same.
    Patch(Value),
    /// The document shall be gone, if nothing is written beside or after this.
    Delete,
    /// An operation of the collection's state policy.
    Operation(Value),
    /// Open conflicts end.
    Settle(Settlement),
    /// Changes that clients of Automerge made, under actors of their own.
    Merge(Delta),
}

/// How open conflicts of a document end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Settlement {
    /// By the JSON Pointer of the conflict. One that is not open is refused.
    pub conflicts: BTreeMap<String, Settled>,
    /// Fields at the top level that are written beside: what a resolver has noted.
    pub notes: BTreeMap<String, Value>,
}

/// How one conflict ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Settled {
    /// With this value.
    Value(Value),
    /// With none: the field or item goes.
    Removed,
}

/// An open conflict and what readers see of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Open {
    /// The conflict.
    pub conflict: Conflict,
    /// What the view shows in its place; `None` when it leaves the field or item out.
    pub shown: Option<Value>,
}

/// Every open conflict of a document, in the order of their paths, and what was decided beside.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OpenConflicts {
    /// The conflicts.
    pub conflicts: Vec<Open>,
    /// What the resolver has noted.
    pub notes: BTreeMap<String, Value>,
}

/// The circumstances of a local write.
#[derive(Debug, Clone)]
pub struct WriteContext<'a> {
    /// Who writes.
    pub author: &'a Author,
    /// The write's time, in milliseconds since 1970.
    pub time_ms: i64,
    /// The number of the change that this becomes, among its author's in this incarnation: never used for another, whatever
    /// the author has forgotten meanwhile. `None` where each document counts for itself.
    pub number: Option<u64>,
    /// The version the writer had seen, or `None` for the document as it is.
    pub base: Option<&'a Version>,
    /// The view at that version; `None` where there was no document.
    pub seen: Option<&'a Map<String, Value>>,
}

/// A document as a reader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Viewed {
    /// The JSON, or `None` when it is deleted or was never written.
    pub view: Option<View>,
    /// How many places have an open conflict.
    pub conflicts: u32,
    /// Why the policy's plugin did not choose, when it should have.
    pub fallback: Option<String>,
    /// Whether that is the plugin's own fault: it trapped, passed a limit or broke the contract.
    pub failed: bool,
}

/// When a change from outside counts as written: when its writer says, or, where that lies further ahead of the core's time
/// than [`CLIENT_AHEAD_MS_MAX`], when it came. So a clock that is fast wins over nothing that is written later.
#[must_use]
pub fn effective_time(claimed_ms: i64, now_ms: i64) -> i64 {
    if claimed_ms > now_ms.saturating_add(CLIENT_AHEAD_MS_MAX) { now_ms } else { claimed_ms }
}

/// A merge document in memory.
pub trait MergeDocument: Send {
    /// What it has seen.
    fn version(&self) -> Version;

    /// The plugin version that it merges by; none where a built-in policy does.
    fn plugin(&self) -> Option<PluginDigest> {
        None
    }

    /// A write of this replica: what it changed, for all others; `None` when it changes nothing.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    fn apply(&mut self, write: &Write, context: &WriteContext<'_>) -> Result<Option<Delta>, Error>;

    /// Takes changes of other replicas. `true` when any of it was new.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    fn merge(&mut self, delta: &Delta) -> Result<bool, Error>;

    /// Takes several deltas in one step, as [`Self::merge`] does one after the other. `true` when any of it was new.
    ///
    /// # Errors
    /// [`Error`]; the document may have taken some of them.
    fn merge_all(&mut self, deltas: &[Delta]) -> Result<bool, Error> {
        deltas.iter().try_fold(false, |new, delta| Ok(self.merge(delta)? || new))
    }

    /// Takes changes that one author sent, from outside and not trusted: within the limits, by this author alone, with
    /// nothing missing. `now_ms` is the core's time, see [`effective_time`]. The delta that comes
    /// back is what others must be given: the changes with the corrections.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    fn merge_from(&mut self, delta: &Delta, author: &Author, now_ms: i64) -> Result<Delta, Error>;

    /// Takes several deltas of one author in one step, as [`Self::merge_from`] does one after the other, and gives back what
    /// others must be given: nothing where nothing was new. `None` where they have to be taken by themselves; the document is
    /// as it was.
    fn merge_all_from(&mut self, _deltas: &[&Delta], _author: &Author, _now_ms: i64) -> Option<Vec<Delta>> {
        None
    }

    /// All that whoever is at `since` lacks; everything for the default version.
    ///
    /// # Errors
    /// [`Error::UnknownBase`].
    fn delta(&self, since: &Version) -> Result<Delta, Error>;

    /// What a reader sees.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the plugin cannot run here now, [`Error::Document`] past the size limit.
    fn view(&self, chooser: Chooser<'_>) -> Result<Viewed, Error>;

    /// What a reader saw at a version of the past.
    ///
    /// # Errors
    /// As [`MergeDocument::view`], and [`Error::UnknownBase`].
    fn view_at(&self, version: &Version, chooser: Chooser<'_>) -> Result<Viewed, Error>;

    /// The open conflicts, with ancestors.
    ///
    /// # Errors
    /// [`Error::Limit`] past the number that is listed.
    fn conflicts(&self) -> Result<ConflictSet, Error>;

    /// The open conflicts as [`MergeDocument::view`] shows them.
    ///
    /// # Errors
    /// As [`MergeDocument::view`], and [`Error::Limit`] past the number that is listed.
    fn open(&self, chooser: Chooser<'_>) -> Result<OpenConflicts, Error> {
        let _ = chooser;
        Ok(OpenConflicts::default())
    }

    /// Itself in the json engine, for the protocol of Automerge's own clients; none in the other.
    fn as_json(&mut self) -> Option<&mut json::JsonDocument> {
        None
    }

    /// The whole document, for storage. Not canonical: compare versions instead.
    fn save(&self) -> Bytes;

    /// Its state in the present encoding of the collection's merge policy; none in the json engine, and none of a document
    /// that nobody has written to.
    ///
    /// # Errors
    /// [`Error`], when the state is of another encoding and cannot be migrated.
    fn state(&self) -> Result<Option<Bytes>, Error> {
        Ok(None)
    }

    /// About how much memory it holds, in bytes.
    fn memory_bytes(&self) -> usize;

    /// A copy to try something on.
    fn scratch(&self) -> Box<dyn MergeDocument>;
}

/// Makes merge documents of one collection.
pub trait Engine: Send + Sync {
    /// The document as it is before anybody writes.
    fn empty(&self) -> Box<dyn MergeDocument>;

    /// The document that [`MergeDocument::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    fn load(&self, saved: &Bytes) -> Result<Box<dyn MergeDocument>, Error>;

    /// The plugin version that its documents merge by; none where a built-in policy does.
    fn plugin(&self) -> Option<PluginDigest> {
        None
    }

    /// The version of a document that was at `before` and has taken these deltas, where that can be told without taking them;
    /// with no `before`, of one that has taken nothing else.
    fn version_of(&self, before: Option<&Version>, deltas: &[Delta]) -> Option<Version> {
        let (_, _) = (before, deltas);
        None
    }

    /// Whether the delta of a version, as the core has logged it, holds all that the document was at that version, so that
    /// nobody needs those before it.
    fn delta_is_everything(&self) -> bool {
        false
    }
}
