//! The command line of `skerry-edge`.

mod stranded;
mod subscription;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use skerry_api::bodies::SyncStatus;
use skerry_api::cli::{self, Output, Remote, patiently};
use skerry_api::client;
use skerry_channel::subscription::{Entry, Subscription, TooMany};
use skerry_model::{Origin, ids};

use self::stranded::Stranded;
use self::subscription::Holding;
use crate::edge::{self, Edge, EdgeOptions, OpenError};
use crate::http;
use crate::limits;
use crate::owner::Stopped;

/// The URL of an edge on this machine.
const DEFAULT_URL: &str = "http://127.0.0.1:7500";

/// What is logged unless `RUST_LOG` says otherwise: the database has nothing to tell people.
const LOGS_DEFAULT: &str = "info,fjall=warn,lsm_tree=warn";

/// An edge replica of Skerry: reads and writes offline, and syncs with its core.
#[derive(Debug, Parser)]
#[command(name = "skerry-edge", version)]
pub struct Cli {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an edge replica
    Serve(Serve),
    /// Give the copy of an edge's folder a name of its own
    ///
    /// Two edges that run on copies of one folder would write under one name; the second of them is held, and says so. Stop it,
    /// give it a name of its own, and start it under that: what it has not sent goes to the core then.
    #[command(after_help = "Example:\n  skerry-edge enrol --data ./copy --replica shop-2 --core http://127.0.0.1:7400")]
    Enrol(Enrol),
    /// Print a document
    Get(cli::Get),
    /// Write a document
    Put(cli::Put),
    /// Delete a document
    Delete(cli::Delete),
    /// List the documents of a collection
    Scan(cli::Scan),
    /// Show how the sync with the core is going
    Status,
    /// Push everything and pull until nothing is new
    Sync,
    /// Show or change what the edge holds
    #[command(subcommand)]
    Subscription(Holding),
    /// Show, export, make again or give up what the core refused
    #[command(subcommand)]
    Stranded(Stranded),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Name of this replica, unique among all edges of the cluster
    #[arg(long, value_parser = edge_name)]
    replica: Origin,
    /// Base URL of a core node; repeat it for more, and the next is tried when one is down
    #[arg(long, required = true, value_name = "URL")]
    core: Vec<String>,
    /// Folder for the replica's data
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Loopback address of the HTTP API
    #[arg(long, default_value = "127.0.0.1:7500", value_name = "ADDR")]
    http: SocketAddr,
    /// What to hold from now on: a collection, or the part of it whose keys begin with a prefix; repeat it for more [default:
    /// what the folder holds, at first everything]
    #[arg(long, value_name = "COLLECTION[/PREFIX]")]
    subscribe: Vec<Entry>,
}

