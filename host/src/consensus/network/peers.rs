//! Calls to other nodes: one connection per peer and lane, made when it is needed, with many calls under way at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use skerry_model::env::Clock;
use skerry_model::{NodeId, Nonce, ShardId};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::hello::{Founding, Hello, PROTOCOL, Purpose, Welcome};
use super::message::{Call, Lane, Reply, Request, Response};
use super::wire::{self, Outbox};
use crate::consensus::types::NodeAddress;
use crate::env::network::Network;
use crate::limits::{
    NODE_BULK_SILENCE_MAX, NODE_CONNECT_TIMEOUT, NODE_CONNECTION_CHECK, NODE_FRAME_BYTES_MAX, NODE_SILENCE_MAX,
};

/// Why a call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was never sent.
    #[error("node {node} at {address} cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        node: NodeId,
        /// Where it was called.
        address: String,
        /// Why.
        reason: String,
    },
    /// It may have arrived.
    #[error("node {node} gave no answer: {reason}")]
    NoAnswer {
        /// The peer.
        node: NodeId,
        /// Why.
        reason: String,
    },
}

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The node.
    pub node: NodeId,
    /// Random id of its data folder.
    pub folder: Nonce,
}

/// The peers of a node.
pub struct Peers {
    caller: Caller,
    founding: Founding,
    /// Where each node is reached, as far as this one has heard.
    addresses: Mutex<BTreeMap<NodeId, NodeAddress>>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    lines: Mutex<BTreeMap<(NodeId, Lane), Arc<Line>>>,
}

/// The connection to one peer on one lane, or the lack of one.
struct Line {
    connection: Mutex<Option<Connection>>,
    connecting: tokio::sync::Semaphore,
    /// Why the peer refused the last attempt: said once.
    refused: Mutex<Option<String>>,
    /// When the last attempt failed, and why: that goes for all who waited for it.
    failed: Mutex<Option<(Instant, String)>>,
}

#[derive(Clone)]
struct Connection {
    frames: Outbox,
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// The number of the next request.
    next: AtomicU64,
    sent: AtomicU64,
    answered: AtomicU64,
    replies: Mutex<BTreeMap<u64, oneshot::Sender<Response>>>,
}

/// An answer on its way.
pub struct Pending {
    node: NodeId,
    reply: oneshot::Receiver<Response>,
    waiting: Arc<Waiting>,
    id: u64,
}

impl Peers {
    /// The peers of the cluster that was founded like this, and where they are reached.
    #[must_use]
    pub fn new(
        caller: Caller,
        founding: Founding,
        members: BTreeMap<NodeId, NodeAddress>,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { caller, founding, addresses: Mutex::new(members), network, clock, lines: Mutex::default() }
    }

    /// Where every node is reached that this one has heard of.
    #[must_use]
    pub fn addresses(&self) -> BTreeMap<NodeId, NodeAddress> {
        self.addresses.lock().clone()
    }

    /// Every other node that this one has heard of.
    #[must_use]
    pub fn others(&self) -> Vec<NodeId> {
        self.addresses.lock().keys().copied().filter(|id| *id != self.caller.node).collect()
    }

    /// A node is reached there.
    pub fn learn(&self, node: NodeId, address: &NodeAddress) {
        self.addresses.lock().insert(node, address.clone());
    }

