//! Keys and values of the log database. A key is the shard (u16), the kind of row (u8), and for an entry its index
//! (u64), all big-endian, so that a shard's entries lie together in order. A value is its format version (u8) and CBOR.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_model::ids::ShardId;
use skerry_store::KeyRange;

use super::Error;

/// The format that this version writes, and the only one it reads.
const FORMAT: u8 = 1;

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The last vote.
    Vote = 1,
    /// The last log id known to be committed.
    Committed = 2,
    /// The last log id that was purged.
    Purged = 3,
    /// One entry of the log.
    Entry = 4,
}

/// The key of the only row of a kind.
pub(super) fn key(shard: ShardId, kind: Kind) -> Bytes {
    let [high, low] = shard.get().to_be_bytes();
    Bytes::copy_from_slice(&[high, low, kind as u8])
}

/// The key of an entry.
pub(super) fn entry_key(shard: ShardId, index: u64) -> Bytes {
    let mut key = [0; 11];
    key[..2].copy_from_slice(&shard.get().to_be_bytes());
    key[2] = Kind::Entry as u8;
    key[3..].copy_from_slice(&index.to_be_bytes());
    Bytes::copy_from_slice(&key)
}

/// The index in an entry's key.
pub(super) fn index_of(key: &Bytes) -> Result<u64, Error> {
    let index = key.get(3..).and_then(|index| index.try_into().ok());
    Ok(u64::from_be_bytes(index.ok_or_else(|| Error::Key { key: hex::encode(key) })?))
}

/// The keys of the entries from `start` up to and without `end`.
pub(super) fn entry_range(shard: ShardId, start: u64, end: u64) -> KeyRange {
    KeyRange::new(entry_key(shard, start)..entry_key(shard, end))
}

/// The keys of all entries.
pub(super) fn all_entries(shard: ShardId) -> KeyRange {
    KeyRange::prefix(key(shard, Kind::Entry))
}

/// Writes a value behind what `buffer` holds.
pub(super) fn encode_into(buffer: &mut Vec<u8>, value: &impl Serialize) {
    buffer.push(FORMAT);
    ciborium::into_writer(value, buffer).expect("memory takes every write, and the types of the log have string keys");
}

/// A value by itself.
pub(super) fn encode(value: &impl Serialize) -> Bytes {
    let mut buffer = Vec::new();
    encode_into(&mut buffer, value);
    buffer.into()
}

/// The value of a row.
///
/// # Errors
/// [`Error::Format`] and [`Error::Decode`] name the row's key.
pub(super) fn decode<T: DeserializeOwned>(key: &Bytes, value: &Bytes) -> Result<T, Error> {
    match value.split_first() {
        Some((&FORMAT, encoded)) => {
            ciborium::from_reader(encoded).map_err(|source| Error::Decode { key: hex::encode(key), source })
        }
        found => Err(Error::Format { key: hex::encode(key), found: found.map(|(&format, _)| format), known: FORMAT }),
    }
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use skerry_model::ids::NodeId;

    use super::*;
    use crate::consensus::types::{Command, Entry, LogId, TypeConfig, Vote};

    const SHARD: ShardId = ShardId::new(0x0102);

    #[track_caller]
    fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, golden: &str) {
        let encoded = encode(value);
        assert_eq!(hex::encode(&encoded), golden);
        assert_eq!(&decode::<T>(&key(SHARD, Kind::Vote), &encoded).unwrap(), value);
    }

    #[test]
    fn keys_are_golden() {
        assert_eq!(hex::encode(key(SHARD, Kind::Vote)), "010201");
        assert_eq!(hex::encode(key(SHARD, Kind::Committed)), "010202");
        assert_eq!(hex::encode(key(SHARD, Kind::Purged)), "010203");
        assert_eq!(hex::encode(entry_key(SHARD, 0x0a)), "010204000000000000000a");
        assert_eq!(index_of(&entry_key(SHARD, 77)).unwrap(), 77);
        assert!(index_of(&key(SHARD, Kind::Entry)).is_err());
    }

    fn log_id() -> LogId {
        openraft::testing::log_id::<TypeConfig>(3, NodeId::new(5), 9)
    }

    #[test]
    fn rows_are_golden() {
        check(
            &Vote::new(2, NodeId::new(5)),
            "01a2696c65616465725f6964a2647465726d0269766f7465645f666f720569636f6d6d6974746564f4",
        );
        check(&log_id(), "01a2696c65616465725f69640365696e64657809");
        check(
            &Entry { log_id: log_id(), payload: EntryPayload::Blank },
            "01a2666c6f675f6964a2696c65616465725f69640365696e64657809677061796c6f616465426c616e6b",
        );
        check(
            &Entry { log_id: log_id(), payload: EntryPayload::Normal(Command::new(vec![7, 8])) },
            "01a2666c6f675f6964a2696c65616465725f69640365696e64657809677061796c6f6164a1664e6f726d616c420708",
        );
    }

    #[test]
    fn other_formats_are_named() {
        let key = key(SHARD, Kind::Purged);
        let error = decode::<LogId>(&key, &Bytes::from_static(&[9, 1])).unwrap_err().to_string();
        assert_eq!(error, "row 010203 of the log has format 9, this version reads format 1");
        let error = decode::<LogId>(&key, &Bytes::new()).unwrap_err().to_string();
        assert_eq!(error, "row 010203 of the log is empty, this version reads format 1");
        let error = decode::<LogId>(&key, &Bytes::from_static(&[FORMAT, 0xff])).unwrap_err().to_string();
        assert_eq!(error, "row 010203 of the log cannot be decoded");
    }
}
