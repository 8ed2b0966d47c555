//! The log of one shard, on the log database that all shards of a node share (DESIGN.md, Consensus and Storage).
//! Invariants: votes, appends, truncations and purges reach the disk in the order they were made; a vote and a
//! truncation are on the disk when the call returns, an append when its callback is called; entries can be read as soon
//! as `append` returns; purging and `committed` wait for the next sync, since losing them costs only work.
//! After a crash the log is what it was at some moment not before the last callback.
//! Generic over the type config only so that openraft's own suite can run on it, which makes node ids out of numbers.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::type_config::alias::{EntryOf, LogIdOf, VoteOf};
use openraft::{OptionalSend, RaftLogReader, RaftTypeConfig};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use skerry_model::ids::ShardId;
use skerry_store::{Batch, Direction, Durability, KeyRange, Limit, LogDb, LogWriter};
use tokio::sync::watch;

use self::recent::Recent;
use self::rows::Kind;
use self::sizes::Sizes;
use crate::consensus::types::TypeConfig;

pub use self::inspect::{Held, Line, follow, inspect};

mod inspect;
mod recent;
mod rows;
mod sizes;
#[cfg(test)]
mod tests;

/// Encoded entries in one append to a peer; one entry goes alone, however large.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// Encoded entries that one step of applying reads.
pub const APPLY_STEP_BYTES: usize = 4 << 20;
/// Encoded entries of one shard kept in memory for replication and apply beyond those that are not on the disk yet,
/// which DESIGN.md bounds at 64 MiB.
pub const RECENT_BYTES_MAX: usize = 16 << 20;
/// Rows that one batch of a purge deletes.
const PURGE_STEP_ROWS: usize = 10_000;

