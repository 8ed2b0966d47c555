//! Snapshots: how a node that was away for longer than the log reaches comes back (DESIGN.md, Storage).
//! A snapshot is everything a shard's keyspace holds at one log id, but for what is local to a node. Building one copies
//! nothing: the flushed keyspace is the snapshot, and a transfer reads it as it was when it began. The receiver fills the
//! keyspace of the next generation and changes over when all of it is there.
//! Invariants: rows at one log id are the same on every node, and so are the chunks they are cut into, so a snapshot is
//! named by its log id, and a transfer of it goes on where another one ended; a generation is complete exactly if it has
//! its header row, which is written last.

mod chunk;
mod fetches;
mod generations;
mod outgoing;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use openraft::type_config::alias::SnapshotOf;
use serde::{Deserialize, Serialize};

pub use fetches::Fetches;
pub use generations::{Generations, current_rows};
pub use outgoing::Outgoing;
pub(crate) use outgoing::stored;
pub use receiver::Receiver;
pub use sender::{Failure, send};

use super::types::{LogId, TypeConfig, Vote};
use crate::documents::keys::{self, header};
use crate::limits::{
    EFFECTS_COMPARED_EVERY, LOG_BYTES_KEPT, LOG_BYTES_MAX, LOG_ENTRIES_BETWEEN_SNAPSHOTS, LOG_ENTRIES_KEPT,
    LOG_PURGE_ENTRIES_MIN, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_STALL_TIMEOUT,
};

/// A snapshot as openraft carries it about.
pub type Snapshot = SnapshotOf<TypeConfig, SnapshotHandle>;

/// When a shard's log is purged, and how large the chunks of a snapshot are. Every node of a cluster has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Entries after which the state is flushed and the log purged again.
    pub entries_between: u64,
    /// Entries that a purge leaves of those the flushed state holds.
    pub entries_kept: u64,
    /// Entries below which a purge waits for more.
    pub purge_entries_min: u64,
    /// Bytes of entries after which the state is flushed and the log purged, however few entries they are.
    pub log_bytes_max: u64,
    /// Bytes of entries that such a purge leaves.
    pub log_bytes_kept: u64,
    /// How long a leader that has not heard from a node keeps the entries that it needs.
    pub kept_for: Duration,
    /// Where a chunk ends, in bytes of keys and values; its last row may pass it.
    pub chunk_bytes: usize,
    /// Entries after which replicas compare what they have done.
    pub compare_every: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            entries_between: LOG_ENTRIES_BETWEEN_SNAPSHOTS,
            entries_kept: LOG_ENTRIES_KEPT,
            purge_entries_min: LOG_PURGE_ENTRIES_MIN,
            log_bytes_max: LOG_BYTES_MAX,
            log_bytes_kept: LOG_BYTES_KEPT,
            kept_for: SNAPSHOT_STALL_TIMEOUT,
            chunk_bytes: SNAPSHOT_CHUNK_BYTES,
            compare_every: EFFECTS_COMPARED_EVERY,
        }
    }
}

/// What there is of a snapshot on this node.
pub enum SnapshotHandle {
    /// The shard's rows as they were, to be sent.
    Outgoing(Outgoing),
    /// A generation that was received, to be changed over to.
    Received(Received),
}

/// A generation with every row of a snapshot but the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The generation.
    pub generation: u64,
    /// The header row's value, which completes it.
    pub header: Bytes,
}

/// What the sender of a snapshot says. A snapshot is named by the last log id that it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Part {
    /// A snapshot is on its way.
    Begin {
        /// The leader's.
        vote: Vote,
        /// The snapshot.
        id: LogId,
    },
    /// Rows.
    Chunk {
        /// The snapshot.
        id: LogId,
        /// Counts the snapshot's chunks from 0.
        number: u64,
        /// BLAKE3 of `rows`.
        digest: [u8; 32],
        /// The rows, as `chunk::encode` writes them.
        rows: Bytes,
    },
    /// That was all.
    End {
        /// The leader's.
        vote: Vote,
        /// The snapshot.
        id: LogId,
        /// `chunk::Chain` over all chunks and the header.
        digest: [u8; 32],
        /// The header row's value.
        header: Bytes,
    },
}

/// What the receiver of a snapshot answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// The number of the chunk that comes next; behind the last one, the end does.
    Wanted(u64),
    /// No such snapshot is on its way, or what came of it was thrown away: begin again.
    Unknown,
    /// It is installed, or needs not be; the receiver's vote, which may be above the sender's.
    Installed(Vote),
}

/// Why a snapshot cannot be sent, received or changed over to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state database.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// A row of the snapshot.
    #[error(transparent)]
    Row(#[from] keys::Unreadable),
    /// A chunk is not one.
    #[error("chunk {number} of a snapshot cannot be taken: {source}")]
    Chunk {
        /// Its number.
        number: u64,
        /// What is wrong.
        source: chunk::Malformed,
    },
    /// The header is another snapshot's.
    #[error("the header of snapshot {id} is at {found:?}")]
    OtherHeader {
        /// What was announced.
        id: LogId,
        /// What the header says.
        found: Option<LogId>,
    },
    /// A piece of work off the tokio workers ended with a panic.
    #[error("work on a snapshot ended before its time; the log has the details")]
    Aborted,
    /// openraft has stopped.
    #[error("the shard has stopped: {0}")]
    Stopped(String),
}

/// Whether a row stays out of a snapshot's chunks: what is local to a node, and the header, which comes at the end.
fn stays_behind(key: &[u8]) -> bool {
    keys::is_local(key) || *key == *header::key()
}
