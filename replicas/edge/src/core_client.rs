//! The way to the core: one POST for each message, to whichever of its nodes answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use skerry_channel::message::{Answer, Request};
use skerry_channel::{frame, limits as channel_limits};
use skerry_model::{PluginDigest, PluginName};

use crate::limits;

/// Why the core gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a URL of a core node.
    #[error("{url:?} is not the URL of a core node, such as http://127.0.0.1:7400")]
    Url {
        /// What was given.
        url: String,
    },
    /// None at all, or too many.
    #[error("an edge has 1 to {max} core URLs, {found} are given")]
    Urls {
        /// How many there are.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The HTTP client does not start.
    #[error("the HTTP client cannot start: {0}")]
    Client(#[source] reqwest::Error),
    /// The node cannot be reached, or broke off.
    #[error("the core at {url} cannot be reached")]
    Unreachable {
        /// The node.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The node answered with another status than 200.
    #[error("the core at {url} answered {status}: {detail}")]
    Status {
        /// The node.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of its body.
        detail: String,
    },
    /// More than an answer may have.
    #[error("the core at {url} answered more than {max} bytes")]
    TooLarge {
        /// The node.
        url: String,
        /// The limit.
        max: usize,
    },
    /// Not a frame of this protocol.
    #[error("the answer of the core cannot be read")]
    Frame(#[from] frame::Error),
    /// A task of this process was stopped.
    #[error("the edge is stopping")]
    Stopping,
}

/// Characters of an error body that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// A client of one cluster's nodes. Clones share connections, and which node answered last.
#[derive(Debug, Clone)]
pub(crate) struct CoreClient {
    http: reqwest::Client,
    urls: Arc<[String]>,
    preferred: Arc<AtomicUsize>,
}

impl CoreClient {
    /// # Errors
    /// [`Error::Urls`], [`Error::Url`], [`Error::Client`].
    pub(crate) fn new(urls: &[String]) -> Result<Self, Error> {
        let (found, max) = (urls.len(), limits::CORE_URLS_MAX);
        if found == 0 || found > max {
            return Err(Error::Urls { found, max });
        }
        let base = |url: &String| {
            let refused = || Error::Url { url: url.clone() };
            let parsed = reqwest::Url::parse(url).map_err(|_| refused())?;
            let plain = parsed.scheme() == "http" && parsed.path() == "/" && parsed.query().is_none();
            if plain && parsed.has_host() {
                Ok(parsed.as_str().trim_end_matches('/').to_owned())
            } else {
                Err(refused())
            }
        };
        let urls = urls.iter().map(base).collect::<Result<Vec<_>, _>>()?;
        let http = reqwest::Client::builder()
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(Error::Client)?;
        Ok(Self { http, urls: urls.into(), preferred: Arc::default() })
    }

    /// The node that is asked first.
    pub(crate) fn url(&self) -> String {
        self.urls[self.preferred.load(Ordering::Relaxed) % self.urls.len()].clone()
    }

    /// The node that was asked first was none of this cluster's, say: the next one is from here on.
    pub(crate) fn turn_away(&self) {
        let next = (self.preferred.load(Ordering::Relaxed) + 1) % self.urls.len();
        self.preferred.store(next, Ordering::Relaxed);
    }

    /// Sends a message; `waiting` is how long the message itself asks the core to wait. Whatever a node does not answer
    /// is asked of the next: every message may come twice.
    pub(crate) async fn exchange(&self, request: &Request, waiting: Duration) -> Result<Answer, Error> {
        let body = frame::encode(request)?;
        let bytes = self
            .first_answer(channel_limits::FRAME_BYTES_MAX, |url| {
                self.http
                    .post(format!("{url}/v1/sync"))
                    .header(CONTENT_TYPE, frame::MEDIA_TYPE)
                    .header(ACCEPT, frame::MEDIA_TYPE)
                    .timeout(limits::EXCHANGE_TIMEOUT + waiting)
                    .body(body.clone())
            })
            .await?;
        // Inflating megabytes is no work for the threads that serve requests.
        let decoded = tokio::task::spawn_blocking(move || frame::decode(&bytes)).await;
        Ok(decoded.map_err(|_| Error::Stopping)??)
    }

    /// The component of a plugin; its digest is not checked here.
    pub(crate) async fn component(&self, name: &PluginName, digest: &PluginDigest) -> Result<Bytes, Error> {
        self.first_answer(limits::COMPONENT_BYTES_MAX, |url| {
            self.http
                .get(format!("{url}/v1/plugins/{name}?digest={digest}"))
                .header(ACCEPT, "application/wasm")
                .timeout(limits::EXCHANGE_TIMEOUT)
        })
        .await
    }

    /// Asks the nodes in turn, from the one that answered last on.
    async fn first_answer(
        &self,
        bytes_max: usize,
        request: impl Fn(&str) -> reqwest::RequestBuilder,
    ) -> Result<Bytes, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (0..self.urls.len()).map(|step| (first + step) % self.urls.len()) {
            match ask(&self.urls[at], request(&self.urls[at]), bytes_max).await {
                Ok(bytes) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(bytes);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.expect("there is at least one node, and each has failed"))
    }
}

/// One request to one node, and its body within the limit.
async fn ask(url: &str, request: reqwest::RequestBuilder, bytes_max: usize) -> Result<Bytes, Error> {
    let unreachable = |source: reqwest::Error| Error::Unreachable { url: url.to_owned(), source: source.without_url() };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > bytes_max {
            return Err(Error::TooLarge { url: url.to_owned(), max: bytes_max });
        }
        body.extend_from_slice(&chunk);
    }
    if status == reqwest::StatusCode::OK {
        return Ok(body.freeze());
    }
    Err(Error::Status { url: url.to_owned(), status: status.as_u16(), detail: detail(&body) })
}

/// The sentence of a problem document, or the beginning of whatever else it is.
pub(crate) fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let sentence = problem.as_ref().and_then(|problem| problem.get("detail")).and_then(|detail| detail.as_str());
    let text = sentence.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    text.chars().take(DETAIL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(urls: &[&str], expected: &str) {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        assert_eq!(CoreClient::new(&urls).unwrap_err().to_string(), expected);
    }

    #[test]
    fn urls_are_checked() {
        check_refused(&[], "an edge has 1 to 16 core URLs, 0 are given");
        let not_one = |url: &str| format!("{url:?} is not the URL of a core node, such as http://127.0.0.1:7400");
        for url in ["127.0.0.1:7400", "https://core", "http://core/path", "ftp://core", "http://core/?x=1"] {
            check_refused(&["http://127.0.0.1:7400", url], &not_one(url));
        }
        let client = CoreClient::new(&["http://127.0.0.1:7400/".to_owned()]).unwrap();
        assert_eq!(client.url(), "http://127.0.0.1:7400");
    }

    #[test]
    fn details_are_sentences() {
        assert_eq!(detail(br#"{"detail":"No quorum.","status":503}"#), "No quorum.");
        assert_eq!(detail(&[b'x'; 400]).len(), DETAIL_CHARS_MAX);
    }
}
