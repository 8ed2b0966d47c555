//! From a data folder to a running node: identity, cluster, shards, node port.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Config, ReadPolicy, SnapshotPolicy};
use skerry_model::env::{Clock, Random};
use skerry_model::ids::Nonce;
use skerry_model::{ClusterId, NodeId, ShardId, Timeline};
use skerry_runtime::{Plugins, Runtime, RuntimeProfile};
use skerry_store::room::{Headroom, Space};
use skerry_store::{LogDb, LogWriter, StateWriter};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::audit::{Audit, AuditOptions};
use super::group::Submission;
use super::recovery::Recovery;
use super::shard::Refused;
use super::{Inner, Node, NodePlugins, Shard, core_author, room, slots};
use crate::consensus::log_store::LogStore;
use crate::consensus::network::adapter::Factory;
use crate::consensus::network::hello::{Founding, Welcome};
use crate::consensus::network::peers::{Caller, Peers, ask_to_join};
use crate::consensus::network::refusals::Refusals;
use crate::consensus::network::server::serve;
use crate::consensus::snapshot::{Fetches, Generations, Receiver, Thresholds};
use crate::consensus::state_machine::{Parts, StateMachine};
use crate::consensus::types::{NodeAddress, Raft};
use crate::consensus::{log_store, network::server::Handler};
use crate::documents::live::LiveDocuments;
use crate::documents::record::Effect;
use crate::env::executor::{Executor, compute};
use crate::env::network::Network;
use crate::identity::{self, Identities, Identity};
use crate::limits::{CLUSTER_SIZES, EVALUATIONS_OF_A_PLUGIN, JOIN_PAUSE, SNAPSHOT_STALL_TIMEOUT, STOP_TIMEOUT};

/// Raft's timers, in milliseconds.
const HEARTBEAT_MS: u64 = 100;
const ELECTION_MS_MIN: u64 = 500;
const ELECTION_MS_MAX: u64 = 1_000;

/// What a node is started with.
pub struct Options {
    /// Its id.
    pub node: NodeId,
    /// Every node of the cluster, this one among them.
    pub members: Vec<(NodeId, NodeAddress)>,
    /// Where its node port listens; peers reach it at the address in `members`.
    pub listen: String,
    /// Whether it founds the cluster, when its folder belongs to none.
    pub bootstrap: bool,
    /// How many shards a new cluster gets.
    pub shards: u16,
    /// When logs are purged.
    pub thresholds: Thresholds,
    /// What linearizable reads rely on.
    pub reads: Reads,
    /// How much of what plugins have decided is computed again.
    pub audit: AuditOptions,
    /// How long the feed reaches back.
    pub rejoin_window: Duration,
    /// The log database.
    pub log: Arc<dyn LogDb>,
    /// Writes to it.
    pub log_writer: Arc<LogWriter>,
    /// Writes to the state database.
    pub state: Arc<StateWriter>,
    /// Where it is asked how much room the data folder has.
    pub space: Arc<dyn Space>,
    /// The network.
    pub network: Arc<dyn Network>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Where evaluations run.
    pub executor: Arc<dyn Executor>,
}

/// What a leader makes sure of before it answers a linearizable read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// That a quorum still takes it for the leader (ReadIndex; Ongaro 2014, section 6.4): right whatever clocks do.
    #[default]
    Quorum,
    /// That a quorum did less than a lease ago: no message, but clocks must run at about the same rate.
    Lease,
}

