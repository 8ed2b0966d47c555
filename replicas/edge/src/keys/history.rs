//! The merge state of a published document: as the engine saved it, or as the changes that it came by, while nobody here has
//! needed more of it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::engine::Delta;
use skerry_model::{CollectionId, Epoch};

use super::{Error, Kind, Place, decode_value, encode_value};

const ROW: &str = "history";

pub(crate) fn of_collection(collection: CollectionId) -> Bytes {
    Kind::History.of_collection(collection)
}

pub(crate) fn key(place: &Place, epoch: Epoch) -> Bytes {
    let (collection, epoch) = (place.collection.get().to_be_bytes(), epoch.get().to_be_bytes());
    Kind::History.with(&[&collection, &epoch, place.key.as_str().as_bytes()])
}

/// What a document was published as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum History {
    /// What the engine saved.
    Saved(Bytes),
    /// All deltas that there are, oldest first.
    Deltas(Vec<Delta>),
}

pub(crate) fn encode(history: &History) -> Bytes {
    encode_value(history)
}

pub(crate) fn decode(value: &Bytes) -> Result<History, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        check_golden(&key(&place(), Epoch::new(1)), "310000000700000001c3bc");
        let deltas = History::Deltas(vec![Delta("one".into()), Delta("two".into())]);
        for (history, golden) in [
            (History::Saved("saved".into()), "01a1655361766564457361766564"),
            (deltas, "01a16644656c74617382436f6e654374776f"),
        ] {
            check_golden(&encode(&history), golden);
            assert_eq!(decode(&encode(&history)).unwrap(), history);
        }
    }
}
