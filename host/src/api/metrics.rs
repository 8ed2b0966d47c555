//! `/metrics`, and the observation of every other route.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use skerry_api::respond::OPEN_METRICS;
use tokio::time::Instant;

use crate::node::Node;
use crate::telemetry::metrics::Metrics;

pub(super) fn routes(node: Node, metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(show)).with_state((node, metrics))
}

async fn show(State((node, metrics)): State<(Node, Metrics)>) -> Response {
    ([(CONTENT_TYPE, OPEN_METRICS)], metrics.render(&node)).into_response()
}

/// The same routes, counted and timed.
pub(super) fn observed(router: Router, metrics: Metrics) -> Router {
    router.layer(middleware::from_fn_with_state(metrics, observe))
}

async fn observe(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    metrics.observe(&method, route.as_deref(), response.status(), began.elapsed());
    response
}
