//! How many documents there are, kept in step with the rows it counts. One row.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "tally";

/// Counts of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Documents that a reader finds.
    pub(crate) documents: u64,
    /// What is kept of acknowledged changes, in bytes.
    #[serde(default)]
    pub(crate) kept_bytes: u64,
    /// The position of the next change; no two of this edge ever have the same.
    #[serde(default)]
    pub(crate) next_position: u64,
}

pub(crate) fn key() -> Bytes {
    Kind::Tally.alone()
}

pub(crate) fn encode(tally: &Tally) -> Bytes {
    encode_value(tally)
}

pub(crate) fn decode(value: &Bytes) -> Result<Tally, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        let tally = Tally { documents: 300, kept_bytes: 5, next_position: 7 };
        check_golden(&key(), "04");
        check_golden(
            &encode(&tally),
            "01a369646f63756d656e747319012c6a6b6570745f6279746573056d6e6578745f706f736974696f6e07",
        );
        assert_eq!(decode(&encode(&tally)).unwrap(), tally);
    }
}
