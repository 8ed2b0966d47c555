//! What a log database holds of a shard, read without running it: for operators who must decide which survivor to trust,
//! and for checkers.

use bytes::Bytes;
use openraft::entry::RaftEntry;
use skerry_model::ShardId;
use skerry_store::{Direction, Limit, LogDb};

use super::rows::{self, Kind};
use super::{APPLY_STEP_BYTES, Error, read_one};
use crate::consensus::types::{Entry, LogId, Vote};

/// One entry, without its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Where it is in the log, and who wrote it.
    pub id: LogId,
    /// BLAKE3 of the stored entry.
    pub digest: [u8; 32],
}

/// What one log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// The last vote.
    pub vote: Option<Vote>,
    /// The last log id known to be committed; a crash may lose the newest.
    pub committed: Option<LogId>,
    /// The last log id that was purged.
    pub purged: Option<LogId>,
    /// The entries asked for, in order.
    pub entries: Vec<Line>,
}

/// Reads what the database holds of a shard, entries from `start` on.
///
/// # Errors
/// [`Error`] when a row cannot be read.
pub fn inspect(database: &dyn LogDb, shard: ShardId, start: u64) -> Result<Held, Error> {
    let mut entries = Vec::new();
    each_stored(database, shard, start, |entry, stored| {
        entries.push(Line { id: entry.log_id, digest: *blake3::hash(stored).as_bytes() });
        Ok::<(), Error>(())
    })?;
    Ok(Held {
        vote: read_one(database, shard, Kind::Vote)?,
        committed: read_one(database, shard, Kind::Committed)?,
        purged: read_one(database, shard, Kind::Purged)?,
        entries,
    })
}

/// Hands over every entry of a shard from `start` on, in order.
///
/// # Errors
/// [`Error::Missing`] when there are entries behind `start`, but not all of them; [`Error`] when a row cannot be read; and
/// what `take` returns.
pub fn follow<E: From<Error>>(
    database: &dyn LogDb,
    shard: ShardId,
    start: u64,
    mut take: impl FnMut(Entry) -> Result<(), E>,
) -> Result<(), E> {
    let mut missing = start;
    each_stored(database, shard, start, |entry, _| {
        let last = entry.index();
        if last != missing {
            return Err(Error::Missing { shard, first: start, last, missing }.into());
        }
        missing += 1;
        take(entry)
    })
}

fn each_stored<E: From<Error>>(
    database: &dyn LogDb,
    shard: ShardId,
    start: u64,
    mut take: impl FnMut(Entry, &Bytes) -> Result<(), E>,
) -> Result<(), E> {
    let mut next = start;
    loop {
        let range = rows::entry_range(shard, next, u64::MAX);
        let found = database.scan(&range, Limit::bytes(APPLY_STEP_BYTES), Direction::Forward).map_err(Error::from)?;
        if found.is_empty() {
            return Ok(());
        }
        for (key, value) in found {
            let entry: Entry = rows::decode(&key, &value)?;
            next = entry.index() + 1;
            take(entry, &value)?;
        }
    }
}
