//! openraft's view of the network: one client per group and peer over the shared connections.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::FuturesOrdered;
use futures::{Stream, StreamExt, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::TypeConfigExt;
use openraft::{OptionalSend, StorageError};
use skerry_model::{NodeId, ShardId};

use super::message::{Lane, Request, Response};
use super::peers::{self, Peers};
use crate::consensus::snapshot::{self, Failure, Part, Snapshot, SnapshotHandle};
use crate::consensus::types::{NodeAddress, TypeConfig, Vote};
use crate::env::executor::Executor;
use crate::limits::{NODE_APPEND_TIMEOUT, SNAPSHOT_CHUNK_TIMEOUT, SNAPSHOT_INSTALL_TIMEOUT};

/// Appends under way at once to one peer.
const PIPELINE_DEPTH: usize = 8;

/// Makes clients of one shard.
pub struct Factory {
    /// The shard.
    pub shard: ShardId,
    /// The peers.
    pub peers: Arc<Peers>,
    /// Where snapshots are read.
    pub executor: Arc<dyn Executor>,
    /// Entries up to this one are to go: a stream that is behind it ends, since openraft purges nothing that a stream still
    /// reads.
    pub cut: Arc<AtomicU64>,
}

/// A client of one shard to one peer.
pub struct Client {
    shard: ShardId,
    target: NodeId,
    peers: Arc<Peers>,
    executor: Arc<dyn Executor>,
    cut: Arc<AtomicU64>,
    /// Its appends are heartbeats, which never wait behind entries.
    carries_heartbeats: bool,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, address: &NodeAddress) -> Client {
        self.peers.learn(target, address);
        let (peers, executor, cut) = (Arc::clone(&self.peers), Arc::clone(&self.executor), Arc::clone(&self.cut));
        Client { shard: self.shard, target, peers, executor, cut, carries_heartbeats: false }
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, address: &NodeAddress) -> Client {
        Client { carries_heartbeats: true, ..self.new_client(target, address).await }
    }
}

type Rpc<T> = Result<T, RPCError<TypeConfig>>;

impl Client {
    async fn call(&self, lane: Lane, request: Request, limit: Duration) -> Rpc<Response> {
        self.peers.call(self.target, lane, self.shard, request, limit).await.map_err(|error| rpc_error(&error))
    }
}

/// Appends on their way: sent one after the other, so the order holds, and several answers awaited at once.
struct Pipeline<S> {
    input: S,
    ended: bool,
    waiting: FuturesOrdered<BoxFuture<'static, Rpc<StreamAppendResult<TypeConfig>>>>,
    peers: Arc<Peers>,
    target: NodeId,
    shard: ShardId,
    cut: Arc<AtomicU64>,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Pipeline<S> {
    /// The next answer. Behind a failure or a conflict nothing follows: openraft starts again from where it knows.
    async fn next(mut self) -> Option<(Rpc<StreamAppendResult<TypeConfig>>, Option<Self>)> {
        loop {
            let may_send = !self.ended && self.waiting.len() < PIPELINE_DEPTH;
            tokio::select! {
                biased;
                Some(answer) = self.waiting.next() => {
                    let goes_on = matches!(answer, Ok(Ok(_)));
                    return Some((answer, goes_on.then_some(self)));
                }
                request = self.input.next(), if may_send => match request {
                    Some(request) => {
                        let behind = request.prev_log_id.map_or(0, |prev| prev.index);
                        if behind < self.cut.load(Ordering::Relaxed) {
                            let reason = std::io::Error::other("the log behind this entry is being purged");
                            return Some((Err(RPCError::Network(NetworkError::new(&reason))), None));
                        }
                        let request = Request::Append(request);
                        let sent = self.peers.send(self.target, Lane::Append, self.shard, request).await;
                        self.waiting.push_back(Box::pin(answer(sent)));
                    }
                    None => self.ended = true,
                },
                else => return None,
            }
        }
    }
}

/// Waits for the answer to an append.
async fn answer(sent: Result<peers::Pending, peers::Error>) -> Rpc<StreamAppendResult<TypeConfig>> {
    let pending = sent.map_err(|error| rpc_error(&error))?;
    match pending.answer(NODE_APPEND_TIMEOUT).await {
        Ok(Response::Append(result)) => Ok(result),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(rpc_error(&error)),
    }
}

fn rpc_error(error: &peers::Error) -> RPCError<TypeConfig> {
    match error {
        peers::Error::Unreachable { .. } => RPCError::Unreachable(Unreachable::new(error)),
        peers::Error::NoAnswer { .. } => RPCError::Network(NetworkError::new(error)),
    }
}

/// An answer of another kind than the request: the peer could not take it.
fn unexpected(response: &Response) -> RPCError<TypeConfig> {
    let reason = match response {
        Response::Failed(reason) => reason.clone(),
        _ => "the peer answered another question".to_owned(),
    };
    RPCError::Network(NetworkError::new(&std::io::Error::other(reason)))
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        match self.call(Lane::Control, Request::Heartbeat(request), option.hard_ttl()).await? {
            Response::Heartbeat(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.carries_heartbeats {
            return stream_append_sequential(self, input, option);
        }
        let pipeline = Pipeline {
            input,
            ended: false,
            waiting: FuturesOrdered::new(),
            peers: Arc::clone(&self.peers),
            target: self.target,
            shard: self.shard,
            cut: Arc::clone(&self.cut),
        };
        let answers = stream::unfold(Some(pipeline), |pipeline| async move { pipeline?.next().await });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        match self.call(Lane::Control, Request::Vote(request), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Rpc<VoteResponse<TypeConfig>> {
        match self.call(Lane::Control, Request::PreVote(request), option.soft_ttl()).await? {
            Response::Vote(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Takes as long as it takes: only a transfer that stands still is given up.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotHandle::Outgoing(outgoing) = snapshot.snapshot else {
            return Err(ReplicationClosed::new("a snapshot that was received is not sent on").into());
        };
        let ask = |part: Part| async {
            let is_end = matches!(part, Part::End { .. });
            let limit = if is_end { SNAPSHOT_INSTALL_TIMEOUT } else { SNAPSHOT_CHUNK_TIMEOUT };
            match self.call(Lane::Bulk, Request::Snapshot(part), limit).await? {
                Response::Snapshot(reply) => Ok(reply),
                other => Err(unexpected(&other)),
            }
        };
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            sent = snapshot::send(vote, outgoing, &self.executor, ask) => sent,
        };
        sent.map(SnapshotResponse::new).map_err(|failure| match failure {
            Failure::Peer(RPCError::Unreachable(unreachable)) => unreachable.into(),
            Failure::Here(error) => StorageError::read_snapshot(None, TypeConfig::err_from_error(&error)).into(),
            Failure::Peer(_) | Failure::NotTaken => NetworkError::new(&failure).into(),
        })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        match self.call(Lane::Control, Request::TransferLeader(request), option.soft_ttl()).await? {
            Response::TransferLeader(response) => Ok(response),
            other => Err(unexpected(&other)),
        }
    }
}
