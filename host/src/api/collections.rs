//! `/v1/collections` and `/v1/collections/{c}`.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use skerry_api::bodies::{Collection, CollectionSpec, Collections};
use skerry_api::payload::JsonBody;
use skerry_api::problem::{Kind, Problem};
use skerry_model::document::{self, View};
use skerry_model::limits::{TEMPLATE_BYTES_MAX, TEXT_FIELDS_MAX};
use skerry_model::{CollectionName, document::pointer};

use crate::catalog::{self, Catalog, Step};
use crate::node::Node;

/// A body of these routes: a template with what surrounds it.
const BODY_BYTES_MAX: usize = 2 * TEMPLATE_BYTES_MAX;

pub(super) fn routes(node: Node) -> Router {
    Router::new()
        .route("/v1/collections", get(list))
        .route("/v1/collections/{collection}", get(show).put(put).delete(delete))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(node)
}

async fn list(State(node): State<Node>) -> Result<Json<Collections>, Problem> {
    let catalog = node.newest_catalog().await?;
    let collections = catalog.collections().map(|(name, known)| describe(&catalog, name, known)).collect();
    Ok(Json(Collections { collections }))
}

async fn show(State(node): State<Node>, Path(name): Path<String>) -> Result<Json<Collection>, Problem> {
    let name = CollectionName::new(name)?;
    let catalog = node.newest_catalog().await?;
    let known = crate::node::known(&catalog, &name)?;
    Ok(Json(describe(&catalog, &name, known)))
}

async fn put(
    State(node): State<Node>,
    Path(name): Path<String>,
    JsonBody(spec): JsonBody<CollectionSpec>,
) -> Result<(StatusCode, Json<Collection>), Problem> {
    let name = CollectionName::new(name)?;
    let template = template(&spec)?;
    if spec.text.len() > TEXT_FIELDS_MAX {
        let detail = format!("text names {} fields, the limit is {TEXT_FIELDS_MAX}", spec.text.len());
        return Err(Problem::new(Kind::TooLarge, detail));
    }
    let catalog = node.newest_catalog().await?;
    let known = catalog.collection(&name);
    let step = match known {
        Some(known) if known.template == template && known.text == spec.text && known.inbox == spec.inbox => {
            Step::SetPolicy { name: name.clone(), policy: spec.policy, settle: spec.settle }
        }
        _ => {
            let CollectionSpec { policy, text, settle, inbox, .. } = spec;
            Step::CreateCollection { name: name.clone(), policy, template, text, settle, inbox }
        }
    };
    let status = if known.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    // Once that has answered, the change is in every shard's replica here.
    node.change_catalog(step).await?;
    let catalog = node.catalog_shard().state.catalog();
    let known = crate::node::known(&catalog, &name)?;
    Ok((status, Json(describe(&catalog, &name, known))))
}

async fn delete(State(node): State<Node>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    let name = CollectionName::new(name)?;
    node.change_catalog(Step::DeleteCollection { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn template(spec: &CollectionSpec) -> Result<Option<View>, Problem> {
    let Some(template) = &spec.template else { return Ok(None) };
    let view = View::of(&document::check(serde_json::Value::Object(template.clone()))?)?;
    let size = view.bytes().len();
    if size > TEMPLATE_BYTES_MAX {
        let at = pointer(&["template"]);
        return Err(Problem::new(Kind::TooLarge, format!("{at} is {size} bytes, the limit is {TEMPLATE_BYTES_MAX}")));
    }
    Ok(Some(view))
}

fn describe(catalog: &Catalog, name: &CollectionName, known: &catalog::Collection) -> Collection {
    let template = known.template.as_ref().and_then(|template| template.object().ok());
    let (policy, text) = (known.policy.clone(), known.text.clone());
    let spec = CollectionSpec { policy, template, text, settle: known.settle, inbox: known.inbox.clone() };
    Collection { name: name.clone(), spec, plugin: catalog.digest(&known.policy) }
}