impl Reads {
    pub(super) fn policy(self) -> ReadPolicy {
        match self {
            Self::Quorum => ReadPolicy::ReadIndex,
            Self::Lease => ReadPolicy::LeaseRead,
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The databases.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// The data folder is in use or cannot be made.
    #[error("cannot use the data folder {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The data folder is an edge's.
    #[error("the data folder {path} is an edge's: give the node one of its own")]
    EdgeFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The data folder holds the clusters of `skerry dev`.
    #[error("the data folder {path} is one of skerry dev's, with a folder for each node: give the node one of its own")]
    DevFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The identity.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The log.
    #[error(transparent)]
    Log(#[from] log_store::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] crate::consensus::state_machine::Error),
    /// The log database does not open.
    #[error(
        "{}: a log that is damaged is never repaired, since this node may have promised what is lost; replace the node by \
         one with an empty data folder, see skerry cluster replace",
        with_cause(source)
    )]
    LogDamaged {
        /// What was found.
        source: skerry_store::Error,
    },
    /// The log lacks what was applied.
    #[error(
        "the log of shard {shard} ends at entry {last}, but this node has applied entry {applied}: the log was rolled back \
         or damaged, and the node may have promised what is lost; replace the node by one with an empty data folder, see \
         skerry cluster replace"
    )]
    LogShort {
        /// The shard.
        shard: ShardId,
        /// The log's last entry.
        last: u64,
        /// The last entry applied.
        applied: u64,
    },
    /// The state is gone, and there is nobody to rebuild it from.
    #[error(
        "the state of shard {shard} lacks entries up to {purged} that its log no longer holds, and there is no other node \
         to rebuild it from: put back a copy of the whole data folder"
    )]
    StateLost {
        /// The shard.
        shard: ShardId,
        /// The last entry that the log no longer holds.
        purged: u64,
    },
    /// The state database is damaged and cannot be moved aside.
    #[error("cannot move the damaged state database {path} aside: {source}")]
    Aside {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The plugin runtime.
    #[error(transparent)]
    Runtime(#[from] skerry_runtime::Error),
    /// The port.
    #[error("cannot listen on {address}: {source}; is another process using it?")]
    Listen {
        /// The address.
        address: String,
        /// What is wrong.
        source: std::io::Error,
    },
    /// The folder is another node's.
    #[error("the data folder belongs to node {found}, but the node was started as {asked}")]
    OtherNode {
        /// Whose it is.
        found: NodeId,
        /// What was asked.
        asked: NodeId,
    },
    /// Some shards are recovered, others may not be.
    #[error("a recovery of the data folder was cut short: give the same skerry recover command again")]
    HalfRecovered,
    /// The members do not fit.
    #[error("{0}")]
    Members(String),
    /// The folder is empty, but the cluster knows the node.
    #[error(
        "the data folder is empty, but the cluster already knows node {node}: a folder that was lost or emptied never \
         comes back under an old id, since it may have voted and acknowledged writes; put the folder back, or start an \
         empty one under a new id and give it this one's place with skerry cluster replace"
    )]
    Emptied {
        /// The node.
        node: NodeId,
    },
    /// There is nobody to join, and the node was not told to found a cluster.
    #[error("the data folder belongs to no cluster yet: found one with --bootstrap, or name the others with --member")]
    Alone,
    /// Peers refuse the node.
    #[error("node {peer} refuses this node: {reason}")]
    Refused {
        /// The peer.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// openraft.
    #[error("shard {shard} cannot start: {reason}")]
    Raft {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: String,
    },
    /// Stopped while it waited for the cluster.
    #[error("stopped before the cluster was there")]
    Stopped,
}

/// A node that runs.
pub struct Running {
    /// The node.
    pub node: Node,
    tasks: JoinSet<()>,
    log: Arc<LogWriter>,
    state: Arc<StateWriter>,
}

