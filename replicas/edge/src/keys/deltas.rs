//! What a published document has come by since the engine saved it, oldest first; all that there is where it never did. Nobody
//! here has needed it merged yet.

use bytes::Bytes;
use skerry_model::Epoch;
use skerry_model::engine::Delta;

use super::{Error, Kind, Place, decode_value, encode_value};

const ROW: &str = "deltas";

pub(crate) fn key(place: &Place, epoch: Epoch) -> Bytes {
    Kind::Deltas.of_epoch(place, epoch)
}

pub(crate) fn encode(deltas: &[Delta]) -> Bytes {
    encode_value(&deltas)
}

pub(crate) fn decode(value: &Bytes) -> Result<Vec<Delta>, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        check_golden(&key(&place(), Epoch::new(1)), "330000000700000001c3bc");
        let deltas = vec![Delta("one".into()), Delta("two".into())];
        check_golden(&encode(&deltas), "0182436f6e654374776f");
        assert_eq!(decode(&encode(&deltas)).unwrap(), deltas);
    }
}
