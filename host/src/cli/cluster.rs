//! `skerry cluster`: the nodes and shards of a cluster, and what an operator does with them. A change is followed until all
//! shards have it; one that was cut short is finished by saying it again.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use skerry_api::bodies::{self, NewMember, Replacement, Transfer};
use skerry_api::cli::{Output, Table, patiently};
use skerry_api::client::{self, Client};
use skerry_model::{NodeId, ShardId};

use super::certificates::{self, Certificates};

/// How often the cluster is looked at while it changes.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long a shard may show nothing new before the command gives up; the change goes on without it.
const PATIENCE: Duration = Duration::from_secs(120);
const SPINNER_TICK: Duration = Duration::from_millis(100);

/// The cluster
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Cluster {
    /// Show nodes and shards, as the node that is asked sees them
    #[command(after_help = "Example:\n  skerry cluster status")]
    Status,
    /// Add a node, which is started with `skerry serve` and at least one member that is there
    #[command(after_help = "Example:\n  skerry cluster add 4 --http http://127.0.0.1:7404 --node 127.0.0.1:8404")]
    Add {
        /// Its id, which no node ever had
        id: u64,
        #[command(flatten)]
        address: Address,
    },
    /// Remove a node for good
    #[command(after_help = "Example:\n  skerry cluster remove 3")]
    Remove {
        /// The node
        id: u64,
    },
    /// Put a new node in a node's place
    #[command(
        after_help = "Example:\n  skerry cluster replace 3 --by 4 --http http://127.0.0.1:7404 --node 127.0.0.1:8404"
    )]
    Replace {
        /// The node that goes, up or not
        id: u64,
        /// The id of the node that comes, which no node ever had
        #[arg(long, value_name = "ID")]
        by: u64,
        #[command(flatten)]
        address: Address,
    },
    /// Take all leadership from a node, before its machine is worked on
    #[command(after_help = "Example:\n  skerry cluster drain 2")]
    Drain {
        /// The node
        id: u64,
        /// Let it lead again
        #[arg(long)]
        undo: bool,
    },
    /// Make an authority and certificates for the node port
    #[command(after_help = "Example:\n  skerry cluster cert 1=10.0.0.1 2=10.0.0.2 3=10.0.0.3")]
    Cert(Certificates),
    /// Hand the leadership of a shard to a node
    #[command(after_help = "Example:\n  skerry cluster transfer-leader --shard 0 --to 2")]
    TransferLeader {
        /// The shard
        #[arg(long, default_value_t = 0)]
        shard: u16,
        /// The node
        #[arg(long)]
        to: u64,
    },
}

/// Where a new node is reached.
#[derive(Debug, Clone, Args)]
pub(super) struct Address {
    /// Base URL of its HTTP API
    #[arg(long, value_name = "URL")]
    http: String,
    /// host:port of its node port
    #[arg(long, value_name = "ADDRESS")]
    node: String,
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    #[error(
        "for {} s the cluster has come no further: {left}; it goes on by itself, and the same command follows it again",
        PATIENCE.as_secs()
    )]
    Stuck { left: String },
}

impl Cluster {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::Status => {
                let cluster = patiently("asking", client.cluster()).await?;
                Ok(output.show(&cluster, status)?)
            }
            Self::Add { id, address } => {
                let (id, Address { http, node }) = (NodeId::new(*id), address.clone());
                client.add_member(id, &NewMember { http, node }).await?;
                follow(client, output, |cluster, shard| has_vote(cluster, shard, id)).await?;
                Ok(output.line(&format!("node {id} has its vote in every shard"))?)
            }
            Self::Remove { id } => {
                let id = NodeId::new(*id);
                client.remove_member(id).await?;
                follow(client, output, |cluster, shard| is_out(cluster, shard, id)).await?;
                Ok(output.line(&format!("node {id} is out of every shard and can be stopped"))?)
            }
            Self::Replace { id, by, address } => {
                let (id, by, Address { http, node }) = (NodeId::new(*id), NodeId::new(*by), address.clone());
                client.replace_member(id, &Replacement { id: by, http, node }).await?;
                follow(client, output, |cluster, shard| has_vote(cluster, shard, by)).await?;
                follow(client, output, |cluster, shard| is_out(cluster, shard, id)).await?;
                client.remove_member(id).await?;
                Ok(output.line(&format!("node {by} is in the place of node {id}, which can be stopped"))?)
            }
            Self::Drain { id, undo } => {
                let id = NodeId::new(*id);
                client.drain_member(id, !undo).await?;
                if *undo {
                    return Ok(output.line(&format!("node {id} may lead again"))?);
                }
                follow(client, output, |cluster, shard| leads_not(cluster, shard, id)).await?;
                Ok(output.line(&format!("node {id} leads nothing"))?)
            }
            Self::Cert(certificates) => Ok(certificates.run(output)?),
            Self::TransferLeader { shard, to } => {
                let transfer = Transfer { shard: ShardId::new(*shard), to: NodeId::new(*to) };
                patiently("handing over", client.transfer_leader(transfer)).await?;
                Ok(output.line(&format!("node {to} leads shard {shard}"))?)
            }
        }
    }
}