/// Starts a node: waits until its cluster is founded, then runs its shards.
///
/// # Errors
/// [`StartError`] says what to do.
pub async fn start(options: Options, stop: &CancellationToken) -> Result<Running, StartError> {
    let (log, state) = (Arc::clone(&options.log_writer), Arc::clone(&options.state));
    let identities = Identities::new(Arc::clone(&options.log), Arc::clone(&log));
    let (identity, is_restart) = own_identity(&options, &identities).await?;
    let identity = match &identity.founding {
        Some(_) => identity,
        None => join_or_found(&options, &identities, identity, stop).await?,
    };
    let founding = identity.founding.clone().expect("the node has founded or joined a cluster");
    let caller = Caller { node: identity.node, folder: identity.folder };
    let (members, network, clock) = (identity.members.clone(), &options.network, &options.clock);
    let peers = Arc::new(Peers::new(caller, founding, members, Arc::clone(network), Arc::clone(clock)));
    let live = Arc::<LiveDocuments>::default();
    let headroom = Arc::new(Headroom::new(Arc::clone(&options.space)));
    room::look(&*options.executor, &headroom).await;
    let opened = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(StartError::Stopped),
        opened = open_shards(&options, &peers, &log, &state, &live, !is_restart) => opened?,
    };
    let (shards, submitted): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
    // Only now, so that a node that is not ready refuses connections at once instead of leaving its peers waiting.
    let listening = options.network.listen(&options.listen).await;
    let listener = listening.map_err(|source| StartError::Listen { address: options.listen.clone(), source })?;
    let wait = if is_restart { Duration::from_millis(ELECTION_MS_MAX) } else { Duration::ZERO };
    let catalog = Arc::clone(&shards[0].state);
    let node = Node(Arc::new(Inner {
        id: identity.node,
        refusals: Refusals::default(),
        log: Arc::clone(&log),
        identities: identities.clone(),
        folders: parking_lot::Mutex::new(identities.peers()?),
        remembering: tokio::sync::Semaphore::new(1),
        live,
        slots: slots::Slots::new(1),
        plugin_turns: slots::Slots::new(EVALUATIONS_OF_A_PLUGIN),
        catalog_turn: tokio::sync::Semaphore::new(1),
        pull_turn: std::sync::atomic::AtomicUsize::new(0),
        in_touch: parking_lot::Mutex::default(),
        plugins: Arc::new(NodePlugins::new(Plugins::new(Runtime::new(RuntimeProfile::newest())?), catalog)),
        health: Arc::default(),
        audit: Audit::new(options.audit),
        rejoin_window: options.rejoin_window,
        trials: tokio::sync::Semaphore::new(1),
        executor: options.executor,
        clock: options.clock,
        headroom,
        reads: options.reads,
        thresholds: options.thresholds,
        core: core_author(peers.founding().timeline),
        votes_from: tokio::time::Instant::now() + wait,
        peers,
        shards,
    }));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Arc::new(node.clone()) as Arc<dyn Handler>));
    tasks.spawn(node.clone().introduce(identity.clone()));
    tasks.spawn(node.clone().watch_disk());
    tasks.spawn(node.clone().watch_plugins());
    for (shard, submitted) in node.shards().iter().zip(submitted) {
        tasks.spawn(node.clone().gather(Arc::clone(shard), submitted));
        found_shard(&node, &identity, shard).await?;
        tasks.spawn(node.clone().tend(Arc::clone(shard), wait));
        tasks.spawn(node.clone().steer(Arc::clone(shard)));
        tasks.spawn(node.clone().review_views(Arc::clone(shard)));
        tasks.spawn(node.clone().audit(Arc::clone(shard)));
        if shard.id.get() > 0 {
            tasks.spawn(node.clone().carry_catalog(Arc::clone(shard)));
        }
    }
    Ok(Running { node, tasks, log, state })
}

