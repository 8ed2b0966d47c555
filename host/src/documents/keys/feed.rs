//! The feed of a shard: which document changed at which version, in their order. Without values: one copy lies with the
//! version.

use bytes::Bytes;
use serde_tuple::{Deserialize_tuple, Serialize_tuple};
use skerry_model::{CollectionId, DocumentKey, Epoch, Ordinal, Scn, VersionId};
use skerry_store::{KeyRange, OrderedStore};

use super::{Kind, Unreadable};

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize_tuple, Deserialize_tuple)]
pub struct Entry {
    /// The collection.
    pub collection: CollectionId,
    /// The document.
    pub key: DocumentKey,
    /// The genesis its history stands on.
    pub epoch: Epoch,
}

/// The key of a version's entry.
#[must_use]
pub fn key(version: VersionId) -> Bytes {
    let mut bytes = Vec::with_capacity(21);
    bytes.push(Kind::Feed as u8);
    bytes.extend(version.scn.bits().to_be_bytes());
    bytes.extend(version.ordinal.index.to_be_bytes());
    bytes.extend(version.ordinal.position.to_be_bytes());
    bytes.into()
}

/// The entries after a version.
#[must_use]
pub fn after(version: VersionId) -> KeyRange {
    let kind = Bytes::from_static(&[Kind::Feed as u8]);
    KeyRange::prefix(kind).behind(key(version), skerry_store::Direction::Forward)
}

/// All entries.
#[must_use]
pub fn all() -> KeyRange {
    KeyRange::prefix(Bytes::from_static(&[Kind::Feed as u8]))
}

/// The key of the SCN up to which entries have gone.
#[must_use]
pub const fn floor_key() -> Bytes {
    Bytes::from_static(&[Kind::FeedFloor as u8])
}

/// The stored form of that SCN.
#[must_use]
pub fn encode_floor(floor: Scn) -> Bytes {
    super::encode(&floor)
}

/// The SCN up to which entries have gone; zero as long as none has.
///
/// # Errors
/// When the row cannot be read, or decoded.
pub fn floor<E>(rows: &(impl OrderedStore + ?Sized)) -> Result<Scn, E>
where
    E: From<skerry_store::Error> + From<Unreadable>,
{
    Ok(rows.get(&floor_key())?.map(|row| super::decode("feed floor", &row)).transpose()?.unwrap_or(Scn::ZERO))
}

/// The version of an entry's key.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_key(key: &[u8]) -> Result<VersionId, Unreadable> {
    let malformed = || super::malformed("feed", key);
    let mut rest = key.strip_prefix(&[Kind::Feed as u8]).ok_or_else(malformed)?;
    let scn = u64::from_be_bytes(super::take(&mut rest).ok_or_else(malformed)?);
    let index = u64::from_be_bytes(super::take(&mut rest).ok_or_else(malformed)?);
    let position = u32::from_be_bytes(super::take(&mut rest).ok_or_else(malformed)?);
    Ok(VersionId { scn: Scn::from_bits(scn), ordinal: Ordinal { index, position } })
}

/// The stored form.
#[must_use]
pub fn encode(entry: &Entry) -> Bytes {
    super::encode(entry)
}

/// The entry of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Entry, Unreadable> {
    super::decode("feed", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_golden_and_round_trip() {
        let version = VersionId { scn: Scn::from_bits(0x0102), ordinal: Ordinal { index: 3, position: 4 } };
        assert_eq!(hex::encode(key(version)), "200000000000000102000000000000000300000004");
        assert_eq!(decode_key(&key(version)).unwrap(), version);
        assert!(decode_key(b"\x20short").is_err());
    }
}