/// Why a log cannot be read or written. The node must stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// A row's key is not one of the log's.
    #[error("key {key} is not one of the log's")]
    Key {
        /// The key, in hexadecimal.
        key: String,
    },
    /// A row was written by another version.
    #[error("row {key} of the log {}, this version reads format {known}", describe_format(*found))]
    Format {
        /// The row's key, in hexadecimal.
        key: String,
        /// The format found, if there is anything at all.
        found: Option<u8>,
        /// The format expected.
        known: u8,
    },
    /// A row is not what its key says.
    #[error("row {key} of the log cannot be decoded")]
    Decode {
        /// The row's key, in hexadecimal.
        key: String,
        /// What is wrong.
        source: ciborium::de::Error<io::Error>,
    },
    /// An entry that must be there is not.
    #[error("the log of shard {shard} holds {first} to {last}, but entry {missing} is missing")]
    Missing {
        /// The shard.
        shard: ShardId,
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        last: u64,
        /// Index of the one that is not there.
        missing: u64,
    },
    /// An append would leave a hole, or overwrite without a truncation.
    #[error("entry {index} cannot follow entry {last} in the log of shard {shard}")]
    Order {
        /// The shard.
        shard: ShardId,
        /// Index of the last entry.
        last: u64,
        /// Index of the one to be appended.
        index: u64,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

fn describe_format(found: Option<u8>) -> String {
    found.map_or_else(|| "is empty".to_owned(), |format| format!("has format {format}"))
}

/// The log of one shard: the only handle that writes it.
pub struct LogStore<C: RaftTypeConfig = TypeConfig> {
    log: Arc<Log<C>>,
}

/// A view of the log for replication and apply. Entries that are in memory are answered from there; others are read on
/// the caller's thread.
pub struct LogReader<C: RaftTypeConfig = TypeConfig> {
    log: Arc<Log<C>>,
}

struct Log<C: RaftTypeConfig> {
    shard: ShardId,
    database: Arc<dyn LogDb>,
    writer: Arc<LogWriter>,
    state: Mutex<State<C>>,
    /// Every entry below this index is on the disk.
    durable_end: watch::Sender<u64>,
}

struct State<C: RaftTypeConfig> {
    vote: Option<VoteOf<C>>,
    committed: Option<LogIdOf<C>>,
    purged: Option<LogIdOf<C>>,
    /// The last entry's, or `purged` if there is none.
    last: Option<LogIdOf<C>>,
    /// Index of the first entry.
    first: u64,
    recent: Recent<EntryOf<C>>,
    sizes: Sizes,
    /// How often entries were taken back: a read that spans one starts again.
    truncations: u64,
}

impl<C> LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    /// Opens the log of a shard, which is empty if nothing was ever written. `writer` must write to `database`. Blocks
    /// for the disk.
    ///
    /// # Errors
    /// [`Error::Store`] when the database cannot be read, [`Error::Format`] or [`Error::Decode`] when a row is not what
    /// this version writes, [`Error::Missing`] when the log does not begin behind what was purged. The log is never
    /// repaired in place.
    pub fn open(shard: ShardId, database: Arc<dyn LogDb>, writer: Arc<LogWriter>) -> Result<Self, Error> {
        Self::open_with(shard, database, writer, RECENT_BYTES_MAX)
    }

    fn open_with(
        shard: ShardId,
        database: Arc<dyn LogDb>,
        writer: Arc<LogWriter>,
        recent_bytes_max: usize,
    ) -> Result<Self, Error> {
        let vote = read_one(&*database, shard, Kind::Vote)?;
        let committed = read_one(&*database, shard, Kind::Committed)?;
        let purged: Option<LogIdOf<C>> = read_one(&*database, shard, Kind::Purged)?;
        let start = next_index::<C>(purged.as_ref());
        finish_purge(&*database, shard, start)?;
        let range = rows::all_entries(shard);
        let first = match database.scan(&range, Limit::rows(1), Direction::Forward)?.pop() {
            Some((key, _)) => rows::index_of(&key)?,
            None => start,
        };
        let last = match database.last(&range)? {
            Some((key, value)) => Some(rows::decode::<EntryOf<C>>(&key, &value)?.log_id()),
            None => purged.clone(),
        };
        let end = next_index::<C>(last.as_ref());
        if purged.is_some() && first != start {
            return Err(Error::Missing { shard, first: start, last: end - 1, missing: start });
        }
        let (recent, sizes) = (Recent::new(end, recent_bytes_max), count(&*database, &range)?);
        let state = Mutex::new(State { vote, committed, purged, last, first, recent, sizes, truncations: 0 });
        let durable_end = watch::Sender::new(end);
        Ok(Self { log: Arc::new(Log { shard, database, writer, state, durable_end }) })
    }

    /// Lets the log go on behind `applied` if it ends before it: what is between came with a snapshot, and a crash has kept
    /// the log from being purged up to it.
    ///
    /// openraft does this at its start too, but takes a tail of a later term for a log that goes further.
    ///
    /// # Errors
    /// What [`RaftLogStorage::purge`] returns.
    pub async fn reach(&mut self, applied: LogIdOf<C>) -> Result<(), io::Error> {
        if next_index::<C>(self.log.log_state().last_log_id.as_ref()) <= applied.index {
            self.purge(applied).await?;
        }
        Ok(())
    }

    /// Follows how far the log is on the disk: every entry below the index is.
    #[must_use]
    pub fn durable_end(&self) -> watch::Receiver<u64> {
        self.log.durable_end.subscribe()
    }

    /// A reader of this log.
    #[must_use]
    pub fn reader(&self) -> LogReader<C> {
        LogReader { log: self.log.clone() }
    }
}

impl<C: RaftTypeConfig> LogReader<C> {
    /// The first and last of the log, on the disk or not.
    #[must_use]
    pub fn log_state(&self) -> LogState<C> {
        self.log.log_state()
    }

    /// Bytes that the entries take, on the disk or not.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.log.state.lock().sizes.bytes()
    }

    /// The last entry of those that must go so that the others take at most `kept` bytes; `None` when they do already.
    #[must_use]
    pub fn excess(&self, kept: u64) -> Option<u64> {
        self.log.state.lock().sizes.excess(kept).and_then(|end| end.checked_sub(1))
    }
}

