//! One pointer per document to its newest version. In the order of collections and keys, so that a scan walks it.

use bytes::Bytes;
use serde_tuple::{Deserialize_tuple, Serialize_tuple};
use skerry_model::{CollectionId, DocumentKey, Epoch, VersionId};
use skerry_store::KeyRange;

use super::{Kind, Unreadable};

/// The newest version of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Head {
    /// Which one.
    pub version: VersionId,
    /// The genesis its history stands on.
    pub epoch: Epoch,
    /// Whether it can be read; a deleted document keeps its head until the rejoin window has passed.
    pub live: bool,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// How the version's view is stored.
    pub stored: Stored,
}

/// How long a view is, and how far from its last whole copy. Bounded, so that a read costs a bounded number of splices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize_tuple, Deserialize_tuple)]
pub struct Stored {
    /// How long the view is, in bytes; 0 where there is none.
    pub bytes: u32,
    /// Splices since the last whole copy.
    pub splices: u16,
    /// What they hold together, in bytes.
    pub splice_bytes: u32,
}

/// The key of a document's head.
#[must_use]
pub fn key(collection: CollectionId, key: &DocumentKey) -> Bytes {
    prefix(collection, key.as_str())
}

/// The heads of a collection whose keys begin with `prefix`.
#[must_use]
pub fn range(collection: CollectionId, key_prefix: &str) -> KeyRange {
    KeyRange::prefix(prefix(collection, key_prefix))
}

/// The heads of all collections.
#[must_use]
pub fn all() -> KeyRange {
    KeyRange::prefix(Bytes::from_static(&[Kind::Head as u8]))
}

fn prefix(collection: CollectionId, key_prefix: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(5 + key_prefix.len());
    bytes.push(Kind::Head as u8);
    bytes.extend(collection.get().to_be_bytes());
    bytes.extend(key_prefix.as_bytes());
    bytes.into()
}

/// The document of a head's key.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_key(key: &[u8]) -> Result<(CollectionId, DocumentKey), Unreadable> {
    let malformed = || super::malformed("head", key);
    let mut rest = key.strip_prefix(&[Kind::Head as u8]).ok_or_else(malformed)?;
    let collection = u32::from_be_bytes(super::take(&mut rest).ok_or_else(malformed)?);
    let text = std::str::from_utf8(rest).map_err(|_| malformed())?;
    Ok((CollectionId::new(collection), DocumentKey::new(text).map_err(|_| malformed())?))
}

/// The stored form.
#[must_use]
pub fn encode(head: &Head) -> Bytes {
    super::encode(head)
}

/// The head of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Head, Unreadable> {
    super::decode("head", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_golden_and_round_trip() {
        let document = DocumentKey::new("tide").unwrap();
        let encoded = key(CollectionId::new(258), &document);
        assert_eq!(hex::encode(&encoded), "100000010274696465");
        assert_eq!(decode_key(&encoded).unwrap(), (CollectionId::new(258), document));
        assert!(decode_key(&encoded[..5]).is_err());
    }
}
