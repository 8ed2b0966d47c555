//! The row that makes a batch atomic: how far the shard has applied its log, in the same batch as what was applied.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::{CatalogVersion, ClusterId, Scn, Timeline};
use skerry_store::OrderedStore;

use super::{Kind, Unreadable};
use crate::consensus::types::{LogId, StoredMembership};
use crate::documents::effects::EffectHash;

/// How far a shard has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Header {
    /// The last record applied.
    pub applied: Option<LogId>,
    /// The SCN of the last record that got one. Everything at or below it is resolved.
    pub scn: Scn,
    /// The catalog that this shard has reached.
    pub catalog: CatalogVersion,
    /// The cluster and its line of history, as the last record that named them did.
    pub cluster: Option<(ClusterId, Timeline)>,
    /// A hash over everything that was applied.
    pub effects: EffectHash,
}

/// The only key of its kind.
#[must_use]
pub const fn key() -> Bytes {
    Bytes::from_static(&[Kind::Header as u8])
}

/// The key of the header that a generation was completed with, when it came as a snapshot: what is applied above it came
/// from this node's own log. Local to the node.
#[must_use]
pub const fn received_key() -> Bytes {
    Bytes::from_static(&[Kind::Received as u8])
}

/// The key of the membership, a row of its own because it seldom changes.
#[must_use]
pub const fn membership_key() -> Bytes {
    Bytes::from_static(&[Kind::Membership as u8])
}

/// The stored form of a membership.
#[must_use]
pub fn encode_membership(membership: &StoredMembership) -> Bytes {
    super::encode(membership)
}

/// The membership of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode_membership(value: &[u8]) -> Result<StoredMembership, Unreadable> {
    super::decode("membership", value)
}

/// The membership among a shard's rows; the default where none was logged.
///
/// # Errors
/// When the row cannot be read, or decoded.
pub fn membership<E>(rows: &(impl OrderedStore + ?Sized)) -> Result<StoredMembership, E>
where
    E: From<skerry_store::Error> + From<Unreadable>,
{
    Ok(rows.get(&membership_key())?.map(|row| decode_membership(&row)).transpose()?.unwrap_or_default())
}

/// The stored form.
#[must_use]
pub fn encode(header: &Header) -> Bytes {
    super::encode(header)
}

/// The header of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Header, Unreadable> {
    super::decode("header", value)
}
