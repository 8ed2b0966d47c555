//! One connection of a client: its messages in their order, each answered only after what it brought is committed; and news
//! of the documents that it has open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use futures::FutureExt as _;
use skerry_api::problem::{Kind, Problem};
use skerry_channel::automerge::{Ephemeral, FromClient, FromCore, Metadata, PROTOCOL, Said};
use skerry_model::VersionId;
use skerry_model::automerge_id::AutomergeId;
use skerry_model::engine;
use skerry_model::engine::json::sync::{Incoming, Peer};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Hub;
use crate::consensus::state_machine::Progress;
use crate::env::executor::compute;
use crate::limits::{
    CLIENT_AWAITED_MAX, CLIENT_DOCUMENTS_MAX, CLIENT_JOIN_TIMEOUT, CLIENT_NEWS_INTERVAL, CLIENT_PING_EVERY,
    CLIENT_SEND_TIMEOUT, CLIENT_SILENCE_MAX, EPHEMERAL_BYTES_MAX,
};
use crate::node::Node;
use crate::node::automerge::{Shared, may_pass};

/// Why a connection ends.
#[derive(Debug)]
enum Ended {
    /// The client has gone.
    Gone,
    /// It said what cannot be understood, or this node cannot serve it: it hears why.
    Told(Problem),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Told(problem)
    }
}

/// A document that the client has open.
struct Open {
    shared: Shared,
    /// What is known of the client's copy; none once a change of it was refused, so that nothing of it is taken any more.
    peer: Option<Peer>,
    /// The version that the client was last told of.
    told: Option<VersionId>,
}

pub(super) struct Connection {
    hub: Hub,
    socket: WebSocket,
    number: u64,
    /// What this node is called for as long as the connection lasts.
    name: String,
    client: String,
    open: BTreeMap<AutomergeId, Open>,
    /// Documents that the client has asked for and that are not there.
    awaited: BTreeSet<AutomergeId>,
    progress: Vec<watch::Receiver<Progress>>,
    ephemeral: broadcast::Receiver<(u64, Arc<Ephemeral>)>,
    heard: Instant,
}

impl Connection {
    pub(super) fn new(hub: Hub, socket: WebSocket, nonce: &str) -> Self {
        let progress = hub.node.shards().iter().map(|shard| shard.state.watch()).collect();
        let ephemeral = hub.ephemeral.subscribe();
        let number = hub.next_connection();
        let name = format!("skerry-{}-{nonce}", hub.node.id());
        let heard = Instant::now();
        Self {
            hub,
            socket,
            number,
            name,
            client: String::new(),
            open: BTreeMap::new(),
            awaited: BTreeSet::new(),
            progress,
            ephemeral,
            heard,
        }
    }

    /// Serves the client until it goes, where there is a place for it.
    pub(super) async fn run(mut self, place: Result<(), Problem>) {
        let served = match place {
            Ok(()) => self.serve().await,
            Err(problem) => Err(problem.into()),
        };
        if let Err(Ended::Told(problem)) = served {
            tracing::info!(client = %self.client, detail = %problem.detail, "a connection of an Automerge client ends");
            self.hub.metrics.refused(problem.kind.name());
            // It may be gone by now.
            let _ = self.say_error(&problem.detail).await;
        }
    }

    async fn serve(&mut self) -> Result<(), Ended> {
        self.hub.node.be_in_touch().await?;
        let first = timeout(CLIENT_JOIN_TIMEOUT, self.hear()).await;
        let late = |_| Problem::new(Kind::Malformed, "the client did not join in time");
        match first.map_err(late)?? {
            FromClient::Join { sender, versions } if versions.iter().any(|version| version == PROTOCOL) => {
                self.client = sender;
            }
            FromClient::Join { versions, .. } => {
                let detail = format!("this node speaks version {PROTOCOL} of the protocol, the client {versions:?}");
                return Err(Problem::new(Kind::Refused, detail).into());
            }
            _ => return Err(Problem::new(Kind::Malformed, "the first message must be join").into()),
        }
        let line = self.hub.node.timeline().to_string();
        let joined = FromCore::Peer {
            sender_id: &self.name,
            target_id: &self.client,
            selected_protocol_version: PROTOCOL,
            peer_metadata: Metadata { storage_id: &line, is_ephemeral: false },
        };
        let joined = joined.encode();
        self.send(joined).await?;
        self.converse().await
    }

