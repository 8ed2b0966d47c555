//! The way to the core: one request for each message, to whichever of its nodes answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use skerry_channel::frame;
use skerry_channel::message::{Answer, Request};
use skerry_model::{PluginDigest, PluginName};

use crate::limits;
use crate::wire::Wire;

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
        source: Box<dyn std::error::Error + Send + Sync>,
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

/// A client of one cluster's nodes. Clones share connections, and which node answered last.
#[derive(Debug, Clone)]
pub(crate) struct CoreClient {
    wire: Arc<dyn Wire>,
    urls: Arc<[String]>,
    preferred: Arc<AtomicUsize>,
}

impl CoreClient {
    /// # Errors
    /// [`Error::Urls`], [`Error::Url`].
    pub(crate) fn new(wire: Arc<dyn Wire>, urls: &[String]) -> Result<Self, Error> {
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
        Ok(Self { wire, urls: urls.into(), preferred: Arc::default() })
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
        let most = limits::EXCHANGE_TIMEOUT + waiting;
        self.first_answer(|url| self.wire.exchange(url, body.clone(), most)).await
    }

    /// The component of a plugin; its digest is not checked here.
    pub(crate) async fn component(&self, name: &PluginName, digest: &PluginDigest) -> Result<Bytes, Error> {
        self.first_answer(|url| self.wire.component(url, name, digest)).await
    }

    /// Asks the nodes in turn, from the one that answered last on.
    async fn first_answer<'a, T>(
        &'a self,
        ask: impl Fn(&'a str) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (0..self.urls.len()).map(|step| (first + step) % self.urls.len()) {
            match ask(&self.urls[at]).await {
                Ok(answer) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.expect("there is at least one node, and each has failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Http;

    fn client(urls: &[&str]) -> Result<CoreClient, Error> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        CoreClient::new(Arc::new(Http::new().unwrap()), &urls)
    }

    #[track_caller]
    fn check_refused(urls: &[&str], expected: &str) {
        assert_eq!(client(urls).unwrap_err().to_string(), expected);
    }

    #[test]
    fn urls_are_checked() {
        check_refused(&[], "an edge has 1 to 16 core URLs, 0 are given");
        let not_one = |url: &str| format!("{url:?} is not the URL of a core node, such as http://127.0.0.1:7400");
        for url in ["127.0.0.1:7400", "https://core", "http://core/path", "ftp://core", "http://core/?x=1"] {
            check_refused(&["http://127.0.0.1:7400", url], &not_one(url));
        }
        assert_eq!(client(&["http://127.0.0.1:7400/"]).unwrap().url(), "http://127.0.0.1:7400");
    }
}
