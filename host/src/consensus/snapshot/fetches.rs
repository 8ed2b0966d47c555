//! Snapshots that are asked for, by a node whose state is gone and whose log no longer holds what would make it again. Any
//! replica gives one: what it has applied is committed.
//! Invariant: one snapshot a node at a time, let go of when it is not asked for any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skerry_model::NodeId;
use tokio::time::{Instant, sleep};

use super::outgoing::{Chunk, Next, stored};
use super::sender::time_for;
use super::{Error, Outgoing, Part, SnapshotHandle};
use crate::consensus::state_machine::ShardState;
use crate::consensus::types::{LogId, Vote};
use crate::env::executor::{Executor, compute};
use crate::limits::SNAPSHOT_STALL_TIMEOUT;

/// What is being fetched of one shard.
pub struct Fetches {
    state: Arc<ShardState>,
    chunk_bytes: usize,
    executor: Arc<dyn Executor>,
    by_node: Mutex<BTreeMap<NodeId, Held>>,
}

struct Held {
    outgoing: Outgoing,
    asked: Instant,
}

impl Fetches {
    /// Nothing yet.
    #[must_use]
    pub fn new(state: Arc<ShardState>, chunk_bytes: usize, executor: Arc<dyn Executor>) -> Self {
        Self { state, chunk_bytes, executor, by_node: Mutex::default() }
    }

    /// What a node is to take next, when it is at chunk `at.1` of snapshot `at.0`: that chunk, the end, or the beginning
    /// of another snapshot. `None` when this replica has applied nothing.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn next(&self, node: NodeId, at: Option<(LogId, u64)>, vote: Vote) -> Result<Option<Part>, Error> {
        let held = self.by_node.lock().remove(&node).map(|held| held.outgoing);
        let (mut outgoing, id, number) = match (held, at) {
            (Some(outgoing), Some((id, number))) if outgoing.id() == id => (outgoing, id, number),
            (held, _) => {
                let Some(snapshot) = stored(self.state.store().snapshot(), self.chunk_bytes)? else { return Ok(None) };
                let SnapshotHandle::Outgoing(newest) = snapshot.snapshot else { return Ok(None) };
                // Whoever begins again goes on where it was, and a new one would have to be read up to there.
                let outgoing = held.filter(|held| held.id() == newest.id()).unwrap_or(newest);
                let id = outgoing.id();
                self.hold(node, outgoing);
                return Ok(Some(Part::Begin { vote, id }));
            }
        };
        let read = compute(&*self.executor, move || (outgoing.chunk(number), outgoing)).await;
        let (next, outgoing) = read.ok_or(Error::Aborted)?;
        self.hold(node, outgoing);
        Ok(Some(match next? {
            Next::Chunk(Chunk { number, digest, rows }) => {
                sleep(time_for(rows.len())).await;
                Part::Chunk { id, number, digest, rows }
            }
            Next::End { digest, header } => Part::End { vote, id, digest, header },
        }))
    }

    /// Lets go of what nobody has asked for in a while: the store keeps all that a snapshot sees.
    pub fn forget_idle(&self) {
        self.by_node.lock().retain(|_, held| held.asked.elapsed() < SNAPSHOT_STALL_TIMEOUT);
    }

    fn hold(&self, node: NodeId, outgoing: Outgoing) {
        self.by_node.lock().insert(node, Held { outgoing, asked: Instant::now() });
    }
}