    async fn converse(&mut self) -> Result<(), Ended> {
        let mut next_news = Instant::now();
        let mut next_ping = Instant::now() + CLIENT_PING_EVERY;
        loop {
            let news = news(&mut self.progress, next_news);
            tokio::select! {
                heard = receive(&mut self.socket) => {
                    self.heard = Instant::now();
                    if let Some(bytes) = heard? {
                        self.take(decode(&bytes)?).await?;
                        // Meanwhile nobody has looked whether the client is there.
                        self.heard = Instant::now();
                    }
                }
                shards = news => {
                    next_news = Instant::now() + CLIENT_NEWS_INTERVAL;
                    self.tell_news(&shards).await?;
                }
                said = self.ephemeral.recv() => match said {
                    Ok((from, said)) if from != self.number => self.pass_on(&said).await?,
                    // Whoever is behind misses some: they are for the moment.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Err(Ended::Gone),
                },
                () = sleep_until(next_ping) => {
                    if self.heard.elapsed() > CLIENT_SILENCE_MAX {
                        return Err(Ended::Gone);
                    }
                    // A node that hears nothing new sends its clients to another.
                    self.hub.node.be_in_touch().await?;
                    next_ping = Instant::now() + CLIENT_PING_EVERY;
                    self.put(Message::Ping(bytes::Bytes::new())).await?;
                }
            }
        }
    }

    async fn take(&mut self, message: FromClient) -> Result<(), Ended> {
        match message {
            FromClient::Request(said) => self.sync(said, false).await,
            FromClient::Sync(said) => self.sync(said, true).await,
            FromClient::Ephemeral(said) => self.spread(said),
            FromClient::Leave => Err(Ended::Gone),
            FromClient::Join { .. } => Err(Problem::new(Kind::Malformed, "the client has joined already").into()),
            FromClient::Other => Ok(()),
        }
    }

    /// A sync message about a document; `has` where the client has the document.
    async fn sync(&mut self, said: Said, has: bool) -> Result<(), Ended> {
        let malformed = |error: skerry_model::automerge_id::BadId| Problem::new(Kind::Malformed, error.to_string());
        let id: AutomergeId = said.document.parse().map_err(malformed)?;
        if !self.open.contains_key(&id) && !self.begin(id, has).await? {
            return Ok(());
        }
        let open = self.open.get_mut(&id).expect("it is open by now");
        let Some(peer) = open.peer.take() else { return Ok(()) };
        let shared = open.shared.clone();
        match exchange(&self.hub.node, &shared, peer, said.data).await {
            Ok((version, peer, answer)) => {
                self.told(id, version, peer);
                match answer {
                    Some(data) => self.say(id, &data).await,
                    None => Ok(()),
                }
            }
            // What comes later of this document builds on what was refused; the others are none the worse.
            Err(problem) if !may_pass(&problem) => self.refuse(&id, &problem).await,
            Err(problem) => Err(problem.into()),
        }
    }

