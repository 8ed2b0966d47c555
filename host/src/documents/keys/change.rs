//! The changes of a merge document, newest first: each version's deltas, from which the document is loaded and which the
//! channel hands on.

use bytes::Bytes;
use skerry_model::engine::Delta;
use skerry_model::{CollectionId, DocumentKey, Epoch, VersionId};
use skerry_store::KeyRange;

use super::{Kind, Unreadable, version};

/// The key of a version's deltas.
#[must_use]
pub fn key(collection: CollectionId, key: &DocumentKey, epoch: Epoch, version: VersionId) -> Bytes {
    version::suffixed(Kind::Change, collection, key, epoch, version)
}

/// The deltas of a document's versions after `after`, up to and with `newest`.
#[must_use]
pub fn between(
    collection: CollectionId,
    key: &DocumentKey,
    epoch: Epoch,
    after: VersionId,
    newest: VersionId,
) -> KeyRange {
    let start = version::suffixed(Kind::Change, collection, key, epoch, newest);
    let end = version::suffixed(Kind::Change, collection, key, epoch, after);
    KeyRange::new(start..end)
}

/// The stored form.
#[must_use]
pub fn encode(deltas: &[Delta]) -> Bytes {
    super::encode(&deltas)
}

/// The deltas of their stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Vec<Delta>, Unreadable> {
    super::decode("change", value)
}
