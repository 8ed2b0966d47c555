//! `skerry recover`: what is left of a cluster that has lost its quorum for good, and how it goes on from there. Works on
//! the data folder of a node that is stopped.

use std::path::PathBuf;

use clap::Args;
use skerry_api::cli::{Output, Table, patiently, utc};
use skerry_model::ClusterId;
use skerry_model::env::{SystemClock, SystemRandom};

use crate::recovery::{self, Choices, Folder, Place, Recovered, Report};

/// Bring back a cluster that has lost most of its nodes for good, from the data folder of one that is left
///
/// Alone with --data it shows what the folder holds and changes nothing. Compare all survivors that way: the one to recover
/// holds most, which is, shard by shard, the highest term and then the highest index under LAST.
#[derive(Debug, Clone, Args)]
pub(super) struct Recover {
    /// The data folder of a node that is stopped
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// Make the node the only member of its cluster. What this folder does not hold is lost, acknowledged or not; every
    /// other node is removed for good, and must never run again on its old folder
    #[arg(long, requires = "confirm")]
    make_sole_member: bool,
    /// The id of the cluster, as the command shows it: the operator's word that the other nodes are lost
    #[arg(long, value_name = "CLUSTER_ID", requires = "make_sole_member")]
    confirm: Option<ClusterId>,
    /// Have edges offer again what the lost nodes had acknowledged of their work in the last day; without it each edge shows
    /// that as stranded, for a person to decide
    #[arg(long, requires = "make_sole_member")]
    replay_edges: bool,
    /// The folder is an older copy that was put back: begin a new line of history also where the node is the only member
    /// already, so that edges notice
    #[arg(long, requires = "make_sole_member")]
    older_copy: bool,
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Recovery(#[from] recovery::Error),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl Recover {
    pub(super) async fn run(&self, output: Output) -> Result<(), Error> {
        let folder = Folder::open(&self.data)?;
        let Some(cluster) = self.confirm else {
            return Ok(output.show(&folder.report()?, report)?);
        };
        let choices = Choices { replay_edges: self.replay_edges, older_copy: self.older_copy };
        let done = folder.make_sole_member(cluster, choices, &SystemClock, &SystemRandom);
        let recovered = patiently("recovering", done).await?;
        Ok(output.show(&recovered, outcome)?)
    }
}

fn report(report: &Report) -> String {
    let Report { cluster, timeline, node, half_recovered, shards } = report;
    let mut rows = Table::new(&["SHARD", "LAST", "COMMITTED", "APPLIED", "VOTE", "VOTERS", "SCN", "TIME"]);
    for shard in shards {
        let place = |place: Option<Place>| {
            place.map_or_else(|| "none".to_owned(), |Place { term, index }| format!("{index} in term {term}"))
        };
        let vote = shard.vote.map_or_else(|| "none".to_owned(), |vote| format!("{} in term {}", vote.node, vote.term));
        let voters = shard.voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let time = utc(i64::try_from(shard.time_ms).unwrap_or(i64::MAX));
        let [last, committed, applied] = [shard.last, shard.committed, shard.applied].map(place);
        rows.row([&shard.id, &last, &committed, &applied, &vote, &voters, &shard.scn, &time]);
    }
    let next = match half_recovered {
        true => "A recovery of this folder was cut short: give the same command again to finish it.",
        false => {
            "Of all survivors, recover the one that holds most: shard by shard the highest term, then the highest index \
             under LAST."
        }
    };
    format!("cluster {cluster}, timeline {timeline}, as node {node} left it\n\n{rows}\n\n{next}")
}

fn outcome(recovered: &Recovered) -> String {
    let Recovered { cluster, timeline, node, removed, changed } = recovered;
    if !changed {
        return format!(
            "node {node} is the only member of cluster {cluster} already: nothing was changed (a folder that is an older copy takes --older-copy)"
        );
    }
    let removed = removed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let removed = if removed.is_empty() { removed } else { format!("; removed for good: nodes {removed}") };
    format!(
        "node {node} is the only member of cluster {cluster}, on the new timeline {timeline}{removed}\nStart it as before, then add new nodes with new ids and empty folders: see skerry cluster add."
    )
}
