//! What lies under which key in a shard's keyspace: one file per kind, the first byte of a key tells the kind. Values
//! are CBOR behind one format byte.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub mod automerge;
pub mod catalog;
pub mod change;
pub mod feed;
pub mod fold;
pub mod head;
pub mod header;
pub mod plugin;
pub mod version;
pub mod watermark;

/// The first byte of each kind's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    Header = 0x00,
    Catalog = 0x01,
    CatalogStep = 0x02,
    Plugin = 0x03,
    PluginChunk = 0x04,
    Membership = 0x05,
    Received = 0x06,
    Head = 0x10,
    Version = 0x11,
    Change = 0x12,
    Fold = 0x13,
    Automerge = 0x14,
    Feed = 0x20,
    FeedFloor = 0x21,
    Watermark = 0x30,
}

/// Whether a row is local to a node: on others at the same log id it is different, or not there at all.
#[must_use]
pub fn is_local(key: &[u8]) -> bool {
    fold::is_fold(key) || *key == *header::received_key()
}

const FORMAT: u8 = 2;
/// Most rows are shorter.
const ROW_BYTES: usize = 128;

/// A row that cannot be read: the state database is damaged or was written by another version.
#[derive(Debug, thiserror::Error)]
#[error("the row {key} cannot be read: {reason}")]
pub struct Unreadable {
    /// Hexadecimal key, or the kind of row.
    pub key: String,
    /// What was found.
    pub reason: String,
}

/// The stored form of a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    encode_sized(value, ROW_BYTES)
}

/// The stored form of a value that takes about so many bytes.
fn encode_sized<T: Serialize>(value: &T, about: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(about);
    bytes.push(FORMAT);
    ciborium::into_writer(value, &mut bytes).expect("rows serialize, and memory takes every write");
    // Rows wait in memory to be written, so they must not carry unused room.
    bytes.shrink_to_fit();
    bytes.into()
}

/// The value of its stored form.
pub(crate) fn decode<T: DeserializeOwned>(kind: &'static str, bytes: &[u8]) -> Result<T, Unreadable> {
    let unreadable = |reason: String| Unreadable { key: kind.to_owned(), reason };
    match bytes.split_first() {
        Some((&FORMAT, value)) => ciborium::from_reader(value).map_err(|error| unreadable(error.to_string())),
        Some((format, _)) => Err(unreadable(format!("format {format}, this version reads {FORMAT}"))),
        None => Err(unreadable("it is empty".to_owned())),
    }
}

/// A key that does not have the form of its kind.
fn malformed(kind: &'static str, key: &[u8]) -> Unreadable {
    Unreadable { key: hex::encode(key), reason: format!("not a key of kind {kind}") }
}

/// Takes the next `N` bytes of a key.
fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk::<N>()?;
    *rest = left;
    Some(*taken)
}
