//! What follows from another version of a plugin: views change one after another, never in one storm, and a version that
//! fails on too many documents goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver as _;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::policy::{Policy, World};
use skerry_model::{CollectionId, PluginDigest, PluginName, Term};
use skerry_store::{Direction, KeyRange};

use super::Node;
use super::propose::Proposed;
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
#[derive(Debug, Clone, PartialEq, Eq)]
struct Judge {
    policy: String,
    settle: bool,
    /// The term in which this node leads: what another leader did meanwhile is not known.
    term: Term,
}

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
                for (name, collection) in catalog.collections().filter(|(_, collection)| is_judged(collection)) {
                    let (policy, settle) = (catalog.describe(&collection.policy), collection.settle);
                    let judge = Judge { policy, settle, term: shard.term() };
                    if done.get(&collection.id) == Some(&judge) {
                        continue;
                    }
                    // Until it is done it is neither as before nor as it will be.
                    done.remove(&collection.id);
                    match self.review_collection(&shard, &catalog, collection).await {
                        Ok(()) => drop(done.insert(collection.id, judge)),
                        Err(reason) => {
                            tracing::debug!(shard = %shard.id, collection = %name, reason, "views wait for another try");
                            again = true;
                        }
                    }
                }
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

    async fn review_collection(
        &self,
        shard: &Arc<Shard>,
        catalog: &Arc<Catalog>,
        collection: &Collection,
    ) -> Result<(), String> {
        let mut range = head::range(collection.id, "");
        let mut reviewed = 0;
        loop {
            // Reading may wait for the disk, and is not for a worker that heartbeats need.
            let job = {
                let (shard, catalog, collection, range) =
                    (Arc::clone(shard), Arc::clone(catalog), collection.clone(), range.clone());
                move || candidates(&shard, &catalog, &collection, &range)
            };
            let found = compute(&*self.0.executor, job).await;
            let (places, rest) = found.unwrap_or_else(|| Err("looking for documents failed".to_owned()))?;
            for place in places {
                match self.review_document(shard, &place).await {
                    Ok(()) => {}
                    // It stays as it is, and does not keep the others waiting.
                    Err(Refused::Problem(problem)) if problem.kind == Kind::Refused => {}
                    Err(Refused::Problem(problem)) => return Err(problem.detail),
                    Err(Refused::NotLeader(_)) => return Err("another node leads the shard".to_owned()),
                }
                reviewed += 1;
                if reviewed % REVIEW_STEP == 0 {
                    tokio::time::sleep(REVIEW_PAUSE).await;
                }
            }
            match rest {
                Some(rest) => range = rest,
                None => return Ok(()),
            }
            tokio::time::sleep(REVIEW_PAUSE).await;
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
            if let Proposed::Stale = self.propose_documents(shard, documents).await? {
                let detail = "the catalog has moved while a view was computed";
                return Err(Problem::unavailable(Outcome::NotProposed, detail).into());
            }
        }
        Ok(())
    }

    /// Rolls back the active version of a plugin that fails on too many documents here. Runs until the node stops.
    pub(super) async fn watch_plugins(self) {
        let mut active: BTreeMap<PluginName, PluginDigest> = BTreeMap::new();
        let mut stuck = BTreeSet::new();
        loop {
            tokio::time::sleep(HEALTH_PAUSE).await;
            let catalog = self.catalog_shard().state.catalog();
            for (name, plugin) in catalog.plugins() {
                let digest = plugin.active;
                if active.insert(name.clone(), digest).is_some_and(|before| before != digest) {
                    self.0.health.forget(digest);
                }
                let Some(reason) = self.0.health.complaint(digest) else { continue };
                let step = plugin.before().map(|to| {
                    let reason = Some(reason.clone());
                    Step::RollBackPlugin { name: name.clone(), from: digest, to, reason }
                });
                let Some(step) = step.filter(|step| catalog.check(step) == Ok(true)) else {
                    if stuck.insert(digest) {
                        tracing::error!(plugin = %name, %digest, reason, "there is no version to roll back to");
                    }
                    continue;
                };
                tracing::error!(plugin = %name, %digest, reason, "a plugin is rolled back");
                if let Err(problem) = self.change_catalog(step).await {
                    tracing::warn!(plugin = %name, %digest, reason = problem.detail, "the plugin was not rolled back");
                }
            }
            active.retain(|name, _| catalog.plugin(name).is_some());
            stuck.retain(|digest| active.values().any(|active| active == digest));
        }
    }
}

/// Whether anything but the documents decides what they read like; a counter or a set never reads otherwise.
fn is_judged(collection: &Collection) -> bool {
    !matches!(collection.policy, Policy::Strict | Policy::Counter | Policy::Set)
}

/// Of the documents in the beginning of a range, those that may read differently than their newest versions say, and the
/// rest of the range.
fn candidates(
    shard: &Shard,
    catalog: &Catalog,
    collection: &Collection,
    range: &KeyRange,
) -> Result<(Vec<Place>, Option<KeyRange>), String> {
    let heads = read::heads(&shard.state.store(), range, SCAN_STEP).map_err(|error| error.to_string())?;
    let last = heads.last().filter(|_| heads.len() == SCAN_STEP).map(|(id, key, _)| head::key(*id, key));
    let rest = last.map(|last| range.clone().behind(last, Direction::Forward));
    let mut places = Vec::new();
    for (id, key, head) in heads {
        let place = (id, key);
        if may_read_differently(shard, catalog, collection, &place, &head)? {
            places.push(place);
        }
    }
    Ok((places, rest))
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
    // What was decided under another setting is written back.
    if collection.settle && head.conflicts > 0 {
        return Ok(true);
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