impl Running {
    /// Waits until something happens after which the node must stop; the text says what.
    pub async fn failed(&mut self) -> String {
        let node = self.node.clone();
        let tasks = &mut self.tasks;
        let stopped = node.shards().iter().map(|shard| {
            // It changes seldom, and ends with the group; the other metrics change with every record.
            let mut ended = shard.raft.server_metrics();
            Box::pin(async move {
                while ended.changed().await.is_ok() {}
                match &shard.raft.metrics().borrow_watched().running_state {
                    Err(fatal) => format!("shard {} has stopped: {fatal}", shard.id),
                    Ok(()) => format!("shard {} has stopped", shard.id),
                }
            })
        });
        tokio::select! {
            biased;
            error = self.log.failed() => format!("the log database failed: {}", with_cause(&error)),
            panicked = panicked(tasks) => panicked,
            error = self.state.failed() => format!("the state database failed: {}", with_cause(&error)),
            (stopped, _, _) = futures::future::select_all(stopped) => stopped,
        }
    }

    /// Stops: the shards first, then what they wrote is put on the disk.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        let shards = self.node.shards().iter().map(|shard| shard.raft.shutdown());
        if tokio::time::timeout(STOP_TIMEOUT, futures::future::join_all(shards)).await.is_err() {
            tracing::warn!("a shard did not stop in time");
        }
        if let Err(error) = self.state.flush().await {
            tracing::error!(%error, "the state database could not be written out: the log replays it");
        }
    }
}

