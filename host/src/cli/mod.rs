//! The `skerry` command line. Data goes to standard output, all else to standard error; a failure is one sentence and
//! exit code 1, a wrong use exit code 2.

mod bench;
mod certificates;
mod cluster;
mod collection;
mod conflicts;
mod dev;
mod plugin;
mod recover;
mod serve;
mod transfer;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use skerry_api::cli::{Delete, Get, Output, Put, Remote, Scan, fail};
use skerry_api::problem::Problem;

use crate::limits::STOP_TIMEOUT;

/// The node that a command talks to when nothing else is said.
const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// A distributed document database with a strong core and forgiving edges
#[derive(Debug, Parser)]
#[command(name = "skerry", version, propagate_version = true)]
#[command(after_help = "Example:\n  skerry get items lantern")]
struct Cli {
    #[command(flatten)]
    remote: Remote,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(after_help = "Example:\n  skerry dev")]
    Dev(dev::Dev),
    /// Run a core node
    #[command(after_help = "Example:\n  skerry serve --bootstrap --data ./skerry-data")]
    Serve(serve::Serve),
    #[command(after_help = "Example:\n  skerry recover --data ./skerry-data")]
    Recover(recover::Recover),
    #[command(after_help = "Example:\n  skerry get items lantern")]
    Get(Get),
    #[command(after_help = "Example:\n  skerry put items lantern '{\"name\": \"Lantern\", \"stock\": 3}'")]
    Put(Put),
    #[command(after_help = "Example:\n  skerry delete items lantern")]
    Delete(Delete),
    #[command(after_help = "Example:\n  skerry scan items --prefix lan")]
    Scan(Scan),
    #[command(after_help = "Example:\n  skerry import items items.ndjson")]
    Import(transfer::Import),
    #[command(after_help = "Example:\n  skerry export items items.ndjson")]
    Export(transfer::Export),
    /// Create, change and list collections
    #[command(subcommand, after_help = "Example:\n  skerry collection list")]
    Collection(collection::Collection),
    /// Make, deploy and list plugins, which decide where concurrent writes meet
    #[command(subcommand, after_help = "Example:\n  skerry plugin list")]
    Plugin(plugin::Plugin),
    /// See where concurrent writes met, and settle it
    #[command(subcommand, after_help = "Example:\n  skerry conflicts list stock")]
    Conflicts(conflicts::Conflicts),
    /// See how the cluster is, and change its nodes
    #[command(subcommand, after_help = "Example:\n  skerry cluster status")]
    Cluster(cluster::Cluster),
    #[command(after_help = "Example:\n  skerry bench --connections 64 --seconds 10 --read-share 0.5")]
    Bench(bench::Bench),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  skerry completions bash > /etc/bash_completion.d/skerry")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Command(#[from] skerry_api::cli::Error),
    #[error(transparent)]
    Client(#[from] skerry_api::client::Error),
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    #[error(transparent)]
    Collection(#[from] collection::Error),
    #[error(transparent)]
    Plugin(#[from] plugin::Error),
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    #[error(transparent)]
    Bench(#[from] bench::Error),
    #[error(transparent)]
    Serve(#[from] serve::Error),
    #[error(transparent)]
    Recover(#[from] recover::Error),
    #[error(transparent)]
    Dev(#[from] Box<dev::Error>),
    #[error("the process gets no threads or sockets from the system: {0}")]
    Runtime(#[source] std::io::Error),
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
}

impl Error {
    /// What the node answered, when it did.
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Command(error) => error.problem(),
            Self::Plugin(error) => error.problem(),
            Self::Client(error) | Self::Cluster(cluster::Error::Client(error)) => error.problem(),
            _ => None,
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { remote, command } = Cli::parse();
    match run(command, &remote) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.problem(), remote.output().is_json()),
    }
}

fn run(command: Command, remote: &Remote) -> Result<(), Error> {
    let mut runtime = match command {
        Command::Serve(_) | Command::Dev(_) => {
            let mut runtime = tokio::runtime::Builder::new_multi_thread();
            runtime.worker_threads(node_workers());
            runtime
        }
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(Error::Runtime)?;
    let done = runtime.block_on(Box::pin(dispatch(command, remote)));
    // An evaluation that still runs proposes nothing any more, so nobody waits for it longer than this.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    done
}

/// Half of the cores: the threads that write log and state and evaluate need the others, and work that is handed from
/// one busy core to another costs more than it gains.
fn node_workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

async fn dispatch(command: Command, remote: &Remote) -> Result<(), Error> {
    let output = remote.output();
    let client = || remote.client(DEFAULT_URL);
    match command {
        Command::Dev(dev) => dev.run(output).await.map_err(Box::new)?,
        Command::Serve(serve) => serve.run(output).await?,
        Command::Recover(recover) => recover.run(output).await?,
        Command::Get(get) => get.run(&client()?, output).await?,
        Command::Put(put) => put.run(&client()?, output).await?,
        Command::Delete(delete) => delete.run(&client()?, output).await?,
        Command::Scan(scan) => scan.run(&client()?, output).await?,
        Command::Import(import) => import.run(&client()?, output).await?,
        Command::Export(export) => export.run(&client()?, output).await?,
        Command::Collection(command) => command.run(&client()?, output).await?,
        Command::Plugin(command) => command.run(remote, output).await?,
        Command::Conflicts(command) => command.run(&client()?, output).await?,
        Command::Cluster(command) => command.run(&client()?, output).await?,
        Command::Bench(bench) => bench.run(remote, output).await?,
        Command::Completions { shell } => completions(shell, output)?,
    }
    Ok(())
}

fn completions(shell: Shell, output: Output) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "skerry", &mut script);
    output.bytes(&script).map_err(Error::Output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Each example is also a command line that parses.
    #[test]
    fn every_command_has_an_example_that_parses() {
        fn visit(command: &clap::Command) -> usize {
            let help = command.get_after_help().unwrap_or_else(|| panic!("{} has no example", command.get_name()));
            let help = help.to_string();
            let example = help.strip_prefix("Example:\n  ").unwrap_or_else(|| panic!("{help}"));
            let words: Vec<_> = example.split('>').next().unwrap().split('\'').enumerate().collect();
            // What stands between single quotes is one word.
            let words = words.iter().flat_map(|(at, part)| match at % 2 {
                1 => vec![*part],
                _ => part.split_whitespace().collect(),
            });
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
            1 + command.get_subcommands().map(visit).sum::<usize>()
        }
        assert!(visit(&Cli::command()) > 20);
    }

    #[test]
    fn every_shell_has_completions() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "skerry", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("set-policy"), "{shell}");
        }
    }

    #[track_caller]
    fn check_refused(line: &str, expected: &str) {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn wrong_uses_are_named() {
        check_refused("skerry get Items lantern", "collection has the character 'I'");
        check_refused("skerry scan items --all --limit 3", "cannot be used with");
        check_refused("skerry bench --read-share 1.5", "0.0 to 1.0");
        check_refused("skerry bench --unique --keys 3", "cannot be used with");
        check_refused("skerry serve --member 1", "ID=HTTP_ADDRESS");
        check_refused("skerry recover --data core-1 --make-sole-member", "--confirm <CLUSTER_ID>");
        check_refused("skerry collection set-policy items crdt", "strict, lww, json");
    }
}