/// The row of a kind that has one.
fn read_one<T: DeserializeOwned>(database: &dyn LogDb, shard: ShardId, kind: Kind) -> Result<Option<T>, Error> {
    let key = rows::key(shard, kind);
    database.get(&key)?.map(|value| rows::decode(&key, &value)).transpose()
}

/// The sizes of all stored entries. Reads them all, so that one that is damaged is found at the start.
fn count(database: &dyn LogDb, entries: &KeyRange) -> Result<Sizes, Error> {
    let mut sizes = Sizes::default();
    let mut left = entries.clone();
    loop {
        let rows = database.scan(&left, Limit::bytes(APPLY_STEP_BYTES), Direction::Forward)?;
        let Some((last, _)) = rows.last() else { return Ok(sizes) };
        left = left.behind(last.clone(), Direction::Forward);
        for (key, value) in &rows {
            sizes.push(rows::index_of(key)?, value.len());
        }
    }
}

/// Deletes what a purge that a crash cut short has left below `start`.
fn finish_purge(database: &dyn LogDb, shard: ShardId, start: u64) -> Result<(), Error> {
    let left = rows::entry_range(shard, 0, start);
    loop {
        let rows = database.scan(&left, Limit::rows(PURGE_STEP_ROWS), Direction::Forward)?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::with_capacity(rows.len());
        rows.into_iter().for_each(|(key, _)| batch.delete(key));
        database.commit(batch, Durability::Buffered)?;
    }
}

fn next_index<C: RaftTypeConfig>(log_id: Option<&LogIdOf<C>>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index + 1)
}

impl<C: RaftTypeConfig> Log<C> {
    fn log_state(&self) -> LogState<C> {
        let state = self.state.lock();
        LogState { last_purged_log_id: state.purged.clone(), last_log_id: state.last.clone() }
    }
}

impl<C> Log<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    /// Entries from `start` on, below `end`, that the log holds: as many as one place has of them, the disk or memory,
    /// until their sizes pass `bytes_max`, the first one however large it is. None only if the log holds none.
    fn read_some(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<EntryOf<C>>, Error> {
        loop {
            let (start, stored_end, seen) = {
                let state = self.state.lock();
                let start = start.max(state.first);
                let end = end.min(next_index::<C>(state.last.as_ref()));
                if start >= end {
                    return Ok(Vec::new());
                }
                let stored_end = state.recent.first().map_or(end, |first| first.min(end));
                if start >= stored_end {
                    return Ok(state.recent.copy(start, end, bytes_max));
                }
                (start, stored_end, (state.first, state.truncations))
            };
            let entries = self.read_stored(start, stored_end, bytes_max)?;
            let state = self.state.lock();
            // What was purged or taken back meanwhile is no hole: look again.
            if (state.first, state.truncations) != seen {
                continue;
            }
            let gap = entries.iter().zip(start..).find(|(entry, index)| entry.index() != *index);
            let missing = gap.map(|(_, index)| index).or_else(|| entries.is_empty().then_some(start));
            if let Some(missing) = missing {
                let last = state.last.as_ref().map_or(missing, |last| last.index);
                return Err(Error::Missing { shard: self.shard, first: state.first, last, missing });
            }
            return Ok(entries);
        }
    }

    fn read_stored(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<EntryOf<C>>, Error> {
        let limit = Limit::bytes(bytes_max);
        let mut stored = self.database.scan(&rows::entry_range(self.shard, start, end), limit, Direction::Forward)?;
        let bytes: usize = stored.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > bytes_max && stored.len() > 1 {
            stored.pop();
        }
        stored.iter().map(|(key, value)| rows::decode(key, value)).collect()
    }

    /// All entries from `start` up to and without `end` that the log holds, as of one moment.
    fn read_all(&self, start: u64, end: u64) -> Result<Vec<EntryOf<C>>, Error> {
        loop {
            let truncations = self.state.lock().truncations;
            let mut entries = Vec::new();
            let mut next = start;
            while next < end {
                let some = self.read_some(next, end, APPLY_STEP_BYTES)?;
                let Some(last) = some.last() else { break };
                next = last.index() + 1;
                entries.extend(some);
            }
            if self.state.lock().truncations == truncations {
                return Ok(entries);
            }
        }
    }
}

impl<C> RaftLogReader<C> for LogReader<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<C::Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = ends(&range);
        Ok(self.log.read_all(start, end)?)
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<C>>, io::Error> {
        Ok(self.log.state.lock().vote.clone())
    }

    /// At most [`APPEND_BYTES_MAX`], or one entry.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<C::Entry>, io::Error> {
        Ok(self.log.read_some(start, end, APPEND_BYTES_MAX)?)
    }

    /// Holds at most [`APPLY_STEP_BYTES`], or one entry, however long the range is.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = Result<C::Entry, io::Error>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (next, end) = ends(&range);
        stream::iter(Entries { log: self.log.clone(), next, end, read: Vec::new().into_iter() })
    }
}

