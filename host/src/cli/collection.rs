//! `skerry collection`: what collections there are, and what decides where concurrent writes in them meet.

use std::io;

use clap::{Args, Subcommand};
use skerry_api::bodies::{self, CollectionSpec};
use skerry_api::cli::{Output, Source, Table, patiently};
use skerry_api::client::{self, Client};
use skerry_api::problem::Kind;
use skerry_model::automerge_id::Inbox;
use skerry_model::limits::TEMPLATE_BYTES_MAX;
use skerry_model::policy::Policy;
use skerry_model::{CollectionName, document};

/// Collections
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Collection {
    #[command(after_help = "Example:\n  skerry collection create stock --policy plugin:stock")]
    Create(Create),
    /// List the collections
    #[command(after_help = "Example:\n  skerry collection list")]
    List,
    /// Show a collection
    #[command(after_help = "Example:\n  skerry collection show stock")]
    Show {
        /// The collection
        collection: CollectionName,
    },
    /// Give a collection another policy
    #[command(after_help = "Example:\n  skerry collection set-policy stock lww")]
    SetPolicy {
        /// The collection
        collection: CollectionName,
        /// strict, lww, json, counter, set, plugin:NAME or plugin:NAME@DIGEST
        policy: Policy,
    },
    /// Delete a collection with all its documents
    #[command(after_help = "Example:\n  skerry collection delete stock")]
    Delete {
        /// The collection
        collection: CollectionName,
    },
}

/// Create a collection
#[derive(Debug, Clone, Args)]
pub(super) struct Create {
    /// The collection
    collection: CollectionName,
    /// strict, lww, json, counter, set, plugin:NAME or plugin:NAME@DIGEST
    #[arg(long, default_value = "strict")]
    policy: Policy,
    /// What every document starts from: JSON, @FILE, or - for standard input
    #[arg(long, value_name = "JSON")]
    template: Option<Source>,
    /// JSON Pointer of a field that merges by character
    #[arg(long, value_name = "POINTER")]
    text: Vec<String>,
    /// Write back, as ordinary changes, what was decided where writes met, so that every Automerge client agrees
    #[arg(long)]
    settle: bool,
    /// Take documents that clients of Automerge make under ids of their own, under keys that begin like this
    #[arg(long, value_name = "PREFIX")]
    inbox: Option<Inbox>,
}

/// Why a collection command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("the template: {0}")]
    Source(#[from] skerry_api::cli::Error),
    #[error("the template: {0}")]
    Template(#[from] document::Error),
    #[error("the collection {name} exists with policy {policy}: see skerry collection show {name}")]
    Exists { name: CollectionName, policy: Policy },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Collection {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::Create(create) => {
                let created = patiently("creating", create.run(client)).await?;
                output.show(&created, |created| format!("created {}", created.name))?;
            }
            Self::List => {
                let found = patiently("listing", client.collections()).await?;
                output.show(&found, |found| list(&found.collections))?;
            }
            Self::Show { collection } => {
                let found = patiently("reading", client.collection(collection)).await?;
                output.show(&found, show)?;
            }
            Self::SetPolicy { collection, policy } => {
                let changed = patiently("changing", set_policy(client, collection, policy)).await?;
                let sentence =
                    |changed: &bodies::Collection| format!("{collection} has policy {}", changed.spec.policy);
                output.show(&changed, sentence)?;
            }
            Self::Delete { collection } => {
                patiently("deleting", client.delete_collection(collection)).await?;
                let deleted = serde_json::json!({ "deleted": collection });
                output.show(&deleted, |_| format!("deleted {collection}"))?;
            }
        }
        Ok(())
    }
}

impl Create {
    /// A PUT would give a collection that exists this policy, so it is looked for first.
    async fn run(&self, client: &Client) -> Result<bodies::Collection, Error> {
        let template = match &self.template {
            Some(template) => Some(document::parse(&template.read(TEMPLATE_BYTES_MAX)?)?),
            None => None,
        };
        let (policy, text) = (self.policy.clone(), self.text.clone());
        let spec = CollectionSpec { policy, template, text, settle: self.settle, inbox: self.inbox.clone() };
        match client.collection(&self.collection).await {
            Ok(found) if found.spec == spec => Ok(found),
            Ok(found) => Err(Error::Exists { name: found.name, policy: found.spec.policy }),
            Err(error) if error.problem().is_some_and(|problem| problem.kind == Kind::CollectionNotFound) => {
                Ok(client.put_collection(&self.collection, &spec).await?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn set_policy(
    client: &Client,
    collection: &CollectionName,
    policy: &Policy,
) -> Result<bodies::Collection, client::Error> {
    let spec = client.collection(collection).await?.spec;
    client.put_collection(collection, &CollectionSpec { policy: policy.clone(), ..spec }).await
}

fn list(collections: &[bodies::Collection]) -> String {
    let mut table = Table::new(&["COLLECTION", "POLICY", "PLUGIN"]);
    for collection in collections {
        let digest = collection.plugin.map(|digest| digest.to_string()).unwrap_or_default();
        table.row([&collection.name, &collection.spec.policy, &digest]);
    }
    table.to_string()
}

fn show(collection: &bodies::Collection) -> String {
    let mut table = Table::default();
    table.row([&"collection", &collection.name]);
    table.row([&"policy", &collection.spec.policy]);
    if let Some(digest) = &collection.plugin {
        table.row([&"plugin", digest]);
    }
    if let Some(template) = &collection.spec.template {
        table.row([&"template", &serde_json::Value::Object(template.clone())]);
    }
    if collection.spec.settle {
        table.row([&"settle", &"what was decided is written back"]);
    }
    for pointer in &collection.spec.text {
        table.row([&"text", pointer]);
    }
    table.to_string()
}
