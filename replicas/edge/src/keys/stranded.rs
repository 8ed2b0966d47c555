//! A change that the core refused, or an operation that could not be made again. It waits for a person and is never
//! dropped.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_channel::message::Refusal;
use skerry_store::KeyRange;

use super::outbox::Entry;
use super::{Error, Kind, Slot, decode_value, encode_value};

const ROW: &str = "stranded";

/// Refused work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stranded {
    /// What it was.
    pub(crate) entry: Entry,
    /// Why it was not taken.
    pub(crate) refusal: Refusal,
}

pub(crate) fn all() -> KeyRange {
    Kind::Stranded.all()
}

pub(crate) fn key(slot: Slot) -> Bytes {
    Kind::Stranded.of_slot(slot)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<Slot, Error> {
    Kind::Stranded.slot(ROW, key)
}

pub(crate) fn encode(stranded: &Stranded) -> Bytes {
    encode_value(stranded)
}

pub(crate) fn decode(value: &Bytes) -> Result<Stranded, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, entry, slot};

    #[test]
    fn golden() {
        let entry = entry();
        let refusal = Refusal { kind: "collection-gone".to_owned(), detail: "It is gone.".to_owned() };
        let stranded = Stranded { entry, refusal };
        check_golden(&key(slot()), "4200020000000000000102");
        check_golden(
            &encode(&stranded),
            "01a265656e747279a46b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909666368616e6765456672616d65696f7065726174696f6e6644656c65746567636f7665726564f4677265667573616ca2646b696e646f636f6c6c656374696f6e2d676f6e656664657461696c6b497420697320676f6e652e",
        );
        assert_eq!(decode_key(&key(slot())).unwrap(), slot());
        assert_eq!(decode(&encode(&stranded)).unwrap(), stranded);
    }
}
