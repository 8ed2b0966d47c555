//! The node port: takes connections, answers Hello, and hands each request to its shard. Appends of one connection and
//! shard are handled in their order, everything else at once.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use skerry_model::{NodeId, ShardId};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::hello::{Hello, Welcome};
use super::message::{Call, Reply, Request, Response};
use super::refusals::{Reason, Refusal, Refusals};
use super::wire::{self, Outbox};
use crate::consensus::state_machine::StateMachine;
use crate::consensus::types::{Raft, TypeConfig};
use crate::env::network::{Listener, Opening};
use crate::limits::{
    NODE_APPENDS_MAX, NODE_CONNECT_TIMEOUT, NODE_CONNECTION_CHECK, NODE_CONNECTIONS_MAX, NODE_WORK_BYTES_MAX,
    NODE_WORK_BYTES_MIN,
};

/// What the node port serves.
pub trait Handler: Send + Sync + 'static {
    /// Whether a caller may come in.
    fn hello(&self, hello: &Hello) -> BoxFuture<'_, Result<Welcome, Refusal>>;

    /// Whether a caller that came in may stay.
    fn may_stay(&self, caller: NodeId) -> bool;

    /// Where refusals are counted.
    fn refusals(&self) -> &Refusals;

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
            Ok(incoming) => {
                let handler = Arc::clone(&handler);
                tokio::spawn(async move {
                    let _open = permit;
                    if let Err(error) = converse(incoming, handler).await {
                        tracing::debug!(%error, "a connection from a peer ended");
                    }
                });
            }
            // Out of file handles, mostly: others must end first.
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(NODE_CONNECT_TIMEOUT).await;
            }
        }
    }
}

async fn converse(incoming: Opening, handler: Arc<dyn Handler>) -> io::Result<()> {
    let refused = |reason, error: &io::Error, caller| {
        handler.refusals().note(&Refusal::new(reason, error.to_string()), caller);
    };
    let opening = async {
        let stream = incoming.await.inspect_err(|error| refused(Reason::Certificate, error, None))?;
        let (mut reader, writer) = wire::split(stream);
        let hello: Hello = wire::read(&mut reader).await.inspect_err(|error| {
            if let Some(reason) = wire::fault(error) {
                refused(reason, error, None);
            }
        })?;
        Ok::<_, io::Error>((reader, writer, hello))
    };
    let opened = timeout(NODE_CONNECT_TIMEOUT, opening).await;
    let (mut reader, mut writer, hello) = opened.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let welcome = handler.hello(&hello).await.unwrap_or_else(|refusal| {
        handler.refusals().note(&refusal, Some(hello.node));
        Welcome::Refused(refusal.detail)
    });
    wire::write(&mut writer, &welcome).await?;
    if welcome != Welcome::Come {
        return Ok(());
    }
    handler.refusals().forget(hello.node);
    wire::trust(&mut reader);
    let (replies, queue) = wire::outbox();
    let requests = take_requests(reader, Arc::clone(&handler), replies);
    let ended = tokio::select! {
        biased;
        ended = requests => ended,
        ended = wire::drain(writer, queue) => ended,
        () = until_unwelcome(&*handler, hello.node) => {
            let detail = format!("node {} is not part of this cluster any longer", hello.node);
            handler.refusals().note(&Refusal::new(Reason::Member, detail), Some(hello.node));
            Ok(())
        }
    };
    if let Err(error) = &ended
        && let Some(reason) = wire::fault(error)
    {
        refused(reason, error, Some(hello.node));
    }
    ended
}

/// A node that leaves the cluster is not heard any longer, on connections that it has open either.
async fn until_unwelcome(handler: &dyn Handler, caller: NodeId) {
    while handler.may_stay(caller) {
        sleep(NODE_CONNECTION_CHECK).await;
    }
}

async fn take_requests(mut reader: wire::Reader, handler: Arc<dyn Handler>, replies: Outbox) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(NODE_WORK_BYTES_MAX));
    let mut appends: BTreeMap<ShardId, mpsc::Sender<(u64, AppendEntriesRequest<TypeConfig>)>> = BTreeMap::new();
    loop {
        let frame = wire::read_frame(&mut reader).await?;
        let Call { id, shard, request } = wire::decode(&frame)?;
        match request {
            Request::Append(entries) => {
                let Some(raft) = handler.raft(shard) else {
                    reply(&replies, id, Response::Failed(format!("there is no shard {shard}"))).await;
                    continue;
                };
                let lane = appends.entry(shard).or_insert_with(|| {
                    let (sender, receiver) = mpsc::channel(NODE_APPENDS_MAX);
                    tokio::spawn(append_in_order(raft, receiver, replies.clone()));
                    sender
                });
                if lane.send((id, entries)).await.is_err() {
                    return Err(io::Error::other(format!("shard {shard} has stopped")));
                }
            }
            request => {
                let bytes = frame.len().clamp(NODE_WORK_BYTES_MIN, NODE_WORK_BYTES_MAX);
                let bytes = u32::try_from(bytes).expect("limits.rs keeps it small");
                let room = Arc::clone(&room).acquire_many_owned(bytes).await.expect("it is never closed");
                let (handler, replies) = (Arc::clone(&handler), replies.clone());
                tokio::spawn(async move {
                    let _under_way = room;
                    let response = handler.call(shard, request).await;
                    reply(&replies, id, response).await;
                });
            }
        }
    }
}

/// Sends a reply; when the connection is gone the caller knows already.
async fn reply(replies: &Outbox, id: u64, response: Response) {
    let _ = replies.send(wire::encode(&Reply { id, response })).await;
}

/// Feeds one shard's appends to openraft in their order, several at once. After a conflict or a higher vote openraft
/// ends its stream: what was sent behind is answered as failed, and the next append opens a new one.
async fn append_in_order(
    raft: Raft<StateMachine>,
    mut requests: mpsc::Receiver<(u64, AppendEntriesRequest<TypeConfig>)>,
    replies: Outbox,
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
    replies: &Outbox,
) -> bool {
    let (entries, input) = mpsc::channel(NODE_APPENDS_MAX);
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
            next = requests.recv(), if waiting.len() < NODE_APPENDS_MAX => {
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