    /// What the cluster was founded with.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Where a node is reached.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<NodeAddress> {
        self.addresses.lock().get(&node).cloned()
    }

    /// Connects to a peer, unless that is so already: it then knows this node's folder for good.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn meet(&self, node: NodeId) -> Result<(), Error> {
        self.connection(node, Lane::Control).await.map(|_| ())
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// [`Error`] says whether the request may have arrived.
    pub async fn call(
        &self,
        node: NodeId,
        lane: Lane,
        shard: ShardId,
        request: Request,
        limit: Duration,
    ) -> Result<Response, Error> {
        let deadline = Instant::now() + limit;
        let pending = match timeout_at(deadline, self.send(node, lane, shard, request)).await {
            Ok(sent) => sent?,
            Err(_elapsed) => return Err(self.unreachable(node, "it took too long".to_owned())),
        };
        pending.answer(deadline - Instant::now()).await
    }

    /// Sends a request; requests of one task on one lane arrive in the order of these calls.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: it was not sent.
    pub async fn send(&self, node: NodeId, lane: Lane, shard: ShardId, request: Request) -> Result<Pending, Error> {
        let connection = self.connection(node, lane).await?;
        let id = connection.waiting.next.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        connection.waiting.replies.lock().insert(id, sender);
        let pending = Pending { node, reply, waiting: Arc::clone(&connection.waiting), id };
        let frame = wire::encode(&Call { id, shard, request });
        // Refused alone: on the connection it would take all other calls down with it.
        if frame.len() > NODE_FRAME_BYTES_MAX {
            let (bytes, max) = (frame.len(), NODE_FRAME_BYTES_MAX);
            return Err(self.unreachable(node, format!("the request is {bytes} bytes, the limit is {max}")));
        }
        match connection.frames.send(frame).await {
            Ok(()) => {
                pending.waiting.sent.fetch_add(1, Ordering::Relaxed);
                Ok(pending)
            }
            Err(wire::Closed) => Err(self.unreachable(node, "the connection was closed".to_owned())),
        }
    }

    fn unreachable(&self, node: NodeId, reason: String) -> Error {
        let address = self.address(node).map(|address| address.node).unwrap_or_default();
        Error::Unreachable { node, address, reason }
    }

    async fn connection(&self, node: NodeId, lane: Lane) -> Result<Connection, Error> {
        let line = Arc::clone(self.lines.lock().entry((node, lane)).or_insert_with(|| {
            Arc::new(Line {
                connection: Mutex::new(None),
                connecting: tokio::sync::Semaphore::new(1),
                refused: Mutex::new(None),
                failed: Mutex::new(None),
            })
        }));
        if let Some(connection) = line.open() {
            return Ok(connection);
        }
        let began = Instant::now();
        // One caller connects; the others wait for what comes of it.
        let _connecting = line.connecting.acquire().await.expect("the semaphore is never closed");
        if let Some(connection) = line.open() {
            return Ok(connection);
        }
        let failed = line.failed.lock().clone();
        if let Some((_, reason)) = failed.filter(|(at, _)| *at >= began) {
            return Err(self.unreachable(node, reason));
        }
        let connected = match timeout(NODE_CONNECT_TIMEOUT, self.connect(node, lane, &line)).await {
            Ok(connected) => connected,
            Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
        };
        let connection = connected.map_err(|error| {
            *line.failed.lock() = Some((Instant::now(), error.to_string()));
            self.unreachable(node, error.to_string())
        })?;
        *line.connection.lock() = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self, node: NodeId, lane: Lane, line: &Line) -> io::Result<Connection> {
        let address = self.address(node).ok_or(io::ErrorKind::NotFound)?;
        let stream = self.network.connect(&address.node).await?;
        let (mut reader, mut writer) = wire::split(stream);
        let (cluster, timeline) = (self.founding.cluster, self.founding.timeline);
        let hello = Hello {
            protocol: PROTOCOL,
            node: self.caller.node,
            to: node,
            folder: self.caller.folder,
            clock_ms: self.clock.now_ms(),
            purpose: Purpose::Traffic { cluster, timeline, lane },
        };
        wire::write(&mut writer, &hello).await?;
        match wire::read(&mut reader).await? {
            Welcome::Come => *line.refused.lock() = None,
            Welcome::Refused(reason) => {
                let before = line.refused.lock().replace(reason.clone());
                if before.as_ref() != Some(&reason) {
                    tracing::warn!(peer = %node, reason, "a peer refused the connection");
                }
                return Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason));
            }
            other => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {other:?}"))),
        }
        wire::trust(&mut reader);
        let (frames, queue) = wire::outbox();
        let waiting = Arc::<Waiting>::default();
        let silence = if lane == Lane::Bulk { NODE_BULK_SILENCE_MAX } else { NODE_SILENCE_MAX };
        let ended = wire::drain(writer, queue);
        tokio::spawn(run(node, receive(reader, Arc::clone(&waiting), silence), ended, Arc::clone(&waiting)));
        Ok(Connection { frames, waiting })
    }
}

