//! Before a shard starts: whether its log and its state fit together (DESIGN.md, Storage). A log that lacks what the state
//! has applied was rolled back or damaged, and the node may have promised what is lost, so it never starts. A state that
//! lacks what the log no longer holds is rebuilt from any peer that has it.

use openraft::RaftLogReader as _;
use openraft::raft::SnapshotResponse;
use openraft::storage::{LogState, RaftLogStorage as _, RaftStateMachine as _};
use skerry_model::{NodeId, ShardId};

use super::StartError;
use crate::consensus::log_store::LogStore;
use crate::consensus::network::message::{Lane, Request, Response};
use crate::consensus::network::peers::Peers;
use crate::consensus::snapshot::{self, Part, Receiver, Reply};
use crate::consensus::state_machine::StateMachine;
use crate::consensus::types::{LogId, TypeConfig, Vote};
use crate::limits::{JOIN_PAUSE, SNAPSHOT_CHUNK_TIMEOUT};

/// What a shard has on this node, and who may help.
pub(super) struct Recovery<'a> {
    pub(super) node: NodeId,
    pub(super) shard: ShardId,
    pub(super) log: &'a mut LogStore,
    pub(super) machine: &'a mut StateMachine,
    pub(super) receiver: &'a Receiver,
    pub(super) peers: &'a Peers,
}

impl Recovery<'_> {
    /// Makes log and state fit together, or says why they never will. May wait for a peer for as long as it takes.
    ///
    /// # Errors
    /// [`StartError::LogShort`], [`StartError::StateLost`].
    pub(super) async fn run(&mut self) -> Result<(), StartError> {
        let shard = self.shard;
        let log = self.log.reader().log_state();
        let applied = self.machine.applied();
        if let Some(missing) = missing(&log, applied, self.machine.received()?) {
            let last = log.last_log_id.map_or(0, |last| last.index);
            return Err(StartError::LogShort { shard, last, applied: missing });
        }
        if let Some(purged) = log.last_purged_log_id.filter(|purged| applied.is_none_or(|id| id.index < purged.index)) {
            self.rebuild(purged).await?;
        }
        let Some(applied) = self.machine.applied() else { return Ok(()) };
        let raft = |error: std::io::Error| StartError::Raft { shard, reason: error.to_string() };
        self.cut_conflict(applied).await.map_err(raft)?;
        self.log.reach(applied).await.map_err(raft)
    }

    /// Takes a snapshot that reaches at least to `purged` from whichever peer has one.
    async fn rebuild(&mut self, purged: LogId) -> Result<(), StartError> {
        let (shard, peers) = (self.shard, self.peers.others());
        if peers.is_empty() {
            return Err(StartError::StateLost { shard, purged: purged.index });
        }
        tracing::warn!(%shard, purged = purged.index, "the state lacks what the log no longer holds: asking peers for it");
        loop {
            for peer in &peers {
                match self.fetch(*peer, purged).await {
                    Ok(true) => {
                        tracing::info!(%shard, %peer, "the state was rebuilt");
                        return Ok(());
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%shard, %peer, %error, "the state was not rebuilt from this peer"),
                }
            }
            tokio::time::sleep(JOIN_PAUSE).await;
        }
    }

    /// Whether a peer has given all of its state, which must reach to `purged`.
    async fn fetch(&mut self, peer: NodeId, purged: LogId) -> Result<bool, snapshot::Error> {
        let mut at = None;
        loop {
            let asked = Request::Fetch { node: self.node, at };
            let answer = self.peers.call(peer, Lane::Bulk, self.shard, asked, SNAPSHOT_CHUNK_TIMEOUT).await;
            let Ok(Response::Fetched(Some(part))) = answer else { return Ok(false) };
            let (Part::Begin { id, .. } | Part::Chunk { id, .. } | Part::End { id, .. }) = part;
            if id.index < purged.index {
                return Ok(false);
            }
            let machine = &mut *self.machine;
            let install = |vote, whole: snapshot::Snapshot| async move {
                let installed = machine.install_snapshot(&whole.meta, whole.snapshot).await;
                installed.map_err(|error| snapshot::Error::Stopped(error.to_string()))?;
                Ok(SnapshotResponse::<TypeConfig>::new(vote))
            };
            match self.receiver.take(part, Vote::new(0, self.node), install).await? {
                Reply::Wanted(number) => at = Some((id, number)),
                Reply::Installed(_) => return Ok(true),
                Reply::Unknown => return Ok(false),
            }
        }
    }

    /// Takes back the log's tail when its entry in the place of the applied one is another, which was never committed, and
    /// so was nothing behind it.
    async fn cut_conflict(&mut self, applied: LogId) -> Result<(), std::io::Error> {
        let found = self.log.reader().try_get_log_entries(applied.index..=applied.index).await?;
        if found.iter().any(|entry| entry.log_id != applied) {
            self.log.truncate_after(self.log.reader().log_state().last_purged_log_id).await?;
        }
        Ok(())
    }
}

/// The last entry applied, when it came from this node's own log and that does not reach to it any more.
fn missing(log: &LogState<TypeConfig>, applied: Option<LogId>, received: Option<LogId>) -> Option<u64> {
    let end = log.last_log_id.map_or(0, |last| last.index + 1);
    let own = applied.filter(|applied| received.is_none_or(|received| received.index < applied.index))?;
    (end <= own.index).then_some(own.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_own_log_has_led_to_must_be_in_it() {
        let id = |index: u64| openraft::testing::log_id::<TypeConfig>(1, NodeId::new(1), index);
        let check = |last: Option<u64>, applied: Option<u64>, received: Option<u64>, expected: Option<u64>| {
            let log = LogState { last_purged_log_id: None, last_log_id: last.map(id) };
            let found = missing(&log, applied.map(id), received.map(id));
            assert_eq!(found, expected, "{last:?} {applied:?} {received:?}");
        };
        check(None, None, None, None);
        check(Some(9), None, None, None);
        check(Some(9), Some(9), None, None);
        check(Some(8), Some(9), None, Some(9));
        check(None, Some(0), None, Some(0));
        // A snapshot needs no log below it.
        check(None, Some(9), Some(9), None);
        check(Some(5), Some(9), Some(9), None);
        check(Some(5), Some(9), Some(7), Some(9));
        check(Some(9), Some(9), Some(7), None);
    }
}