/// The entries of a range, read in steps.
struct Entries<C: RaftTypeConfig> {
    log: Arc<Log<C>>,
    /// Index of the next one to read.
    next: u64,
    end: u64,
    /// What was read and not handed out.
    read: std::vec::IntoIter<EntryOf<C>>,
}

impl<C> Iterator for Entries<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    type Item = Result<C::Entry, io::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(entry) = self.read.next() {
            return Some(Ok(entry));
        }
        match self.log.read_some(self.next, self.end, APPLY_STEP_BYTES) {
            Ok(entries) => {
                self.next = entries.last().map_or(self.end, |last| last.index() + 1);
                self.read = entries.into_iter();
                self.read.next().map(Ok)
            }
            Err(error) => {
                self.next = self.end;
                Some(Err(error.into()))
            }
        }
    }
}

/// The first index of a range, and the first one behind it.
fn ends(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl<C> RaftLogStorage<C> for LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    type LogReader = LogReader<C>;

    async fn get_log_state(&mut self) -> Result<LogState<C>, io::Error> {
        Ok(self.log.log_state())
    }

    async fn get_log_reader(&mut self) -> LogReader<C> {
        self.reader()
    }

    /// The vote is on the disk, and so is everything before it, when this returns.
    async fn save_vote(&mut self, vote: &VoteOf<C>) -> Result<(), io::Error> {
        let mut batch = Batch::new();
        batch.put(rows::key(self.log.shard, Kind::Vote), rows::encode(vote));
        self.log.writer.write(batch).await.map_err(Error::from)?;
        self.log.state.lock().vote = Some(vote.clone());
        Ok(())
    }

    /// On the disk with the next sync of any shard: what a crash loses, the cluster says again.
    async fn save_committed(&mut self, committed: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let key = rows::key(self.log.shard, Kind::Committed);
        let mut batch = Batch::new();
        match &committed {
            Some(committed) => batch.put(key, rows::encode(committed)),
            None => batch.delete(key),
        }
        self.log.state.lock().committed = committed;
        self.log.write_along(batch).await;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogIdOf<C>>, io::Error> {
        Ok(self.log.state.lock().committed.clone())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<C>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = C::Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<C::Entry> = entries.into_iter().collect();
        let Some(last) = entries.last() else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let end = last.index() + 1;
        let batch = self.log.remember(entries)?;
        let log = self.log.clone();
        let completed = move |result: Result<(), skerry_store::Error>| {
            if result.is_ok() {
                log.state.lock().recent.mark_durable(end);
                log.durable_end.send_modify(|known| *known = end.max(*known));
            }
            callback.io_completed(result.map_err(io::Error::other));
        };
        self.log.writer.submit(batch, Durability::Synced, completed).await;
        Ok(())
    }

    /// The truncation is on the disk when this returns.
    async fn truncate_after(&mut self, last_log_id: Option<LogIdOf<C>>) -> Result<(), io::Error> {
        let mut batch = Batch::new();
        let start = {
            let mut state = self.log.state.lock();
            let start = next_index::<C>(last_log_id.as_ref()).max(state.first);
            let end = next_index::<C>(state.last.as_ref());
            if start >= end {
                return Ok(());
            }
            (start..end).for_each(|index| batch.delete(rows::entry_key(self.log.shard, index)));
            state.recent.truncate(start);
            state.sizes.truncate(start);
            state.last = last_log_id.max(state.purged.clone());
            state.truncations += 1;
            start
        };
        // Until this is done no append follows; callbacks of appends taken back have run by then, and what they said
        // of the disk holds no more.
        self.log.writer.write(batch).await.map_err(Error::from)?;
        self.log.state.lock().recent.truncate(start);
        self.log.durable_end.send_modify(|known| *known = start.min(*known));
        Ok(())
    }

    /// On the disk with the next sync of any shard, in steps from the front, so that a crash leaves no hole.
    async fn purge(&mut self, log_id: LogIdOf<C>) -> Result<(), io::Error> {
        let shard = self.log.shard;
        let mut batch = Batch::new();
        batch.put(rows::key(shard, Kind::Purged), rows::encode(&log_id));
        let (start, end) = {
            let mut state = self.log.state.lock();
            let behind = log_id.index + 1;
            if behind <= state.first && state.purged.is_some() {
                return Ok(());
            }
            let (start, end) = (state.first, behind.min(next_index::<C>(state.last.as_ref())));
            state.recent.purge(behind);
            let log_end = next_index::<C>(state.last.as_ref());
            state.sizes.purge(behind, log_end);
            state.first = behind;
            // By index: a tail of a later term than the snapshot that replaces it is shorter all the same.
            if next_index::<C>(state.last.as_ref()) <= behind {
                state.last = Some(log_id.clone());
            }
            state.purged = Some(log_id);
            (start, end)
        };
        for index in start..end {
            batch.delete(rows::entry_key(shard, index));
            if batch.len() >= PURGE_STEP_ROWS {
                self.log.write_along(std::mem::take(&mut batch)).await;
            }
        }
        self.log.write_along(batch).await;
        Ok(())
    }
}

impl<C> Log<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    /// Makes entries readable, and gives the rows to be written for them.
    fn remember(&self, entries: Vec<C::Entry>) -> Result<Batch, Error> {
        let mut batch = Batch::with_capacity(entries.len());
        let mut buffer = Vec::new();
        let ends: Vec<usize> = entries
            .iter()
            .map(|entry| {
                rows::encode_into(&mut buffer, entry);
                buffer.len()
            })
            .collect();
        // The database keeps these bytes for long, so they must not carry unused room.
        buffer.shrink_to_fit();
        let encoded = Bytes::from(buffer);
        let mut state = self.state.lock();
        let mut start = 0;
        for (entry, end) in entries.into_iter().zip(ends) {
            let (log_id, index) = (entry.log_id(), entry.index());
            match &state.last {
                Some(last) if last.index + 1 != index => {
                    return Err(Error::Order { shard: self.shard, last: last.index, index });
                }
                Some(_) => {}
                None => state.first = index,
            }
            batch.put(rows::entry_key(self.shard, index), encoded.slice(start..end));
            state.recent.push(index, entry, end - start);
            state.sizes.push(index, end - start);
            state.last = Some(log_id);
            start = end;
        }
        Ok(batch)
    }

    /// Submits rows that need no sync of their own. If they cannot be written, nothing can any more, and the next append
    /// says so.
    async fn write_along(&self, batch: Batch) {
        self.writer.submit(batch, Durability::Buffered, |_result| {}).await;
    }
}