/// Asks a node about the cluster, from a folder that belongs to none yet.
///
/// # Errors
/// When the node cannot be reached or refuses.
pub async fn ask_to_join(
    network: &dyn Network,
    clock: &dyn Clock,
    caller: &Caller,
    to: NodeId,
    address: &str,
) -> io::Result<Welcome> {
    let asked = async {
        let (mut reader, mut writer) = wire::split(network.connect(address).await?);
        let (node, folder) = (caller.node, caller.folder);
        let clock_ms = clock.now_ms();
        wire::write(&mut writer, &Hello { protocol: PROTOCOL, node, to, folder, clock_ms, purpose: Purpose::Join })
            .await?;
        wire::read(&mut reader).await
    };
    timeout(NODE_CONNECT_TIMEOUT, asked).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

/// Carries one connection until it ends; what still waits for an answer then learns that none comes.
async fn run(
    node: NodeId,
    receive: impl Future<Output = io::Result<()>>,
    send: impl Future<Output = io::Result<()>>,
    waiting: Arc<Waiting>,
) {
    let ended: io::Result<()> = tokio::select! {
        biased;
        ended = receive => ended,
        ended = send => ended,
    };
    tracing::debug!(peer = %node, ended = ?ended, "a connection to a peer ended");
    waiting.replies.lock().clear();
}

/// Takes answers, until the peer has owed some for `silence` and said nothing.
async fn receive(mut reader: wire::Reader, waiting: Arc<Waiting>, silence: Duration) -> io::Result<()> {
    let mut check = interval(NODE_CONNECTION_CHECK);
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            biased;
            reply = wire::read(&mut reader) => {
                let Reply { id, response } = reply?;
                heard = Instant::now();
                waiting.answered.fetch_add(1, Ordering::Relaxed);
                // Whoever gave up waiting has no use for it.
                let _ = waiting.replies.lock().remove(&id).map(|reply| reply.send(response));
            }
            _ = check.tick() => {
                // Also what was given up is owed: over a dead connection each call gives up before the silence is over.
                if waiting.owed() == 0 {
                    heard = Instant::now();
                } else if heard.elapsed() >= silence {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer owes answers and says nothing"));
                }
            }
        }
    }
}

impl Waiting {
    /// Requests without an answer, those among them that nobody waits for any more.
    fn owed(&self) -> u64 {
        self.sent.load(Ordering::Relaxed).saturating_sub(self.answered.load(Ordering::Relaxed))
    }
}

impl Line {
    fn open(&self) -> Option<Connection> {
        self.connection.lock().as_ref().filter(|connection| !connection.frames.is_closed()).cloned()
    }
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Error::NoAnswer`]: the request may have arrived.
    pub async fn answer(mut self, limit: Duration) -> Result<Response, Error> {
        let node = self.node;
        let no_answer = |reason: &str| Error::NoAnswer { node, reason: reason.to_owned() };
        match timeout(limit, &mut self.reply).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(_dropped)) => Err(no_answer("the connection was lost")),
            Err(_elapsed) => Err(no_answer("it took too long")),
        }
    }
}

impl Drop for Pending {
    /// Nobody waits any longer, so the entry must not stay behind.
    fn drop(&mut self) {
        self.waiting.replies.lock().remove(&self.id);
    }
}
