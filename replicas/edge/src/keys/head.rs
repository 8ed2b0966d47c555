//! A document as the core last published it: the outcome that readers see while nothing of this edge's own is pending.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::document::View;
use skerry_model::engine::Version;
use skerry_model::{CollectionId, Epoch, PluginDigest, VersionId};
use skerry_store::KeyRange;

use super::{Error, Kind, Place, decode_value, encode_value};

const ROW: &str = "head";

/// What the core has published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// The genesis that its history stands on.
    pub(crate) epoch: Epoch,
    /// The version.
    pub(crate) version: VersionId,
    /// What it reads as; `None` when it is deleted.
    pub(crate) view: Option<View>,
    /// The plugin version that the view was computed with.
    pub(crate) plugin: Option<PluginDigest>,
    /// How many conflicts are open in it.
    pub(crate) conflicts: u32,
    /// Why the plugin did not choose, when it should have.
    pub(crate) fallback: Option<String>,
    /// What a merge document has seen; `None` for a strict one.
    pub(crate) seen: Option<Version>,
}

pub(crate) fn all() -> KeyRange {
    Kind::Head.all()
}

pub(crate) fn of_collection(collection: CollectionId) -> Bytes {
    Kind::Head.of_collection(collection)
}

pub(crate) fn key(place: &Place) -> Bytes {
    Kind::Head.of_place(place)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<Place, Error> {
    Kind::Head.place(ROW, key)
}

pub(crate) fn encode(head: &Head) -> Bytes {
    encode_value(head)
}

pub(crate) fn decode(value: &Bytes) -> Result<Head, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use skerry_model::{Ordinal, Scn};

    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        let head = Head {
            epoch: Epoch::new(0),
            version: VersionId { scn: Scn::from_bits(77), ordinal: Ordinal { index: 3, position: 1 } },
            view: Some(View::from_canonical(r#"{"a":1}"#.into())),
            plugin: Some(PluginDigest::from_bytes([0xab; 32])),
            conflicts: 1,
            fallback: None,
            seen: Some(Version("seen".into())),
        };
        check_golden(&key(&place()), "3000000007c3bc");
        check_golden(
            &encode(&head),
            "01a76565706f6368006776657273696f6ea26373636e184d676f7264696e616ca265696e6465780368706f736974696f6e016476696577477b2261223a317d66706c7567696e5820abababababababababababababababababababababababababababababababab69636f6e666c69637473016866616c6c6261636bf6647365656e447365656e",
        );
        assert_eq!(decode_key(&key(&place())).unwrap(), place());
        assert_eq!(decode(&encode(&head)).unwrap(), head);
    }
}
