//! Evaluation on a shard's leader: what a request comes to, as a record with its preconditions. Pure: rows in, record
//! out; an evaluation that fails or panics hurts its own request alone.

mod base;
mod health;
mod push;
mod review;
mod subject;
mod write;

use std::sync::Arc;

use skerry_api::documents::ETag;
use skerry_api::problem::{Outcome, Problem};
use skerry_model::automerge_id::AutomergeId;
use skerry_model::document::View;
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::state::{StateEngine, built_in};
use skerry_model::engine::{self, Author, Engine};
use skerry_model::policy::{Chooser, EngineKind, MergePolicy, Policy, Resolver};
use skerry_model::{ClusterId, DocumentKey, PluginDigest, Timeline, VersionId};

use super::read;
use crate::catalog::{Catalog, Collection};

pub use health::Health;
pub use push::{ByDocument, Judged, PushEvaluation, by_document, check_changes, evaluate_push, judge_documents};
pub use review::{diverges, review};
pub use subject::{Subject, load_merge};
pub use write::{Pending, WriteEvaluation, evaluate_writes};

/// Where compiled plugins come from.
pub trait Resolvers: Send + Sync {
    /// The resolver of a digest.
    ///
    /// # Errors
    /// A sentence about why it cannot run on this node now.
    fn resolver(&self, digest: PluginDigest) -> Result<Arc<dyn Resolver>, String>;

    /// The merge policy of a digest.
    ///
    /// # Errors
    /// A sentence about why it cannot run on this node now.
    fn merge_policy(&self, digest: PluginDigest) -> Result<Arc<dyn MergePolicy>, String>;
}

/// The circumstances of an evaluation.
#[derive(Clone)]
pub struct Context {
    /// The catalog that the shard has reached.
    pub catalog: Arc<Catalog>,
    /// The cluster.
    pub cluster: ClusterId,
    /// How many shards it has.
    pub shards: u16,
    /// The cluster's line of history.
    pub timeline: Timeline,
    /// The core as a writer.
    pub core: Author,
    /// The leader's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// Resolvers by digest.
    pub resolvers: Arc<dyn Resolvers>,
    /// How plugins do.
    pub health: Arc<Health>,
}

impl Context {
    /// The time of a write made now.
    fn time_ms(&self) -> i64 {
        i64::try_from(self.now_ms).unwrap_or(i64::MAX)
    }

    /// The engine of a collection; none for a strict one.
    ///
    /// # Errors
    /// A problem when its plugin cannot run here now.
    pub fn engine(&self, collection: &Collection) -> Result<Option<Arc<dyn Engine>>, Problem> {
        Ok(match self.catalog.engine(&collection.policy) {
            EngineKind::Strict => None,
            EngineKind::State => Some(Arc::new(StateEngine::new(self.merge_policy(&collection.policy)?))),
            EngineKind::Json => Some(Arc::new(json_engine(collection.template.as_ref(), &collection.text)?)),
        })
    }

    /// What clients of Automerge call a document; none where they cannot have it.
    #[must_use]
    pub fn automerge_id(&self, collection: &Collection, key: &DocumentKey) -> Option<AutomergeId> {
        automerge_id(self.cluster, &self.catalog, collection, key)
    }

    fn merge_policy(&self, policy: &Policy) -> Result<Arc<dyn MergePolicy>, Problem> {
        if let Some(built_in) = built_in(policy) {
            return Ok(built_in);
        }
        let digest = self.catalog.digest(policy).ok_or_else(|| not_now(format!("{policy} has no version yet")))?;
        self.resolvers.merge_policy(digest).map_err(not_now)
    }

    /// The resolver that a policy needs.
    fn resolver(&self, policy: &Policy) -> Result<Option<Arc<dyn Resolver>>, Problem> {
        if self.catalog.engine(policy) != EngineKind::Json {
            return Ok(None);
        }
        let Some(digest) = self.catalog.digest(policy) else { return Ok(None) };
        self.resolvers.resolver(digest).map(Some).map_err(not_now)
    }
}

/// What clients of Automerge call a document; none where they cannot have it.
#[must_use]
pub fn automerge_id(
    cluster: ClusterId,
    catalog: &Catalog,
    collection: &Collection,
    key: &DocumentKey,
) -> Option<AutomergeId> {
    let is_theirs = catalog.engine(&collection.policy) == EngineKind::Json;
    is_theirs.then(|| AutomergeId::of(cluster, collection.id, collection.inbox.as_ref(), key))
}

fn not_now(why: String) -> Problem {
    Problem::unavailable(Outcome::NotProposed, why)
}

/// The json engine of a collection.
///
/// # Errors
/// When template and text do not fit each other, which is refused when a collection is made.
pub fn json_engine(template: Option<&View>, text: &[String]) -> Result<JsonEngine, engine::Error> {
    let template = template.map(View::object).transpose()?;
    JsonEngine::new(JsonSettings { template, text: text.to_vec() })
}

/// How a policy chooses; `resolver` is the one the policy names.
#[must_use]
pub fn chooser<'a>(policy: &Policy, resolver: Option<&'a Arc<dyn Resolver>>) -> Chooser<'a> {
    match (policy, resolver) {
        (Policy::Plugin { .. }, Some(resolver)) => Chooser::Resolver(&**resolver),
        (Policy::Json, _) => Chooser::Json,
        _ => Chooser::Lww,
    }
}

/// The ETag of a version: timeline, SCN and ordinal, and the plugin that computed the view.
#[must_use]
pub fn etag(timeline: Timeline, version: VersionId, plugin: Option<PluginDigest>) -> ETag {
    let policy = plugin.map_or_else(|| "0".to_owned(), |digest| hex::encode(&digest.as_bytes()[..8]));
    ETag(format!("{timeline}.{version}.{policy}"))
}

/// A failure of this node's storage, as the client hears it.
#[must_use]
pub fn storage_problem(error: &read::Error) -> Problem {
    tracing::error!(%error, "rows cannot be read");
    Problem::new(skerry_api::problem::Kind::Internal, "this node cannot read its storage; its log has the details")
}
