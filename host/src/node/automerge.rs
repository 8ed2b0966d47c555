//! Documents for clients of Automerge: found by their ids, read on this node, written through the log.

use std::sync::Arc;

use backon::{ExponentialBuilder, Retryable};
use skerry_api::documents::{Address, Documents as _, WriteRequest};
use skerry_api::problem::{Kind, Problem};
use skerry_model::automerge_id::AutomergeId;
use skerry_model::engine::json::JsonDocument;
use skerry_model::engine::{Delta, Write};
use skerry_model::policy::EngineKind;
use skerry_model::{CollectionId, VersionId};

use super::Node;
use super::documents::known;
use super::evaluation::panicked;
use super::shard::Shard;
use crate::documents::evaluate::{load_merge, storage_problem};
use crate::documents::read;
use crate::env::executor::compute;
use crate::limits::CLIENT_WRITE_PATIENCE;

/// A document that a client of Automerge may have open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shared {
    pub(crate) at: Address,
    collection: CollectionId,
}

impl Node {
    /// The document of an id, and whether there is one to read; `None` where no document has the id.
    ///
    /// # Errors
    /// A problem, when this node does not hear what is new.
    pub(crate) async fn shared(&self, id: &AutomergeId) -> Result<Option<(Shared, bool)>, Problem> {
        if let Some(found) = self.shared_here(id)?
            && found.1
        {
            return Ok(Some(found));
        }
        // That there is none is said only by a node that has heard of all there is.
        for shard in self.shards() {
            self.read_index(shard).await?;
        }
        self.shared_here(id)
    }

    /// The same, of what this node has applied.
    ///
    /// # Errors
    /// A problem when rows cannot be read.
    pub(crate) fn shared_here(&self, id: &AutomergeId) -> Result<Option<(Shared, bool)>, Problem> {
        for shard in self.shards() {
            let rows = shard.state.store();
            let named = read::automerge(&rows, id).map_err(|error| storage_problem(&error))?;
            let Some((collection, key)) = named else { continue };
            let catalog = shard.state.catalog();
            // One that was deleted with its collection is left where it lies.
            let Some((name, _)) = catalog.collection_by_id(collection) else { continue };
            let head = read::head(&rows, collection, &key).map_err(|error| storage_problem(&error))?;
            let at = Address { collection: name.clone(), key };
            return Ok(Some((Shared { at, collection }, head.is_some_and(|head| head.live))));
        }
        let Some(shared) = self.inbox(id) else { return Ok(None) };
        let shard = self.shard_of(&shared.at.collection, &shared.at.key);
        let head = read::head(&shard.state.store(), shared.collection, &shared.at.key);
        let head = head.map_err(|error| storage_problem(&error))?;
        Ok(head.map(|head| (shared, head.live)))
    }

    /// The document that a client makes under an id of its own; `None` where no collection has an inbox.
    pub(crate) fn inbox(&self, id: &AutomergeId) -> Option<Shared> {
        let catalog = self.catalog_shard().state.catalog();
        let (name, collection, inbox) = catalog.inbox()?;
        Some(Shared { at: Address { collection: name.clone(), key: inbox.key(id) }, collection: collection.id })
    }

    /// The newest version of a document that this node has applied.
    ///
    /// # Errors
    /// A problem when rows cannot be read.
    pub(crate) fn version_here(&self, shared: &Shared) -> Result<Option<VersionId>, Problem> {
        let rows = self.shard_of(&shared.at.collection, &shared.at.key).state.store();
        let head = read::head(&rows, shared.collection, &shared.at.key).map_err(|error| storage_problem(&error))?;
        Ok(head.map(|head| head.version))
    }

    /// Does something with a document as this node has applied it, off the tokio workers. Answers with its version.
    ///
    /// # Errors
    /// A problem, when it cannot be loaded or is of a collection that is gone.
    pub(crate) async fn with_shared<T: Send + 'static>(
        &self,
        shared: &Shared,
        job: impl FnOnce(&mut JsonDocument) -> T + Send + 'static,
    ) -> Result<(Option<VersionId>, T), Problem> {
        let shard: Arc<Shard> = Arc::clone(self.shard_of(&shared.at.collection, &shared.at.key));
        let context = self.context(&shard);
        let collection = known(&context.catalog, &shared.at.collection)?.clone();
        if collection.id != shared.collection || context.catalog.engine(&collection.policy) != EngineKind::Json {
            let detail = format!("collection {} was deleted and made anew", shared.at.collection);
            return Err(Problem::new(Kind::CollectionNotFound, detail));
        }
        let (place, key) = ((collection.id, shared.at.key.clone()), shared.at.key.clone());
        // Whoever evaluates a write holds it too: a document in memory is used by one at a time.
        let _slot = self.0.slots.hold(place.clone()).await;
        let live = self.0.live.take(place.0, &key);
        let rows = shard.state.store();
        let work = move || {
            let engine = context.engine(&collection)?.expect("the json engine is one");
            let head = read::head(&rows, collection.id, &key).map_err(|error| storage_problem(&error))?;
            let (mut document, fold) = load_merge(&rows, &*engine, &collection, &key, head.as_ref(), live)?;
            let done = job(document.as_json().expect("it was made by the json engine"));
            Ok::<_, Problem>((head.map(|head| head.version), document, fold, done))
        };
        let worked = compute(&*self.0.executor, work).await;
        let (version, document, fold, done) = worked.unwrap_or_else(|| Err(panicked()))?;
        self.save_fold(&shard, &place, fold).await;
        if let Some(version) = version {
            self.0.live.put(shard.id, place.0, place.1, version, document);
        }
        Ok((version, done))
    }

    /// Has changes of a client committed, and waits until they are applied here.
    ///
    /// # Errors
    /// A problem: the changes are refused, or the cluster cannot take them for longer than a client is kept waiting.
    pub(crate) async fn merge_shared(&self, shared: &Shared, changes: Vec<Delta>) -> Result<(), Problem> {
        let patience = ExponentialBuilder::default()
            .without_max_times()
            .with_total_delay(Some(CLIENT_WRITE_PATIENCE))
            .with_jitter();
        for delta in changes {
            let write = || self.write(shared.at.clone(), WriteRequest::new(Write::Merge(delta.clone())));
            // Taking changes twice is harmless, so also one whose outcome is not known is sent again.
            write.retry(patience).when(may_pass).await?;
        }
        let shard = self.shard_of(&shared.at.collection, &shared.at.key);
        let fresh = || self.read_index(shard);
        fresh.retry(patience).when(may_pass).await
    }
}

/// Whether the same may succeed a little later.
pub(crate) fn may_pass(problem: &Problem) -> bool {
    matches!(problem.kind, Kind::Unavailable | Kind::Overloaded)
}
