//! A core node as a process: databases, node, HTTP, until it is told to stop or must.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use skerry_api::guard::Allowed;
use skerry_model::NodeId;
use skerry_model::env::{SystemClock, SystemRandom};
use skerry_store::fjall::{FjallLog, FjallState};
use skerry_store::room::Folder;
use skerry_store::{LogDb, LogWriter, Mode, StateWriter};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::consensus::snapshot::Thresholds;
use crate::consensus::types::NodeAddress;
use crate::dev;
use crate::env::executor::Threads;
use crate::env::network::{Network, Tcp};
use crate::env::tls::{self, Tls, TlsFiles};
use crate::limits::EVALUATION_THREADS;
use crate::node::{self, AuditOptions, Reads, Running, StartError};
use crate::telemetry::metrics::Metrics;

/// What `skerry serve` is told.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The node's id.
    pub node: NodeId,
    /// Where the HTTP API listens.
    pub http: SocketAddr,
    /// Where the node port listens.
    pub node_address: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// Whether this node founds the cluster.
    pub bootstrap: bool,
    /// Every node of the cluster, this one among them.
    pub members: Vec<(NodeId, NodeAddress)>,
    /// What linearizable reads rely on.
    pub reads: Reads,
    /// How many shards a new cluster gets; none for one per four processor cores, 1 to 8.
    pub shards: Option<u16>,
    /// Of the versions that plugins have decided, one of so many is computed again by followers.
    pub audit_one_in: u32,
    /// How long the feed reaches back.
    pub rejoin_window: Duration,
    /// Origins of pages that may talk to this node, beside its own.
    pub origins: Vec<String>,
    /// The certificates of the node port; without them it takes plain TCP, on loopback only.
    pub tls: Option<TlsFiles>,
}

/// Why a node did not run or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that others could reach.
    #[error("--http {0} is not a loopback address: only loopback is served")]
    HttpNotLoopback(SocketAddr),
    /// A node port that others could reach, without TLS.
    #[error(
        "node port {0} is not on loopback, where it needs --node-ca, --node-cert and --node-key: skerry cluster cert \
         makes the files"
    )]
    NodePortWithoutTls(SocketAddr),
    /// The certificates of the node port.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The node.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The HTTP port.
    #[error("cannot listen on {address}: {source}; is another process using it?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What is wrong.
        source: io::Error,
    },
    /// Something after which a node must not go on.
    #[error("the node stopped: {0}")]
    Failed(String),
    /// The HTTP server.
    #[error("the HTTP server failed: {0}")]
    Http(#[source] io::Error),
}

/// Runs a node until `stop`; `ready` is told once it serves.
///
/// # Errors
/// [`Error`] says what to do.
pub async fn run(options: ServeOptions, stop: CancellationToken, ready: impl FnOnce()) -> Result<(), Error> {
    if !options.http.ip().is_loopback() {
        return Err(Error::HttpNotLoopback(options.http));
    }
    if !options.node_address.ip().is_loopback() && options.tls.is_none() {
        return Err(Error::NodePortWithoutTls(options.node_address));
    }
    let listen = |source| Error::Listen { address: options.http, source };
    let listener = TcpListener::bind(options.http).await.map_err(listen)?;
    let network: Arc<dyn Network> = match &options.tls {
        Some(files) => Arc::new(Tls::load(files)?),
        None => Arc::new(Tcp),
    };
    let mut running = start(node_options(&options, network)?, &listener, &stop).await?;
    let node = running.node.clone();
    let router = crate::api::router(&node, &Metrics::default(), Allowed::new([], options.origins.clone()));
    tracing::info!(node = %options.node, http = %options.http, "serving");
    ready();
    let failed = {
        let ending = CancellationToken::new();
        let ends = ending.clone();
        // Long polls would hold a graceful end for half a minute; their clients ask again elsewhere.
        let server = axum::serve(listener, router).with_graceful_shutdown(async move { ends.cancelled().await });
        let told = async {
            stop.cancelled().await;
            node.hand_over_all().await;
            ending.cancel();
        };
        tokio::select! {
            biased;
            () = told => None,
            reason = running.failed() => Some(Error::Failed(reason)),
            ended = async { server.await } => ended.err().map(Error::Http),
        }
    };
    stop_running(running).await;
    failed.map_or(Ok(()), Err)
}

