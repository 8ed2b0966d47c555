//! `skerry-edge subscription`: what an edge holds, shown and changed while it runs.

use clap::{Args, Subcommand};
use skerry_api::bodies::{All, Holds, SubscriptionBody};
use skerry_api::cli::Output;
use skerry_api::client::Client;
use skerry_channel::subscription::{BadEntry, Entry};

use super::Error;

/// What the edge holds.
#[derive(Debug, Subcommand)]
pub(super) enum Holding {
    /// Show it
    Show,
    /// Hold this and nothing else
    #[command(after_help = "Example:\n  skerry-edge subscription set items orders/eu-")]
    Set(Set),
    /// Hold this too
    Add(Entries),
    /// Hold this no longer: it goes once what was written here has reached the core
    Remove(Entries),
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// A collection, or the part of it whose keys begin with a prefix
    #[arg(
        value_name = "COLLECTION[/PREFIX]",
        required_unless_present = "all",
        conflicts_with = "all",
        value_parser = held_alone
    )]
    entries: Vec<Entry>,
    /// Everything, also collections made later
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Entries {
    /// A collection, or the part of it whose keys begin with a prefix
    #[arg(value_name = "COLLECTION[/PREFIX]", required = true)]
    entries: Vec<Entry>,
}

impl Holding {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        let wanted = match self {
            Self::Show => return Ok(output.show(&client.subscription().await?, people)?),
            Self::Set(Set { all: true, .. }) => Holds::All(All::All),
            Self::Set(Set { entries, .. }) => Holds::Only(names(entries)),
            Self::Add(Entries { entries }) => match client.subscription().await?.subscription {
                Holds::All(all) => Holds::All(all),
                Holds::Only(held) => Holds::Only([held, names(entries)].concat()),
            },
            Self::Remove(Entries { entries }) => match client.subscription().await?.subscription {
                Holds::All(_) => return Err(Error::HoldsAll),
                Holds::Only(held) => {
                    let removed = names(entries);
                    if let Some(missing) = removed.iter().find(|entry| !held.contains(entry)) {
                        return Err(Error::NotHeld { entry: missing.clone(), held: held.join(", ") });
                    }
                    Holds::Only(held.into_iter().filter(|entry| !removed.contains(entry)).collect())
                }
            },
        };
        let subscribed = client.subscribe(&SubscriptionBody { subscription: wanted }).await?;
        Ok(output.show(&subscribed, people)?)
    }
}

/// Whoever says `all` here seldom means a collection of that name, and would lose everything else.
fn held_alone(text: &str) -> Result<Entry, String> {
    if text == "all" {
        return Err("--all holds everything, and all/ the collection that is called all".to_owned());
    }
    text.parse().map_err(|error: BadEntry| error.to_string())
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(ToString::to_string).collect()
}

fn people(body: &SubscriptionBody) -> String {
    match &body.subscription {
        Holds::All(_) => "everything".to_owned(),
        Holds::Only(entries) if entries.is_empty() => "nothing".to_owned(),
        Holds::Only(entries) => entries.join("\n"),
    }
}
