//! Changes of the catalog: shard 0's leader logs each step, the other shards' leaders log it after, and the command
//! answers when all shards have it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::CatalogVersion;
use skerry_store::{Direction, Limit};
use tokio::time::timeout;

use super::Node;
use super::documents::refused;
use super::propose::Proposed;
use super::shard::{Refused, Shard};
use crate::catalog::{Catalog, Error, Step};
use crate::consensus::network::message::{Lane, Request, Response};
use crate::documents::evaluate::{json_engine, storage_problem};
use crate::documents::keys::Unreadable;
use crate::documents::keys::catalog as rows;
use crate::documents::read;
use crate::documents::record::Effect;
use crate::limits::{EVALUATIONS_MAX, PROPOSAL_TIMEOUT};

/// How long to wait before a step that could not be carried to a shard is tried again.
const CARRY_PAUSE: Duration = Duration::from_millis(200);
/// Steps carried to a shard at once.
const CARRY_STEPS: usize = 64;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::CollectionExists { .. } => Kind::CollectionExists,
            Error::NoCollection(_) => Kind::CollectionNotFound,
            Error::UnknownPlugin(_) => Kind::PluginNotFound,
            Error::TooManyCollections | Error::TooManyPlugins => Kind::TooLarge,
            Error::NoPlugin(_)
            | Error::EngineChange { .. }
            | Error::OtherWorld(_)
            | Error::NoVersion { .. }
            | Error::OlderStates { .. }
            | Error::NoTemplate { .. }
            | Error::NoSettling { .. }
            | Error::NoInbox { .. }
            | Error::InboxTaken { .. }
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
            check_component(shard, &step)?;
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

    /// Waits until every shard's replica here has reached a catalog version: then a quorum of each has.
    pub(super) async fn await_catalog(&self, version: CatalogVersion) -> Result<(), Problem> {
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

/// What is made active must be here: old versions go when no collection names them.
fn check_component(shard: &Shard, step: &Step) -> Result<(), Problem> {
    let digest = match step {
        Step::ActivatePlugin { version, .. } => version.digest,
        Step::RollBackPlugin { to, .. } => *to,
        _ => return Ok(()),
    };
    let stored = read::has_plugin(&shard.state.store(), digest).map_err(|error| storage_problem(&error))?;
    let missing = || Problem::new(Kind::Refused, format!("version {digest} is not kept any more: deploy it again"));
    if stored { Ok(()) } else { Err(missing()) }
}
