//! What a deployment would change, before anything is deployed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use skerry_api::bodies::{DryRun, ViewChange};
use skerry_api::problem::{Kind, Problem};
use skerry_model::PluginName;
use skerry_model::document::View;
use skerry_model::engine::state::StateEngine;
use skerry_model::engine::{self, Engine as _, Viewed};
use skerry_model::policy::Chooser;
use skerry_runtime::CompiledPlugin;

use super::samples::{Visited, visit};
use super::{Node, follows, report};
use crate::env::executor::compute_apart;
use crate::limits::{DRY_RUN_DOCUMENTS_MAX, DRY_RUN_EXAMPLES, DRY_RUN_TIME_MAX};
use crate::node::plugins::unfit;

impl Node {
    /// Checks a component and finds out which documents would read differently under it, as this node's replicas have
    /// them. Nothing is stored.
    ///
    /// # Errors
    /// A problem, when it would be refused.
    pub(crate) async fn try_deploy(&self, name: &PluginName, component: Bytes) -> Result<DryRun, Problem> {
        let _trial = self.trial()?;
        let (checked, live) = self.check_laws(name, &component).await?;
        let (node, name) = (self.clone(), name.clone());
        let compared = compute_apart(&*self.0.executor, move || {
            let catalog = node.newest_here();
            let followers = catalog.collections().filter(|(_, collection)| follows(&collection.policy, &name));
            let mut run = DryRun {
                name: name.clone(),
                digest: checked.digest,
                world: checked.world,
                laws: report(&checked, live),
                collections: followers.map(|(name, _)| name.clone()).collect(),
                documents: 0,
                complete: true,
                changed: 0,
                undecided: 0,
                examples: Vec::new(),
            };
            if catalog.plugin(&name).is_some_and(|known| known.world != checked.world) {
                return Err(crate::catalog::Error::OtherWorld(name).into());
            }
            let plugin = node.0.plugins.compile(&component).map_err(|error| unfit(&error.into()))?;
            let each = DRY_RUN_DOCUMENTS_MAX / node.shards().len();
            let end = Instant::now() + DRY_RUN_TIME_MAX;
            for shard in node.shards() {
                run.complete &= visit(&node, shard, &name, each, |visited| {
                    compare(&mut run, &plugin, visited)?;
                    Ok(Instant::now() < end)
                })?;
            }
            Ok(run)
        });
        let failed = || Problem::new(Kind::Internal, "comparing failed in a way that is a bug");
        compared.await.unwrap_or_else(|| Err(failed()))
    }

    fn newest_here(&self) -> Arc<crate::catalog::Catalog> {
        self.catalog_shard().state.catalog()
    }
}

fn compare(run: &mut DryRun, plugin: &CompiledPlugin, visited: &Visited<'_>) -> Result<(), Problem> {
    run.documents += 1;
    let loaded = visited.load();
    let Ok(Some(document)) = loaded else {
        // The active version cannot read it either.
        run.undecided += u64::from(loaded.is_err());
        return Ok(());
    };
    let after = match plugin {
        CompiledPlugin::Resolver(resolver) => document.view(Chooser::Resolver(&**resolver)),
        CompiledPlugin::MergePolicy(policy) => {
            let engine = StateEngine::new(Arc::clone(policy) as _);
            engine.load(&document.save()).and_then(|document| document.view(Chooser::Lww))
        }
    };
    // What cannot be read under it is shown as nothing, with the reason.
    let after = after.unwrap_or_else(|error| Viewed {
        view: None,
        conflicts: 0,
        fallback: Some(error.to_string()),
        failed: matches!(error, engine::Error::PluginFailed { .. }),
    });
    let before = visited.view()?;
    run.undecided += u64::from(after.fallback.is_some());
    if before == after.view {
        return Ok(());
    }
    run.changed += 1;
    if run.examples.len() < DRY_RUN_EXAMPLES {
        run.examples.push(ViewChange {
            collection: visited.collection.clone(),
            key: visited.key.clone(),
            before: shown(before.as_ref())?,
            after: shown(after.view.as_ref())?,
            fallback: after.fallback,
        });
    }
    Ok(())
}

fn shown(view: Option<&View>) -> Result<Value, Problem> {
    Ok(view.map(View::object).transpose()?.map_or(Value::Null, Value::Object))
}
