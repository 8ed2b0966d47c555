//! The storage seam: two small traits over ordered keys, [`LogDb`] and [`StateDb`], the real pair on fjall
//! ([`fjall`]), a pair in memory that loses what was not synced ([`simulated`]), and the two writers that keep every
//! write off the tokio workers: [`LogWriter`] and [`StateWriter`] (DESIGN.md, Storage).
//! Invariants: a batch is in the store whole or not at all, also after a crash; what a crash leaves of a keyspace is a
//! prefix of the batches committed to it that holds at least everything synced.
//! Knows nothing of Raft, documents or key layouts.

use std::sync::Arc;

use bytes::Bytes;

mod batch;
pub mod conformance;
mod error;
mod failure;
pub mod fjall;
pub mod limits;
mod log_writer;
#[cfg(test)]
mod measure;
mod overlay;
mod range;
pub mod room;
pub mod simulated;
mod state_writer;
#[cfg(test)]
mod testing;

pub use batch::Batch;
pub use error::Error;
pub use log_writer::{LogWriter, LogWriterCounters};
pub use range::{Direction, KeyRange, Limit};
pub use state_writer::{ShardStore, StateWriter, StateWriterCounters};

/// One key and its value.
pub type Row = (Bytes, Bytes);

/// Who does a writer's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One operating system thread of the writer's own.
    Thread,
    /// The caller, before its call returns: no thread, so that a simulation is deterministic.
    Inline,
    /// The owner, whenever it calls `step` or `tick`: what was handed over since is lost in a crash. For simulations, in
    /// which a disk takes its time.
    Stepped,
}

/// How far a commit must get before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// Handed to the operating system: survives the process, not the machine.
    Buffered,
    /// On the disk, and with it everything committed to that database before.
    Synced,
}

/// Reads of one ordered set of keys. Keys compare as bytes.
///
/// Reads may touch the disk: whoever calls from a tokio worker decides whether that may block.
pub trait OrderedStore: Send + Sync {
    /// The value of `key`.
    ///
    /// # Errors
    /// [`Error::Read`] when the store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// The rows of `range` in order of `direction`, as of one moment between two commits, until `limit` is reached:
    /// the row that reaches it is the last. [`Limit::is_reached_by`] says whether there may be more.
    ///
    /// # Errors
    /// [`Error::Read`] when the store cannot be read.
    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error>;

    /// The row with the highest key in `range`.
    ///
    /// # Errors
    /// [`Error::Read`] when the store cannot be read.
    fn last(&self, range: &KeyRange) -> Result<Option<Row>, Error> {
        Ok(self.scan(range, Limit::rows(1), Direction::Backward)?.pop())
    }
}

/// The log database: entries, votes and committed of all shards under one set of keys.
pub trait LogDb: OrderedStore {
    /// Writes the whole batch or nothing. Blocks for the disk: never on a tokio worker, use [`LogWriter`].
    ///
    /// After a crash the database holds a prefix of the commits that includes at least the last `Synced` one.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Full`]. The database takes no write after that; the process must stop.
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error>;
}

/// The state database: named keyspaces, one for each shard replica and generation.
pub trait StateDb: Send + Sync {
    /// Opens the keyspace, and makes it first if there is none. A new keyspace is there after a crash, empty if nothing
    /// was synced since.
    ///
    /// # Errors
    /// [`Error::KeyspaceName`] unless the name has 1 to 255 bytes; [`Error::Keyspace`] when it cannot be made.
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error>;

    /// The names of all keyspaces, in byte order.
    fn keyspaces(&self) -> Vec<String>;

    /// Deletes a keyspace and everything in it at once, also after a crash. Handles still held keep reading what was
    /// there; what they write is lost. No keyspace of that name is no error.
    ///
    /// # Errors
    /// [`Error::Keyspace`] when it cannot be deleted.
    fn delete_keyspace(&self, name: &str) -> Result<(), Error>;

    /// Puts everything committed to any keyspace so far on the disk. Blocks: never on a tokio worker.
    ///
    /// # Errors
    /// [`Error::Sync`]. The database takes no write after that; the process must stop.
    fn sync(&self) -> Result<(), Error>;
}

/// One keyspace of a [`StateDb`].
pub trait Keyspace: OrderedStore {
    /// Writes the whole batch or nothing, unsynced. Blocks for the disk and may be put to sleep under compaction debt:
    /// never on a tokio worker, use [`StateWriter`].
    ///
    /// After a crash the keyspace holds a prefix of the commits that includes everything before the last
    /// [`StateDb::sync`].
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Full`]. The database takes no write after that; the process must stop.
    fn commit(&self, batch: Batch) -> Result<(), Error>;

    /// Adds rows in order of their keys, all behind every key that the keyspace holds: the cheap way to fill one. Blocks
    /// for the disk: never on a tokio worker.
    ///
    /// For a crash it counts as a commit: all of the rows or none, and on the disk after the next [`StateDb::sync`] at
    /// the latest.
    ///
    /// # Errors
    /// [`Error::Order`], and nothing is added; [`Error::Write`] or [`Error::Full`], after which the keyspace may hold
    /// some of the rows and is of no use.
    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error>;

    /// The keyspace as it is now, between two commits. Cheap and without I/O; the store keeps what the snapshot sees
    /// until it is dropped, so it must not be held for long.
    fn snapshot(&self) -> Box<dyn OrderedStore>;
}
