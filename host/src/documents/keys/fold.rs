//! A merge document saved whole, so that loading it need not go back to its first change. Local to a node and invisible:
//! no replica's answer depends on it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::{CollectionId, DocumentKey, Epoch, VersionId};

use super::{Kind, Unreadable, version};

/// A saved document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// The newest version it holds.
    pub through: VersionId,
    /// What the engine saved.
    pub saved: Bytes,
}

/// The key of a document's fold.
#[must_use]
pub fn key(collection: CollectionId, key: &DocumentKey, epoch: Epoch) -> Bytes {
    version::suffixed(Kind::Fold, collection, key, epoch, VersionId::ZERO)
}

/// Whether a row is one of these, which differ from node to node.
#[must_use]
pub fn is_fold(key: &[u8]) -> bool {
    key.first() == Some(&(Kind::Fold as u8))
}

/// The stored form.
#[must_use]
pub fn encode(fold: &Fold) -> Bytes {
    super::encode(fold)
}

/// The fold of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Fold, Unreadable> {
    super::decode("fold", value)
}
