//! `skerry plugin`: the components that decide where concurrent writes meet.

mod author;
mod show;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use skerry_api::bodies::Rollback;
use skerry_api::cli::{Error as CliError, Output, Remote, Source, patiently};
use skerry_api::client;
use skerry_author::Project;
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::{PluginDigest, PluginName};

use super::DEFAULT_URL;

/// Plugins
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Plugin {
    /// Make a folder with a plugin that works, to be changed into yours
    #[command(after_help = "Example:\n  skerry plugin new my-stock --lang rust")]
    New(author::New),
    /// Build a plugin's component
    #[command(after_help = "Example:\n  skerry plugin build my-stock")]
    Build(author::Build),
    /// Run a plugin's own tests, then its examples and the laws on the component
    #[command(after_help = "Example:\n  skerry plugin test my-stock")]
    Test(author::Test),
    /// Try a plugin on the conflict in a file
    #[command(after_help = "Example:\n  skerry plugin try conflicts/two-sales.json --watch")]
    Try(author::Try),
    /// Check a component as a deployment would: what it exports, and whether it keeps the laws
    #[command(after_help = "Example:\n  skerry plugin check my-stock.wasm")]
    Check(author::Check),
    /// Deploy a component: every node stores and compiles it, then collections with the policy plugin:NAME follow it
    #[command(after_help = "Example:\n  skerry plugin deploy stock stock.wasm --dry-run")]
    Deploy {
        /// The plugin
        name: PluginName,
        /// The component, or the folder to build it in
        #[arg(default_value = ".")]
        from: PathBuf,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Make the version that was deployed before the active one again
    #[command(after_help = "Example:\n  skerry plugin rollback stock")]
    Rollback {
        /// The plugin
        name: PluginName,
        /// Go back to this version
        #[arg(long, value_name = "DIGEST")]
        to: Option<PluginDigest>,
    },
    /// List the plugins
    #[command(after_help = "Example:\n  skerry plugin list")]
    List,
    /// Show a plugin's versions, what became of calls to them, and where it is used
    #[command(after_help = "Example:\n  skerry plugin show stock")]
    Show {
        /// The plugin
        name: PluginName,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Cli(#[from] CliError),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    #[error(transparent)]
    Project(#[from] skerry_author::Error),
    #[error(transparent)]
    Example(#[from] skerry_author::examples::Error),
    #[error(transparent)]
    Runtime(#[from] skerry_runtime::Error),
    #[error("the plugin is not fit to be deployed: {0}")]
    Unfit(#[from] skerry_runtime::Refused),
}

impl Error {
    /// What the node answered, when it did.
    pub(super) fn problem(&self) -> Option<&skerry_api::problem::Problem> {
        match self {
            Self::Cli(error) => error.problem(),
            Self::Client(error) => error.problem(),
            _ => None,
        }
    }
}

impl Plugin {
    pub(super) async fn run(&self, remote: &Remote, output: Output) -> Result<(), Error> {
        let client = || remote.client(DEFAULT_URL);
        match self {
            Self::New(new) => new.run(output),
            Self::Build(build) => build.run(output),
            Self::Test(test) => test.run(output),
            Self::Try(tried) => tried.run(output),
            Self::Check(check) => check.run(output),
            Self::Deploy { name, from, dry_run: true } => {
                let component = component(from)?;
                let found = patiently("trying", client()?.try_deploy(name, component.into())).await?;
                Ok(output.show(&found, show::dry_run)?)
            }
            Self::Deploy { name, from, dry_run: false } => {
                let component = component(from)?;
                let deployed = patiently("deploying", client()?.deploy(name, component.into())).await?;
                Ok(output.show(&deployed, show::deployed)?)
            }
            Self::Rollback { name, to } => {
                let done = patiently("rolling back", client()?.roll_back(name, &Rollback { to: *to })).await?;
                Ok(output.show(&done, show::rolled_back)?)
            }
            Self::List => {
                let found = patiently("listing", client()?.plugins()).await?;
                Ok(output.show(&found, |found| show::list(&found.plugins))?)
            }
            Self::Show { name } => {
                let found = patiently("reading", client()?.plugin(name)).await?;
                Ok(output.show(&found, show::versions)?)
            }
        }
    }
}

/// The component of a file, or of the plugin in a folder, built now.
fn component(from: &Path) -> Result<Vec<u8>, Error> {
    if from.is_dir() {
        return Ok(Project::open(from)?.build()?);
    }
    Ok(Source::File(from.to_owned()).read(PLUGIN_BYTES_MAX)?)
}
