//! `/v1/cluster` and `/readyz`.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use openraft::async_runtime::WatchReceiver;
use skerry_api::bodies::{Cluster, Member, Shard};
use skerry_api::problem::{Outcome, Problem};

use crate::node::Node;

pub(super) fn routes(node: Node) -> Router {
    Router::new().route("/v1/cluster", get(show)).route("/readyz", get(ready)).with_state(node)
}

async fn show(State(node): State<Node>) -> Json<Cluster> {
    let founding = node.peers().founding();
    let members = founding.members.iter().map(|(id, address)| Member {
        id: *id,
        http: address.http.clone(),
        node: address.node.clone(),
    });
    let shards = node.shards().iter().map(|shard| {
        let metrics = shard.raft.metrics().borrow_watched().clone();
        let progress = shard.state.progress();
        Shard {
            id: shard.id,
            term: shard.term(),
            leader: metrics.current_leader,
            last_index: metrics.last_log_index.unwrap_or_default(),
            applied_index: progress.index,
            scn: progress.scn.bits(),
        }
    });
    Json(Cluster {
        cluster: founding.cluster,
        timeline: founding.timeline,
        node: node.id(),
        members: members.collect(),
        shards: shards.collect(),
    })
}

/// Ready once this node has caught up with every shard's leader.
async fn ready(State(node): State<Node>) -> Result<StatusCode, Problem> {
    for shard in node.shards() {
        if shard.leader().is_none() {
            let detail = format!("shard {} has no leader", shard.id);
            return Err(Problem::unavailable(Outcome::NotProposed, detail));
        }
        node.read_index(shard).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
