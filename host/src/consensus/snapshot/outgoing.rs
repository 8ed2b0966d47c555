//! A shard's rows as they were at one log id, cut into chunks.
//! Invariant: where a chunk ends depends only on the rows that it carries, never on what is local to the node.

use bytes::Bytes;
use skerry_store::{Direction, KeyRange, Limit, OrderedStore, Row};

use super::chunk::{self, Chain};
use super::{Error, Snapshot, SnapshotHandle, stays_behind};
use crate::consensus::types::{LogId, SnapshotMeta};
use crate::documents::keys::header;

/// A snapshot to be sent. The store keeps what it sees until it is dropped.
pub struct Outgoing {
    id: LogId,
    header: Bytes,
    rows: Box<dyn OrderedStore>,
    chunk_bytes: usize,
    /// The last chunk read.
    held: Option<Chunk>,
    /// Number of the chunk to be read next.
    next: u64,
    /// The key behind which it begins.
    after: Option<Bytes>,
    /// Over the digests of the chunks read.
    chain: Chain,
}

/// Some of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) number: u64,
    pub(super) digest: [u8; 32],
    pub(super) rows: Bytes,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    Chunk(Chunk),
    /// All chunks have been read: the digest over everything, and the header.
    End {
        digest: [u8; 32],
        header: Bytes,
    },
}

/// The snapshot that these rows are; `None` before the first record was applied.
///
/// # Errors
/// When a row cannot be read.
pub(crate) fn stored(rows: Box<dyn OrderedStore>, chunk_bytes: usize) -> Result<Option<Snapshot>, Error> {
    let Some(header) = rows.get(&header::key())? else { return Ok(None) };
    let Some(id) = header::decode(&header)?.applied else { return Ok(None) };
    let meta = SnapshotMeta { last_log_id: Some(id), last_membership: header::membership::<Error>(&*rows)? };
    let (held, after, chain) = (None, None, Chain::default());
    let outgoing = Outgoing { id, header, rows, chunk_bytes, held, next: 0, after, chain };
    Ok(Some(Snapshot { meta, snapshot: SnapshotHandle::Outgoing(outgoing) }))
}

impl Outgoing {
    /// The last log id that it holds.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// The chunk of a number, or the end where there is none. Reads all chunks up to it that were not read before, since
    /// the digest at the end is over all of them. Reads from the disk.
    pub(super) fn chunk(&mut self, number: u64) -> Result<Next, skerry_store::Error> {
        if let Some(held) = self.held.as_ref().filter(|held| held.number == number) {
            return Ok(Next::Chunk(held.clone()));
        }
        if number < self.next {
            (self.held, self.next, self.after, self.chain) = (None, 0, None, Chain::default());
        }
        loop {
            let rows = self.read()?;
            if rows.is_empty() {
                return Ok(Next::End { digest: self.chain.end(&self.header), header: self.header.clone() });
            }
            let rows = chunk::encode(&rows);
            let read = Chunk { number: self.next, digest: *blake3::hash(&rows).as_bytes(), rows };
            self.chain = self.chain.with(&read.digest);
            self.next += 1;
            self.held = Some(read.clone());
            if read.number == number {
                return Ok(Next::Chunk(read));
            }
        }
    }

    /// The rows of the next chunk; none at the end.
    fn read(&mut self) -> Result<Vec<Row>, skerry_store::Error> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        while bytes < self.chunk_bytes {
            let range = match &self.after {
                Some(after) => KeyRange::all().behind(after.clone(), Direction::Forward),
                None => KeyRange::all(),
            };
            let found = self.rows.scan(&range, Limit::bytes(self.chunk_bytes - bytes), Direction::Forward)?;
            let Some((last, _)) = found.last() else { break };
            self.after = Some(last.clone());
            let carried = found.into_iter().filter(|(key, _)| !stays_behind(key));
            rows.extend(carried.inspect(|(key, value)| bytes += key.len() + value.len()));
        }
        Ok(rows)
    }
}
