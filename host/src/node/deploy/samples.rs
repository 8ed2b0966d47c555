//! Real documents of the collections that follow a plugin, as this node's replicas have them.

use std::sync::Arc;

use skerry_api::problem::Problem;
use skerry_model::engine::MergeDocument;
use skerry_model::policy::{ConflictSet, World};
use skerry_model::{CollectionName, DocumentKey, PluginName};
use skerry_runtime::{CompiledPlugin, Samples};
use skerry_store::Direction;

use super::{Node, follows, is_state};
use crate::catalog::{Catalog, Collection};
use crate::documents::evaluate::{Context, Subject, storage_problem};
use crate::documents::keys::head;
use crate::documents::read;
use crate::limits::{LAW_SAMPLE_BYTES_MAX, LAW_SAMPLED_MAX, LAW_SAMPLES_MAX, SCAN_STEP};
use crate::node::Shard;

/// What cases are made from: conflicts or states, evenly from every shard. Documents that the active version cannot read,
/// and large ones, are left out.
pub(super) fn gather(node: &Node, name: &PluginName, plugin: &CompiledPlugin) -> Result<Samples, Problem> {
    let mut samples = Samples::default();
    let catalog = node.catalog_shard().state.catalog();
    let Some(known) = catalog.plugin(name).filter(|known| known.world == plugin.world()) else { return Ok(samples) };
    let active = known.version(known.active).map_or(0, |active| active.state_version);
    if plugin.state_version().is_some_and(|version| version > active) {
        let rows = node.catalog_shard().state.store();
        samples.before = read::plugin(&rows, known.active).map_err(|error| storage_problem(&error))?;
    }
    let shards = node.shards().len();
    for shard in node.shards() {
        let mut taken = 0;
        visit(node, shard, name, LAW_SAMPLED_MAX / shards, |visited| {
            if visited.has_conflicts || is_state(known.world) {
                let document = visited.load().ok().flatten();
                taken += usize::from(document.is_some_and(|document| take(&mut samples, known.world, &*document)));
            }
            Ok(taken < LAW_SAMPLES_MAX.div_ceil(shards))
        })?;
    }
    Ok(samples)
}

fn take(samples: &mut Samples, world: World, document: &dyn MergeDocument) -> bool {
    match world {
        World::Resolver => {
            let conflicts = document.conflicts().ok();
            let fits = |set: &ConflictSet| {
                serde_json::to_vec(set)
                    .is_ok_and(|text| !set.conflicts.is_empty() && text.len() <= LAW_SAMPLE_BYTES_MAX)
            };
            let conflicts = conflicts.filter(fits);
            samples.conflicts.extend(conflicts.clone());
            conflicts.is_some()
        }
        World::MergePolicy => {
            let state = document.state().ok().flatten().filter(|state| state.len() <= LAW_SAMPLE_BYTES_MAX);
            samples.states.extend(state.clone());
            state.is_some()
        }
    }
}

/// A document that is met on the way.
pub(super) struct Visited<'a> {
    pub(super) collection: &'a CollectionName,
    pub(super) key: DocumentKey,
    pub(super) has_conflicts: bool,
    settings: &'a Collection,
    context: &'a Context,
    shard: &'a Shard,
}

impl Visited<'_> {
    /// The merge document under the active version; none where it was deleted meanwhile.
    pub(super) fn load(&self) -> Result<Option<Box<dyn MergeDocument>>, Problem> {
        let rows = self.shard.state.store();
        let (subject, _) = Subject::load(&rows, self.context, self.settings, &self.key, None)?;
        Ok(subject.into_merge())
    }

    /// What it reads as.
    pub(super) fn view(&self) -> Result<Option<skerry_model::document::View>, Problem> {
        let rows = self.shard.state.store();
        let newest = read::newest(&rows, self.settings.id, &self.key).map_err(|error| storage_problem(&error))?;
        Ok(newest.and_then(|(_, seen)| seen.view))
    }
}

/// Visits the live documents of one shard whose collections follow a plugin, at most so many of each collection, until
/// `visit` has seen enough. Answers whether that was all of them.
pub(super) fn visit(
    node: &Node,
    shard: &Arc<Shard>,
    name: &PluginName,
    max: usize,
    mut visit: impl FnMut(&Visited<'_>) -> Result<bool, Problem>,
) -> Result<bool, Problem> {
    let context = node.context(shard);
    let catalog: Arc<Catalog> = Arc::clone(&context.catalog);
    let followers = catalog.collections().filter(|(_, collection)| follows(&collection.policy, name));
    let mut complete = true;
    for (collection, settings) in followers {
        let mut range = head::range(settings.id, "");
        let mut seen = 0;
        'collection: loop {
            let rows = shard.state.store();
            let heads = read::heads(&rows, &range, SCAN_STEP).map_err(|error| storage_problem(&error))?;
            let more = heads.len() == SCAN_STEP;
            for (id, key, head) in heads {
                range = range.behind(head::key(id, &key), Direction::Forward);
                seen += 1;
                if seen > max {
                    complete = false;
                    break 'collection;
                }
                let has_conflicts = head.conflicts > 0;
                let visited = Visited { collection, key, has_conflicts, settings, context: &context, shard };
                if head.live && !visit(&visited)? {
                    return Ok(false);
                }
            }
            if !more {
                break;
            }
        }
    }
    Ok(complete)
}
