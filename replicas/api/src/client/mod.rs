//! A client of core and edge for every route of the contract. Given several nodes it turns to the next when one cannot
//! be reached; given leave it repeats what was provably not proposed. It never repeats anything else.

mod error;
mod exchange;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Map, Value};
use skerry_model::document::View;
use skerry_model::{CollectionName, NodeId, PluginDigest, PluginName};

pub use self::error::{Effect, Error};
use self::exchange::{Answer, Request};
use crate::bodies::{
    Cluster, Collection, CollectionSpec, Collections, Deployed, Drain, DryRun, NewMember, Plugin, Plugins, Replacement,
    Rollback, RolledBack, Settle, StrandedAction, StrandedDone, StrandedPage, StrandedWork, SubscriptionBody,
    SyncStatus, Transfer,
};
use crate::conditions;
use crate::documents::{
    Address, Conditions, Conflicts, Consistency, ETag, Listed, Match, Page, Read, SCAN_LIMIT_MAX, Scan, Written,
};
use crate::limits::{CATALOG_TIMEOUT, CONNECT_TIMEOUT, RETRIES_MAX, RETRY_DELAY_MAX, RETRY_DELAY_MIN};
use crate::wire::{ListedBody, PageBody, WrittenBody, media};

/// What a path segment or a parameter carries as it is (RFC 3986, unreserved); all else is percent-encoded.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    nodes: Arc<[String]>,
    preferred: Arc<AtomicUsize>,
    authorization: Option<HeaderValue>,
    retries: usize,
}

