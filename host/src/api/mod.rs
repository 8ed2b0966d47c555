//! The HTTP routes of a core node, beside the document routes that it shares with edges.

mod cluster;
mod collections;
mod metrics;
mod plugins;
mod sync;

use axum::Router;
use axum::routing::get;
use skerry_api::guard::{Allowed, guard};
use skerry_api::routes;

use crate::node::Node;
use crate::telemetry::metrics::Metrics;

/// Every route of a node.
pub fn router(node: &Node, metrics: &Metrics, allowed: Allowed) -> Router {
    let router = Router::new()
        .merge(routes::documents(node.clone()))
        .merge(collections::routes(node.clone()))
        .merge(plugins::routes(node.clone()))
        .merge(cluster::routes(node.clone()))
        .merge(sync::routes(node.clone()))
        .route("/healthz", get(|| async { "ok\n" }));
    let router = metrics::observed(router, metrics.clone()).merge(metrics::routes(node.clone(), metrics.clone()));
    guard(routes::with_problem_fallbacks(router), allowed)
}
