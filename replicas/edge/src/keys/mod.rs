//! The rows of an edge's database, one file for each kind. A key begins with its kind's byte, numbers are big-endian so
//! that they sort, and a document's epoch stands in the key of its history. A value is a format byte and then CBOR, or
//! after the format byte plain bytes where the row is one blob.

pub(crate) mod accepted;
pub(crate) mod catalog;
pub(crate) mod clean_stop;
pub(crate) mod confirmed;
pub(crate) mod cursor;
pub(crate) mod deltas;
pub(crate) mod head;
pub(crate) mod history;
pub(crate) mod identity;
pub(crate) mod kept;
pub(crate) mod outbox;
pub(crate) mod plugin;
pub(crate) mod provisional;
pub(crate) mod stranded;
pub(crate) mod subscription;
pub(crate) mod tally;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use skerry_model::{CollectionId, DocumentKey, Epoch, ShardId};
use skerry_store::KeyRange;

/// A row that is not what this version of the edge writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a stored row of kind {row} cannot be read: {reason}")]
pub struct Error {
    row: &'static str,
    reason: String,
}

/// The first byte of a key.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Kind {
    Identity = 0x01,
    CleanStop = 0x02,
    Catalog = 0x03,
    Tally = 0x04,
    Subscription = 0x05,
    Plugin = 0x10,
    Cursor = 0x20,
    Confirmed = 0x21,
    Joining = 0x22,
    Head = 0x30,
    History = 0x31,
    Provisional = 0x32,
    Deltas = 0x33,
    Outbox = 0x40,
    Accepted = 0x41,
    Stranded = 0x42,
    Kept = 0x43,
}

/// The format of every value.
const FORMAT: u8 = 1;

/// A document by its collection's id, so that one never shows up in a later collection of the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The collection.
    pub(crate) collection: CollectionId,
    /// The key.
    pub(crate) key: DocumentKey,
}

/// Where a change stands in this edge's order; positions are unique over all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// The shard.
    pub(crate) shard: ShardId,
    /// Counts up with every change of this edge.
    pub(crate) position: u64,
}

impl Kind {
    fn alone(self) -> Bytes {
        vec![self as u8].into()
    }

    fn all(self) -> KeyRange {
        KeyRange::prefix(self.alone())
    }

    fn with(self, parts: &[&[u8]]) -> Bytes {
        let mut key = vec![self as u8];
        parts.iter().for_each(|part| key.extend_from_slice(part));
        key.into()
    }

    fn of_shard(self, shard: ShardId) -> Bytes {
        self.with(&[&shard.get().to_be_bytes()])
    }

    fn of_collection(self, collection: CollectionId) -> Bytes {
        self.with(&[&collection.get().to_be_bytes()])
    }

    fn of_place(self, place: &Place) -> Bytes {
        self.with(&[&place.collection.get().to_be_bytes(), place.key.as_str().as_bytes()])
    }

    fn of_epoch(self, place: &Place, epoch: Epoch) -> Bytes {
        let (collection, epoch) = (place.collection.get().to_be_bytes(), epoch.get().to_be_bytes());
        self.with(&[&collection, &epoch, place.key.as_str().as_bytes()])
    }

    fn of_slot(self, slot: Slot) -> Bytes {
        self.with(&[&slot.shard.get().to_be_bytes(), &slot.position.to_be_bytes()])
    }

    fn place(self, row: &'static str, key: &[u8]) -> Result<Place, Error> {
        let (collection, rest) = number(row, self.after(row, key)?)?;
        let text = std::str::from_utf8(rest).map_err(|error| Error { row, reason: error.to_string() })?;
        let key = DocumentKey::new(text).map_err(|error| Error { row, reason: error.to_string() })?;
        Ok(Place { collection: CollectionId::new(u32::from_be_bytes(collection)), key })
    }

    fn shard(self, row: &'static str, key: &[u8]) -> Result<ShardId, Error> {
        let (shard, rest) = number(row, self.after(row, key)?)?;
        at_end(row, rest)?;
        Ok(ShardId::new(u16::from_be_bytes(shard)))
    }

    fn slot(self, row: &'static str, key: &[u8]) -> Result<Slot, Error> {
        slot(row, self.after(row, key)?)
    }

