//! `/metrics`: the state of the sync in the OpenMetrics text format.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{Router, routing::get};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use skerry_api::problem::{Kind, Problem};
use skerry_api::respond::OPEN_METRICS;

use crate::edge::Edge;

pub(super) fn routes(edge: Edge) -> Router {
    Router::new().route("/metrics", get(show)).with_state(edge)
}

async fn show(State(edge): State<Edge>) -> Result<Response, Problem> {
    let status = edge.status();
    let mut registry = Registry::with_prefix("skerry");
    let mut gauge = |name: &str, help: &str, value: u64| registry.register(name, help, ConstGauge::new(value));
    gauge("edge_documents", "Documents held", status.documents);
    gauge("edge_unsent", "Changes that the core has not judged yet", status.unsent);
    gauge("edge_stranded", "Changes that the core refused, which wait for a person", status.stranded);
    gauge("edge_connected", "1 where the last exchange with the core worked", status.connected.into());
    gauge("edge_copied", "1 where the first copy is complete", status.copied.into());
    let divergence = "Views of the core's that were others when they were computed here: more than 0 is an alarm";
    registry.register("plugin_divergence", divergence, ConstCounter::<u64>::new(status.divergences));
    let mut text = String::new();
    let failed = |_| Problem::new(Kind::Internal, "the metrics cannot be written out");
    encode(&mut text, &registry).map_err(failed)?;
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}
