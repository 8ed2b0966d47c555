//! What this node answers its peers.

use futures::future::BoxFuture;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{Fatal, RaftError};
use skerry_model::{NodeId, ShardId};

use super::Node;
use super::shard::{Refused, Shard};
use crate::consensus::network::hello::{Hello, PROTOCOL, Purpose, Welcome};
use crate::consensus::network::message::{Request, Response};
use crate::consensus::network::refusals::{Reason, Refusal, Refusals};
use crate::consensus::network::server::Handler;
use crate::consensus::snapshot;
use crate::consensus::state_machine::StateMachine;
use crate::consensus::types::{Raft, TypeConfig};

impl Handler for Node {
    fn hello(&self, hello: &Hello) -> BoxFuture<'_, Result<Welcome, Refusal>> {
        let hello = hello.clone();
        Box::pin(async move { self.welcome(&hello).await })
    }

    fn may_stay(&self, caller: NodeId) -> bool {
        !self.has_left(caller)
    }

    fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    fn raft(&self, shard: ShardId) -> Option<Raft<StateMachine>> {
        self.shard(shard).map(|shard| shard.raft.clone())
    }

    fn call(&self, shard: ShardId, request: Request) -> BoxFuture<'_, Response> {
        Box::pin(self.answer(shard, request))
    }
}

impl Node {
    /// Whether a caller may come in; the error is why not.
    async fn welcome(&self, hello: &Hello) -> Result<Welcome, Refusal> {
        let founding = self.0.peers.founding();
        let refused = |reason, detail| Err(Refusal::new(reason, detail));
        if hello.protocol != PROTOCOL {
            let detail = format!("this node speaks protocol {PROTOCOL}, the caller {}", hello.protocol);
            return refused(Reason::Protocol, detail);
        }
        if hello.to != self.0.id {
            let detail = format!("this is node {}, not node {}: check the addresses", self.0.id, hello.to);
            return refused(Reason::Address, detail);
        }
        if self.has_left(hello.node) {
            return refused(Reason::Member, format!("node {} is not part of this cluster any longer", hello.node));
        }
        match &hello.purpose {
            Purpose::Join if !self.is_member(hello.node) => Ok(Welcome::NotYet),
            Purpose::Join => {
                let known_by_another_folder = !self.remember(hello).await?;
                let (founding, members) = (founding.clone(), self.members_heard_of());
                Ok(Welcome::Cluster { founding, members, known_by_another_folder })
            }
            Purpose::Traffic { cluster, timeline, .. } => {
                if *cluster != founding.cluster {
                    let detail = format!("this node is of cluster {}, the caller of {cluster}", founding.cluster);
                    return refused(Reason::Cluster, detail);
                }
                if *timeline != founding.timeline {
                    let detail = format!("this node is on timeline {}, the caller on {timeline}", founding.timeline);
                    return refused(Reason::Timeline, detail);
                }
                // Also who is not known to have been added: its folder may be gone by the time that it is.
                if !self.remember(hello).await? {
                    let detail = format!(
                        "node {} calls from another data folder than the one this cluster knows: a node whose folder \
                         was lost does not come back under its old id",
                        hello.node
                    );
                    return refused(Reason::Folder, detail);
                }
                Ok(Welcome::Come)
            }
        }
    }

    /// Keeps a caller's folder for good before it is let in, so that an emptied one is recognised later. Answers whether
    /// it is the one that is known.
    async fn remember(&self, hello: &Hello) -> Result<bool, Refusal> {
        let known = || self.0.folders.lock().get(&hello.node).copied();
        if known().is_none() {
            let _turn = self.0.remembering.acquire().await.expect("it is never closed");
            if known().is_none() {
                let stored = self.0.identities.set_peer(hello.node, hello.folder).await;
                let unable =
                    |error| Refusal::new(Reason::Unable, format!("this node cannot store who called: {error}"));
                stored.map_err(unable)?;
                self.0.folders.lock().insert(hello.node, hello.folder);
            }
        }
        Ok(known() == Some(hello.folder))
    }

