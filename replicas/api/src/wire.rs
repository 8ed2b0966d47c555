//! Bodies of the document routes as they travel: written by the server, read by the client.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skerry_model::DocumentKey;
use skerry_model::automerge_id::AutomergeId;

use crate::documents::{Change, ETag, Written};
use crate::problem::{Kind, Outcome, Problem};

/// What the answer about a version says beside `ETag`.
pub(crate) mod headers {
    use axum::http::HeaderName;

    /// timeline.SCN of the version.
    pub(crate) const SCN: HeaderName = HeaderName::from_static("skerry-scn");
    /// The policy, with the plugin's digest.
    pub(crate) const POLICY: HeaderName = HeaderName::from_static("skerry-policy");
    /// How far the version has got.
    pub(crate) const STATE: HeaderName = HeaderName::from_static("skerry-state");
    /// What clients of Automerge open.
    pub(crate) const AUTOMERGE_URL: HeaderName = HeaderName::from_static("skerry-automerge-url");
    /// How many conflicts are open; left out when none is.
    pub(crate) const CONFLICTS: HeaderName = HeaderName::from_static("skerry-conflicts");
    /// Why the policy's plugin did not choose, percent-encoded where it is not plain ASCII.
    pub(crate) const FALLBACK: HeaderName = HeaderName::from_static("skerry-fallback");
}

/// Media types of the contract.
pub(crate) mod media {
    /// JSON.
    pub(crate) const JSON: &str = "application/json";
    /// CBOR.
    pub(crate) const CBOR: &str = "application/cbor";
    /// One JSON value a line.
    pub(crate) const LINES: &str = "application/x-ndjson";
    /// An RFC 7396 merge patch.
    pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
    /// An RFC 9457 problem document.
    pub(crate) const PROBLEM: &str = "application/problem+json";
    /// A plugin's component.
    pub(crate) const WASM: &str = "application/wasm";
}

const PROBLEM_TYPE_PREFIX: &str = "urn:skerry:problem:";

/// A problem as RFC 9457 writes it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProblemBody {
    r#type: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
}

impl From<&Problem> for ProblemBody {
    fn from(problem: &Problem) -> Self {
        Self {
            r#type: format!("{PROBLEM_TYPE_PREFIX}{}", problem.kind.name()),
            title: problem.kind.title().to_owned(),
            status: problem.kind.status(),
            detail: problem.detail.clone(),
            outcome: problem.outcome,
        }
    }
}

impl ProblemBody {
    /// The problem; `None` when its type is not one of ours.
    pub(crate) fn into_problem(self) -> Option<Problem> {
        let name = self.r#type.strip_prefix(PROBLEM_TYPE_PREFIX)?.to_owned();
        let kind: Kind = serde_json::from_value(Value::String(name)).ok()?;
        Some(Problem { kind, detail: self.detail, outcome: self.outcome })
    }
}

/// Answer to a write; what else is known of the version is in the headers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WrittenBody {
    pub(crate) change: Change,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<ETag>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) automerge_url: Option<String>,
}

impl From<&Written> for WrittenBody {
    fn from(written: &Written) -> Self {
        let stamp = written.stamp.as_ref();
        Self {
            change: written.change,
            etag: stamp.map(|stamp| stamp.etag.clone()),
            automerge_url: stamp.and_then(|stamp| stamp.automerge.as_ref()).map(AutomergeId::url),
        }
    }
}

/// A page of a scan.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PageBody {
    pub(crate) documents: Vec<ListedBody>,
    pub(crate) cursor: Option<String>,
}

/// A document on a page.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ListedBody {
    pub(crate) key: DocumentKey,
    pub(crate) etag: ETag,
    pub(crate) conflicts: u32,
    pub(crate) value: Map<String, Value>,
}
