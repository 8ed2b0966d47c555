//! `/v1/cluster` and what is below it, and `/readyz`.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use openraft::async_runtime::WatchReceiver;
use skerry_api::bodies::{Cluster, Drain, Member, NewMember, Replacement, Shard, Transfer};
use skerry_api::payload::JsonBody;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::NodeId;

use crate::catalog::MemberStep;
use crate::consensus::types::NodeAddress;
use crate::documents::evaluate::storage_problem;
use crate::documents::keys::feed;
use crate::documents::read;
use crate::node::Node;

pub(super) fn routes(node: Node) -> Router {
    Router::new()
        .route("/v1/cluster", get(show))
        .route("/v1/cluster/members/{id}", post(add).delete(remove))
        .route("/v1/cluster/members/{id}/drain", post(drain))
        .route("/v1/cluster/members/{id}/replace", post(replace))
        .route("/v1/cluster/transfer-leader", post(transfer))
        .route("/readyz", get(ready))
        .with_state(node)
}

async fn show(State(node): State<Node>) -> Result<Json<Cluster>, Problem> {
    let founding = node.peers().founding();
    let reachable = node.reachable().await;
    let drained = node.shards()[0].state.catalog().members.drained.clone();
    let members = node.members_now().into_iter().map(|(id, address)| Member {
        id,
        http: address.http,
        node: address.node,
        reachable: reachable.contains(&id),
        drained: drained.contains(&id),
    });
    let shards = node.shards().iter().map(|shard| {
        let metrics = shard.raft.metrics().borrow_watched().clone();
        let progress = shard.state.progress();
        let voters: BTreeSet<NodeId> = shard.voters();
        let feed_from = feed::floor::<read::Error>(&shard.state.store()).map_err(|error| storage_problem(&error))?;
        Ok(Shard {
            id: shard.id,
            term: shard.term(),
            leader: metrics.current_leader,
            learners: shard.nodes().difference(&voters).copied().collect(),
            voters,
            last_index: metrics.last_log_index.unwrap_or_default(),
            applied_index: progress.index,
            scn: progress.scn.bits(),
            feed_from: feed_from.bits(),
        })
    });
    Ok(Json(Cluster {
        cluster: founding.cluster,
        timeline: founding.timeline,
        node: node.id(),
        members: members.collect(),
        shards: shards.collect::<Result<_, Problem>>()?,
    }))
}

async fn add(
    State(node): State<Node>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<NewMember>,
) -> Result<StatusCode, Problem> {
    let address = address(body.node, body.http)?;
    node.change_members(MemberStep::Add(node_id(&id)?, address)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn remove(State(node): State<Node>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    node.change_members(MemberStep::Remove(node_id(&id)?)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn drain(
    State(node): State<Node>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Drain>,
) -> Result<StatusCode, Problem> {
    node.change_members(MemberStep::Drain(node_id(&id)?, body.drained)).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn replace(
    State(node): State<Node>,
    Path(id): Path<String>,
    JsonBody(body): JsonBody<Replacement>,
) -> Result<StatusCode, Problem> {
    let address = address(body.node, body.http)?;
    node.change_members(MemberStep::Replace { old: node_id(&id)?, new: body.id, address }).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn transfer(State(node): State<Node>, JsonBody(body): JsonBody<Transfer>) -> Result<StatusCode, Problem> {
    node.transfer_leader(body.shard, body.to).await?;
    Ok(StatusCode::NO_CONTENT)
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

fn node_id(id: &str) -> Result<NodeId, Problem> {
    let number = id.parse().ok().filter(|number| *number > 0);
    let malformed = || Problem::new(Kind::Malformed, format!("the node id is {id:?}, it must be a number from 1 on"));
    number.map(NodeId::new).ok_or_else(malformed)
}

/// Where a node is reached: `host:port` and the base URL of its HTTP API.
fn address(node: String, http: String) -> Result<NodeAddress, Problem> {
    let malformed = |detail: String| Problem::new(Kind::Malformed, detail);
    let port = node.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
    if !matches!(port, Some(Ok(1..))) {
        return Err(malformed(format!("node is {node:?}, it must be host:port")));
    }
    if !http.starts_with("http://") && !http.starts_with("https://") {
        return Err(malformed(format!("http is {http:?}, it must be a URL such as http://127.0.0.1:7404")));
    }
    Ok(NodeAddress { node, http })
}
