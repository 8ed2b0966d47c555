//! `/v1/plugins` and `/v1/plugins/{name}`.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use skerry_api::bodies::{Deployed, Plugin, PluginVersion, Plugins};
use skerry_api::extract::Parameters;
use skerry_api::payload::RawBody;
use skerry_api::problem::{Kind, Problem};
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::{PluginDigest, PluginName};

use crate::catalog::{self, Catalog};
use crate::documents::evaluate::storage_problem;
use crate::documents::read;
use crate::node::Node;

const WASM: &str = "application/wasm";

pub(super) fn routes(node: Node) -> Router {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{name}", get(show).put(deploy))
        .layer(DefaultBodyLimit::max(PLUGIN_BYTES_MAX))
        .with_state(node)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParameters {
    digest: Option<String>,
}

async fn list(State(node): State<Node>) -> Result<Json<Plugins>, Problem> {
    let catalog = node.newest_catalog().await?;
    let plugins = catalog.plugins().map(|(name, known)| describe(&catalog, name, known)).collect();
    Ok(Json(Plugins { plugins }))
}

async fn show(
    State(node): State<Node>,
    Path(name): Path<String>,
    Parameters(parameters): Parameters<ShowParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name = PluginName::new(name)?;
    let catalog = node.newest_catalog().await?;
    let missing = || Problem::new(Kind::PluginNotFound, format!("there is no plugin {name}"));
    let known = catalog.plugin(&name).ok_or_else(missing)?;
    let wants_component = headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes() == WASM.as_bytes());
    if !wants_component {
        return Ok(Json(describe(&catalog, &name, known)).into_response());
    }
    let digest = parameters.digest.map(|digest| digest.parse::<PluginDigest>()).transpose()?.unwrap_or(known.active);
    let component =
        read::plugin(&node.catalog_shard().state.store(), digest).map_err(|error| storage_problem(&error))?;
    let detail = format!("plugin {name} has no version {digest} here");
    let component: Bytes = component.ok_or_else(|| Problem::new(Kind::PluginNotFound, detail))?;
    Ok(([(CONTENT_TYPE, WASM)], component).into_response())
}

async fn deploy(
    State(node): State<Node>,
    Path(name): Path<String>,
    RawBody(component): RawBody,
) -> Result<Json<Deployed>, Problem> {
    let name = PluginName::new(name)?;
    // Once that has answered, the change is in every shard's replica here.
    let deployment = node.deploy(&name, component).await?;
    let catalog = node.catalog_shard().state.catalog();
    let collections = catalog.users(&name).cloned().collect();
    let (digest, replaced, staged_on) = (deployment.digest, deployment.replaced, deployment.staged_on);
    Ok(Json(Deployed { name, digest, replaced, staged_on, collections }))
}

fn describe(catalog: &Catalog, name: &PluginName, known: &catalog::Plugin) -> Plugin {
    let versions = known.versions.iter().map(|(digest, bytes)| PluginVersion { digest: *digest, bytes: *bytes });
    let collections = catalog.users(name).cloned().collect();
    Plugin { name: name.clone(), world: known.world, active: known.active, versions: versions.collect(), collections }
}
