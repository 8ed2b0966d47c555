//! The merge state of a published document as the engine last saved it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::Epoch;
use skerry_model::engine::Version;

use super::{Error, Kind, Place, decode_value, encode_value};

const ROW: &str = "history";

pub(crate) fn key(place: &Place, epoch: Epoch) -> Bytes {
    Kind::History.of_epoch(place, epoch)
}

/// A document as it was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    /// What the engine wrote.
    pub(crate) document: Bytes,
    /// What the document had seen.
    pub(crate) seen: Version,
}

pub(crate) fn encode(saved: &Saved) -> Bytes {
    encode_value(saved)
}

pub(crate) fn decode(value: &Bytes) -> Result<Saved, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        check_golden(&key(&place(), Epoch::new(1)), "310000000700000001c3bc");
        let saved = Saved { document: "saved".into(), seen: Version("seen".into()) };
        check_golden(&encode(&saved), "01a268646f63756d656e74457361766564647365656e447365656e");
        assert_eq!(decode(&encode(&saved)).unwrap(), saved);
    }
}
