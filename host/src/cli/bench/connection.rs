//! One keep-alive HTTP/1.1 connection. Plainer than the client, since what it costs the nodes beside it lack.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// host:port, for the socket and the Host header.
    pub(super) authority: String,
}

/// What went wrong with a request, as the report counts it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Failure {
    /// The type of a problem document.
    #[error("{0}")]
    Problem(String),
    /// No connection.
    #[error("cannot connect")]
    Connect,
    /// The connection broke.
    #[error("connection broke")]
    Broken,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// Status without a problem document.
    #[error("status {0}")]
    Status(u16),
}

impl Target {
    /// The node at this base URL, one that the client has taken.
    pub(super) fn new(base_url: &str) -> Self {
        let authority = base_url.strip_prefix("http://").unwrap_or(base_url);
        let port = if authority.ends_with(']') || !authority.contains(':') { ":80" } else { "" };
        Self { authority: format!("{authority}{port}") }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|_| Failure::Connect)?;
        stream.set_nodelay(true).map_err(|_| Failure::Connect)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|_| Failure::Connect)?;
        // Ends with the sender; what went wrong, the request in flight hears too.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }
}

/// A connection that opens again after it broke.
pub(super) struct Connection<'a> {
    target: &'a Target,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        Self { target, open: None }
    }

    /// Sends a request and takes its whole answer.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(), Failure> {
        // Out of its place while in use: one that fails, or is dropped half way, is not used again.
        let mut sender = match self.open.take() {
            Some(sender) => sender,
            None => self.target.connect().await?,
        };
        sender.ready().await.map_err(|_| Failure::Broken)?;
        let response = sender.send_request(request).await.map_err(|_| Failure::Broken)?;
        let status = response.status();
        let mut body = response.into_body();
        if status.is_success() {
            while let Some(frame) = body.frame().await {
                frame.map_err(|_| Failure::Broken)?;
            }
            self.open = Some(sender);
            return Ok(());
        }
        let body = body.collect().await.map_err(|_| Failure::Broken)?.to_bytes();
        self.open = Some(sender);
        Err(failure(status.as_u16(), &body))
    }
}

fn failure(status: u16, body: &[u8]) -> Failure {
    #[derive(Deserialize)]
    struct Problem {
        r#type: String,
    }

    match serde_json::from_slice(body) {
        Ok(Problem { r#type }) => Failure::Problem(r#type.rsplit(':').next().unwrap_or_default().to_owned()),
        Err(_) => Failure::Status(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_a_port() {
        let authority = |url: &str| Target::new(url).authority;
        assert_eq!(authority("http://127.0.0.1:7400"), "127.0.0.1:7400");
        assert_eq!(authority("http://localhost"), "localhost:80");
        assert_eq!(authority("http://[::1]"), "[::1]:80");
        assert_eq!(authority("http://[::1]:7400"), "[::1]:7400");
    }

    #[test]
    fn failures_are_counted_by_type() {
        let problem = br#"{"type":"urn:skerry:problem:overloaded","status":429}"#;
        assert_eq!(failure(429, problem).to_string(), "overloaded");
        assert_eq!(failure(502, b"bad gateway").to_string(), "status 502");
    }
}
