//! The catalog as the shard has reached it, and on shard 0 each step that led there, for the other shards to take.

use bytes::Bytes;
use skerry_model::CatalogVersion;
use skerry_store::{Direction, KeyRange, Limit, OrderedStore};

use super::{Kind, Unreadable};
use crate::catalog::{Catalog, Step};

/// The key of the whole catalog.
#[must_use]
pub const fn key() -> Bytes {
    Bytes::from_static(&[Kind::Catalog as u8])
}

/// The stored form.
#[must_use]
pub fn encode(catalog: &Catalog) -> Bytes {
    super::encode(catalog)
}

/// The catalog of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Catalog, Unreadable> {
    super::decode("catalog", value)
}

/// The key of the step that made a version.
#[must_use]
pub fn step_key(version: CatalogVersion) -> Bytes {
    [&[Kind::CatalogStep as u8][..], &version.get().to_be_bytes()].concat().into()
}

/// The steps that made the versions after this one.
#[must_use]
pub fn steps_after(version: CatalogVersion) -> KeyRange {
    let kind = Bytes::from_static(&[Kind::CatalogStep as u8]);
    KeyRange::prefix(kind).behind(step_key(version), Direction::Forward)
}

/// Every step among a shard's rows, with the version that it made.
///
/// # Errors
/// When a row cannot be read, or decoded.
pub fn steps<E>(rows: &(impl OrderedStore + ?Sized)) -> Result<Vec<(CatalogVersion, Step)>, E>
where
    E: From<skerry_store::Error> + From<Unreadable>,
{
    let range = KeyRange::prefix(Bytes::from_static(&[Kind::CatalogStep as u8]));
    let mut steps = Vec::new();
    for (key, row) in rows.scan(&range, Limit::rows(usize::MAX), Direction::Forward)? {
        let version = key.get(1..).and_then(|version| version.try_into().ok()).map(u64::from_be_bytes);
        let version = version.ok_or_else(|| super::malformed("catalog step", &key))?;
        steps.push((CatalogVersion::new(version), decode_step(&row)?));
    }
    Ok(steps)
}

/// The stored form of a step.
#[must_use]
pub fn encode_step(step: &Step) -> Bytes {
    super::encode(step)
}

/// The step of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_step(value: &[u8]) -> Result<Step, Unreadable> {
    super::decode("catalog step", value)
}