impl Client {
    /// A client of these nodes, any of which may answer, with a token where they want one.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Token`], and [`Error::Start`] when the system gives no resources.
    pub fn new(urls: &[String], token: Option<&str>) -> Result<Self, Error> {
        let nodes = urls.iter().map(|url| base_url(url)).collect::<Result<Vec<_>, _>>()?;
        if nodes.is_empty() {
            return Err(Error::Url { found: String::new() });
        }
        let bearer = |token: &str| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::Token)?;
            value.set_sensitive(true);
            Ok::<_, Error>(value)
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|source| Error::Start { source })?;
        Ok(Self {
            http,
            nodes: nodes.into(),
            preferred: Arc::default(),
            authorization: token.map(bearer).transpose()?,
            retries: 0,
        })
    }

    /// A client that repeats, with growing pauses, what a node was too busy for or provably did not propose.
    #[must_use]
    pub fn with_retries(self) -> Self {
        Self { retries: RETRIES_MAX, ..self }
    }

    /// Base URLs of the nodes, without a slash at the end.
    #[must_use]
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// The document.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, at: &Address, consistency: Consistency) -> Result<Read, Error> {
        let path = format!("{}?{}", document_path(at)?, consistency_parameter(consistency));
        let answer = self.send(Request::get(path)).await?;
        Ok(Read {
            stamp: answer.stamp()?,
            conflicts: answer.conflicts()?,
            fallback: answer.fallback()?,
            view: View::from_canonical(answer.body),
        })
    }

    /// Makes the document read like this.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put(
        &self,
        at: &Address,
        document: &Map<String, Value>,
        conditions: &Conditions,
    ) -> Result<Written, Error> {
        let request = Request::new(Method::PUT, document_path(at)?).json(document);
        self.write(request, conditions).await
    }

    /// Applies a merge patch (RFC 7396).
    ///
    /// # Errors
    /// [`Error`].
    pub async fn patch(
        &self,
        at: &Address,
        patch: &Map<String, Value>,
        conditions: &Conditions,
    ) -> Result<Written, Error> {
        let request = Request::new(Method::PATCH, document_path(at)?).json(patch);
        self.write(request.header(CONTENT_TYPE, HeaderValue::from_static(media::MERGE_PATCH)), conditions).await
    }

    /// Applies an operation of the collection's state policy, such as `{"inc": 5}`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn operate(&self, at: &Address, operation: &Value, conditions: &Conditions) -> Result<Written, Error> {
        let path = format!("{}/operations", document_path(at)?);
        self.write(Request::new(Method::POST, path).json(operation), conditions).await
    }

    /// Deletes the document.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, at: &Address, conditions: &Conditions) -> Result<Written, Error> {
        self.write(Request::new(Method::DELETE, document_path(at)?), conditions).await
    }

    async fn write(&self, mut request: Request, conditions: &Conditions) -> Result<Written, Error> {
        for (name, tags) in [(IF_MATCH, &conditions.if_match), (IF_NONE_MATCH, &conditions.if_none_match)] {
            if let Some(tags) = tags {
                let value = HeaderValue::try_from(conditions::print(tags)).map_err(|_| Error::ETag)?;
                request = request.header(name, value);
            }
        }
        let answer = self.send(request).await?;
        let WrittenBody { change, etag, .. } = answer.json()?;
        Ok(Written { change, stamp: etag.map(|_| answer.stamp()).transpose()? })
    }

    /// One page of a collection.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page(&self, collection: &CollectionName, scan: &Scan) -> Result<Page, Error> {
        let Scan { prefix, limit, cursor, consistency } = scan;
        let cursor = cursor.as_ref().map(|cursor| format!("&cursor={}", escaped(cursor))).unwrap_or_default();
        let path = format!(
            "{}/documents?prefix={}&limit={limit}&{}{cursor}",
            collection_path(collection),
            escaped(prefix),
            consistency_parameter(*consistency)
        );
        let answer = self.send(Request::get(path)).await?;
        let PageBody { documents, cursor } = answer.json()?;
        let listed = |body: ListedBody| {
            let ListedBody { key, etag, conflicts, value } = body;
            let view = View::of(&value).map_err(|error| answer.not_understood(error))?;
            Ok(Listed { key, etag, conflicts, view })
        };
        Ok(Page { documents: documents.into_iter().map(listed).collect::<Result<_, Error>>()?, cursor })
    }

    /// Every document whose key begins with the prefix, in the order of their keys; holds one page at a time.
    pub fn scan_all(
        &self,
        collection: &CollectionName,
        prefix: &str,
        consistency: Consistency,
    ) -> impl Stream<Item = Result<Listed, Error>> + Send + use<> {
        let (client, collection) = (self.clone(), collection.clone());
        let first = Scan { prefix: prefix.to_owned(), limit: SCAN_LIMIT_MAX, cursor: None, consistency };
        stream::try_unfold(Some(first), move |scan| {
            let (client, collection) = (client.clone(), collection.clone());
            async move {
                let Some(scan) = scan else { return Ok(None) };
                let page = client.page(&collection, &scan).await?;
                let next = page.cursor.map(|cursor| Scan { cursor: Some(cursor), ..scan });
                Ok::<_, Error>(Some((stream::iter(page.documents).map(Ok), next)))
            }
        })
        .try_flatten()
    }

    /// The open conflicts of a document.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn conflicts(&self, at: &Address, consistency: Consistency) -> Result<Conflicts, Error> {
        let path = format!("{}/conflicts?{}", document_path(at)?, consistency_parameter(consistency));
        self.send(Request::get(path)).await?.json()
    }

    /// Every collection.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn collections(&self) -> Result<Collections, Error> {
        self.send(Request::get("/v1/collections".to_owned())).await?.json()
    }

    /// One collection.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn collection(&self, name: &CollectionName) -> Result<Collection, Error> {
        self.send(Request::get(collection_path(name))).await?.json()
    }

    /// Creates a collection, or gives one that exists this policy; its template and text are fixed.
    ///
    /// # Errors
    /// [`Error`]; a problem of kind `collection-exists` when template or text differ.
    pub async fn put_collection(&self, name: &CollectionName, spec: &CollectionSpec) -> Result<Collection, Error> {
        let request = Request::new(Method::PUT, collection_path(name)).json(spec).timeout(CATALOG_TIMEOUT);
        self.send(request).await?.json()
    }

    /// Deletes a collection with all its documents.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_collection(&self, name: &CollectionName) -> Result<(), Error> {
        let request = Request::new(Method::DELETE, collection_path(name)).timeout(CATALOG_TIMEOUT);
        self.send(request).await.map(|_| ())
    }

    /// Ends open conflicts of a document by hand, if it is at this version.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settle(&self, at: &Address, settle: &Settle, version: ETag) -> Result<Written, Error> {
        let conditions = Conditions { if_match: Some(Match::Tags(vec![version])), if_none_match: None };
        let path = format!("{}/conflicts", document_path(at)?);
        self.write(Request::new(Method::POST, path).json(settle), &conditions).await
    }

    /// Every plugin.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plugins(&self) -> Result<Plugins, Error> {
        self.send(Request::get("/v1/plugins".to_owned())).await?.json()
    }

    /// One plugin.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plugin(&self, name: &PluginName) -> Result<Plugin, Error> {
        self.send(Request::get(plugin_path(name))).await?.json()
    }

    /// The component of a plugin's version.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn plugin_component(&self, name: &PluginName, digest: &PluginDigest) -> Result<Bytes, Error> {
        let request = Request::get(format!("{}?digest={digest}", plugin_path(name)));
        Ok(self.send(request.header(ACCEPT, HeaderValue::from_static(media::WASM))).await?.body)
    }

    /// Deploys a component: stages it on the nodes and makes it the plugin's active version.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn deploy(&self, name: &PluginName, component: Bytes) -> Result<Deployed, Error> {
        let request = Request::new(Method::PUT, plugin_path(name)).timeout(CATALOG_TIMEOUT);
        self.send(request.body(media::WASM, component)).await?.json()
    }

    /// What deploying a component would change; nothing is deployed.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn try_deploy(&self, name: &PluginName, component: Bytes) -> Result<DryRun, Error> {
        let path = format!("{}?dry_run=true", plugin_path(name));
        let request = Request::new(Method::PUT, path).timeout(CATALOG_TIMEOUT);
        self.send(request.body(media::WASM, component)).await?.json()
    }

    /// Makes a version that was active before the plugin's active one again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn roll_back(&self, name: &PluginName, rollback: &Rollback) -> Result<RolledBack, Error> {
        let request = Request::new(Method::POST, format!("{}/rollback", plugin_path(name)));
        self.send(request.json(rollback).timeout(CATALOG_TIMEOUT)).await?.json()
    }

    /// The cluster, as the node that answers sees it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cluster(&self) -> Result<Cluster, Error> {
        self.send(Request::get("/v1/cluster".to_owned())).await?.json()
    }

    /// Adds a node to the cluster; the shards' groups follow.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn add_member(&self, id: NodeId, member: &NewMember) -> Result<(), Error> {
        self.change_cluster(Method::POST, format!("/v1/cluster/members/{id}"), Some(member)).await
    }

    /// Removes a node from the cluster; the shards' groups follow.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn remove_member(&self, id: NodeId) -> Result<(), Error> {
        self.change_cluster::<()>(Method::DELETE, format!("/v1/cluster/members/{id}"), None).await
    }

    /// Puts another node in a node's place; the shards' groups follow.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn replace_member(&self, id: NodeId, by: &Replacement) -> Result<(), Error> {
        self.change_cluster(Method::POST, format!("/v1/cluster/members/{id}/replace"), Some(by)).await
    }

    /// A node is to lead nothing, or may lead again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn drain_member(&self, id: NodeId, drained: bool) -> Result<(), Error> {
        self.change_cluster(Method::POST, format!("/v1/cluster/members/{id}/drain"), Some(&Drain { drained })).await
    }

    /// Hands the leadership of a shard over; answers when the node leads.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn transfer_leader(&self, transfer: Transfer) -> Result<(), Error> {
        self.change_cluster(Method::POST, "/v1/cluster/transfer-leader".to_owned(), Some(&transfer)).await
    }

    async fn change_cluster<T: Serialize>(&self, method: Method, path: String, body: Option<&T>) -> Result<(), Error> {
        let request = Request::new(method, path).timeout(CATALOG_TIMEOUT);
        self.send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
        .map(|_| ())
    }

    /// How an edge's sync with the core is going.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn sync_status(&self) -> Result<SyncStatus, Error> {
        self.send(Request::get("/v1/sync/status".to_owned())).await?.json()
    }

    /// What an edge holds.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn subscription(&self) -> Result<SubscriptionBody, Error> {
        self.send(Request::get("/v1/sync/subscription".to_owned())).await?.json()
    }

    /// Has an edge hold something else.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn subscribe(&self, wanted: &SubscriptionBody) -> Result<SubscriptionBody, Error> {
        self.send(Request::new(Method::PUT, "/v1/sync/subscription".to_owned()).json(wanted)).await?.json()
    }

    /// A page of what the core refused, at an edge.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stranded(&self, after: Option<&str>, limit: usize) -> Result<StrandedPage, Error> {
        let after = after.map_or_else(String::new, |after| format!("&after={}", escaped(after)));
        self.send(Request::get(format!("/v1/stranded?limit={limit}{after}"))).await?.json()
    }

    /// One piece of it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn stranded_one(&self, id: &str) -> Result<StrandedWork, Error> {
        self.send(Request::get(format!("/v1/stranded/{}", escaped(id)))).await?.json()
    }

    /// Decides about one piece of it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn decide_stranded(&self, action: &StrandedAction) -> Result<StrandedDone, Error> {
        self.send(Request::new(Method::POST, "/v1/stranded".to_owned()).json(action)).await?.json()
    }

    /// Sends a request, and again while that is safe and worth it.
    async fn send(&self, request: Request) -> Result<Answer, Error> {
        let pauses = ExponentialBuilder::default()
            .with_min_delay(RETRY_DELAY_MIN)
            .with_max_delay(RETRY_DELAY_MAX)
            .with_max_times(self.retries);
        let method = request.method.clone();
        (|| self.send_once(&request)).retry(pauses).when(|error: &Error| error.may_be_repeated(&method)).await
    }

    /// Sends a request to the first node that can be reached and serves, beginning with the one that answered last.
    async fn send_once(&self, request: &Request) -> Result<Answer, Error> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut failed = None;
        for at in (0..self.nodes.len()).map(|step| (preferred + step) % self.nodes.len()) {
            match request.send(&self.http, &self.nodes[at], self.authorization.as_ref()).await {
                // What a node has answered says more than that another is down.
                Err(error) if error.is_of_this_node(&request.method) => {
                    failed = Some(match failed {
                        Some(answered @ Error::Problem { .. }) => answered,
                        _ => error,
                    });
                }
                answer => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(failed.expect("a client has at least one node, and each has failed"))
    }
}