    /// Opens a document; `false` where there is none to open, which the client has heard.
    async fn begin(&mut self, id: AutomergeId, has: bool) -> Result<bool, Ended> {
        let found = self.hub.node.shared(&id).await?;
        let shared = match found {
            Some((shared, is_there)) if is_there || has => Some(shared),
            Some(_) => None,
            None if has => self.hub.node.inbox(&id),
            None => None,
        };
        self.awaited.remove(&id);
        let is_full = self.open.len() >= CLIENT_DOCUMENTS_MAX;
        match shared.filter(|_| !is_full) {
            Some(shared) => {
                self.open.insert(id, Open { shared, peer: Some(Peer::default()), told: None });
                Ok(true)
            }
            None => {
                if has || is_full {
                    let why = if is_full { "too-many-documents" } else { "no-inbox" };
                    tracing::info!(client = %self.client, %id, why, "a document of an Automerge client is not taken");
                    self.hub.metrics.refused(why);
                } else if self.awaited.len() < CLIENT_AWAITED_MAX {
                    self.awaited.insert(id);
                }
                let (sender_id, target_id) = (&*self.name, &*self.client);
                let answer = FromCore::DocUnavailable { sender_id, target_id, document_id: &id.to_string() }.encode();
                self.send(answer).await?;
                Ok(false)
            }
        }
    }

    /// Nothing of this document is taken any more on this connection: what comes next builds on what was refused.
    async fn refuse(&mut self, id: &AutomergeId, problem: &Problem) -> Result<(), Ended> {
        self.hub.metrics.refused(problem.kind.name());
        let Some(open) = self.open.get(id) else { return Ok(()) };
        let at = format!("{}/{}", open.shared.at.collection, open.shared.at.key);
        tracing::warn!(client = %self.client, %id, %at, detail = %problem.detail, "changes of an Automerge client are refused");
        let message = format!("changes to {} ({at}) are refused: {}", id.url(), problem.detail);
        self.say_error(&message).await
    }

    /// Tells the client what is new in its documents of these shards.
    async fn tell_news(&mut self, shards: &[usize]) -> Result<(), Ended> {
        for id in self.awaited.clone() {
            if let Some((shared, true)) = self.hub.node.shared_here(&id)? {
                self.awaited.remove(&id);
                self.open.insert(id, Open { shared, peer: Some(Peer::default()), told: None });
            }
        }
        let mut changed = Vec::new();
        for (id, open) in &self.open {
            let shard = self.hub.node.shard_of(&open.shared.at.collection, &open.shared.at.key);
            let is_one = shards.contains(&usize::from(shard.id.get()));
            if is_one && open.peer.is_some() && self.hub.node.version_here(&open.shared)? != open.told {
                changed.push(*id);
            }
        }
        for id in changed {
            let Some(open) = self.open.get_mut(&id) else { continue };
            let shared = open.shared.clone();
            let Some(mut peer) = open.peer.take() else { continue };
            let said = self.hub.node.with_shared(&shared, move |document| {
                let said = document.say(&mut peer);
                (peer, said)
            });
            match said.await {
                Ok((version, (peer, Ok(said)))) => {
                    self.told(id, version, peer);
                    if let Some(data) = said {
                        self.say(id, &data).await?;
                    }
                }
                Ok((_, (_, Err(error)))) => self.refuse(&id, &error.into()).await?,
                Err(problem) if problem.kind == Kind::CollectionNotFound => drop(self.open.remove(&id)),
                Err(problem) => return Err(problem.into()),
            }
        }
        Ok(())
    }

    /// Notes what a client was told of, and what is known of its copy.
    fn told(&mut self, id: AutomergeId, version: Option<VersionId>, peer: Peer) {
        if let Some(open) = self.open.get_mut(&id) {
            open.told = version;
            open.peer = Some(peer);
        }
    }

    /// Hands on to the others of this node what a client says to whoever has a document open.
    fn spread(&mut self, said: Ephemeral) -> Result<(), Ended> {
        let found = said.data.len();
        if found > EPHEMERAL_BYTES_MAX {
            let detail = format!("the ephemeral message has {found} bytes, the limit is {EPHEMERAL_BYTES_MAX}");
            return Err(Problem::new(Kind::TooLarge, detail).into());
        }
        // Nobody else may be there.
        let _ = self.hub.ephemeral.send((self.number, Arc::new(said)));
        Ok(())
    }

