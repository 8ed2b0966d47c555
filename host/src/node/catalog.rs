//! Changes of the catalog: shard 0's leader logs each step, the other shards' leaders log it after, and the command
//! answers when all shards have it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::{CatalogVersion, NodeId, PluginDigest, PluginName};
use skerry_store::{Direction, Limit};
use tokio::time::timeout;

use super::Node;
use super::documents::refused;
use super::propose::Proposed;
use super::shard::{Refused, Shard};
use crate::catalog::{Catalog, Error, Step};
use crate::consensus::network::message::{Deployment, Lane, Request, Response};
use crate::documents::evaluate::json_engine;
use crate::documents::keys::Unreadable;
use crate::documents::keys::catalog as rows;
use crate::documents::record::Effect;
use crate::env::executor::compute;
use crate::limits::{EVALUATIONS_MAX, PLUGIN_CHUNK_BYTES, PROPOSAL_TIMEOUT, STAGE_TIMEOUT};

/// How long to wait before a step that could not be carried to a shard is tried again.
const CARRY_PAUSE: Duration = Duration::from_millis(200);
/// Steps carried to a shard at once.
const CARRY_STEPS: usize = 64;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::CollectionExists { .. } => Kind::CollectionExists,
            Error::NoCollection(_) => Kind::CollectionNotFound,
            Error::TooManyCollections | Error::TooManyPlugins => Kind::TooLarge,
            Error::NoPlugin(_)
            | Error::EngineChange { .. }
            | Error::OtherWorld(_)
            | Error::NoTemplate { .. }
            | Error::IdUsed(_)
            | Error::OtherAddress { .. }
            | Error::NoNode(_) => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl Node {
    /// Takes a step of the catalog and waits until all shards have it.
    ///
    /// # Errors
    /// A problem that says why not.
    pub async fn change_catalog(&self, step: Step) -> Result<(), Problem> {
        let shard = Arc::clone(self.catalog_shard());
        let version = self
            .with_leader(&shard, |leader| {
                let (node, shard, step) = (self, &shard, step.clone());
                async move {
                    if leader == node.0.id {
                        return node.step_here(shard, step).await;
                    }
                    match node
                        .0
                        .peers
                        .call(leader, Lane::Bulk, shard.id, Request::Catalog(step), PROPOSAL_TIMEOUT)
                        .await
                    {
                        Ok(Response::Catalog(version)) => version.map_err(Refused::from),
                        other => Err(refused(other)),
                    }
                }
            })
            .await?;
        self.await_catalog(version).await
    }

    /// The catalog with every step that was answered before the call.
    pub(crate) async fn newest_catalog(&self) -> Result<Arc<Catalog>, Problem> {
        let shard = self.catalog_shard();
        self.read_index(shard).await?;
        Ok(shard.state.catalog())
    }

    /// Stages a plugin and activates it.
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

    /// Takes a step on shard 0's leader, one after another.
    pub(super) async fn step_here(&self, shard: &Shard, step: Step) -> Result<CatalogVersion, Refused> {
        // A node with a full disk may have to be replaced.
        if !matches!(step, Step::Members(_)) {
            self.has_room(shard)?;
        }
        let _turn = self.0.catalog_turn.acquire().await.expect("the semaphore is never closed");
        for _ in 0..EVALUATIONS_MAX {
            self.lead(shard).await?;
            let catalog = shard.state.catalog();
            check_template(&step)?;
            if !catalog.check(&step).map_err(Problem::from)? {
                self.local_read_index(shard).await?;
                return Ok(catalog.version);
            }
            let version = catalog.version.next();
            let effect = Effect::Catalog { version, step: step.clone() };
            if let Proposed::Installed(..) = self.propose(shard, effect).await? {
                tracing::info!(%version, ?step, "the catalog changed");
                return Ok(version);
            }
        }
        Err(Problem::unavailable(Outcome::NotProposed, "the catalog changes too fast: try again").into())
    }

    /// Stages a component on every node that can be reached, at least on a quorum, and activates it.
    pub(super) async fn deploy_here(
        &self,
        shard: &Shard,
        name: PluginName,
        component: Bytes,
    ) -> Result<Deployment, Refused> {
        self.has_room(shard)?;
        let size = component.len();
        if size > PLUGIN_BYTES_MAX {
            let detail = format!("the component is {size} bytes, the limit is {PLUGIN_BYTES_MAX}");
            return Err(Problem::new(Kind::TooLarge, detail).into());
        }
        let digest = PluginDigest::of(&component);
        let (plugins, checked) = (Arc::clone(&self.0.plugins), component.clone());
        let compiled = compute(&*self.0.executor, move || plugins.check(&checked)).await;
        let refused = |why: String| Refused::from(Problem::new(Kind::Refused, why));
        let checked = compiled.unwrap_or_else(|| Err("the component cannot be compiled".to_owned()));
        let world = checked.map_err(refused)?;
        self.lead(shard).await?;
        let stored = crate::documents::read::plugin(&shard.state.store(), digest);
        if stored.map_err(|error| crate::documents::evaluate::storage_problem(&error))?.is_none() {
            self.store_component(shard, digest, &component).await?;
        }
        let staged_on = self.stage(shard, digest).await;
        if !shard.is_quorum(&staged_on.iter().copied().collect()) {
            let detail = format!("only {} nodes have the plugin ready, no quorum: try again", staged_on.len());
            return Err(Problem::unavailable(Outcome::NotProposed, detail).into());
        }
        let replaced = shard.state.catalog().plugin(&name).map(|plugin| plugin.active).filter(|old| *old != digest);
        let step = Step::ActivatePlugin { name, world, digest, bytes: size as u64 };
        let catalog = self.step_here(shard, step).await?;
        Ok(Deployment { digest, replaced, staged_on, catalog })
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
                match shard.state.store().get(&crate::documents::keys::plugin::key(digest)) {
                    Ok(Some(_)) => return Ok(()),
                    Ok(None) => {}
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

    /// Waits until every shard's replica here has reached a catalog version: then a quorum of each has.
    async fn await_catalog(&self, version: CatalogVersion) -> Result<(), Problem> {
        let all = self.shards().iter().map(|shard| async move {
            let mut progress = shard.state.watch();
            let reached = progress.wait_for(|progress| progress.catalog >= version).await.is_ok();
            reached.then_some(())
        });
        let reached = timeout(PROPOSAL_TIMEOUT, futures::future::join_all(all)).await;
        let detail = "the catalog has the change, but not every shard has taken it yet: look again before repeating it";
        match reached {
            Ok(shards) if shards.iter().all(Option::is_some) => Ok(()),
            _ => Err(Problem::unavailable(Outcome::Unknown, detail)),
        }
    }

    /// Carries the catalog's steps from shard 0 to another shard whenever this node leads that one. Runs until the node
    /// stops.
    pub(super) async fn carry_catalog(self, shard: Arc<Shard>) {
        let catalog = Arc::clone(self.catalog_shard());
        let mut leads = shard.raft.server_metrics();
        let mut steps = catalog.state.watch();
        loop {
            let behind = shard.state.progress().catalog < steps.borrow_and_update().catalog;
            leads.borrow_and_update();
            if behind && shard.raft.is_leader() {
                if let Err(reason) = self.carry_steps(&shard, &catalog).await {
                    tracing::debug!(shard = %shard.id, reason, "the catalog was not carried on");
                    tokio::time::sleep(CARRY_PAUSE).await;
                }
                continue;
            }
            let changed = tokio::select! {
                biased;
                changed = leads.changed() => changed.is_ok(),
                changed = wait_for_catalog(&mut steps) => changed,
            };
            if !changed {
                return;
            }
        }
    }

    async fn carry_steps(&self, shard: &Shard, catalog: &Shard) -> Result<(), String> {
        let text = |refused: Refused| match refused {
            Refused::NotLeader(_) => "this node does not lead the shard".to_owned(),
            Refused::Problem(problem) => problem.detail,
        };
        self.lead(shard).await.map_err(text)?;
        let from = shard.state.progress().catalog;
        let found = catalog.state.store().scan(&rows::steps_after(from), Limit::rows(CARRY_STEPS), Direction::Forward);
        let mut version = from;
        for (_, row) in found.map_err(|error| error.to_string())? {
            version = version.next();
            let step = rows::decode_step(&row).map_err(|error: Unreadable| error.to_string())?;
            self.propose(shard, Effect::Catalog { version, step }).await.map_err(text)?;
        }
        Ok(())
    }
}

/// Waits for the catalog to change, not for each record of shard 0.
async fn wait_for_catalog(steps: &mut tokio::sync::watch::Receiver<crate::consensus::state_machine::Progress>) -> bool {
    let known = steps.borrow().catalog;
    steps.wait_for(|progress| progress.catalog > known).await.is_ok()
}

/// A collection's template and text must make an engine.
fn check_template(step: &Step) -> Result<(), Problem> {
    match step {
        Step::CreateCollection { policy, template, text, .. } if policy.merges() => {
            json_engine(template.as_ref(), text)?;
            Ok(())
        }
        _ => Ok(()),
    }
}
