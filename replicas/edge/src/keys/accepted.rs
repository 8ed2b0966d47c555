//! A change that the core has accepted and not published yet: readers here go on seeing it until the feed brings it.
//! The value is as in the outbox.

use bytes::Bytes;
use skerry_store::KeyRange;

use super::outbox::Entry;
use super::{Error, Kind, Slot, decode_value, encode_value};

const ROW: &str = "accepted";

pub(crate) fn all() -> KeyRange {
    Kind::Accepted.all()
}

pub(crate) fn key(slot: Slot) -> Bytes {
    Kind::Accepted.of_slot(slot)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<Slot, Error> {
    Kind::Accepted.slot(ROW, key)
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
        check_golden(&key(slot()), "4100020000000000000102");
        check_golden(
            &encode(&entry),
            "01a46b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909666368616e6765456672616d65696f7065726174696f6e6644656c65746567636f7665726564f4",
        );
        assert_eq!(decode_key(&key(slot())).unwrap(), slot());
        assert_eq!(decode(&encode(&entry)).unwrap(), entry);
    }
}
