//! `/v1/plugins` and `/v1/plugins/{name}`.

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use skerry_api::bodies::{Deployed, Plugin, PluginCalls, PluginVersion, Plugins, Rollback, RolledBack};
use skerry_api::extract::Parameters;
use skerry_api::payload::{OptionalJsonBody, RawBody};
use skerry_api::problem::{Kind, Problem};
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::{PluginDigest, PluginName};

use crate::catalog::{self, Catalog};
use crate::consensus::network::message::Deployment;
use crate::documents::evaluate::storage_problem;
use crate::documents::read;
use crate::node::Node;

const WASM: &str = "application/wasm";

pub(super) fn routes(node: Node) -> Router {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{name}", get(show).put(deploy))
        .route("/v1/plugins/{name}/rollback", post(roll_back))
        .layer(DefaultBodyLimit::max(PLUGIN_BYTES_MAX))
        .with_state(node)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShowParameters {
    digest: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeployParameters {
    #[serde(default)]
    dry_run: bool,
}

async fn list(State(node): State<Node>) -> Result<Json<Plugins>, Problem> {
    let catalog = node.newest_catalog().await?;
    let digests: Vec<_> =
        catalog.plugins().flat_map(|(_, known)| &known.versions).map(|version| version.digest).collect();
    let mut calls = node.plugin_calls(&digests).await.into_iter();
    let plugins = catalog.plugins().map(|(name, known)| describe(&catalog, name, known, &mut calls)).collect();
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
        let digests: Vec<_> = known.versions.iter().map(|version| version.digest).collect();
        let mut calls = node.plugin_calls(&digests).await.into_iter();
        return Ok(Json(describe(&catalog, &name, known, &mut calls)).into_response());
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
    Parameters(parameters): Parameters<DeployParameters>,
    RawBody(component): RawBody,
) -> Result<Response, Problem> {
    let name = PluginName::new(name)?;
    if parameters.dry_run {
        return Ok(Json(node.try_deploy(&name, component).await?).into_response());
    }
    // Once that has answered, the change is in every shard's replica here.
    let deployment = node.deploy(&name, component).await?;
    let catalog = node.catalog_shard().state.catalog();
    let collections = catalog.users(&name).cloned().collect();
    let Deployment { digest, replaced, staged_on, laws, .. } = deployment;
    Ok(Json(Deployed { name, digest, replaced, staged_on, collections, laws }).into_response())
}

async fn roll_back(
    State(node): State<Node>,
    Path(name): Path<String>,
    OptionalJsonBody(rollback): OptionalJsonBody<Rollback>,
) -> Result<Json<RolledBack>, Problem> {
    let name = PluginName::new(name)?;
    let done = node.roll_back(&name, rollback.to).await?;
    let collections = node.catalog_shard().state.catalog().users(&name).cloned().collect();
    Ok(Json(RolledBack { name, digest: done.digest, replaced: done.replaced, collections }))
}

/// `calls` holds one for each version, in their order.
fn describe(
    catalog: &Catalog,
    name: &PluginName,
    known: &catalog::Plugin,
    calls: &mut impl Iterator<Item = PluginCalls>,
) -> Plugin {
    let version = |version: &catalog::PluginVersion| PluginVersion {
        digest: version.digest,
        bytes: version.bytes,
        state_version: (version.state_version > 0).then_some(version.state_version),
        profile: version.profile.clone(),
        calls: calls.next().unwrap_or_default(),
    };
    let (rolled_back, reason) = known.rolled_back.as_ref().map(|back| (back.digest, back.reason.clone())).unzip();
    Plugin {
        name: name.clone(),
        world: known.world,
        active: known.active,
        versions: known.versions.iter().map(version).collect(),
        collections: catalog.users(name).cloned().collect(),
        rolled_back,
        reason,
    }
}