    fn after<'k>(self, row: &'static str, key: &'k [u8]) -> Result<&'k [u8], Error> {
        match key.split_first() {
            Some((&kind, rest)) if kind == self as u8 => Ok(rest),
            _ => Err(Error { row, reason: format!("its key {} is of another kind", hex::encode(key)) }),
        }
    }
}

fn number<'k, const N: usize>(row: &'static str, key: &'k [u8]) -> Result<([u8; N], &'k [u8]), Error> {
    let (number, rest) =
        key.split_first_chunk::<N>().ok_or_else(|| Error { row, reason: "its key is too short".to_owned() })?;
    Ok((*number, rest))
}

fn slot(row: &'static str, key: &[u8]) -> Result<Slot, Error> {
    let (shard, rest) = number(row, key)?;
    let (position, rest) = number(row, rest)?;
    at_end(row, rest)?;
    Ok(Slot { shard: ShardId::new(u16::from_be_bytes(shard)), position: u64::from_be_bytes(position) })
}

fn at_end(row: &'static str, rest: &[u8]) -> Result<(), Error> {
    if rest.is_empty() { Ok(()) } else { Err(Error { row, reason: "its key is too long".to_owned() }) }
}

fn encode_value<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = vec![FORMAT];
    ciborium::into_writer(value, &mut bytes).expect("rows serialize, and memory takes every write");
    bytes.into()
}

fn decode_value<T: DeserializeOwned>(row: &'static str, value: &Bytes) -> Result<T, Error> {
    let mut rest = &*decode_blob(row, value)?;
    let decoded = ciborium::from_reader(&mut rest).map_err(|error| Error { row, reason: error.to_string() })?;
    if rest.is_empty() {
        Ok(decoded)
    } else {
        Err(Error { row, reason: format!("{} bytes follow the value", rest.len()) })
    }
}

fn encode_blob(blob: &[u8]) -> Bytes {
    [&[FORMAT], blob].concat().into()
}

fn decode_blob(row: &'static str, value: &Bytes) -> Result<Bytes, Error> {
    match value.first() {
        Some(&FORMAT) => Ok(value.slice(1..)),
        Some(found) => Err(Error { row, reason: format!("it has format {found}, this edge reads {FORMAT}") }),
        None => Err(Error { row, reason: "it is empty".to_owned() }),
    }
}

#[cfg(test)]
mod testing {
    use skerry_model::{Incarnation, Nonce};

    use super::outbox::{Entry, Operation};
    use super::*;

    pub(crate) fn entry() -> Entry {
        let (incarnation, change) = (incarnation(), "frame".into());
        Entry { incarnation, change, operation: Operation::Delete, covered: false, replayed: false }
    }

    pub(crate) fn place() -> Place {
        Place { collection: CollectionId::new(7), key: "ü".parse().unwrap() }
    }

    pub(crate) fn slot() -> Slot {
        Slot { shard: ShardId::new(2), position: 258 }
    }

    pub(crate) fn incarnation() -> Incarnation {
        Incarnation { number: 3, nonce: Nonce::from_bytes([9; 16]) }
    }

    /// A row of this kind has these bytes for good: edges in the field have written them.
    #[track_caller]
    pub(crate) fn check_golden(bytes: &Bytes, expected: &str) {
        assert_eq!(hex::encode(bytes), expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_rows_are_refused() {
        let value = encode_value(&"tide");
        assert_eq!(decode_value::<String>("word", &value).unwrap(), "tide");
        assert!(decode_value::<u8>("word", &value).is_err());
        assert!(decode_value::<String>("word", &Bytes::new()).is_err());
        let longer = Bytes::from([&*value, &[0]].concat());
        let error = decode_value::<String>("word", &longer).unwrap_err().to_string();
        assert_eq!(error, "a stored row of kind word cannot be read: 1 bytes follow the value");
        let newer = Bytes::from([&[2], &value[1..]].concat());
        assert!(decode_value::<String>("word", &newer).is_err());
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        let key = Kind::Head.of_place(&testing::place());
        assert_eq!(Kind::Head.place("head", &key).unwrap(), testing::place());
        assert!(Kind::Provisional.place("provisional", &key).is_err());
        assert!(Kind::Outbox.slot("outbox", &Kind::Outbox.of_shard(ShardId::new(1))).is_err());
    }
}
