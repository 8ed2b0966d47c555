//! Recovery of a cluster that has lost its quorum for good: shows what the data folder of a stopped survivor holds, and
//! makes that node the only member of the cluster.
//! It works on the log alone. Behind each shard's log it writes, in a higher term, that this node is the whole group and
//! that a new line of history begins; all of the log counts as committed, and the node applies it when it starts.
//! Invariants: which new line begins is on the disk before any shard is written, and the node does not start on the folder
//! until every shard is done, so a recovery that was cut short is finished by the next one.

mod plan;
mod reached;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use skerry_model::env::{Clock, Random};
use skerry_model::ids::ScnExhausted;
use skerry_model::{CatalogVersion, ClusterId, NodeId, Scn, ShardId, Timeline};
use skerry_store::fjall::{FjallLog, FjallState};
use skerry_store::{LogDb, LogWriter, Mode, StateDb};

use self::plan::Ending;
use self::reached::Reached;
pub use self::report::{Place, Promise, Recovered, Report, ShardReport};
use crate::consensus::log_store::{self, LogStore};
use crate::consensus::state_machine::{self, OwnRows};
use crate::consensus::types::{LogId, Vote};
use crate::consensus::{snapshot, types::Entry};
use crate::documents::keys::{self, catalog};
use crate::documents::record;
use crate::identity::{self, Identities, Identity};

