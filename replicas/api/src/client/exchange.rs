//! One request and its answer.

use std::time::Duration;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Effect, Error};
use crate::documents::{ETag, Stamp, State};
use crate::limits::{ANSWER_BYTES_MAX, REQUEST_TIMEOUT};
use crate::wire::{ProblemBody, headers, media};

/// A request that can be sent several times, to several nodes.
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query, percent-encoded.
    path: String,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
}

impl Request {
    pub(super) fn new(method: Method, path: String) -> Self {
        Self { method, path, headers: HeaderMap::new(), body: Bytes::new(), timeout: REQUEST_TIMEOUT }
    }

    pub(super) fn get(path: String) -> Self {
        Self::new(Method::GET, path)
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn body(mut self, media_type: &'static str, body: Bytes) -> Self {
        self.body = body;
        self.header(CONTENT_TYPE, HeaderValue::from_static(media_type))
    }

    pub(super) fn json(self, value: &impl Serialize) -> Self {
        self.body(media::JSON, serde_json::to_vec(value).expect("plain data serializes").into())
    }

    pub(super) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends it to a node and takes the whole answer; one that is no success becomes the error it tells of.
    pub(super) async fn send(
        &self,
        http: &reqwest::Client,
        node: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, Error> {
        let mut headers = self.headers.clone();
        if let Some(token) = authorization {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let request = http.request(self.method.clone(), format!("{node}{}", self.path)).headers(headers);
        let sent = request.timeout(self.timeout).body(self.body.clone()).send().await;
        let response = sent.map_err(|error| self.failure(node, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = self.collect(node, response).await?;
        Answer { node: node.to_owned(), headers, body }.success(status)
    }

    async fn collect(&self, node: &str, mut response: reqwest::Response) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(node, error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::TooLarge { url: node.to_owned(), max: ANSWER_BYTES_MAX });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn failure(&self, node: &str, source: reqwest::Error) -> Error {
        let (url, effect) = (node.to_owned(), Effect::of(&self.method));
        if source.is_connect() {
            Error::Unreachable { url, source }
        } else if source.is_timeout() {
            Error::TimedOut { url, after: self.timeout, effect }
        } else {
            Error::Interrupted { url, effect, source }
        }
    }
}

/// A successful answer.
pub(super) struct Answer {
    node: String,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    fn success(self, status: StatusCode) -> Result<Self, Error> {
        if status.is_success() {
            return Ok(self);
        }
        let body = serde_json::from_slice(&self.body).ok();
        match body.and_then(ProblemBody::into_problem) {
            Some(problem) => Err(Error::Problem { problem }),
            None => Err(self.not_understood(format!("status {status} without a problem document"))),
        }
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| self.not_understood(error))
    }

    pub(super) fn not_understood(&self, reason: impl ToString) -> Error {
        Error::NotUnderstood { url: self.node.clone(), reason: reason.to_string() }
    }

    fn text(&self, name: &HeaderName) -> Result<Option<&str>, Error> {
        let text = self.headers.get(name).map(HeaderValue::to_str).transpose();
        text.map_err(|_| self.not_understood(format!("the header {name} is not text")))
    }

    /// What is known of the version that the answer is about.
    pub(super) fn stamp(&self) -> Result<Stamp, Error> {
        let missing = |name| self.not_understood(format!("the header {name} is missing or damaged"));
        let etag = self.text(&ETAG)?.and_then(|text| text.strip_prefix('"')?.strip_suffix('"'));
        let state = match self.text(&headers::STATE)? {
            Some("committed") => State::Committed,
            Some("provisional") => State::Provisional,
            _ => return Err(missing(headers::STATE)),
        };
        Ok(Stamp {
            etag: ETag(etag.ok_or_else(|| missing(ETAG))?.to_owned()),
            scn: self.text(&headers::SCN)?.map(str::to_owned),
            policy: self.text(&headers::POLICY)?.ok_or_else(|| missing(headers::POLICY))?.to_owned(),
            state,
            automerge: self.text(&headers::AUTOMERGE_URL)?.and_then(|url| url.parse().ok()),
        })
    }

    /// How many conflicts are open.
    pub(super) fn conflicts(&self) -> Result<u32, Error> {
        let count = self.text(&headers::CONFLICTS)?.unwrap_or("0");
        count.parse().map_err(|_| self.not_understood(format!("{} is {count:?}", headers::CONFLICTS)))
    }

    /// Why the policy's plugin did not choose.
    pub(super) fn fallback(&self) -> Result<Option<String>, Error> {
        let reason = self.text(&headers::FALLBACK)?;
        Ok(reason.map(|reason| percent_decode_str(reason).decode_utf8_lossy().into_owned()))
    }
}
