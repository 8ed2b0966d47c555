//! The document routes, the same on core and edge, over anything that implements [`Documents`].

use axum::extract::{DefaultBodyLimit, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, body};
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use skerry_model::engine::{Settled, Settlement, Write};
use skerry_model::limits::KEY_BYTES_MAX;
use skerry_model::policy::Choice;
use skerry_model::{CollectionName, document};

use crate::bodies::Settle;
use crate::documents::{
    Address, Conditions, Consistency, Documents, ETag, Match, Page, SCAN_LIMIT_DEFAULT, SCAN_LIMIT_MAX, Scan,
    WriteRequest,
};
use crate::extract::{AtDocument, Body, Format, InCollection, Parameters};
use crate::limits::{BASE_BYTES_MAX, DOCUMENT_BODY_BYTES_MAX};
use crate::problem::{Kind, Problem};
use crate::wire::media;
use crate::{conditions, respond};

/// The document routes. Whoever merges them with others calls [`with_problem_fallbacks`] on the whole.
pub fn documents<D: Documents>(documents: D) -> Router {
    let document =
        get(get_document::<D>).put(put_document::<D>).patch(patch_document::<D>).delete(delete_document::<D>);
    Router::new()
        .route("/v1/collections/{collection}/documents", get(scan::<D>))
        .route("/v1/collections/{collection}/documents/{key}", document)
        .route("/v1/collections/{collection}/documents/{key}/conflicts", get(conflicts::<D>).post(settle::<D>))
        .route("/v1/collections/{collection}/documents/{key}/operations", post(operate::<D>))
        .layer(DefaultBodyLimit::max(DOCUMENT_BODY_BYTES_MAX))
        .with_state(documents)
}

/// The same routes, where an unknown route answers 404 and an unknown method 405, both as problem documents.
pub fn with_problem_fallbacks(router: Router) -> Router {
    router.fallback(respond::route_not_found).method_not_allowed_fallback(respond::method_not_allowed)
}

const DOCUMENT_FORMATS: &[Format] = &[Format::Json, Format::Cbor];
const SCAN_FORMATS: &[Format] = &[Format::Json, Format::Cbor, Format::Lines];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadParameters {
    #[serde(default)]
    consistency: Consistency,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteParameters {
    /// An ETag, with or without its quotes.
    base: Option<String>,
}

impl WriteParameters {
    fn base(self) -> Result<Option<ETag>, Problem> {
        let Some(base) = self.base else { return Ok(None) };
        let tag = base.strip_prefix('"').and_then(|base| base.strip_suffix('"')).unwrap_or(&base);
        if tag.is_empty() || tag.len() > BASE_BYTES_MAX {
            let detail = format!("base is {} bytes long, an ETag has 1 to {BASE_BYTES_MAX}", tag.len());
            return Err(Problem::new(Kind::Malformed, detail));
        }
        Ok(Some(ETag(tag.to_owned())))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoParameters {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanParameters {
    #[serde(default)]
    prefix: String,
    limit: Option<u32>,
    cursor: Option<String>,
    #[serde(default)]
    consistency: Consistency,
}

async fn get_document<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<ReadParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let conditions = conditions::parse(&headers)?;
    let read = documents.get(at, parameters.consistency).await?;
    let if_match = Conditions { if_none_match: None, ..conditions.clone() };
    if !if_match.hold(Some(&read.stamp.etag)) {
        let detail = format!("the document is at version {}, which If-Match does not name", read.stamp.etag.0);
        return Err(Problem::new(Kind::PreconditionFailed, detail));
    }
    if !conditions.hold(Some(&read.stamp.etag)) {
        return respond::not_modified(&read.stamp);
    }
    respond::document(&read, Format::wanted(&headers, DOCUMENT_FORMATS))
}

async fn put_document<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let put = || Ok(Write::Put(document::check(body.value(&[media::JSON])?)?));
    write(documents, at, parameters, &headers, put).await
}

async fn patch_document<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let patch = || {
        // A patch that is no object would replace the document by something that is no document.
        let patch = document::check(body.value(&[media::MERGE_PATCH, media::JSON])?)?;
        Ok(Write::Patch(Value::Object(patch)))
    };
    write(documents, at, parameters, &headers, patch).await
}

async fn delete_document<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    write(documents, at, parameters, &headers, || Ok(Write::Delete)).await
}

/// An operation of the collection's policy; of a json collection, splices of text.
async fn operate<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<WriteParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let operation = || {
        let operation = body.value(&[media::JSON])?;
        document::check_value(&operation, &mut Vec::new())?;
        Ok(Write::Operation(operation))
    };
    write(documents, at, parameters, &headers, operation).await
}

/// A write under the request's conditions, which are looked at before what is to be written.
async fn write<D: Documents>(
    documents: D,
    at: Address,
    parameters: WriteParameters,
    headers: &HeaderMap,
    wanted: impl FnOnce() -> Result<Write, Problem>,
) -> Result<Response, Problem> {
    let conditions = conditions::parse(headers)?;
    let request = WriteRequest { write: wanted()?, base: parameters.base()?, conditions };
    let written = documents.write(at, request).await?;
    respond::written(&written, Format::wanted(headers, DOCUMENT_FORMATS))
}