/// Starts the node, and answers meanwhile that it cannot serve yet.
async fn start(options: node::Options, listener: &TcpListener, stop: &CancellationToken) -> Result<Running, Error> {
    let http = Error::Http;
    let meanwhile = socket2::SockRef::from(listener).try_clone().map_err(http)?;
    let meanwhile = TcpListener::from_std(meanwhile.into()).map_err(http)?;
    let started = CancellationToken::new();
    let ends = started.clone();
    let waiting = axum::serve(meanwhile, crate::api::waiting_router())
        .with_graceful_shutdown(async move { ends.cancelled().await });
    // Of its own task: a client that never ends its request must not keep the node from serving.
    tokio::spawn(async move { waiting.await });
    let _ends = started.drop_guard();
    Ok(node::start(options, stop).await?)
}

async fn stop_running(running: Running) {
    running.stop().await;
    tracing::info!("stopped");
}

fn node_options(options: &ServeOptions, network: Arc<dyn Network>) -> Result<node::Options, StartError> {
    if options.data.join("edge").exists() {
        return Err(StartError::EdgeFolder { path: options.data.clone() });
    }
    if options.data.join(dev::core_folder(NodeId::new(1))).exists() {
        return Err(StartError::DevFolder { path: options.data.clone() });
    }
    let folder = |name: &str| make_folder(&options.data.join(name));
    let log: Arc<dyn LogDb> = Arc::new(open_log(&folder("log")?)?);
    let state = open_state(&folder("state")?)?;
    Ok(node::Options {
        node: options.node,
        members: options.members.clone(),
        listen: options.node_address.to_string(),
        bootstrap: options.bootstrap,
        shards: options.shards.unwrap_or_else(default_shards),
        thresholds: Thresholds::default(),
        reads: options.reads,
        audit: AuditOptions { one_in: options.audit_one_in, inputs: Some(options.data.join("divergence")) },
        rejoin_window: options.rejoin_window,
        log_writer: Arc::new(LogWriter::start(Arc::clone(&log), Mode::Thread)?),
        log,
        state: Arc::new(StateWriter::start(Arc::new(state), Mode::Thread)?),
        space: Arc::new(Folder::new(options.data.clone())),
        network,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        executor: Arc::new(Threads::new(EVALUATION_THREADS)),
    })
}

fn open_log(path: &Path) -> Result<FjallLog, StartError> {
    FjallLog::open(path).map_err(|source| match source.is_damage() {
        true => StartError::LogDamaged { source },
        false => source.into(),
    })
}

/// Opens the state database, or puts an empty one in the place of one that is damaged: the log and the peers fill it.
fn open_state(path: &Path) -> Result<FjallState, StartError> {
    match FjallState::open(path) {
        Err(error) if error.is_damage() => {
            let aside = move_aside(path).map_err(|source| StartError::Aside { path: path.to_owned(), source })?;
            let (from, to) = (path.display(), aside.display());
            tracing::error!(%error, %from, %to, "the state database is damaged: it was moved aside and is rebuilt");
            Ok(FjallState::open(&make_folder(path)?)?)
        }
        opened => Ok(opened?),
    }
}

/// Renames a folder to the first name behind it that is free.
fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let name = |number: u64| path.with_extension(format!("damaged-{number}"));
    let free = (1..).map(name).find(|name| !name.exists()).expect("a folder holds fewer than 2^64 others");
    std::fs::rename(path, &free)?;
    Ok(free)
}

fn make_folder(path: &Path) -> Result<PathBuf, StartError> {
    std::fs::create_dir_all(path).map_err(|source| StartError::Folder { path: path.to_owned(), source })?;
    Ok(path.to_owned())
}

/// One shard per four processor cores, 1 to 8.
fn default_shards() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from((cores / 4).clamp(1, 8)).expect("at most 8")
}
