//! Proposing a record and hearing what became of it, and the read index that every answer without a record waits for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::{NodeId, Ordinal, Scn, ShardId, VersionId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};

use super::shard::{Refused, Shard};
use super::{Node, Reads};
use crate::consensus::network::message::{Lane, Request, Response};
use crate::consensus::state_machine::StateMachine;
use crate::consensus::types::{Command, Raft};
use crate::documents::record::{Applied, Effect, Record};
use crate::limits::{IN_TOUCH, LEADER_TIMEOUT, PROPOSAL_TIMEOUT, READ_TIMEOUT, RECORD_BYTES_MAX, SCN_AHEAD_MS_MAX};

/// What an operator does about a shard without a leader.
const HOW_TO_A_QUORUM: &str =
    "start those of its nodes that are down, or see skerry recover when more than half of them are lost";

/// How long to wait before asking again for a leader.
const LEADER_POLL: Duration = Duration::from_millis(20);

/// A record that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposed {
    /// Installed; this is the first version that it made, if it made any.
    Installed(VersionId),
    /// A precondition no longer held.
    Stale,
}

impl Node {
    /// Proposes an effect to a shard that this node leads, and waits until it is applied here.
    pub(super) async fn propose(&self, shard: &Shard, effect: Effect) -> Result<Proposed, Refused> {
        let scn = self.next_scn(shard)?;
        let command = Record::new(scn, effect).encode();
        let in_flight = shard.make_room(command.bytes().len())?;
        // Of its own task: whoever stops waiting leaves the record in flight, and its bytes counted.
        let (raft, id) = (shard.raft.clone(), shard.id);
        let proposal = tokio::spawn(async move {
            let _in_flight = in_flight;
            write(&raft, id, command).await
        });
        match timeout(PROPOSAL_TIMEOUT, proposal).await {
            Ok(Ok(written)) => Ok(match written? {
                (Applied::Installed { scn }, index) => {
                    Proposed::Installed(VersionId { scn, ordinal: Ordinal { index, position: 0 } })
                }
                (Applied::Documents { .. } | Applied::Stale | Applied::Nothing, _) => Proposed::Stale,
            }),
            Ok(Err(_stopped)) => Err(stopping().into()),
            Err(_elapsed) => Err(late().into()),
        }
    }

    /// The SCN to propose: the clock's, or the one after the last.
    pub(super) fn next_scn(&self, shard: &Shard) -> Result<Scn, Refused> {
        let now_ms = self.0.clock.now_ms();
        let last = shard.state.progress().scn;
        if last.millis() > now_ms + SCN_AHEAD_MS_MAX {
            let behind = last.millis() - now_ms;
            let detail = format!("this node's clock is {behind} ms behind its shard's last change: set the clock");
            return Err(Problem::unavailable(Outcome::NotProposed, detail).into());
        }
        let now = Scn::at_millis(now_ms).bits().max(last.bits() + 1);
        let proposed = shard.last_proposed.fetch_max(now, Ordering::Relaxed);
        Ok(Scn::from_bits(now.max(proposed)))
    }

    /// Makes sure that this node leads the shard and has applied all that leaders before it have committed: it
    /// evaluates only then.
    pub(super) async fn lead(&self, shard: &Shard) -> Result<(), Refused> {
        let term = shard.term().get();
        if shard.raft.is_leader() && shard.ready_term.load(Ordering::Acquire) == term {
            return Ok(());
        }
        self.local_read_index(shard).await?;
        shard.ready_term.store(term, Ordering::Release);
        Ok(())
    }