    async fn answer(&self, id: ShardId, request: Request) -> Response {
        let Some(shard) = self.shard(id) else { return Response::Failed(format!("there is no shard {id}")) };
        let too_soon = tokio::time::Instant::now() < self.0.votes_from;
        match request {
            // A leader's lease that this node acknowledged before its restart may still run.
            Request::Vote(_) | Request::PreVote(_) if too_soon => {
                Response::Failed("this node has just started and does not vote yet".to_owned())
            }
            Request::Vote(vote) => raft_answer(shard.raft.vote(vote).await, Response::Vote),
            Request::PreVote(vote) => raft_answer(shard.raft.pre_vote(vote).await, Response::Vote),
            Request::Heartbeat(entries) | Request::Append(entries) => {
                raft_answer(shard.raft.append_entries(entries).await, Response::Heartbeat)
            }
            Request::TransferLeader(transfer) => match shard.raft.handle_transfer_leader(transfer).await {
                Ok(answer) => Response::TransferLeader(answer),
                Err(fatal) => Response::Failed(fatal.to_string()),
            },
            Request::Snapshot(part) => self.take_snapshot(shard, part).await,
            Request::ReadIndex => match self.local_read_index(shard).await {
                Ok(index) => Response::ReadIndex(index),
                Err(Refused::NotLeader(leader)) => Response::NotLeader(leader),
                Err(Refused::Problem(problem)) => Response::Failed(problem.detail),
            },
            Request::Write(at, write) => {
                answer(self.write_here(shard, at, write).await, |done| Response::Written(Box::new(done)))
            }
            Request::Push(push) => answer(self.push_here(shard, &push).await, |done| Response::Pushed(Box::new(done))),
            Request::Catalog(step) => {
                answer(self.step_here(shard, step).await, |done| Response::Catalog(Box::new(done)))
            }
            Request::Deploy(name, component) => {
                answer(self.deploy_here(shard, name, component).await, |done| Response::Deployed(Box::new(done)))
            }
            Request::HandOver(to) if shard.raft.is_leader() => {
                shard.hand_over(to).await;
                Response::HandedOver
            }
            Request::HandOver(_) => Response::NotLeader(shard.leader()),
            Request::Fetch { node, at } => {
                let vote = shard.raft.server_metrics().borrow_watched().vote;
                match shard.fetches.next(node, at, vote).await {
                    Ok(part) => Response::Fetched(part),
                    Err(error) => Response::Failed(error.to_string()),
                }
            }
            Request::IsLowOnDisk => Response::IsLowOnDisk(self.headroom().is_low()),
            Request::PluginCalls(digests) => Response::PluginCalls(self.0.plugins.calls(&digests)),
            Request::HasPlugin(digest) => Response::HasPlugin(self.has_plugin(shard, digest).await),
        }
    }
}

impl Node {
    async fn take_snapshot(&self, shard: &Shard, part: snapshot::Part) -> Response {
        let own = shard.raft.server_metrics().borrow_watched().vote;
        let install = |vote, whole| async move {
            let installed = shard.raft.install_full_snapshot(vote, whole).await;
            installed.map_err(|fatal| snapshot::Error::Stopped(fatal.to_string()))
        };
        match shard.snapshots.take(part, own, install).await {
            Ok(reply) => Response::Snapshot(reply),
            Err(error) => {
                tracing::error!(shard = %shard.id, %error, "a part of a snapshot was not taken");
                Response::Failed(error.to_string())
            }
        }
    }
}

fn raft_answer<T>(answer: Result<T, RaftError<TypeConfig>>, respond: impl FnOnce(T) -> Response) -> Response {
    match answer {
        Ok(answer) => respond(answer),
        Err(error) => {
            let fatal: Option<&Fatal<TypeConfig>> = error.fatal();
            Response::Failed(fatal.map_or_else(|| error.to_string(), ToString::to_string))
        }
    }
}

fn answer<T>(
    done: Result<T, Refused>,
    respond: impl FnOnce(Result<T, skerry_api::problem::Problem>) -> Response,
) -> Response {
    match done {
        Ok(done) => respond(Ok(done)),
        Err(Refused::Problem(problem)) => respond(Err(*problem)),
        Err(Refused::NotLeader(leader)) => Response::NotLeader(leader),
    }
}