async fn conflicts<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(parameters): Parameters<ReadParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let conflicts = documents.conflicts(at, parameters.consistency).await?;
    respond::conflicts(&conflicts, Format::wanted(&headers, DOCUMENT_FORMATS))
}

/// Ends open conflicts by hand. What the request names by its place among the candidates is looked up at the version that
/// the write then demands, so that it never means another one.
async fn settle<D: Documents>(
    State(documents): State<D>,
    AtDocument(at): AtDocument,
    Parameters(NoParameters {}): Parameters<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let malformed = |error| Problem::new(Kind::Malformed, format!("the body: {error}"));
    let Settle { settle } = serde_json::from_value(body.value(&[media::JSON])?).map_err(malformed)?;
    let conditions = conditions::parse(&headers)?;
    let open = documents.conflicts(at.clone(), Consistency::Linearizable).await?;
    if !conditions.hold(Some(&open.etag)) {
        let detail = format!("the document is at version {}, and other conflicts may be open", open.etag.0);
        return Err(Problem::new(Kind::PreconditionFailed, detail));
    }
    let conflicts = settle.into_iter().map(|(path, choice)| {
        let conflict = open.conflicts.iter().map(|open| &open.conflict).find(|conflict| conflict.path == path);
        let conflict = conflict.ok_or_else(|| {
            Problem::new(
                Kind::Refused,
                format!("there is no open conflict at {path:?}: conflicts show has their paths"),
            )
        })?;
        let settled = match choice {
            Choice::Remove => Settled::Removed,
            Choice::Value(value) => Settled::Value(value),
            Choice::Candidate(place) => {
                let chosen = usize::try_from(place).ok().and_then(|place| conflict.candidates.get(place));
                let there = conflict.candidates.len();
                let detail = || format!("{path} has no candidate {place}: there are {there}, counted from 0");
                Settled::Value(chosen.ok_or_else(|| Problem::new(Kind::Refused, detail()))?.value.clone())
            }
        };
        Ok((path, settled))
    });
    let conflicts = conflicts.collect::<Result<_, Problem>>()?;
    let settlement = Settlement { conflicts, ..Settlement::default() };
    let conditions = Conditions { if_match: Some(Match::Tags(vec![open.etag])), if_none_match: None };
    let written =
        documents.write(at, WriteRequest { conditions, ..WriteRequest::new(Write::Settle(settlement)) }).await?;
    respond::written(&written, Format::wanted(&headers, DOCUMENT_FORMATS))
}

async fn scan<D: Documents>(
    State(documents): State<D>,
    InCollection(collection): InCollection,
    Parameters(parameters): Parameters<ScanParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = Format::wanted(&headers, SCAN_FORMATS);
    let ScanParameters { prefix, limit, cursor, consistency } = parameters;
    if prefix.len() > KEY_BYTES_MAX {
        let detail = format!("prefix is {} bytes long, the limit is {KEY_BYTES_MAX}", prefix.len());
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let limit = match (limit, format) {
        (None, Format::Lines) => SCAN_LIMIT_MAX,
        (None, Format::Json | Format::Cbor) => SCAN_LIMIT_DEFAULT,
        (Some(limit), _) => limit,
    };
    if limit == 0 || limit > SCAN_LIMIT_MAX {
        let detail = format!("limit is {limit}, it must be 1 to {SCAN_LIMIT_MAX}");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    let scan = Scan { prefix, limit, cursor, consistency };
    let page = documents.scan(collection.clone(), scan.clone()).await?;
    if format != Format::Lines {
        return respond::page(&page, format);
    }
    let headers = [(CONTENT_TYPE, respond::content_type(format))];
    Ok((headers, stream_lines(documents, collection, scan, page)).into_response())
}

/// Every document from this page on. Holds one page at a time, and asks for the next when the client has taken it. A
/// problem on the way breaks the connection off, so that a client cannot take a part for the whole.
fn stream_lines<D: Documents>(documents: D, collection: CollectionName, scan: Scan, first: Page) -> body::Body {
    let next = first.cursor.clone();
    let rest = stream::try_unfold(next, move |cursor| {
        let (documents, collection, scan) = (documents.clone(), collection.clone(), scan.clone());
        async move {
            let Some(cursor) = cursor else { return Ok(None) };
            let page = documents.scan(collection, Scan { cursor: Some(cursor), ..scan }).await;
            let page = page.inspect_err(|problem| tracing::warn!(%problem, "a scan broke off"))?;
            Ok::<_, Problem>(Some((respond::lines(&page.documents), page.cursor)))
        }
    });
    body::Body::from_stream(stream::iter([Ok(respond::lines(&first.documents))]).chain(rest))
}
