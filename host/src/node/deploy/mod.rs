//! Deployment of a plugin: checked against the laws, staged on the nodes, activated; and back again.

mod dry_run;
mod samples;

use std::sync::Arc;

use bytes::Bytes;
use skerry_api::bodies::{Laws, PluginCalls};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::policy::World;
use skerry_model::{NodeId, PluginDigest, PluginName};
use skerry_runtime::Checked;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::Node;
use super::documents::refused;
use super::shard::{Refused, Shard};
use crate::catalog::{Error, PluginVersion, Step};
use crate::consensus::network::message::{Deployment, Lane, Request, Response};
use crate::documents::evaluate::storage_problem;
use crate::documents::read;
use crate::documents::record::Effect;
use crate::env::executor::{compute, compute_apart};
use crate::limits::{PLUGIN_CHUNK_BYTES, STAGE_TIMEOUT};

/// A rollback that was done.
pub(crate) struct RolledBack {
    pub(crate) digest: PluginDigest,
    pub(crate) replaced: PluginDigest,
}

impl Node {
    /// Checks a plugin, stages it and activates it.
    ///
    /// # Errors
    /// A problem that says why not.
    pub async fn deploy(&self, name: &PluginName, component: Bytes) -> Result<Deployment, Problem> {
        let shard = Arc::clone(self.catalog_shard());
        let deployment = self
            .with_leader(&shard, |leader| {
                let (node, shard, name, component) = (self, &shard, name.clone(), component.clone());
                async move {
                    if leader == node.0.id {
                        return node.deploy_here(shard, name, component).await;
                    }
                    let asked = Request::Deploy(name, component);
                    match node.0.peers.call(leader, Lane::Bulk, shard.id, asked, 2 * STAGE_TIMEOUT).await {
                        Ok(Response::Deployed(deployed)) => deployed.map_err(Refused::from),
                        other => Err(refused(other)),
                    }
                }
            })
            .await?;
        self.await_catalog(deployment.catalog).await?;
        Ok(deployment)
    }

    /// Makes a version that was active before the plugin's active one: the one that was deployed before it, unless another
    /// one is named.
    ///
    /// # Errors
    /// A problem that says why not.
    pub(crate) async fn roll_back(&self, name: &PluginName, to: Option<PluginDigest>) -> Result<RolledBack, Problem> {
        let catalog = self.newest_catalog().await?;
        let known = catalog.plugin(name).ok_or_else(|| Problem::from(Error::UnknownPlugin(name.clone())))?;
        let none = || {
            let detail = format!("no version of plugin {name} from before {} is kept: deploy one", known.active);
            Problem::new(Kind::Refused, detail)
        };
        let to = to.or_else(|| known.before()).ok_or_else(none)?;
        let from = known.active;
        self.change_catalog(Step::RollBackPlugin { name: name.clone(), from, to, reason: None }).await?;
        let active = self.catalog_shard().state.catalog().plugin(name).map(|plugin| plugin.active);
        if active == Some(to) {
            return Ok(RolledBack { digest: to, replaced: from });
        }
        let detail = format!("plugin {name} was deployed anew meanwhile: look at it again");
        Err(Problem::unavailable(Outcome::Unknown, detail))
    }

    /// What became of all nodes' calls to some versions, those that can be reached.
    pub(crate) async fn plugin_calls(&self, digests: &[PluginDigest]) -> Vec<PluginCalls> {
        let ask = |node: NodeId| async move {
            if node == self.0.id {
                return self.0.plugins.calls(digests);
            }
            let asked = Request::PluginCalls(digests.to_vec());
            match self.0.peers.call(node, Lane::Bulk, self.catalog_shard().id, asked, STAGE_TIMEOUT / 10).await {
                Ok(Response::PluginCalls(calls)) => calls,
                _ => Vec::new(),
            }
        };
        let members = self.members_now().into_keys();
        let mut sum = vec![PluginCalls::default(); digests.len()];
        for calls in futures::future::join_all(members.map(ask)).await {
            for (sum, calls) in sum.iter_mut().zip(calls) {
                sum.answered += calls.answered;
                sum.failed += calls.failed;
                sum.not_run += calls.not_run;
                sum.fuel += calls.fuel;
            }
        }
        sum
    }

    /// Takes the one place in which a plugin may be tried on this node: it takes a processor for seconds.
    fn trial(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let busy = |_| Problem::new(Kind::Overloaded, "another plugin is being tried on this node: try again");
        self.0.trials.try_acquire().map_err(busy)
    }

