//! A document with changes of this edge that the core has not published: what readers see instead of the head. The row
//! is there exactly while a pending change adds something to the head.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::document::View;
use skerry_model::engine::Version;
use skerry_model::{CollectionId, PluginDigest, VersionId};
use skerry_store::KeyRange;

use super::{Error, Kind, Place, decode_value, encode_value};

const ROW: &str = "provisional";

/// What this edge makes of head and pending changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Provisional {
    /// The version of the head beneath, if the core has published one.
    pub(crate) base: Option<VersionId>,
    /// What it reads as; `None` when it is deleted.
    pub(crate) view: Option<View>,
    /// The plugin version that the view was computed with.
    pub(crate) plugin: Option<PluginDigest>,
    /// How many conflicts are open in it.
    pub(crate) conflicts: u32,
    /// Why the plugin did not choose, when it should have.
    pub(crate) fallback: Option<String>,
    /// What the document has seen.
    pub(crate) seen: Version,
    /// Whether the plugin was missing or could not run, so that the view is to be computed anew.
    pub(crate) unsettled: bool,
}

pub(crate) fn all() -> KeyRange {
    Kind::Provisional.all()
}

pub(crate) fn of_collection(collection: CollectionId) -> Bytes {
    Kind::Provisional.of_collection(collection)
}

pub(crate) fn key(place: &Place) -> Bytes {
    Kind::Provisional.of_place(place)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<Place, Error> {
    Kind::Provisional.place(ROW, key)
}

pub(crate) fn encode(provisional: &Provisional) -> Bytes {
    encode_value(provisional)
}

pub(crate) fn decode(value: &Bytes) -> Result<Provisional, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, place};

    #[test]
    fn golden() {
        let provisional = Provisional {
            base: Some(VersionId::ZERO),
            view: Some(View::from_canonical(r#"{"a":1}"#.into())),
            plugin: None,
            conflicts: 0,
            fallback: None,
            seen: Version("seen".into()),
            unsettled: false,
        };
        check_golden(&key(&place()), "3200000007c3bc");
        check_golden(
            &encode(&provisional),
            "01a76462617365a26373636e00676f7264696e616ca265696e6465780068706f736974696f6e006476696577477b2261223a317d66706c7567696ef669636f6e666c69637473006866616c6c6261636bf6647365656e447365656e69756e736574746c6564f4",
        );
        assert_eq!(decode_key(&key(&place())).unwrap(), place());
        assert_eq!(decode(&encode(&provisional)).unwrap(), provisional);
    }
}
