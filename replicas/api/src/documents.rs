//! The document routes' seam: a core node and an edge each implement [`Documents`] and serve the same routes.

use std::future::Future;

use serde::{Deserialize, Serialize};
use skerry_model::automerge_id::AutomergeId;
use skerry_model::document::View;
use skerry_model::engine::Write;
use skerry_model::policy::Conflict;
use skerry_model::{CollectionName, DocumentKey};

use crate::problem::Problem;

/// A document's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The collection.
    pub collection: CollectionName,
    /// The key.
    pub key: DocumentKey,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// No older than any write that was answered before the read began. An edge serves what it has.
    #[default]
    Linearizable,
    /// What the node that was asked has applied.
    Local,
}

/// An entity tag, without its quotes. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(pub String);

/// `If-Match` and `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// The write happens only if the document is at one of these.
    pub if_match: Option<Match>,
    /// The request has its effect only if the document is at none of these.
    pub if_none_match: Option<Match>,
}

impl Conditions {
    /// Whether a document that is at `current` (`None`: there is none) meets them.
    #[must_use]
    pub fn hold(&self, current: Option<&ETag>) -> bool {
        let is_one_of = |tags: &Match| match (tags, current) {
            (_, None) => false,
            (Match::Any, Some(_)) => true,
            (Match::Tags(tags), Some(current)) => tags.contains(current),
        };
        self.if_match.as_ref().is_none_or(is_one_of) && !self.if_none_match.as_ref().is_some_and(is_one_of)
    }
}

/// What a condition names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Match {
    /// `*`: any version that exists.
    Any,
    /// These versions.
    Tags(Vec<ETag>),
}

/// A document as a reader sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// Canonical JSON.
    pub view: View,
    /// The version.
    pub stamp: Stamp,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// Why the policy's plugin did not choose, when it should have.
    pub fallback: Option<String>,
}

/// What every answer about a version says in its headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// `ETag`.
    pub etag: ETag,
    /// `Skerry-Scn`: timeline.SCN of the version; none at an edge before the core has published one.
    pub scn: Option<String>,
    /// `Skerry-Policy`: the policy, with the plugin's digest.
    pub policy: String,
    /// `Skerry-State`: where the version has got to.
    pub state: State,
    /// `Skerry-Automerge-Url`: what clients of Automerge open; none at an edge, and where the policy is of another engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automerge: Option<AutomergeId>,
}

/// How far a version has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Committed by a quorum of the core.
    Committed,
    /// Fsynced at this edge, with changes that the core has not decided about yet.
    Provisional,
}

/// A write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// What is wanted.
    pub write: Write,
    /// The version that the writer saw, where that may be another than the newest: the write merges with what came since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ETag>,
    /// Under which conditions.
    pub conditions: Conditions,
}

impl WriteRequest {
    /// A write of now, under no conditions.
    #[must_use]
    pub fn new(write: Write) -> Self {
        Self { write, base: None, conditions: Conditions::default() }
    }
}

/// What a write did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// What happened.
    pub change: Change,
    /// The document's version now; `None` when it is gone.
    pub stamp: Option<Stamp>,
}

/// What happened to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// There was none before.
    Created,
    /// It reads differently now, or holds a new change.
    Updated,
    /// It was like that already.
    Unchanged,
    /// It is gone.
    Deleted,
}

/// What a scan asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// What keys begin with; empty for all.
    pub prefix: String,
    /// How many at most, 1 to [`SCAN_LIMIT_MAX`].
    pub limit: u32,
    /// Where the page before this one ended, from its `cursor`.
    pub cursor: Option<String>,
    /// How fresh.
    pub consistency: Consistency,
}

/// Documents on one page.
pub const SCAN_LIMIT_MAX: u32 = 1_000;
/// Documents on one page when the request names no limit.
pub const SCAN_LIMIT_DEFAULT: u32 = 100;
/// Contents of one page, in bytes; the page ends with the document that passes it.
pub const SCAN_BYTES_TARGET: usize = 4 << 20;

/// A page of documents, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The documents.
    pub documents: Vec<Listed>,
    /// Where the next page begins; `None` at the end.
    pub cursor: Option<String>,
}

/// A document on a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    /// Its key.
    pub key: DocumentKey,
    /// Its version.
    pub etag: ETag,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// Canonical JSON.
    pub view: View,
}

/// The open conflicts of a document, and how its view was chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflicts {
    /// The policy, with the plugin's digest.
    pub policy: String,
    /// Why the policy's plugin did not choose, when it should have.
    pub fallback: Option<String>,
    /// The version.
    pub etag: ETag,
    /// Each open conflict.
    pub conflicts: Vec<OpenConflict>,
}

/// One open conflict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenConflict {
    /// Where, what it started from, and what was written.
    #[serde(flatten)]
    pub conflict: Conflict,
    /// What the view shows there; `None` when it leaves the field out.
    pub shown: Option<serde_json::Value>,
}

/// Documents as a replica serves them. Dropping a returned future does not undo what it began.
pub trait Documents: Clone + Send + Sync + 'static {
    /// The document; a problem of kind `document-not-found` when there is none.
    fn get(&self, at: Address, consistency: Consistency) -> impl Future<Output = Result<Read, Problem>> + Send;

    /// Writes; answers when the write is as durable as this replica promises.
    fn write(&self, at: Address, request: WriteRequest) -> impl Future<Output = Result<Written, Problem>> + Send;

    /// A page of a collection.
    fn scan(&self, collection: CollectionName, scan: Scan) -> impl Future<Output = Result<Page, Problem>> + Send;

    /// The open conflicts of a document.
    fn conflicts(
        &self,
        at: Address,
        consistency: Consistency,
    ) -> impl Future<Output = Result<Conflicts, Problem>> + Send;
}
