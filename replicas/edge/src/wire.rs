//! One request to one node of the core. Really that is HTTP; a simulation brings a wire of its own.

use std::fmt::Debug;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use skerry_channel::message::Answer;
use skerry_channel::{frame, limits as channel_limits};
use skerry_model::{PluginDigest, PluginName};

use crate::core_client::Error;
use crate::limits;

/// Characters of an error body that are kept.
const DETAIL_CHARS_MAX: usize = 300;

/// What carries requests to nodes. It may lose, delay and repeat them.
pub trait Wire: Debug + Send + Sync + 'static {
    /// Sends a frame to the node at `url`, and gives its answer unless `most` goes by.
    fn exchange<'a>(&'a self, url: &'a str, frame: Bytes, most: Duration) -> BoxFuture<'a, Result<Answer, Error>>;

    /// The component of a plugin from the node at `url`; nobody has checked its digest.
    fn component<'a>(
        &'a self,
        url: &'a str,
        name: &'a PluginName,
        digest: &'a PluginDigest,
    ) -> BoxFuture<'a, Result<Bytes, Error>>;
}

/// The real one.
#[derive(Debug)]
pub(crate) struct Http(reqwest::Client);

impl Http {
    /// # Errors
    /// [`Error::Client`].
    pub(crate) fn new() -> Result<Self, Error> {
        let client = reqwest::Client::builder()
            .connect_timeout(limits::CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        client.map(Self).map_err(Error::Client)
    }
}

impl Wire for Http {
    fn exchange<'a>(&'a self, url: &'a str, frame: Bytes, most: Duration) -> BoxFuture<'a, Result<Answer, Error>> {
        Box::pin(async move {
            let request = self
                .0
                .post(format!("{url}/v1/sync"))
                .header(CONTENT_TYPE, frame::MEDIA_TYPE)
                .header(ACCEPT, frame::MEDIA_TYPE)
                .timeout(most)
                .body(frame);
            let answer = ask(url, request, channel_limits::FRAME_BYTES_MAX).await?;
            // Inflating megabytes is no work for the threads that serve requests.
            let decoded = tokio::task::spawn_blocking(move || frame::decode(&answer)).await;
            Ok(decoded.map_err(|_| Error::Stopping)??)
        })
    }

    fn component<'a>(
        &'a self,
        url: &'a str,
        name: &'a PluginName,
        digest: &'a PluginDigest,
    ) -> BoxFuture<'a, Result<Bytes, Error>> {
        Box::pin(async move {
            let request = self
                .0
                .get(format!("{url}/v1/plugins/{name}?digest={digest}"))
                .header(ACCEPT, "application/wasm")
                .timeout(limits::EXCHANGE_TIMEOUT);
            ask(url, request, limits::COMPONENT_BYTES_MAX).await
        })
    }
}

/// One request to one node, and its body within the limit.
async fn ask(url: &str, request: reqwest::RequestBuilder, bytes_max: usize) -> Result<Bytes, Error> {
    let unreachable =
        |source: reqwest::Error| Error::Unreachable { url: url.to_owned(), source: Box::new(source.without_url()) };
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

    #[test]
    fn details_are_sentences() {
        assert_eq!(detail(br#"{"detail":"No quorum.","status":503}"#), "No quorum.");
        assert_eq!(detail(&[b'x'; 400]).len(), DETAIL_CHARS_MAX);
    }
}
