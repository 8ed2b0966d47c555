//! Which document an Automerge id names: one row for each document of the json engine.

use bytes::Bytes;
use skerry_model::automerge_id::AutomergeId;
use skerry_model::{CollectionId, DocumentKey};

use super::{Kind, Unreadable};

/// The key of an id's row.
#[must_use]
pub fn key(id: &AutomergeId) -> Bytes {
    [&[Kind::Automerge as u8], &id.as_bytes()[..]].concat().into()
}

/// The stored form.
#[must_use]
pub fn encode(collection: CollectionId, key: &DocumentKey) -> Bytes {
    super::encode(&(collection, key))
}

/// The document of a stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<(CollectionId, DocumentKey), Unreadable> {
    super::decode("automerge id", value)
}
