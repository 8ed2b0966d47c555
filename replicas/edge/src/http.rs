//! The edge's HTTP API: the document routes that core and edge share, the collections, and the state of the sync. On
//! loopback alone: any other address needs TLS and tokens.

use std::future::Future;
use std::net::SocketAddr;

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use skerry_api::bodies::{All, Collection, Collections, Holds, SubscriptionBody, SyncStatus};
use skerry_api::guard::{Allowed, guard};
use skerry_api::payload::{JsonBody, RawBody};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_api::routes;
use skerry_channel::subscription::{BadEntry, Subscription};
use tokio::net::TcpListener;

use crate::edge::Edge;
use crate::limits;
use crate::sync;

mod metrics;
mod stranded;

/// Why the API is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not loopback.
    #[error(
        "{address} is not a loopback address: an edge would need TLS and tokens there, so give one of 127.0.0.1 or [::1]"
    )]
    NotLoopback {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server failed.
    #[error("the HTTP server failed: {0}")]
    Serve(#[source] std::io::Error),
}

/// Takes a loopback address; port 0 is any free one.
///
/// # Errors
/// [`Error::NotLoopback`] and [`Error::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| Error::Bind { address, source })
}

/// Serves until `shutdown`, then lets the requests that are under way finish.
///
/// # Errors
/// [`Error::Serve`].
pub async fn serve(
    edge: Edge,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    axum::serve(listener, router(edge)).with_graceful_shutdown(shutdown).await.map_err(Error::Serve)
}

/// Every route of an edge, behind the guard that keeps web pages of other origins away.
pub fn router(edge: Edge) -> Router {
    let own = Router::new()
        .route("/v1/collections", get(collections))
        .route("/v1/collections/{collection}", get(collection))
        .route("/v1/sync", post(sync_now))
        .route("/v1/sync/status", get(status))
        .route("/v1/sync/subscription", get(subscription).put(subscribe))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .layer(DefaultBodyLimit::max(limits::SYNC_BODY_BYTES_MAX))
        .with_state(edge.clone());
    let all = routes::with_problem_fallbacks(
        own.merge(stranded::routes(edge.clone())).merge(metrics::routes(edge.clone())).merge(routes::documents(edge)),
    );
    guard(all, Allowed::default())
}

async fn collections(State(edge): State<Edge>) -> Result<Json<Collections>, Problem> {
    edge.collections().map(Json)
}

async fn collection(State(edge): State<Edge>, Path(name): Path<String>) -> Result<Json<Collection>, Problem> {
    edge.collection(&name.parse()?).map(Json)
}

async fn status(State(edge): State<Edge>) -> Json<SyncStatus> {
    Json(edge.status())
}

/// `POST /v1/sync` without a body: this edge is asked to sync now. Frames are a core's to take.
async fn sync_now(State(edge): State<Edge>, RawBody(body): RawBody) -> Result<Json<SyncStatus>, Problem> {
    if !body.is_empty() {
        let detail = "this is an edge: it syncs when asked with an empty body, and takes no frames of other replicas";
        return Err(Problem::new(Kind::Malformed, detail));
    }
    edge.sync_now().await.map(Json).map_err(|error| match error {
        sync::Error::Stopped(stopped) => stopped.into(),
        error => Problem::unavailable(Outcome::NotProposed, crate::sync_loop::sentence(&error)),
    })
}

async fn subscription(State(edge): State<Edge>) -> Json<SubscriptionBody> {
    Json(describe(&edge.subscription()))
}

async fn subscribe(
    State(edge): State<Edge>,
    JsonBody(SubscriptionBody { subscription }): JsonBody<SubscriptionBody>,
) -> Result<Json<SubscriptionBody>, Problem> {
    let malformed = |detail: String| Problem::new(Kind::Malformed, detail);
    let wanted = match subscription {
        Holds::All(All::All) => Subscription::All,
        Holds::Only(entries) => {
            let entries = entries.iter().map(|entry| entry.parse()).collect::<Result<_, BadEntry>>();
            Subscription::only(entries.map_err(|error| malformed(error.to_string()))?)
                .map_err(|error| malformed(error.to_string()))?
        }
    };
    edge.subscribe(wanted).await?;
    Ok(Json(describe(&edge.subscription())))
}

fn describe(subscription: &Subscription) -> SubscriptionBody {
    let subscription = match subscription {
        Subscription::All => Holds::All(All::All),
        Subscription::Only(entries) => Holds::Only(entries.iter().map(ToString::to_string).collect()),
    };
    SubscriptionBody { subscription }
}

async fn healthy() -> &'static str {
    "ok\n"
}

async fn ready(State(edge): State<Edge>) -> Response {
    if edge.is_ready() {
        return "ready\n".into_response();
    }
    let error = edge.status().error.unwrap_or_else(|| "the core has not been reached yet".to_owned());
    Problem::unavailable(Outcome::NotProposed, error).into_response()
}