/// Scheme and authority of a node's URL.
fn base_url(url: &str) -> Result<String, Error> {
    let refused = || Error::Url { found: url.to_owned() };
    let parsed = reqwest::Url::parse(url).map_err(|_| refused())?;
    let plain = parsed.scheme() == "http" && parsed.path() == "/" && parsed.query().is_none();
    if !plain || !parsed.has_host() {
        return Err(refused());
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

fn escaped(text: &str) -> impl std::fmt::Display {
    utf8_percent_encode(text, ESCAPED).to_string()
}

fn collection_path(collection: &CollectionName) -> String {
    format!("/v1/collections/{collection}")
}

/// A URL cannot carry the segments `.` and `..`, however they are escaped (WHATWG URL standard, path state).
fn document_path(at: &Address) -> Result<String, Error> {
    if matches!(at.key.as_str(), "." | "..") {
        return Err(Error::Key { key: at.key.clone() });
    }
    Ok(format!("{}/documents/{}", collection_path(&at.collection), escaped(at.key.as_str())))
}

fn plugin_path(name: &PluginName) -> String {
    format!("/v1/plugins/{name}")
}

fn consistency_parameter(consistency: Consistency) -> &'static str {
    match consistency {
        Consistency::Linearizable => "consistency=linearizable",
        Consistency::Local => "consistency=local",
    }
}