/// Why a folder was not read, or not recovered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing that a core node has left.
    #[error("there is no data of a core node in {}: name the folder that skerry serve had as --data", path.display())]
    NoNode {
        /// The folder.
        path: PathBuf,
    },
    /// A node that never came to run.
    #[error("the data folder belongs to no cluster yet, so it holds nothing to recover: name another one")]
    NoCluster,
    /// A folder of another cluster than the operator believes.
    #[error("the data folder belongs to cluster {found}, not to {confirmed}: confirm the cluster that you mean")]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// What the operator said.
        confirmed: ClusterId,
    },
    /// A node that never got a shard.
    #[error("the data folder holds nothing of shard {shard}, all of which would be lost: recover another survivor")]
    Empty {
        /// The shard.
        shard: ShardId,
    },
    /// A node that the cluster let go, or had not taken yet.
    #[error("node {node} is no member of the cluster as far as its own folder knows: recover another survivor")]
    NoMember {
        /// The node.
        node: NodeId,
    },
    /// A node whose shard 0 holds what the cluster never decided.
    #[error(
        "shards 0 and {shard} of the data folder differ in step {version} of the catalog, so its shard 0 was cut off from \
         the cluster: recover another survivor"
    )]
    Disagree {
        /// The other shard.
        shard: ShardId,
        /// The step.
        version: CatalogVersion,
    },
    /// The databases.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// The identity.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] log_store::Error),
    /// What a shard has applied.
    #[error(transparent)]
    State(#[from] state_machine::Error),
    /// Where that is.
    #[error(transparent)]
    Generation(#[from] snapshot::Error),
    /// A row.
    #[error(transparent)]
    Row(#[from] keys::Unreadable),
    /// A record of the log.
    #[error(transparent)]
    Record(#[from] record::Unreadable),
    /// A shard at its end.
    #[error(transparent)]
    Exhausted(#[from] ScnExhausted),
    /// The log does not take what is written.
    #[error("the log of shard {shard} was not written, give the same command again: {reason}")]
    Write {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: String,
    },
}

/// The data folder of a node that does not run.
pub struct Folder {
    log: Arc<dyn LogDb>,
    writer: Arc<LogWriter>,
    state: Arc<dyn StateDb>,
}

/// What the operator chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choices {
    /// Edges offer again what the lost nodes had acknowledged of their work and this folder does not have.
    pub replay_edges: bool,
    /// A new line of history begins also where the node is alone already: the folder is an older copy.
    pub older_copy: bool,
}

/// What a folder holds.
#[derive(Debug, Clone)]
struct Survivor {
    identity: Identity,
    cluster: ClusterId,
    timeline: Timeline,
    shards: Vec<Shard>,
}

/// What a folder holds of a shard.
#[derive(Debug, Clone)]
struct Shard {
    id: ShardId,
    vote: Option<Vote>,
    committed: Option<LogId>,
    applied: Option<LogId>,
    reached: Reached,
}

impl Folder {
    /// Opens a data folder, which is nobody else's until this is dropped.
    ///
    /// # Errors
    /// [`Error::NoNode`], and [`skerry_store::Error::Locked`] while a node runs on it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (log, state) = (path.join("log"), path.join("state"));
        // Opening a database that is not there would make it.
        if !log.is_dir() || !state.is_dir() {
            return Err(Error::NoNode { path: path.to_owned() });
        }
        let (log, state) = (FjallLog::open(&log)?, FjallState::open(&state)?);
        Self::on(Arc::new(log), Arc::new(state), Mode::Thread)
    }

    /// The same on databases that are open already.
    ///
    /// # Errors
    /// When the log's writer gets no thread.
    pub fn on(log: Arc<dyn LogDb>, state: Arc<dyn StateDb>, mode: Mode) -> Result<Self, Error> {
        let writer = Arc::new(LogWriter::start(Arc::clone(&log), mode)?);
        Ok(Self { log, writer, state })
    }

    /// What the folder holds, to be compared with what other survivors hold. Changes nothing.
    ///
    /// # Errors
    /// [`Error`] when something cannot be read.
    pub fn report(&self) -> Result<Report, Error> {
        Ok(Report::of(&self.survivor()?))
    }

    /// Makes the node the only member of its cluster, on a new line of history: everything that this folder holds is kept,
    /// everything else is lost, unless edges are to offer again what they have of it. Whoever was a member before never comes
    /// back under its id. Done already, it changes nothing; cut short, it is finished by the next call.
    ///
    /// # Errors
    /// [`Error`]: nothing has changed unless it is [`Error::Write`], [`Error::Store`] or [`Error::Identity`].
    pub async fn make_sole_member(
        &self,
        confirmed: ClusterId,
        choices: Choices,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Recovered, Error> {
        let survivor = self.survivor()?;
        if survivor.cluster != confirmed {
            return Err(Error::OtherCluster { found: survivor.cluster, confirmed });
        }
        let now = Scn::at_millis(clock.now_ms());
        // What is there is as it should be, unless a step of this plan says otherwise.
        let resumed = survivor.identity.recovering;
        let replay_edges = choices.replay_edges;
        let current = plan::plan(&survivor, resumed.unwrap_or(survivor.timeline), replay_edges, now)?;
        if resumed.is_none() && current.endings.is_empty() && !choices.older_copy {
            return Ok(Recovered::of(&current, false));
        }
        let plan = match resumed {
            Some(_) => current,
            None => plan::plan(&survivor, Timeline::from_bytes(random.id()), replay_edges, now)?,
        };
        let identities = Identities::new(Arc::clone(&self.log), Arc::clone(&self.writer));
        let begun = Identity { recovering: Some(plan.sole.timeline), ..survivor.identity.clone() };
        identities.set_own(&begun).await?;
        // The log goes on behind what is applied, so that must be on the disk too.
        self.state.sync()?;
        for shard in &survivor.shards {
            let written = self.end(shard, plan.endings.get(&shard.id)).await;
            written.map_err(|error| Error::Write { shard: shard.id, reason: error.to_string() })?;
        }
        identities.set_own(&plan.sole.identity(begun)).await?;
        Ok(Recovered::of(&plan, true))
    }

    /// Writes the end of one shard's log, and that all of it is committed; the latter is on the disk with the next sync.
    async fn end(&self, shard: &Shard, ending: Option<&Ending>) -> Result<(), io::Error> {
        let mut log: LogStore = LogStore::open(shard.id, Arc::clone(&self.log), Arc::clone(&self.writer))?;
        if let Some(applied) = shard.applied {
            log.reach(applied).await?;
        }
        if let Some(Ending { vote, entries }) = ending {
            log.save_vote(vote).await?;
            log.blocking_append(entries.iter().cloned()).await.map_err(io::Error::other)?;
        }
        let last = log.get_log_state().await?.last_log_id;
        log.save_committed(last).await
    }

    fn survivor(&self) -> Result<Survivor, Error> {
        let identities = Identities::new(Arc::clone(&self.log), Arc::clone(&self.writer));
        let identity = identities.own()?.ok_or(Error::NoCluster)?;
        let founding = identity.founding.as_ref().ok_or(Error::NoCluster)?;
        let (cluster, timeline) = (founding.cluster, founding.timeline);
        let shards = (0..founding.shards).map(|number| self.shard(ShardId::new(number)));
        Ok(Survivor { cluster, timeline, shards: shards.collect::<Result<_, _>>()?, identity })
    }

    fn shard(&self, id: ShardId) -> Result<Shard, Error> {
        let (mut rows, mut steps) = (OwnRows::default(), Vec::new());
        if let Some(keyspace) = snapshot::current_rows(&*self.state, id)? {
            rows = OwnRows::read(&*keyspace)?;
            steps = catalog::steps::<Error>(&*keyspace)?;
        }
        let applied = rows.header.applied;
        let mut reached = Reached::of(rows, steps);
        let start = applied.map_or(0, |applied| applied.index + 1);
        log_store::follow(&*self.log, id, start, |entry: Entry| reached.take(entry))?;
        let held = log_store::inspect(&*self.log, id, u64::MAX)?;
        Ok(Shard { id, vote: held.vote, committed: held.committed, applied, reached })
    }
}

impl Survivor {
    fn node(&self) -> NodeId {
        self.identity.node
    }

    /// Every other node that may believe to be part of the cluster.
    fn others(&self) -> BTreeSet<NodeId> {
        let founders = self.identity.founding.iter().flat_map(|founding| &founding.members).map(|(node, _)| *node);
        let in_groups = self.shards.iter().flat_map(|shard| shard.reached.membership.nodes()).map(|(node, _)| *node);
        let added = self.shards.iter().flat_map(|shard| shard.reached.catalog.members.added.keys()).copied();
        founders.chain(in_groups).chain(added).filter(|node| *node != self.node()).collect()
    }
}
