//! `/v1/stranded`: what the core refused, and what a person decides about it.

use axum::extract::{Path, State};
use axum::{Json, Router, routing::get};
use serde::Deserialize;
use serde_json::Value;
use skerry_api::bodies::{StrandedAction, StrandedDone, StrandedOutcome, StrandedPage, StrandedWork, Wanted};
use skerry_api::extract::Parameters;
use skerry_api::payload::JsonBody;
use skerry_api::problem::{Kind, Problem};

use crate::edge::Edge;
use crate::keys::outbox::Operation;
use crate::limits::{STRANDED_PAGE_DEFAULT, STRANDED_PAGE_MAX};
use crate::replica::{BadId, Retried, StrandedChange, StrandedId};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListParameters {
    limit: Option<usize>,
    after: Option<String>,
}

pub(super) fn routes(edge: Edge) -> Router {
    Router::new().route("/v1/stranded", get(list).post(act)).route("/v1/stranded/{id}", get(show)).with_state(edge)
}

async fn list(
    State(edge): State<Edge>,
    Parameters(ListParameters { limit, after }): Parameters<ListParameters>,
) -> Result<Json<StrandedPage>, Problem> {
    let limit = limit.unwrap_or(STRANDED_PAGE_DEFAULT);
    if limit == 0 || limit > STRANDED_PAGE_MAX {
        let detail = format!("limit is {limit}, it must be 1 to {STRANDED_PAGE_MAX}");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let after = after.as_deref().map(id).transpose()?;
    let found = edge.stranded(after, limit).await?;
    let after = found.last().map(|last| last.id.to_string());
    let stranded = found.into_iter().map(described).collect::<Result<_, _>>()?;
    Ok(Json(StrandedPage { stranded, after }))
}

async fn show(State(edge): State<Edge>, Path(named): Path<String>) -> Result<Json<StrandedWork>, Problem> {
    described(edge.stranded_one(id(&named)?).await?).map(Json)
}

async fn act(
    State(edge): State<Edge>,
    JsonBody(action): JsonBody<StrandedAction>,
) -> Result<Json<StrandedDone>, Problem> {
    let (id, outcome) = match action {
        StrandedAction::Retry(named) => {
            let outcome = match edge.retry_stranded(id(&named)?).await? {
                Retried::MadeAgain => StrandedOutcome::MadeAgain,
                Retried::Moot => StrandedOutcome::Moot,
            };
            (named, outcome)
        }
        StrandedAction::Discard(named) => {
            edge.discard_stranded(id(&named)?).await?;
            (named, StrandedOutcome::Discarded)
        }
    };
    Ok(Json(StrandedDone { id, outcome }))
}

fn id(named: &str) -> Result<StrandedId, Problem> {
    named.parse().map_err(|error: BadId| Problem::new(Kind::Malformed, error.to_string()))
}

fn described(change: StrandedChange) -> Result<StrandedWork, Problem> {
    let StrandedChange { id, collection, key, time_ms: time, operation, refusal } = change;
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).map_err(skerry_model::document::Error::Syntax);
    let wanted = match operation {
        Operation::Put { document, .. } => Wanted::Put(json(document.bytes())?),
        Operation::Patch { patch } => Wanted::Patch(json(&patch)?),
        Operation::Delete => Wanted::Delete,
        Operation::Operate { operation, .. } => Wanted::Operation(json(&operation)?),
        Operation::Settle { settlement } => Wanted::Settle(json(&settlement)?),
    };
    Ok(StrandedWork { id: id.to_string(), collection, key, time, wanted, kind: refusal.kind, detail: refusal.detail })
}
