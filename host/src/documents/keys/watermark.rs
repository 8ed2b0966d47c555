//! One watermark per replica: how far its chain of changes has come in this shard. All that duplicate detection keeps.

use bytes::Bytes;
use skerry_channel::push::receiver::Watermark;
use skerry_model::Origin;

use super::{Kind, Unreadable};

/// The key of a replica's watermark.
#[must_use]
pub fn key(replica: &Origin) -> Bytes {
    [&[Kind::Watermark as u8], replica.as_str().as_bytes()].concat().into()
}

/// The stored form.
#[must_use]
pub fn encode(watermark: &Watermark) -> Bytes {
    super::encode(watermark)
}

/// The watermark of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Watermark, Unreadable> {
    super::decode("watermark", value)
}
