//! The node port: takes connections, answers Hello, and hands each request to its shard. Appends of one connection and
//! shard are handled in their order, everything else at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use skerry_model::ShardId;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::hello::{Hello, Welcome};
use super::message::{Call, Reply, Request, Response};
use super::wire;
use crate::consensus::state_machine::StateMachine;
use crate::consensus::types::{Raft, TypeConfig};
use crate::env::network::{Listener, Stream};
use crate::limits::{NODE_CONNECT_TIMEOUT, NODE_CONNECTIONS_MAX, NODE_QUEUE_MAX};

/// What the node port serves.
pub trait Handler: Send + Sync + 'static {
    /// Whether a caller may come in.
    fn hello(&self, hello: &Hello) -> BoxFuture<'_, Welcome>;

    /// The Raft group of a shard.
    fn raft(&self, shard: ShardId) -> Option<Raft<StateMachine>>;

    /// Answers a request other than an append.
    fn call(&self, shard: ShardId, request: Request) -> BoxFuture<'_, Response>;
}

/// Serves connections until the future is dropped.
pub async fn serve(mut listener: Box<dyn Listener>, handler: Arc<dyn Handler>) {
    let room = Arc::new(Semaphore::new(NODE_CONNECTIONS_MAX));
    loop {
        let permit = Arc::clone(&room).acquire_owned().await;
        match listener.accept().await {
            Ok(stream) => {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move {
                    let _open = permit;
                    if let Err(error) = converse(stream, handler).await {
                        tracing::debug!(%error, "a connection from a peer ended");
                    }
                });
            }
            // Out of file handles, mostly: others must end first.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(NODE_CONNECT_TIMEOUT).await;
            }
        }
    }
}

async fn converse(stream: Box<dyn Stream>, handler: Arc<dyn Handler>) -> io::Result<()> {
    let (mut reader, mut writer) = wire::split(stream);
    let first = timeout(NODE_CONNECT_TIMEOUT, wire::read::<Hello>(&mut reader)).await;
    let hello = first.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let welcome = handler.hello(&hello).await;
    wire::write(&mut writer, &welcome).await?;
    if let Welcome::Refused(reason) = &welcome {
        tracing::warn!(peer = %hello.node, reason, "a connection was refused");
    }
    if welcome != Welcome::Come {
        return Ok(());
    }
    let (replies, queue) = mpsc::channel(NODE_QUEUE_MAX);
    let requests = take_requests(reader, handler, replies);
    tokio::select! {
        biased;
        ended = requests => ended,
        ended = wire::drain(writer, queue) => ended,
    }
}

async fn take_requests(
    mut reader: wire::Reader,
    handler: Arc<dyn Handler>,
    replies: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(NODE_QUEUE_MAX));
    let mut appends: BTreeMap<ShardId, mpsc::Sender<(u64, AppendEntriesRequest<TypeConfig>)>> = BTreeMap::new();
    loop {
        let Call { id, shard, request } = wire::read(&mut reader).await?;
        match request {
            Request::Append(entries) => {
                let Some(raft) = handler.raft(shard) else {
                    reply(&replies, id, Response::Failed(format!("there is no shard {shard}"))).await;
                    continue;
                };
                let lane = appends.entry(shard).or_insert_with(|| {
                    let (sender, receiver) = mpsc::channel(NODE_QUEUE_MAX);
                    tokio::spawn(append_in_order(raft, receiver, replies.clone()));
                    sender
                });
                if lane.send((id, entries)).await.is_err() {
                    return Err(io::Error::other(format!("shard {shard} has stopped")));
                }
            }
            request => {
                let permit = Arc::clone(&room).acquire_owned().await;
                let (handler, replies) = (Arc::clone(&handler), replies.clone());
                tokio::spawn(async move {
                    let _under_way = permit;
                    let response = handler.call(shard, request).await;
                    reply(&replies, id, response).await;
                });
            }
        }
    }
}

/// Sends a reply; when the connection is gone the caller knows already.
async fn reply(replies: &mpsc::Sender<Bytes>, id: u64, response: Response) {
    let _ = replies.send(wire::encode(&Reply { id, response })).await;
}

/// Feeds one shard's appends to openraft in their order, several at once. After a conflict or a higher vote openraft
/// ends its stream: what was sent behind is answered as failed, and the next append opens a new one.
async fn append_in_order(
    raft: Raft<StateMachine>,
    mut requests: mpsc::Receiver<(u64, AppendEntriesRequest<TypeConfig>)>,
    replies: mpsc::Sender<Bytes>,
) {
    while let Some(first) = requests.recv().await {
        if !append_stream(&raft, first, &mut requests, &replies).await {
            return;
        }
    }
}

/// One stream; `false` when the group has stopped.
async fn append_stream(
    raft: &Raft<StateMachine>,
    first: (u64, AppendEntriesRequest<TypeConfig>),
    requests: &mut mpsc::Receiver<(u64, AppendEntriesRequest<TypeConfig>)>,
    replies: &mpsc::Sender<Bytes>,
) -> bool {
    let (entries, input) = mpsc::channel(NODE_QUEUE_MAX);
    let mut waiting = VecDeque::from([first.0]);
    entries.try_send(first.1).expect("the channel is new and has room");
    let input = stream::unfold(input, |mut input| async move { input.recv().await.map(|entry| (entry, input)) });
    let mut results = Box::pin(raft.stream_append(input));
    loop {
        tokio::select! {
            biased;
            result = results.next() => {
                let Some(id) = waiting.pop_front() else { return result.is_some() };
                match result {
                    Some(Ok(result)) => {
                        let goes_on: bool = StreamAppendResult::<TypeConfig>::is_ok(&result);
                        reply(replies, id, Response::Append(result)).await;
                        if !goes_on {
                            break;
                        }
                    }
                    Some(Err(fatal)) => {
                        tracing::error!(error = %fatal, "a shard has stopped");
                        return false;
                    }
                    None => {
                        waiting.push_front(id);
                        break;
                    }
                }
            }
            next = requests.recv(), if waiting.len() < NODE_QUEUE_MAX => {
                let Some((id, next)) = next else { return false };
                waiting.push_back(id);
                if entries.send(next).await.is_err() {
                    break;
                }
            }
        }
    }
    for id in waiting {
        reply(replies, id, Response::Failed("an append before this one was refused".to_owned())).await;
    }
    true
}
