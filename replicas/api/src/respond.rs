//! Answers: documents as the bytes that are stored, versions as headers, problems as RFC 9457 documents.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use skerry_model::document::View;

use crate::cbor;
use crate::conditions::quoted;
use crate::documents::{Change, Conflicts, ETag, Listed, Page, Read, Stamp, State, Written};
use crate::extract::Format;
use crate::limits::{FALLBACK_BYTES_MAX, RETRY_AFTER_SECONDS};
use crate::problem::{Kind, Problem};
use crate::wire::{ListedBody, PageBody, ProblemBody, WrittenBody, headers, media};

/// The media type of metrics.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.kind == Kind::Internal {
            tracing::error!(detail = %self.detail, "answering with an internal problem");
        }
        let status = StatusCode::from_u16(self.kind.status()).expect("every kind has a valid status");
        let body = serde_json::to_vec(&ProblemBody::from(&self)).expect("plain data serializes");
        let mut response = (status, [(CONTENT_TYPE, media::PROBLEM)], body).into_response();
        if matches!(self.kind, Kind::Overloaded | Kind::Unavailable) {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// The document, with what is known of its version in the headers.
pub(crate) fn document(read: &Read, format: Format) -> Result<Response, Problem> {
    let mut headers = version_headers(&read.stamp)?;
    if read.conflicts > 0 {
        headers.insert(headers::CONFLICTS, read.conflicts.into());
    }
    if let Some(reason) = &read.fallback {
        headers.insert(headers::FALLBACK, fallback_value(reason));
    }
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(CONTENT_TYPE, content_type(format));
    Ok((headers, view_body(&read.view, format)?).into_response())
}

/// 304: the client has the version already.
pub(crate) fn not_modified(stamp: &Stamp) -> Result<Response, Problem> {
    Ok((StatusCode::NOT_MODIFIED, version_headers(stamp)?).into_response())
}

/// What a write did.
pub(crate) fn written(written: &Written, format: Format) -> Result<Response, Problem> {
    let status = match written.change {
        Change::Created => StatusCode::CREATED,
        Change::Updated | Change::Unchanged | Change::Deleted => StatusCode::OK,
    };
    let headers = written.stamp.as_ref().map_or_else(|| Ok(HeaderMap::new()), version_headers)?;
    Ok((status, headers, plain(&WrittenBody::from(written), format)).into_response())
}

/// The conflicts of a document.
pub(crate) fn conflicts(conflicts: &Conflicts, format: Format) -> Result<Response, Problem> {
    Ok(([(ETAG, etag_value(&conflicts.etag)?)], plain(conflicts, format)).into_response())
}

/// A page of documents. JSON takes the documents' bytes as they are.
pub(crate) fn page(page: &Page, format: Format) -> Result<Response, Problem> {
    if format == Format::Cbor {
        let listed = |listed: &Listed| {
            let Listed { key, etag, conflicts, view } = listed.clone();
            Ok(ListedBody { key, etag, conflicts, value: view.object()? })
        };
        let documents = page.documents.iter().map(listed).collect::<Result<_, Problem>>()?;
        return Ok(plain(&PageBody { documents, cursor: page.cursor.clone() }, format));
    }
    let mut body = b"{\"documents\":[".to_vec();
    for (at, listed) in page.documents.iter().enumerate() {
        body.extend_from_slice(if at == 0 { b"{\"key\":" } else { b",{\"key\":" });
        push_json(&mut body, &listed.key);
        body.extend_from_slice(b",\"etag\":");
        push_json(&mut body, &listed.etag);
        body.extend_from_slice(b",\"conflicts\":");
        push_json(&mut body, &listed.conflicts);
        body.extend_from_slice(b",\"value\":");
        body.extend_from_slice(listed.view.bytes());
        body.push(b'}');
    }
    body.extend_from_slice(b"],\"cursor\":");
    push_json(&mut body, &page.cursor);
    body.push(b'}');
    Ok(([(CONTENT_TYPE, content_type(format))], body).into_response())
}

/// The documents of a page, one `{"key":…,"value":{…}}` a line.
pub(crate) fn lines(documents: &[Listed]) -> Bytes {
    let mut body = Vec::new();
    for listed in documents {
        body.extend_from_slice(b"{\"key\":");
        push_json(&mut body, &listed.key);
        body.extend_from_slice(b",\"value\":");
        body.extend_from_slice(listed.view.bytes());
        body.extend_from_slice(b"}\n");
    }
    body.into()
}

/// What a route that does not exist answers.
pub(crate) async fn route_not_found(uri: axum::http::Uri) -> Problem {
    Problem::new(
        Kind::RouteNotFound,
        format!("there is no route {} here; core nodes and edges do not have the same ones", uri.path()),
    )
}

/// What a route answers to a method it does not take.
pub(crate) async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
}

pub(crate) fn content_type(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Json => media::JSON,
        Format::Cbor => media::CBOR,
        Format::Lines => media::LINES,
    })
}

fn plain(value: &impl Serialize, format: Format) -> Response {
    let body = match format {
        Format::Cbor => cbor::encode(value),
        Format::Json | Format::Lines => serde_json::to_vec(value).expect("plain data serializes"),
    };
    ([(CONTENT_TYPE, content_type(format))], body).into_response()
}

fn view_body(view: &View, format: Format) -> Result<Body, Problem> {
    match format {
        Format::Cbor => Ok(Body::from(cbor::encode(&view.object()?))),
        Format::Json | Format::Lines => Ok(Body::from(view.bytes().clone())),
    }
}

fn version_headers(stamp: &Stamp) -> Result<HeaderMap, Problem> {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ETAG, etag_value(&stamp.etag)?);
    if let Some(scn) = &stamp.scn {
        headers.insert(headers::SCN, header_value(&headers::SCN, scn)?);
    }
    if let Some(id) = &stamp.automerge {
        headers.insert(headers::AUTOMERGE_URL, header_value(&headers::AUTOMERGE_URL, &id.url())?);
    }
    headers.insert(headers::POLICY, header_value(&headers::POLICY, &stamp.policy)?);
    headers.insert(
        headers::STATE,
        HeaderValue::from_static(match stamp.state {
            State::Committed => "committed",
            State::Provisional => "provisional",
        }),
    );
    Ok(headers)
}

fn etag_value(etag: &ETag) -> Result<HeaderValue, Problem> {
    header_value(&ETAG, &quoted(etag))
}

fn header_value(name: &HeaderName, text: &str) -> Result<HeaderValue, Problem> {
    HeaderValue::from_str(text).map_err(|_| Problem::new(Kind::Internal, format!("{name} would be {text:?}")))
}

/// A plugin's own words, so any text at all: cut, and percent-encoded where a header cannot carry it.
fn fallback_value(reason: &str) -> HeaderValue {
    const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
    let end = (0..=reason.len().min(FALLBACK_BYTES_MAX)).rev().find(|&at| reason.is_char_boundary(at)).unwrap_or(0);
    let text = utf8_percent_encode(&reason[..end], ESCAPED).to_string();
    HeaderValue::from_str(&text).expect("all but visible ASCII and spaces is escaped")
}

fn push_json(body: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(body, value).expect("a vector takes every byte, and plain data serializes");
}