    /// Tries a component with cases made from the collections that would follow it.
    async fn check_laws(&self, name: &PluginName, component: &Bytes) -> Result<(Checked, u64), Problem> {
        let size = component.len();
        if size > PLUGIN_BYTES_MAX {
            let detail = format!("the component is {size} bytes, the limit is {PLUGIN_BYTES_MAX}");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let (node, name, component) = (self.clone(), name.clone(), component.clone());
        let checked = compute_apart(&*self.0.executor, move || {
            node.0.plugins.check(&component, |plugin| samples::gather(&node, &name, plugin))
        });
        let failed = || Problem::new(Kind::Refused, "the component cannot be tried: this node's log has the details");
        checked.await.unwrap_or_else(|| Err(failed()))
    }

    /// Checks a component, stages it on every node that can be reached, at least on a quorum, and activates it.
    pub(super) async fn deploy_here(
        &self,
        shard: &Shard,
        name: PluginName,
        component: Bytes,
    ) -> Result<Deployment, Refused> {
        self.has_room(shard)?;
        let trial = self.trial()?;
        let (checked, live) = self.check_laws(&name, &component).await?;
        drop(trial);
        let digest = checked.digest;
        self.lead(shard).await?;
        let (bytes, state_version) = (component.len() as u64, checked.state_version.unwrap_or(0));
        let version = PluginVersion { digest, bytes, state_version, profile: checked.profile.clone(), failed: false };
        let step = Step::ActivatePlugin { name: name.clone(), world: checked.world, version };
        // Before anything is stored of what will be refused.
        shard.state.catalog().check(&step).map_err(Problem::from)?;
        let stored = read::has_plugin(&shard.state.store(), digest).map_err(|error| storage_problem(&error))?;
        if !stored {
            self.store_component(shard, digest, &component).await?;
        }
        let staged_on = self.stage(shard, digest).await;
        if !shard.is_quorum(&staged_on.iter().copied().collect()) {
            let detail = format!("only {} nodes have the plugin ready, no quorum: try again", staged_on.len());
            return Err(Problem::unavailable(Outcome::NotProposed, detail).into());
        }
        let replaced = shard.state.catalog().plugin(&name).map(|plugin| plugin.active).filter(|old| *old != digest);
        let catalog = self.step_here(shard, step).await?;
        Ok(Deployment { digest, replaced, staged_on, laws: report(&checked, live), catalog })
    }

    async fn store_component(&self, shard: &Shard, digest: PluginDigest, component: &Bytes) -> Result<(), Refused> {
        let count = component.len().div_ceil(PLUGIN_CHUNK_BYTES).max(1);
        let chunks = u32::try_from(count).expect("a component has at most 64 chunks");
        for chunk in 0..chunks {
            let from = chunk as usize * PLUGIN_CHUNK_BYTES;
            let bytes = component.slice(from..component.len().min(from + PLUGIN_CHUNK_BYTES));
            self.propose(shard, Effect::PluginChunk { digest, chunk, chunks, bytes }).await?;
        }
        Ok(())
    }

    /// Which nodes have a plugin stored and compiled; all are asked at once.
    async fn stage(&self, shard: &Shard, digest: PluginDigest) -> Vec<NodeId> {
        let ask = |node: NodeId| async move {
            let ready = if node == self.0.id {
                self.has_plugin(shard, digest).await
            } else {
                let asked = Request::HasPlugin(digest);
                match self.0.peers.call(node, Lane::Bulk, shard.id, asked, STAGE_TIMEOUT).await {
                    Ok(Response::HasPlugin(ready)) => ready,
                    Ok(_) => Err("it answered another question".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            };
            match ready {
                Ok(()) => Some(node),
                Err(reason) => {
                    tracing::warn!(%node, %digest, reason, "a node does not have a plugin ready");
                    None
                }
            }
        };
        let members = self.members_now().into_keys();
        futures::future::join_all(members.map(ask)).await.into_iter().flatten().collect()
    }

    /// Whether this node has a plugin stored and compiled; waits for the rows that are on their way.
    pub(super) async fn has_plugin(&self, shard: &Shard, digest: PluginDigest) -> Result<(), String> {
        let mut progress = shard.state.watch();
        let stored = async {
            loop {
                progress.borrow_and_update();
                match read::has_plugin(&shard.state.store(), digest) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(error) => return Err(error.to_string()),
                }
                if progress.changed().await.is_err() {
                    return Err("the node stops".to_owned());
                }
            }
        };
        let late = |_elapsed| format!("plugin {digest} did not arrive in time");
        timeout(STAGE_TIMEOUT / 2, stored).await.map_err(late)??;
        let plugins = Arc::clone(&self.0.plugins);
        let compiled = compute(&*self.0.executor, move || plugins.compiled(digest).map(|_| ())).await;
        compiled.unwrap_or_else(|| Err("compiling failed".to_owned()))
    }
}

fn report(checked: &Checked, live: u64) -> Laws {
    Laws {
        profile: checked.profile.clone(),
        cases: checked.report.cases,
        answered: checked.report.answered,
        live,
        fuel_most: checked.fuel_most,
        fuel_limit: checked.fuel_limit,
        advice: checked.report.advice(),
    }
}

/// What the policy of a collection has to be for it to follow a plugin's active version.
fn follows(policy: &skerry_model::policy::Policy, name: &PluginName) -> bool {
    matches!(policy, skerry_model::policy::Policy::Plugin { name: named, pinned: None } if named == name)
}

/// The engine that documents of a plugin of this world have.
fn is_state(world: World) -> bool {
    world == World::MergePolicy
}
