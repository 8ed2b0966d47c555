//! The receiving end: fills the next generation chunk by chunk, and hands it to openraft when all of it is there.
//! Invariants: at most one snapshot is on its way to a shard, the one begun last; a chunk is written once, in its place.
//! What a crash leaves of it is deleted at the next start.

use std::future::Future;
use std::sync::Arc;

use openraft::raft::SnapshotResponse;
use parking_lot::Mutex;
use skerry_store::Keyspace;
use tokio::sync::Semaphore;

use super::chunk::{self, Chain};
use super::{Error, Generations, Part, Received, Reply, Snapshot, SnapshotHandle};
use crate::consensus::state_machine::ShardState;
use crate::consensus::types::{LogId, SnapshotMeta, TypeConfig, Vote};
use crate::documents::keys::header;

/// Receives the snapshots of one shard.
pub struct Receiver {
    generations: Generations,
    state: Arc<ShardState>,
    /// One part at a time.
    turn: Semaphore,
    incoming: Mutex<Option<Incoming>>,
    /// The snapshot installed last, for a sender that missed the answer.
    installed: Mutex<Option<LogId>>,
}

/// A snapshot on its way.
struct Incoming {
    id: LogId,
    generation: u64,
    keyspace: Arc<dyn Keyspace>,
    /// The chunk that comes next.
    next: u64,
    /// Over the digests of the chunks written.
    chain: Chain,
}

impl Receiver {
    /// The receiver of a shard.
    #[must_use]
    pub fn new(generations: Generations, state: Arc<ShardState>) -> Self {
        let (incoming, installed) = (Mutex::default(), Mutex::default());
        Self { generations, state, turn: Semaphore::new(1), incoming, installed }
    }

    /// Takes one part, `own` being this node's vote. `install` gives a whole snapshot to openraft.
    ///
    /// # Errors
    /// [`Error`]: the sender may begin again.
    pub async fn take<F>(
        &self,
        part: Part,
        own: Vote,
        install: impl FnOnce(Vote, Snapshot) -> F,
    ) -> Result<Reply, Error>
    where
        F: Future<Output = Result<SnapshotResponse<TypeConfig>, Error>>,
    {
        let _turn = self.turn.acquire().await.expect("the semaphore is never closed");
        match part {
            Part::Begin { vote, .. } if own > vote => Ok(Reply::Installed(own)),
            Part::Begin { id, .. } if *self.installed.lock() == Some(id) => Ok(Reply::Installed(own)),
            Part::Begin { id, .. } => self.begin(id).await,
            Part::Chunk { id, number, digest, rows } => {
                let Some(mut incoming) = self.take_incoming(id) else { return Ok(Reply::Unknown) };
                if number == incoming.next && *blake3::hash(&rows).as_bytes() == digest {
                    // An error drops the transfer: half a chunk may be in its keyspace.
                    let rows = chunk::decode(rows).map_err(|source| Error::Chunk { number, source })?;
                    self.generations.fill(Arc::clone(&incoming.keyspace), rows).await?;
                    incoming.chain = incoming.chain.with(&digest);
                    incoming.next += 1;
                }
                let wanted = incoming.next;
                *self.incoming.lock() = Some(incoming);
                Ok(Reply::Wanted(wanted))
            }
            Part::End { vote, id, digest, header } => {
                let Some(incoming) = self.take_incoming(id) else { return Ok(Reply::Unknown) };
                let generation = incoming.generation;
                if incoming.chain.end(&header) != digest {
                    tracing::warn!(shard = %self.state.id, %id, "a snapshot is not what its sender sent");
                    self.generations.delete(generation).await?;
                    return Ok(Reply::Unknown);
                }
                let meta = meta(&incoming, &header)?;
                let snapshot = SnapshotHandle::Received(Received { generation, header });
                let answer = install(vote, Snapshot { meta, snapshot }).await?;
                if self.state.generation() == generation {
                    tracing::info!(shard = %self.state.id, %id, generation, "a snapshot was installed");
                    *self.installed.lock() = Some(id);
                } else {
                    // The log got there first, or the sender leads no more.
                    self.generations.delete(generation).await?;
                }
                Ok(Reply::Installed(answer.vote))
            }
        }
    }

    /// Goes on with a snapshot, or begins it in the place of another one.
    async fn begin(&self, id: LogId) -> Result<Reply, Error> {
        if let Some(incoming) = self.incoming.lock().as_ref().filter(|incoming| incoming.id == id) {
            return Ok(Reply::Wanted(incoming.next));
        }
        *self.incoming.lock() = None;
        let generation = self.state.generation() + 1;
        let keyspace = self.generations.make(generation).await?;
        let chain = Chain::default();
        *self.incoming.lock() = Some(Incoming { id, generation, keyspace, next: 0, chain });
        Ok(Reply::Wanted(0))
    }

    fn take_incoming(&self, id: LogId) -> Option<Incoming> {
        self.incoming.lock().take_if(|incoming| incoming.id == id)
    }
}

/// What a snapshot covers, by its own rows.
fn meta(incoming: &Incoming, header: &[u8]) -> Result<SnapshotMeta, Error> {
    let (id, found) = (incoming.id, header::decode(header)?.applied);
    if found != Some(id) {
        return Err(Error::OtherHeader { id, found });
    }
    let last_membership = header::membership::<Error>(&*incoming.keyspace)?;
    Ok(SnapshotMeta { last_log_id: Some(id), last_membership })
}
