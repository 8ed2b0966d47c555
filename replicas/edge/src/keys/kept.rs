//! A change that the core has acknowledged and published, kept for a while in case the core is restored to a moment before
//! it. By the time it was acknowledged, so that the oldest go first. The value is as in the outbox, without the bytes that
//! were merged: what it takes to make the operation again.

use bytes::Bytes;
use skerry_store::KeyRange;

use super::outbox::Entry;
use super::{Error, Kind, Slot, decode_value, encode_value, number, slot};

const ROW: &str = "kept";

pub(crate) fn all() -> KeyRange {
    Kind::Kept.all()
}

/// `acknowledged_ms`: in milliseconds since 1970, by the core's clock.
pub(crate) fn key(acknowledged_ms: u64, slot: Slot) -> Bytes {
    let Slot { shard, position } = slot;
    Kind::Kept.with(&[&acknowledged_ms.to_be_bytes(), &shard.get().to_be_bytes(), &position.to_be_bytes()])
}

pub(crate) fn decode_key(key: &[u8]) -> Result<(u64, Slot), Error> {
    let (acknowledged_ms, rest) = number(ROW, Kind::Kept.after(ROW, key)?)?;
    Ok((u64::from_be_bytes(acknowledged_ms), slot(ROW, rest)?))
}

pub(crate) fn encode(entry: &Entry) -> Bytes {
    encode_value(entry)
}

pub(crate) fn decode(value: &Bytes) -> Result<Entry, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, entry, slot};

    #[test]
    fn golden() {
        let entry = entry();
        check_golden(&key(1000, slot()), "4300000000000003e800020000000000000102");
        assert_eq!(decode_key(&key(1000, slot())).unwrap(), (1000, slot()));
        assert_eq!(decode(&encode(&entry)).unwrap(), entry);
    }
}
