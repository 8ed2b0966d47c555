//! What follows from another version of a plugin: views change one after another, never in one storm, and a version that
//! fails on too many documents goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use skerry_api::problem::{Kind, Problem};
use skerry_model::CollectionId;
use skerry_model::policy::World;
use skerry_store::Direction;

use super::Node;
use super::shard::{Refused, Shard};
use super::slots::Place;
use crate::catalog::{Catalog, Collection, Step};
use crate::documents::evaluate::{Subject, review, storage_problem};
use crate::documents::keys::head::{self, Head};
use crate::documents::read;
use crate::documents::record::Documents;
use crate::env::executor::compute;
use crate::limits::{HEALTH_PAUSE, REVIEW_PAUSE, REVIEW_RETRY_PAUSE, REVIEW_STEP, SCAN_STEP};

/// What views of a collection depend on, beside its documents.
type Judge = String;

impl Node {
    /// Computes the views of a shard anew after its plugins have changed, while this node leads it. Runs until the node
    /// stops.
    pub(super) async fn review_views(self, shard: Arc<Shard>) {
        let mut leads = shard.raft.server_metrics();
        let mut progress = shard.state.watch();
        let mut done: BTreeMap<CollectionId, Judge> = BTreeMap::new();
        loop {
            leads.borrow_and_update();
            let reached = progress.borrow_and_update().catalog;
            let mut again = false;
            if shard.raft.is_leader() {
                let catalog = shard.state.catalog();
                done.retain(|id, _| catalog.collection_by_id(*id).is_some());
                for (name, collection) in catalog.collections().filter(|(_, collection)| collection.policy.merges()) {
                    let judge = catalog.describe(&collection.policy);
                    if done.get(&collection.id) == Some(&judge) {
                        continue;
                    }
                    match self.review_collection(&shard, &catalog, collection).await {
                        Ok(()) => drop(done.insert(collection.id, judge)),
                        Err(reason) => {
                            tracing::debug!(shard = %shard.id, collection = %name, reason, "views wait for another try");
                            again = true;
                        }
                    }
                }
            } else {
                done.clear();
            }
            let changed = tokio::select! {
                biased;
                () = tokio::time::sleep(REVIEW_RETRY_PAUSE), if again => true,
                changed = leads.changed() => changed.is_ok(),
                changed = progress.wait_for(|progress| progress.catalog > reached) => changed.is_ok(),
            };
            if !changed {
                return;
            }
        }
    }

    async fn review_collection(&self, shard: &Shard, catalog: &Catalog, collection: &Collection) -> Result<(), String> {
        let mut range = head::range(collection.id, "");
        let mut reviewed = 0;
        let mut failed = None;
        loop {
            let rows = shard.state.store();
            let heads = read::heads(&rows, &range, SCAN_STEP).map_err(|error| error.to_string())?;
            let more = heads.len() == SCAN_STEP;
            for (id, key, head) in heads {
                range = range.behind(head::key(id, &key), Direction::Forward);
                let place = (id, key);
                if !may_read_differently(shard, catalog, collection, &place, &head)? {
                    continue;
                }
                match self.review_document(shard, &place).await {
                    Ok(()) => {}
                    // It stays as it is, and does not keep the others waiting.
                    Err(Refused::Problem(problem)) if problem.kind == Kind::Refused => {}
                    Err(Refused::Problem(problem)) => failed = Some(problem.detail),
                    Err(Refused::NotLeader(_)) => return Err("another node leads the shard".to_owned()),
                }
                reviewed += 1;
                if reviewed % REVIEW_STEP == 0 {
                    tokio::time::sleep(REVIEW_PAUSE).await;
                }
            }
            if !more {
                return failed.map_or(Ok(()), Err);
            }
        }
    }

    /// Gives a document a version with the view that it has now. Where it changes meanwhile it needs none.
    async fn review_document(&self, shard: &Shard, place: &Place) -> Result<(), Refused> {
        let _slot = self.0.slots.hold(place.clone()).await;
        self.lead(shard).await?;
        let context = self.context(shard);
        let Some((_, collection)) = context.catalog.collection_by_id(place.0) else { return Ok(()) };
        let (rows, key, collection) = (shard.state.store(), place.1.clone(), collection.clone());
        let version = context.catalog.version;
        let job = move || {
            let (subject, _) = Subject::load(&rows, &context, &collection, &key, None)?;
            review(&context, &collection, subject)
        };
        let failed = || Problem::new(Kind::Internal, "computing a view failed in a way that is a bug");
        let effect = compute(&*self.0.executor, job).await.unwrap_or_else(|| Err(failed()))?;
        if let Some(effect) = effect {
            let documents = Documents { catalog: version, documents: vec![effect], push: None };
            self.propose_documents(shard, documents).await?;
        }
        Ok(())
    }

    /// Rolls back the active version of a plugin that fails on too many documents here. Runs until the node stops.
    pub(super) async fn watch_plugins(self) {
        loop {
            tokio::time::sleep(HEALTH_PAUSE).await;
            let catalog = self.catalog_shard().state.catalog();
            for (name, plugin) in catalog.plugins() {
                let Some(reason) = self.0.health.complaint(plugin.active) else { continue };
                let (from, Some(to)) = (plugin.active, plugin.before()) else {
                    tracing::debug!(plugin = %name, digest = %plugin.active, reason, "there is no version to go back to");
                    continue;
                };
                tracing::warn!(plugin = %name, %from, %to, reason, "a plugin is rolled back");
                let step = Step::RollBackPlugin { name: name.clone(), from, to, reason: Some(reason) };
                if let Err(problem) = self.change_catalog(step).await {
                    tracing::warn!(plugin = %name, %from, reason = problem.detail, "the plugin was not rolled back");
                }
            }
        }
    }
}

/// Whether a document may read differently than its newest version says.
fn may_read_differently(
    shard: &Shard,
    catalog: &Catalog,
    collection: &Collection,
    (id, key): &Place,
    head: &Head,
) -> Result<bool, String> {
    if !head.live {
        return Ok(false);
    }
    let newest = read::version(&shard.state.store(), *id, key, head.epoch, head.version);
    let newest = newest.map_err(|error| storage_problem(&error).detail)?;
    let judged_by = newest.version.plugin;
    let active = catalog.digest(&collection.policy);
    Ok(match catalog.world(&collection.policy) {
        // Where writers agree a resolver was never asked; a version that asks for more fields is, with the next write.
        Some(World::Resolver) => judged_by != active && (head.conflicts > 0 || judged_by.is_none()),
        Some(World::MergePolicy) => judged_by != active,
        None => judged_by.is_some() || head.conflicts > 0,
    })
}