    /// What another client says, where this one has the document open.
    async fn pass_on(&mut self, said: &Ephemeral) -> Result<(), Ended> {
        let is_open = said.document_id.parse().is_ok_and(|id: AutomergeId| self.open.contains_key(&id));
        if !is_open {
            return Ok(());
        }
        let said = Ephemeral { target_id: self.client.clone(), ..said.clone() };
        self.send(FromCore::Ephemeral(said).encode()).await
    }

    async fn say(&mut self, id: AutomergeId, data: &[u8]) -> Result<(), Ended> {
        let (sender_id, target_id) = (&*self.name, &*self.client);
        let message = FromCore::Sync { sender_id, target_id, document_id: &id.to_string(), data }.encode();
        self.send(message).await
    }

    async fn say_error(&mut self, message: &str) -> Result<(), Ended> {
        let error = FromCore::Error { sender_id: &self.name, target_id: &self.client, message }.encode();
        self.send(error).await
    }

    async fn send(&mut self, message: Vec<u8>) -> Result<(), Ended> {
        self.put(Message::Binary(message.into())).await
    }

    async fn put(&mut self, message: Message) -> Result<(), Ended> {
        match timeout(CLIENT_SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ended::Gone),
        }
    }

    async fn hear(&mut self) -> Result<FromClient, Ended> {
        loop {
            if let Some(bytes) = receive(&mut self.socket).await? {
                return Ok(decode(&bytes)?);
            }
        }
    }
}

/// Has what a message brings committed, hears it, and answers.
async fn exchange(
    node: &Node,
    shared: &Shared,
    mut peer: Peer,
    message: Vec<u8>,
) -> Result<(Option<VersionId>, Peer, Option<Vec<u8>>), Problem> {
    let decoded = compute(node.executor(), move || Incoming::decode(&message)).await;
    let mut incoming = decoded.unwrap_or_else(|| Err(unreadable()))?;
    let changes = incoming.take_changes();
    if !changes.is_empty() || peer.awaits() {
        let sorted = node.with_shared(shared, move |document| {
            let sorted = document.admit_from(&mut peer, changes);
            (peer, sorted)
        });
        let (_, (awaiting, sorted)) = sorted.await?;
        peer = awaiting;
        let sorted = sorted?;
        if !sorted.is_empty() {
            node.merge_shared(shared, sorted).await?;
        }
    }
    let answered = node.with_shared(shared, move |document| {
        let answer = document.hear(&mut peer, incoming).and_then(|()| document.say(&mut peer));
        (peer, answer)
    });
    let (version, (peer, answer)) = answered.await?;
    Ok((version, peer, answer?))
}

/// The next message; `None` for what only keeps the connection alive.
async fn receive(socket: &mut WebSocket) -> Result<Option<bytes::Bytes>, Ended> {
    match socket.recv().await {
        Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(Message::Text(_))) => Err(Problem::new(Kind::Malformed, "messages are binary").into()),
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Ended::Gone),
    }
}

fn decode(bytes: &[u8]) -> Result<FromClient, Problem> {
    FromClient::decode(bytes).map_err(|error| Problem::new(Kind::Malformed, error.to_string()))
}

/// Waits until something was applied in some shards, and tells in which.
async fn news(progress: &mut [watch::Receiver<Progress>], from: Instant) -> Vec<usize> {
    sleep_until(from).await;
    let first = {
        let changed = progress.iter_mut().map(|progress| progress.changed().boxed());
        let (first, at, _) = futures::future::select_all(changed).await;
        if first.is_err() {
            // The node is stopping, and its connections end with it.
            std::future::pending::<()>().await;
        }
        at
    };
    let mut shards = vec![first];
    for (at, progress) in progress.iter_mut().enumerate() {
        if at != first && progress.has_changed().unwrap_or_default() {
            progress.mark_unchanged();
            shards.push(at);
        }
    }
    shards
}

fn unreadable() -> engine::Error {
    engine::Error::Malformed { what: "a sync message", reason: "it makes this node panic".to_owned() }
}