/// What a shard still lacks; `None` when it is as it should be.
type Lack = Option<String>;

fn has_vote(cluster: &bodies::Cluster, shard: &bodies::Shard, node: NodeId) -> Lack {
    let answers = cluster.members.iter().any(|member| member.id == node && member.reachable);
    let lack = || match shard.learners.contains(&node) {
        _ if !answers => format!("node {node} does not answer: start it, naming a member that is there"),
        true => format!("node {node} is catching up in shard {}", shard.id),
        false => format!("node {node} is not in shard {} yet", shard.id),
    };
    (!shard.voters.contains(&node)).then(lack)
}

fn is_out(_: &bodies::Cluster, shard: &bodies::Shard, node: NodeId) -> Lack {
    let is_in = shard.voters.contains(&node) || shard.learners.contains(&node);
    is_in.then(|| format!("node {node} is still in shard {}", shard.id))
}

fn leads_not(_: &bodies::Cluster, shard: &bodies::Shard, node: NodeId) -> Lack {
    let lack = || format!("node {node} still leads shard {}", shard.id);
    (shard.leader.is_none() || shard.leader == Some(node)).then(lack)
}

/// Looks at the cluster until no shard lacks anything, and shows what is still lacking.
async fn follow(
    client: &Client,
    output: Output,
    lack: impl Fn(&bodies::Cluster, &bodies::Shard) -> Lack,
) -> Result<(), Error> {
    let spinner = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.enable_steady_tick(SPINNER_TICK);
    let mut last: Option<BTreeSet<String>> = None;
    let mut seen = tokio::time::Instant::now();
    loop {
        let cluster = client.cluster().await?;
        let left: BTreeSet<String> = cluster.shards.iter().filter_map(|shard| lack(&cluster, shard)).collect();
        if left.is_empty() {
            spinner.finish_and_clear();
            return Ok(());
        }
        let text = left.iter().cloned().collect::<Vec<_>>().join(", ");
        spinner.set_message(text.clone());
        if last.as_ref() != Some(&left) {
            seen = tokio::time::Instant::now();
            last = Some(left);
        } else if seen.elapsed() >= PATIENCE {
            spinner.finish_and_clear();
            return Err(Error::Stuck { left: text });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn status(cluster: &bodies::Cluster) -> String {
    let bodies::Cluster { cluster: id, timeline, node, members, shards } = cluster;
    let mut nodes = Table::new(&["NODE", "HTTP", "NODE PORT", "STATE", "LEADS"]);
    for member in members {
        let leads = shards.iter().filter(|shard| shard.leader == Some(member.id)).count();
        let votes = shards.iter().filter(|shard| shard.voters.contains(&member.id)).count();
        let state = match (member.reachable, member.drained) {
            (false, _) => "no answer",
            (true, _) if votes < shards.len() => "joining",
            (true, true) => "drained",
            (true, false) => "up",
        };
        nodes.row([&member.id, &member.http, &member.node, &state, &format!("{leads} of {}", shards.len())]);
    }
    let mut rows = Table::new(&["SHARD", "LEADER", "VOTERS", "TERM", "LAST", "APPLIED", "SCN"]);
    for shard in shards {
        let leader = shard.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        let voters = shard.voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        rows.row([&shard.id, &leader, &voters, &shard.term, &shard.last_index, &shard.applied_index, &shard.scn]);
    }
    format!("cluster {id}, timeline {timeline}, seen by node {node}\n\n{nodes}\n\n{rows}")
}
