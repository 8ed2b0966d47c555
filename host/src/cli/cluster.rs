//! `skerry cluster`: the nodes and shards of a cluster.

use clap::Subcommand;
use skerry_api::bodies;
use skerry_api::cli::{Error, Output, Table, patiently};
use skerry_api::client::Client;

/// The cluster
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Cluster {
    /// Show nodes and shards, as the node that is asked sees them
    #[command(after_help = "Example:\n  skerry cluster status")]
    Status,
}

impl Cluster {
    pub(super) async fn run(&self, client: &Client, output: Output) -> Result<(), Error> {
        match self {
            Self::Status => {
                let cluster = patiently("asking", client.cluster()).await?;
                Ok(output.show(&cluster, status)?)
            }
        }
    }
}

fn status(cluster: &bodies::Cluster) -> String {
    let bodies::Cluster { cluster: id, timeline, node, members, shards } = cluster;
    let mut nodes = Table::new(&["NODE", "HTTP", "NODE PORT", "LEADS"]);
    for member in members {
        let leads = shards.iter().filter(|shard| shard.leader == Some(member.id)).count();
        nodes.row([&member.id, &member.http, &member.node, &format!("{leads} of {}", shards.len())]);
    }
    let mut rows = Table::new(&["SHARD", "LEADER", "TERM", "LAST", "APPLIED", "SCN"]);
    for shard in shards {
        let leader = shard.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        rows.row([&shard.id, &leader, &shard.term, &shard.last_index, &shard.applied_index, &shard.scn]);
    }
    format!("cluster {id}, timeline {timeline}, seen by node {node}\n\n{nodes}\n\n{rows}")
}
