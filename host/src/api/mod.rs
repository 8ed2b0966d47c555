//! The HTTP routes of a core node, beside the document routes that it shares with edges.

mod automerge;
mod cluster;
mod collections;
mod events;
mod metrics;
mod plugins;
mod sync;

use axum::Router;
use axum::routing::get;
use skerry_api::guard::{Allowed, guard};
use skerry_api::problem::{Outcome, Problem};
use skerry_api::routes;

use crate::node::Node;
use crate::telemetry::metrics::Metrics;

/// What a node answers before it is part of a cluster: that the process is up, and that it serves nothing yet.
pub fn waiting_router() -> Router {
    let not_yet = || async {
        let detail =
            "this node is still starting, or waits to be part of a cluster: ask another, or see this one's log";
        Problem::unavailable(Outcome::NotProposed, detail)
    };
    Router::new().route("/healthz", get(healthy)).merge(automerge::waiting()).fallback(not_yet)
}

async fn healthy() -> &'static str {
    "ok\n"
}

/// Every route of a node.
pub fn router(node: &Node, metrics: &Metrics, allowed: Allowed) -> Router {
    let router = Router::new()
        .merge(routes::documents(node.clone()))
        .merge(collections::routes(node.clone()))
        .merge(plugins::routes(node.clone()))
        .merge(cluster::routes(node.clone()))
        .merge(sync::routes(node.clone(), metrics.clone()))
        .merge(events::routes(node.clone()))
        .merge(automerge::routes(node.clone(), metrics.clone()))
        .route("/healthz", get(healthy));
    let router = metrics::observed(router, metrics.clone()).merge(metrics::routes(node.clone(), metrics.clone()));
    guard(routes::with_problem_fallbacks(router), allowed)
}
