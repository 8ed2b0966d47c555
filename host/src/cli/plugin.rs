//! `skerry plugin`: the components that decide where concurrent writes meet.

use std::path::PathBuf;

use clap::Subcommand;
use skerry_api::bodies::{self, Deployed};
use skerry_api::cli::{Error, Output, Source, Table, patiently};
use skerry_api::client::Client;
use skerry_model::PluginName;
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::policy::World;

/// Plugins
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Plugin {
    /// Deploy a component: every node stores and compiles it, then collections with the policy plugin:NAME follow it
    #[command(after_help = "Example:\n  skerry plugin deploy stock stock.wasm")]
    Deploy {
        /// The plugin
        name: PluginName,
        /// The component
        file: PathBuf,
    },
    /// List the plugins
    #[command(after_help = "Example:\n  skerry plugin list")]
    List,
    /// Show a plugin's versions
    #[command(after_help = "Example:\n  skerry plugin show stock")]
    Show {
        /// The plugin
        name: PluginName,
    },
}

impl Plugin {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::Deploy { name, file } => {
                let component = Source::File(file.clone()).read(PLUGIN_BYTES_MAX)?;
                let deployed = patiently("deploying", client.deploy(name, component.into())).await?;
                output.show(&deployed, deployed_text)?;
            }
            Self::List => {
                let found = patiently("listing", client.plugins()).await?;
                output.show(&found, |found| list(&found.plugins))?;
            }
            Self::Show { name } => {
                let found = patiently("reading", client.plugin(name)).await?;
                output.show(&found, show)?;
            }
        }
        Ok(())
    }
}

fn deployed_text(deployed: &Deployed) -> String {
    let mut table = Table::default();
    table.row([&"plugin", &deployed.name]);
    table.row([&"active", &deployed.digest]);
    if let Some(replaced) = &deployed.replaced {
        table.row([&"before", replaced]);
    }
    table.row([&"ready on", &listed(&deployed.staged_on)]);
    table.row([&"collections", &listed(&deployed.collections)]);
    table.to_string()
}

fn list(plugins: &[bodies::Plugin]) -> String {
    let mut table = Table::new(&["PLUGIN", "KIND", "VERSIONS", "ACTIVE", "COLLECTIONS"]);
    for plugin in plugins {
        let kind = match plugin.world {
            World::Resolver => "resolver",
            World::MergePolicy => "merge policy",
        };
        table.row([&plugin.name, &kind, &plugin.versions.len(), &plugin.active, &listed(&plugin.collections)]);
    }
    table.to_string()
}

fn show(plugin: &bodies::Plugin) -> String {
    let mut table = Table::new(&["DIGEST", "BYTES", "ACTIVE"]);
    for version in &plugin.versions {
        let active = if version.digest == plugin.active { "yes" } else { "" };
        table.row([&version.digest, &version.bytes, &active]);
    }
    table.to_string()
}

fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
