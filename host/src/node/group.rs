//! Group commit: what is evaluated while a record is under way goes into the next one together. A busy shard then pays for
//! a record, its way to the followers and its installation once for many writes; an idle one waits for nothing.

use std::sync::Arc;

use skerry_api::problem::{Kind, Problem};
use skerry_model::{Ordinal, VersionId};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::Node;
use super::propose::{Proposed, late, stopping, write};
use super::shard::{Refused, Shard};
use crate::documents::record::{Applied, Documents, Effect, Record};
use crate::limits::{GROUP_BYTES_MAX, GROUP_MAX, PROPOSAL_TIMEOUT};

/// An evaluated change that waits for a record.
pub(super) struct Submission {
    documents: Documents,
    bytes: usize,
    answer: oneshot::Sender<Result<Proposed, Refused>>,
    _in_flight: OwnedSemaphorePermit,
}

impl Node {
    /// Proposes a change to documents of a shard that this node leads, and waits until it is applied here.
    pub(super) async fn propose_documents(&self, shard: &Shard, documents: Documents) -> Result<Proposed, Refused> {
        let bytes = documents.approximate_bytes();
        let in_flight = shard.make_room(bytes)?;
        let (answer, answered) = oneshot::channel();
        let submission = Submission { documents, bytes, answer, _in_flight: in_flight };
        match shard.submissions.try_send(submission) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let detail = format!("too many writes wait in shard {}: try again", shard.id);
                return Err(Problem::new(Kind::Overloaded, detail).into());
            }
            Err(TrySendError::Closed(_)) => return Err(stopping().into()),
        }
        match timeout(PROPOSAL_TIMEOUT, answered).await {
            Ok(Ok(proposed)) => proposed,
            Ok(Err(_stopped)) => Err(stopping().into()),
            Err(_elapsed) => Err(late().into()),
        }
    }

    /// Makes records of what was submitted to a shard. Runs until the node stops.
    pub(super) async fn gather(self, shard: Arc<Shard>, mut submissions: mpsc::Receiver<Submission>) {
        let mut next = None;
        while let Some(first) = first(&mut next, &mut submissions).await {
            let group = gather_behind(first, &mut next, &mut submissions);
            self.propose_group(&shard, group).await;
        }
    }

    async fn propose_group(&self, shard: &Shard, mut group: Vec<Submission>) {
        // Whoever has given up waiting is told that nothing is known; a record of it would only come late.
        group.retain(|submission| !submission.answer.is_closed());
        let mut answers = Vec::with_capacity(group.len());
        let mut changes = Vec::with_capacity(group.len());
        // The room is held until the record is applied.
        let mut rooms = Vec::with_capacity(group.len());
        for Submission { documents, answer, _in_flight, .. } in group {
            changes.push(documents);
            answers.push(answer);
            rooms.push(_in_flight);
        }
        if changes.is_empty() {
            return;
        }
        let written = match self.next_scn(shard) {
            Ok(scn) => write(&shard.raft, shard.id, Record::new(scn, Effect::Documents(changes)).encode()).await,
            Err(refused) => Err(refused),
        };
        for (at, answer) in answers.into_iter().enumerate() {
            // Whoever has given up waiting needs no answer.
            let _ = answer.send(proposed(&written, at));
        }
    }
}

/// What came of the change at a place in its record.
fn proposed(written: &Result<(Applied, u64), Refused>, at: usize) -> Result<Proposed, Refused> {
    match written {
        Ok((Applied::Documents { scn, first }, index)) => Ok(match first.get(at).copied().flatten() {
            Some(position) => {
                Proposed::Installed(VersionId { scn: *scn, ordinal: Ordinal { index: *index, position } })
            }
            None => Proposed::Stale,
        }),
        Ok(_) => Ok(Proposed::Stale),
        Err(refused) => Err(refused.clone()),
    }
}

async fn first(next: &mut Option<Submission>, submissions: &mut mpsc::Receiver<Submission>) -> Option<Submission> {
    match next.take() {
        Some(next) => Some(next),
        None => submissions.recv().await,
    }
}

/// Takes what waits behind the first and has room beside it; what has none is the first of the next.
fn gather_behind(
    first: Submission,
    next: &mut Option<Submission>,
    submissions: &mut mpsc::Receiver<Submission>,
) -> Vec<Submission> {
    let mut bytes = first.bytes;
    let mut group = vec![first];
    while group.len() < GROUP_MAX {
        let Ok(submission) = submissions.try_recv() else { break };
        bytes += submission.bytes;
        if bytes > GROUP_BYTES_MAX {
            *next = Some(submission);
            break;
        }
        group.push(submission);
    }
    group
}
