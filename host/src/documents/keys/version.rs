//! The versions of a document, newest first.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_tuple::{Deserialize_tuple, Serialize_tuple};
use skerry_model::document::Splice;
use skerry_model::engine::Version as Seen;
use skerry_model::{CollectionId, DocumentKey, Epoch, Ordinal, Origin, PluginDigest, Scn, VersionId};
use skerry_store::KeyRange;

use super::{Kind, Unreadable};

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Version {
    /// The version before it, or `None` for the first.
    pub previous: Option<VersionId>,
    /// Who wrote it.
    pub origin: Origin,
    /// When, in milliseconds since 1970: the effective time.
    pub time_ms: i64,
    /// What it reads as.
    pub body: Body,
    /// The plugin version that computed the view.
    pub plugin: Option<PluginDigest>,
    /// How many conflicts are open in it.
    pub conflicts: u32,
    /// Why the plugin did not choose, when it should have.
    pub fallback: Option<String>,
    /// What a merge document has seen; `None` for a strict one.
    pub seen: Option<Seen>,
}

/// A view as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// The whole canonical JSON.
    Whole(Bytes),
    /// What differs from the version before.
    Splice(Splice),
    /// There is no document.
    Deleted,
}

impl Body {
    /// How many bytes of the view it carries.
    #[must_use]
    pub fn carried_bytes(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Splice(splice) => splice.inserted.len(),
            Self::Deleted => 0,
        }
    }
}

/// The key of a version.
#[must_use]
pub fn key(collection: CollectionId, key: &DocumentKey, epoch: Epoch, version: VersionId) -> Bytes {
    suffixed(Kind::Version, collection, key, epoch, version)
}

/// The versions of a document from `newest` down.
#[must_use]
pub fn from(collection: CollectionId, key: &DocumentKey, epoch: Epoch, newest: VersionId) -> KeyRange {
    let start = suffixed(Kind::Version, collection, key, epoch, newest);
    let end = suffixed(Kind::Version, collection, key, epoch, VersionId::ZERO);
    KeyRange::new(start..=end)
}

/// A key that ends in a version, newest first.
pub(super) fn suffixed(
    kind: Kind,
    collection: CollectionId,
    key: &DocumentKey,
    epoch: Epoch,
    version: VersionId,
) -> Bytes {
    let key = key.as_str().as_bytes();
    let length = u16::try_from(key.len()).expect("a key has at most 512 bytes");
    let mut bytes = Vec::with_capacity(31 + key.len());
    bytes.push(kind as u8);
    bytes.extend(collection.get().to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(key);
    bytes.extend(epoch.get().to_be_bytes());
    bytes.extend((!version.scn.bits()).to_be_bytes());
    bytes.extend((!version.ordinal.index).to_be_bytes());
    bytes.extend((!version.ordinal.position).to_be_bytes());
    bytes.into()
}

/// The version that a suffixed key ends in.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_key(key: &[u8]) -> Result<VersionId, Unreadable> {
    let at = key.len().checked_sub(20).ok_or_else(|| super::malformed("version", key))?;
    let mut rest = &key[at..];
    let mut next = || super::take::<8>(&mut rest).map(u64::from_be_bytes);
    let (Some(scn), Some(index)) = (next(), next()) else { return Err(super::malformed("version", key)) };
    let position =
        super::take::<4>(&mut rest).map(u32::from_be_bytes).ok_or_else(|| super::malformed("version", key))?;
    Ok(VersionId { scn: Scn::from_bits(!scn), ordinal: Ordinal { index: !index, position: !position } })
}

/// The stored form.
#[must_use]
pub fn encode(version: &Version) -> Bytes {
    super::encode_sized(version, super::ROW_BYTES + version.body.carried_bytes())
}

/// The version of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Version, Unreadable> {
    super::decode("version", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(scn: u64, index: u64, position: u32) -> VersionId {
        VersionId { scn: Scn::from_bits(scn), ordinal: Ordinal { index, position } }
    }

    #[test]
    fn newer_versions_come_first() {
        let document = DocumentKey::new("tide").unwrap();
        let encoded = |v| key(CollectionId::new(1), &document, Epoch::new(0), v);
        let newest_first = [version(9, 9, 1), version(9, 9, 0), version(9, 4, 7), version(2, 9, 0)];
        assert!(newest_first.map(encoded).is_sorted());
        assert_eq!(decode_key(&encoded(version(9, 4, 7))).unwrap(), version(9, 4, 7));
        assert_eq!(
            hex::encode(encoded(version(1, 2, 3))),
            "11000000010004746964650000\
0000fffffffffffffffefffffffffffffffdfffffffc"
                .replace('\n', "")
        );
    }
}