#[derive(Debug, Args)]
struct Enrol {
    /// The new name of this replica, unique among all edges of the cluster
    #[arg(long, value_parser = edge_name)]
    replica: Origin,
    /// Base URL of a core node
    #[arg(long, required = true, value_name = "URL")]
    core: Vec<String>,
    /// Folder of an edge that is stopped
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// The name of an edge: the core has its own.
fn edge_name(text: &str) -> Result<Origin, String> {
    let name: Origin = text.parse().map_err(|error: ids::Error| error.to_string())?;
    if name == Origin::core() { Err("it is the core's own name: give the edge another".to_owned()) } else { Ok(name) }
}

impl Enrol {
    async fn run(&self, output: Output) -> Result<(), Error> {
        let options = EdgeOptions {
            replica: self.replica.clone(),
            cores: self.core.clone(),
            data: self.data.clone(),
            subscription: None,
        };
        let enrolling = tokio::task::spawn_blocking(move || edge::enrol(options));
        patiently("enrolling", enrolling).await.map_err(|_| OpenError::Stopping)??;
        let (replica, data) = (&self.replica, self.data.display());
        output.note(&format!("{data} is replica {replica} now: start it with --replica {replica}"));
        Ok(())
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Documents(#[from] cli::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Http(#[from] http::Error),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(transparent)]
    Subscription(#[from] TooMany),
    #[error("the edge holds everything: say with `skerry-edge subscription set` what it is to hold instead")]
    HoldsAll,
    #[error("{entry} is not among what the edge holds, which is {held}")]
    NotHeld { entry: String, held: String },
    #[error("cannot start the async runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    #[error("{url} cannot be reached: is the edge running?")]
    Unreachable { url: String, source: reqwest::Error },
    #[error("the sync failed: {detail}")]
    Sync { detail: String },
    #[error("cannot make {}, name a file that is not there yet: {source}", path.display())]
    Export { path: PathBuf, source: io::Error },
    #[error("{refused} could not be decided, and stay as they were: what is printed above says why")]
    Stranded { refused: usize },
}

/// Runs the command that the arguments name.
pub fn run(cli: &Cli) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Error::Runtime).and_then(|runtime| runtime.block_on(run_command(cli)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let problem = match &error {
                Error::Documents(error) => error.problem(),
                Error::Client(error) => error.problem(),
                _ => None,
            };
            cli::fail(&error, problem, cli.remote.output().is_json())
        }
    }
}

async fn run_command(cli: &Cli) -> Result<(), Error> {
    let output = cli.remote.output();
    let client = || cli.remote.client(DEFAULT_URL);
    match &cli.command {
        Command::Serve(serve) => Box::pin(serve.run(output)).await,
        Command::Enrol(enrol) => enrol.run(output).await,
        Command::Get(get) => Ok(get.run(&client()?, output).await?),
        Command::Put(put) => Ok(put.run(&client()?, output).await?),
        Command::Delete(delete) => Ok(delete.run(&client()?, output).await?),
        Command::Scan(scan) => Ok(scan.run(&client()?, output).await?),
        Command::Status => Ok(output.show(&client()?.sync_status().await?, people)?),
        Command::Sync => {
            let status = patiently("syncing", sync(&cli.remote)).await?;
            Ok(output.show(&status, people)?)
        }
        Command::Subscription(holding) => holding.run(&client()?, output).await,
        Command::Stranded(stranded) => stranded.run(&client()?, output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "skerry-edge", &mut script);
            Ok(output.line(String::from_utf8_lossy(&script).trim_end())?)
        }
    }
}

impl Serve {
    async fn run(&self, output: Output) -> Result<(), Error> {
        logs();
        let listener = http::bind(self.http).await?;
        let address = listener.local_addr()?;
        let edge = Edge::open(EdgeOptions {
            replica: self.replica.clone(),
            cores: self.core.clone(),
            data: self.data.clone(),
            subscription: subscription(&self.subscribe)?,
        })
        .await?;
        output.note(&format!("replica {} listens on http://{address}", self.replica));
        let asked = async {
            tokio::select! {
                stopped = edge.stopped() => Some(stopped),
                () = asked_to_stop() => None,
            }
        };
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(http::serve(edge.clone(), listener, async {
            // An error is an end too.
            drop(ended.await);
        }));
        let failed = asked.await;
        drop(end);
        // Requests under way have a moment to finish; a stream that nobody reads does not hold the edge back.
        let served = tokio::time::timeout(limits::SHUTDOWN_TIMEOUT, serving).await;
        edge.close().await?;
        if let Some(stopped) = failed {
            return Err(stopped.into());
        }
        match served {
            Ok(Ok(served)) => Ok(served?),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

/// Logs go to standard error; `RUST_LOG` says how much.
fn logs() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGS_DEFAULT));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .init();
}

/// Done when the process is asked to stop.
async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    let mut terminated = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminated) => terminated,
        Err(error) => {
            tracing::warn!(%error, "the process cannot hear SIGTERM");
            drop(interrupted.await);
            return;
        }
    };
    tokio::select! {
        _ = interrupted => {}
        _ = terminated.recv() => {}
    }
}

/// What the arguments subscribe to.
fn subscription(entries: &[Entry]) -> Result<Option<Subscription>, Error> {
    let entries = (!entries.is_empty()).then(|| entries.to_vec());
    Ok(entries.map(Subscription::only).transpose()?)
}

/// Asks a running edge to sync, and waits for it.
async fn sync(remote: &Remote) -> Result<SyncStatus, Error> {
    let url = remote.urls(DEFAULT_URL).swap_remove(0);
    let unreachable = |source: reqwest::Error| Error::Unreachable { url: url.clone(), source };
    let http = reqwest::Client::builder().no_proxy().build().map_err(unreachable)?;
    let route = format!("{}/v1/sync", url.trim_end_matches('/'));
    let answer = http.post(route).timeout(limits::SYNC_NOW_TIMEOUT * 2).send().await.map_err(unreachable)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(unreachable)?;
    let failed = || Error::Sync { detail: crate::wire::detail(&body) };
    if status.is_success() { serde_json::from_slice(&body).map_err(|_| failed()) } else { Err(failed()) }
}

fn people(status: &SyncStatus) -> String {
    let SyncStatus { replica, incarnation, core, connected, error, documents, unsent, stranded, copied, divergences } =
        status;
    let mut lines = vec![
        format!("replica      {replica} (incarnation {incarnation})"),
        format!("core         {core}, {}", if *connected { "connected" } else { "not connected" }),
        format!("documents    {documents}{}", if *copied { "" } else { ", the first copy is not complete" }),
        format!("unsent       {unsent}"),
        format!("stranded     {stranded}"),
    ];
    if *divergences > 0 {
        lines.push(format!(
            "divergences  {divergences}: this edge's plugins decide otherwise than the core's; see its log"
        ));
    }
    lines.extend(error.iter().map(|error| format!("error        {}", cli::plain(error))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
