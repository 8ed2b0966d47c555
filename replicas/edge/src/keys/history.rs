//! The merge state of a published document, as the engine saved it.

use bytes::Bytes;
use skerry_model::{CollectionId, Epoch};

use super::{Error, Kind, Place, decode_blob, encode_blob};

const ROW: &str = "history";

pub(crate) fn of_collection(collection: CollectionId) -> Bytes {
    Kind::History.of_collection(collection)
}

pub(crate) fn key(place: &Place, epoch: Epoch) -> Bytes {
    let (collection, epoch) = (place.collection.get().to_be_bytes(), epoch.get().to_be_bytes());
    Kind::History.with(&[&collection, &epoch, place.key.as_str().as_bytes()])
}

pub(crate) fn encode(saved: &[u8]) -> Bytes {
    encode_blob(saved)
}

pub(crate) fn decode(value: &Bytes) -> Result<Bytes, Error> {
    decode_blob(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        check_golden(&key(&place(), Epoch::new(1)), "310000000700000001c3bc");
        check_golden(&encode(b"saved"), "017361766564");
        assert_eq!(decode(&encode(b"saved")).unwrap(), "saved");
    }
}