    /// The read index of a shard that this node leads, once it is applied here (Ongaro 2014, section 6.4).
    pub(super) async fn local_read_index(&self, shard: &Shard) -> Result<u64, Refused> {
        let late =
            || Problem::unavailable(Outcome::NotProposed, "this node does not keep up with its shard: try again");
        let no_quorum = || {
            let detail = format!("shard {} has no quorum: {HOW_TO_A_QUORUM}", shard.id);
            Problem::unavailable(Outcome::NotProposed, detail)
        };
        let ask = |policy| timeout(READ_TIMEOUT, shard.raft.get_read_linearizer(policy));
        let mut asked = ask(self.0.reads.policy()).await;
        let is_without_lease = matches!(asked, Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))));
        if self.0.reads == Reads::Lease && is_without_lease {
            // Nobody has acknowledged anything for a lease, as in a group of one; a quorum can still be asked.
            asked = ask(Reads::Quorum.policy()).await;
        }
        let linearizer = match asked {
            Ok(Ok(linearizer)) => linearizer,
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(to)))) => {
                return Err(Refused::NotLeader(to.leader_id));
            }
            // It had to stop leading while it asked.
            Ok(Err(_)) if !shard.raft.is_leader() => return Err(Refused::NotLeader(shard.leader())),
            Ok(Err(_)) | Err(_) => return Err(no_quorum().into()),
        };
        let index = linearizer.read_log_id().index();
        match linearizer.try_await_ready(&shard.raft, Some(READ_TIMEOUT)).await {
            Ok(Ok(_)) => Ok(index),
            Ok(Err(_)) | Err(_) => Err(late().into()),
        }
    }

    /// Waits until this node has applied everything that was committed in a shard before the call: what makes a read
    /// here linearizable.
    pub(crate) async fn read_index(&self, shard: &Shard) -> Result<(), Problem> {
        self.with_leader(shard, |leader| async move {
            if leader == self.0.id {
                return self.local_read_index(shard).await.map(|_| ());
            }
            let asked = self.0.peers.call(leader, Lane::Control, shard.id, Request::ReadIndex, READ_TIMEOUT).await;
            match asked {
                Ok(Response::ReadIndex(index)) => self.await_applied(shard, index).await,
                Ok(Response::NotLeader(other)) => Err(Refused::NotLeader(other)),
                // Nothing was changed by asking, so another may be asked.
                Ok(_) | Err(_) => Err(Refused::NotLeader(None)),
            }
        })
        .await
    }

    /// Makes sure that this node has heard lately how far every shard has come, and has come as far itself. One read index
    /// of each shard in [`IN_TOUCH`] does for everybody who asks.
    ///
    /// # Errors
    /// A problem of kind `unavailable` when the node is cut off from the cluster, or no longer part of it.
    pub(crate) async fn be_in_touch(&self) -> Result<(), Problem> {
        let now = Instant::now();
        if self.0.in_touch.lock().is_some_and(|last| now - last < IN_TOUCH) {
            return Ok(());
        }
        for shard in self.shards() {
            self.read_index(shard).await?;
        }
        *self.0.in_touch.lock() = Some(now);
        Ok(())
    }

    /// Whether a linearizable read of a shard is answered here.
    pub async fn is_served(&self, shard: ShardId) -> bool {
        match self.shard(shard) {
            Some(shard) => self.read_index(shard).await.is_ok(),
            None => false,
        }
    }

    async fn await_applied(&self, shard: &Shard, index: u64) -> Result<(), Refused> {
        let mut progress = shard.state.watch();
        let caught_up = timeout(READ_TIMEOUT, progress.wait_for(|progress| progress.index >= index)).await;
        match caught_up {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Problem::unavailable(Outcome::NotProposed, "this node lags behind its peers: try again").into()),
        }
    }

    /// Does something with a shard's leader, and again with the next one while it turns out not to be the leader.
    pub(super) async fn with_leader<T, F>(&self, shard: &Shard, mut act: impl FnMut(NodeId) -> F) -> Result<T, Problem>
    where
        F: Future<Output = Result<T, Refused>>,
    {
        let deadline = Instant::now() + LEADER_TIMEOUT;
        let mut hint = None;
        loop {
            let leader = match hint.take() {
                Some(leader) => leader,
                None => self.await_leader(shard, deadline).await?,
            };
            match act(leader).await {
                Ok(done) => {
                    shard.service.up(shard.id);
                    return Ok(done);
                }
                Err(Refused::Problem(problem)) => return Err(*problem),
                Err(Refused::NotLeader(other)) => {
                    hint = other.filter(|other| *other != leader);
                    if hint.is_none() {
                        tokio::time::sleep(LEADER_POLL).await;
                    }
                }
            }
            if Instant::now() >= deadline {
                return Err(self.no_leader(shard));
            }
        }
    }

    async fn await_leader(&self, shard: &Shard, deadline: Instant) -> Result<NodeId, Problem> {
        let mut metrics = shard.raft.metrics();
        loop {
            if let Some(leader) = metrics.borrow_and_update().current_leader {
                return Ok(leader);
            }
            match timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(self.no_leader(shard)),
            }
        }
    }
}

impl Node {
    fn no_leader(&self, shard: &Shard) -> Problem {
        let detail = match self.has_left(self.0.id) {
            true => format!("node {} is not part of the cluster any longer: ask another", self.0.id),
            false => format!("shard {} has no leader that this node can reach: {HOW_TO_A_QUORUM}", shard.id),
        };
        shard.service.down(shard.id, &detail);
        Problem::unavailable(Outcome::NotProposed, detail)
    }
}

impl Shard {
    /// Room for a record's bytes until it is applied.
    pub(super) fn make_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let permits = u32::try_from(bytes.min(RECORD_BYTES_MAX)).expect("a record is at most 20 MiB");
        Arc::clone(&self.room).try_acquire_many_owned(permits).map_err(|_none| {
            let detail = format!("shard {} has too much in flight: try again", self.id);
            Problem::new(Kind::Overloaded, detail).into()
        })
    }
}

/// Puts a record into a shard's log and waits until it is applied here; answers what came of it, and its index.
pub(super) async fn write(
    raft: &Raft<StateMachine>,
    shard: ShardId,
    command: Command,
) -> Result<(Applied, u64), Refused> {
    let bytes = command.bytes().len();
    if bytes > RECORD_BYTES_MAX {
        let detail = format!("the change is {bytes} bytes in the log, the limit is {RECORD_BYTES_MAX}");
        return Err(Problem::new(Kind::TooLarge, detail).into());
    }
    if !raft.is_leader() {
        return Err(Refused::NotLeader(raft.metrics().borrow_watched().current_leader));
    }
    match raft.client_write(command).await {
        Ok(response) => Ok((response.data, response.log_id.index)),
        // It was never appended.
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => Err(Refused::NotLeader(to.leader_id)),
        // What was cut off here may live on elsewhere.
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => {
            Err(unknown("the leader changed while the write was under way: read before sending it again").into())
        }
        Err(error) => {
            tracing::error!(%shard, %error, "a proposal failed");
            Err(unknown("the write failed on its way: read before sending it again").into())
        }
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::unavailable(Outcome::Unknown, detail)
}

/// The node is being stopped while a record is under way.
pub(super) fn stopping() -> Problem {
    unknown("the node stops: read before sending the write again")
}

/// A record is under way for too long.
pub(super) fn late() -> Problem {
    unknown("no quorum answered in time: read before sending it again")
}
