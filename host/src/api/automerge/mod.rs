//! `GET /v1/sync/automerge`: clients of automerge-repo, over its WebSocket protocol. `POST /v1/sync/ticket`: what a page in a
//! browser shows there, since it can send no headers with a WebSocket.

mod connection;
mod tickets;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Query, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use skerry_api::problem::{Kind, Problem};
use skerry_channel::automerge::Ephemeral;
use skerry_model::env::{Random, SystemRandom};
use tokio::sync::{Semaphore, broadcast};

use self::connection::Connection;
use self::tickets::Tickets;
use crate::limits::{CLIENT_MESSAGE_BYTES_MAX, CLIENTS_MAX, EPHEMERAL_QUEUE_MAX, TICKET_LIFETIME, TICKETS_MAX};
use crate::node::Node;
use crate::telemetry::metrics::Metrics;

/// What all connections of a node have in common.
#[derive(Clone)]
struct Hub {
    node: Node,
    metrics: Metrics,
    places: Arc<Semaphore>,
    connections: Arc<AtomicU64>,
    tickets: Arc<Tickets>,
    /// What clients say to each other, with the number of the connection that it came by.
    ephemeral: broadcast::Sender<(u64, Arc<Ephemeral>)>,
}

impl Hub {
    /// A number that no other connection of this node has.
    fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }
}

/// `POST /v1/sync/ticket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Ticket {
    /// What `?ticket=` takes, once and at this node.
    ticket: String,
    /// How long it is good for, in milliseconds.
    expires_in_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    ticket: Option<String>,
}

pub(super) fn routes(node: Node, metrics: Metrics) -> Router {
    let hub = Hub {
        node,
        metrics,
        places: Arc::new(Semaphore::new(CLIENTS_MAX)),
        connections: Arc::default(),
        tickets: Arc::default(),
        ephemeral: broadcast::Sender::new(EPHEMERAL_QUEUE_MAX),
    };
    Router::new().route("/v1/sync/automerge", get(connect)).route("/v1/sync/ticket", post(ticket)).with_state(hub)
}

async fn ticket(State(hub): State<Hub>) -> Result<(StatusCode, Json<Ticket>), Problem> {
    let made = hub.tickets.make(&SystemRandom).ok_or_else(|| {
        let detail = format!("{TICKETS_MAX} tickets are out and not used, the limit: try again in a minute");
        Problem::new(Kind::Overloaded, detail)
    })?;
    let expires_in_ms = u64::try_from(TICKET_LIFETIME.as_millis()).unwrap_or(u64::MAX);
    Ok((StatusCode::CREATED, Json(Ticket { ticket: made, expires_in_ms })))
}

async fn connect(
    State(hub): State<Hub>,
    Query(Parameters { ticket }): Query<Parameters>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Problem> {
    // The guard has seen to the Origin; a ticket shows that the page could read an answer of this node as well.
    let needs_ticket = headers.contains_key(ORIGIN);
    match ticket {
        Some(ticket) if !hub.tickets.take(&ticket) => {
            let detail = "the ticket is not one of this node, or was used, or is too old: get another";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        None if needs_ticket => {
            let detail = "a browser shows a ticket: POST /v1/sync/ticket gives one, for ?ticket=";
            return Err(Problem::new(Kind::Forbidden, detail));
        }
        Some(_) | None => {}
    }
    let place = Arc::clone(&hub.places).try_acquire_owned().map_err(|_| {
        let detail = format!("{CLIENTS_MAX} clients are connected here, the limit: ask another node");
        Problem::new(Kind::Overloaded, detail)
    });
    let name = hex::encode(SystemRandom.id());
    let upgrade = upgrade.max_message_size(CLIENT_MESSAGE_BYTES_MAX).max_frame_size(CLIENT_MESSAGE_BYTES_MAX);
    // What may pass is said on the connection: clients in Node throw at an HTTP status, and try again after a close.
    Ok(upgrade.on_upgrade(move |socket| async move {
        Connection::new(hub, socket, &name).run(place.as_ref().map(|_| ()).map_err(Problem::clone)).await;
    }))
}

/// The same route of a node that serves nothing yet: whoever connects is sent away, and comes again.
pub(super) fn waiting() -> Router {
    let closed = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(|socket| async { drop(socket) }) };
    Router::new().route("/v1/sync/automerge", get(closed))
}