/// Waits until one of the node's own tasks has panicked: without it the node would go on as half of one.
async fn panicked(tasks: &mut JoinSet<()>) -> String {
    loop {
        match tasks.join_next().await {
            Some(Err(error)) => return format!("a task of the node failed in a way that is a bug: {error}"),
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}

/// An error with what is at the bottom of it, which is mostly what the operating system said.
fn with_cause(error: &skerry_store::Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.last().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// The identity in the folder, made first when there is none; and whether the node has run in its cluster before.
async fn own_identity(options: &Options, identities: &Identities) -> Result<(Identity, bool), StartError> {
    if let Some(identity) = identities.own()? {
        if identity.node != options.node {
            return Err(StartError::OtherNode { found: identity.node, asked: options.node });
        }
        if identity.recovering.is_some() {
            return Err(StartError::HalfRecovered);
        }
        let is_restart = identity.founding.is_some();
        return Ok((identity, is_restart));
    }
    let folder = Nonce::from_bytes(options.random.id());
    let (founding, members) = (None, BTreeMap::new());
    let identity = Identity { node: options.node, folder, founding, members, founder: false, recovering: None };
    // On the disk before any peer hears of this folder, so that a crash right after is not taken for a lost folder.
    identities.set_own(&identity).await?;
    Ok((identity, false))
}

async fn join_or_found(
    options: &Options,
    identities: &Identities,
    mut identity: Identity,
    stop: &CancellationToken,
) -> Result<Identity, StartError> {
    check_members(options)?;
    let caller = Caller { node: identity.node, folder: identity.folder };
    let others = || options.members.iter().filter(|(id, _)| *id != options.node);
    if !options.bootstrap && others().next().is_none() {
        return Err(StartError::Alone);
    }
    let mut told = false;
    let mut silent = Silent::default();
    loop {
        let (mut joined, mut unknown) = (None, false);
        for (peer, address) in others() {
            match ask_to_join(&*options.network, &*options.clock, &caller, *peer, &address.node).await {
                Ok(Welcome::Cluster { known_by_another_folder: true, .. }) => {
                    return Err(StartError::Emptied { node: options.node });
                }
                Ok(Welcome::Cluster { founding, members, .. }) => joined = Some((founding, members)),
                Ok(Welcome::Refused(reason)) => return Err(StartError::Refused { peer: *peer, reason }),
                Ok(Welcome::NotYet) => unknown = true,
                Ok(Welcome::Come) => {}
                Err(error) => silent.say(*peer, &error),
            }
        }
        let founder = joined.is_none() && !unknown && options.bootstrap;
        if let Some((founding, members)) = joined.or_else(|| founder.then(|| found(options))) {
            (identity.founding, identity.members) = (Some(founding), members);
            identity.founder = founder;
            identities.set_own(&identity).await?;
            return Ok(identity);
        }
        if !std::mem::replace(&mut told, true) {
            match unknown {
                true => tracing::info!(node = %options.node, "waiting to be added: see skerry cluster add"),
                false => tracing::info!("waiting for the node that was started with --bootstrap"),
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(StartError::Stopped),
            () = tokio::time::sleep(JOIN_PAUSE) => {}
        }
    }
}

/// Peers that a node without a cluster hears nothing from. That they are not up yet goes without saying; anything else, as a
/// certificate that they do not take, is said when it is new.
#[derive(Default)]
struct Silent(BTreeMap<NodeId, String>);

impl Silent {
    fn say(&mut self, peer: NodeId, error: &std::io::Error) {
        if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::TimedOut) {
            return tracing::debug!(%peer, %error, "a peer did not answer");
        }
        let reason = error.to_string();
        if self.0.get(&peer) != Some(&reason) {
            tracing::warn!(%peer, reason, "a peer cannot be asked about the cluster");
            self.0.insert(peer, reason);
        }
    }
}

fn found(options: &Options) -> (Founding, BTreeMap<NodeId, NodeAddress>) {
    let founding = Founding {
        cluster: ClusterId::from_bytes(options.random.id()),
        timeline: Timeline::from_bytes(options.random.id()),
        shards: options.shards,
        members: options.members.clone(),
        replay_edges: false,
    };
    (founding, options.members.iter().cloned().collect())
}

fn check_members(options: &Options) -> Result<(), StartError> {
    let members = |text: String| Err(StartError::Members(text));
    let count = options.members.len();
    if options.bootstrap && !CLUSTER_SIZES.contains(&count) {
        return members(format!("a cluster is founded with 1, 3, 5 or 7 nodes, --member names {count}"));
    }
    let by_id: BTreeMap<_, _> = options.members.iter().map(|(id, address)| (*id, address)).collect();
    if by_id.len() != count {
        return members("two --member have the same id".to_owned());
    }
    if !by_id.contains_key(&options.node) {
        return members(format!("--member does not name node {} itself", options.node));
    }
    if !(1..=crate::limits::SHARDS_MAX).contains(&options.shards) {
        return members(format!("--shards is {}, allowed are 1 to {}", options.shards, crate::limits::SHARDS_MAX));
    }
    Ok(())
}

async fn open_shards(
    options: &Options,
    peers: &Arc<Peers>,
    log: &Arc<LogWriter>,
    state: &Arc<StateWriter>,
    live: &Arc<LiveDocuments>,
    may_campaign: bool,
) -> Result<Vec<(Arc<Shard>, mpsc::Receiver<Submission>)>, StartError> {
    let thresholds = options.thresholds;
    let config = Config {
        cluster_name: peers.founding().cluster.to_string(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        enable_pre_vote: Some(true),
        // A leader's entries reach its followers while its own disk still works on them. One that crashed may have lost
        // some of them, so under the same term it would write others in their place.
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(thresholds.entries_between),
        replication_lag_threshold: u64::MAX,
        // Node::cut_log knows who still needs what.
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: millis(SNAPSHOT_STALL_TIMEOUT),
        ..Config::default()
    };
    // What is applied is reported as durable, and a process that was killed may have left more than was synced.
    state.flush().await?;
    let mut shards = Vec::new();
    for number in 0..peers.founding().shards {
        let shard = ShardId::new(number);
        let raft = |reason: String| StartError::Raft { shard, reason };
        let config = config.clone().validate().map_err(|error| raft(error.to_string()))?;
        let (database, writer) = (Arc::clone(&options.log), Arc::clone(log));
        let opened = compute(&*options.executor, move || LogStore::open(shard, database, writer)).await;
        let mut store: LogStore = opened.ok_or_else(|| raft("opening its log panicked".to_owned()))??;
        let generations = Generations::new(shard, Arc::clone(state), Arc::clone(&options.executor));
        let (mut machine, replica) = StateMachine::open(Parts {
            generations: generations.clone(),
            durable_end: store.durable_end(),
            live: Arc::clone(live),
            chunk_bytes: thresholds.chunk_bytes,
            compare_every: thresholds.compare_every,
        })?;
        let snapshots = Receiver::new(generations, Arc::clone(&replica));
        let (log, machine_of, receiver) = (&mut store, &mut machine, &snapshots);
        Recovery { node: options.node, shard, log, machine: machine_of, receiver, peers }.run().await?;
        let log = store.reader();
        let cut = Arc::<AtomicU64>::default();
        let (peers, executor) = (Arc::clone(peers), Arc::clone(&options.executor));
        let factory = Factory { shard, peers, executor, cut: Arc::clone(&cut) };
        let group = Raft::build(options.node, Arc::new(config), factory, store, machine).await;
        let group: Raft<StateMachine> = group.map_err(|error| raft(error.to_string()))?;
        group.runtime_config().elect(may_campaign);
        group.run();
        let fetches = Fetches::new(Arc::clone(&replica), thresholds.chunk_bytes, Arc::clone(&options.executor));
        let (shard, submitted) = Shard::new(group, replica, log, cut, snapshots, fetches);
        shards.push((Arc::new(shard), submitted));
    }
    // What openraft has applied again is reported as flushed too.
    state.flush().await?;
    Ok(shards)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("a limit is far below the end of time")
}

/// Makes a new shard's first membership, on the node that founded the cluster. Done again after a crash half-way.
async fn found_shard(node: &Node, identity: &Identity, shard: &Shard) -> Result<(), StartError> {
    let raft = |reason: String| StartError::Raft { shard: shard.id, reason };
    let initialized = shard.raft.is_initialized().await.map_err(|error| raft(error.to_string()))?;
    if !identity.founder || initialized {
        return Ok(());
    }
    let members: BTreeMap<NodeId, NodeAddress> = node.peers().founding().members.iter().cloned().collect();
    shard.raft.initialize(members).await.map_err(|error| raft(error.to_string()))
}

impl Node {
    /// Sees to one shard: campaigns only once the wait after a restart is over, and writes a new shard's first record.
    async fn tend(self, shard: Arc<Shard>, wait: Duration) {
        tokio::time::sleep(wait).await;
        shard.raft.runtime_config().elect(!self.0.headroom.is_low());
        let mut metrics = shard.raft.server_metrics();
        while shard.state.progress().scn == skerry_model::Scn::ZERO {
            metrics.borrow_and_update();
            if shard.raft.is_leader() {
                match self.found(&shard).await {
                    Ok(()) => return,
                    Err(refused) => tracing::debug!(shard = %shard.id, ?refused, "the first record was not written"),
                }
                tokio::time::sleep(JOIN_PAUSE).await;
            } else if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    /// Calls every peer once, so that each knows this node's folder, also those that would never be called otherwise:
    /// then none of them takes an emptied folder for this node. Keeps on the disk who they are, for the next start.
    async fn introduce(self, mut identity: Identity) {
        let mut met = BTreeSet::from([self.0.id]);
        loop {
            let members = self.members_heard_of();
            if members != identity.members {
                identity.members = members;
                if let Err(error) = self.0.identities.set_own(&identity).await {
                    tracing::warn!(%error, "who the cluster's nodes are was not stored");
                }
            }
            for (peer, address) in &identity.members {
                if !met.contains(peer) {
                    self.0.peers.learn(*peer, address);
                    if self.0.peers.meet(*peer).await.is_ok() {
                        met.insert(*peer);
                    }
                }
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
    }

    async fn found(&self, shard: &Shard) -> Result<(), Refused> {
        self.lead(shard).await?;
        let founding = self.0.peers.founding();
        let effect = Effect::Found { cluster: founding.cluster, timeline: founding.timeline };
        self.propose(shard, effect).await.map(|_| ())
    }
}
