//! Who this edge is, and the cluster it belongs to. One row.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::{ClusterId, Incarnation, Origin, Timeline};

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "identity";

/// Who this edge is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Its id.
    pub(crate) replica: Origin,
    /// What it writes under.
    pub(crate) incarnation: Incarnation,
    /// The cluster, from the first welcome on.
    pub(crate) home: Option<Home>,
    /// How far the core's clock is ahead of this edge's, in milliseconds.
    pub(crate) clock_offset_ms: i64,
    /// Lines of history that the cluster has left, as far as this edge followed them; the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) left: Vec<Timeline>,
    /// When another copy of this folder was last noticed, in milliseconds since 1970 of this edge's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked_ms: Option<u64>,
    /// Whether it was noticed so often that this copy sends nothing until it is enrolled anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) held: bool,
    /// The first incarnation under the present name; what is older was written under the name of the folder it is a copy of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) named_from: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Identity {
    /// The same folder as a replica of its own.
    pub(crate) fn anew(self, replica: Origin, incarnation: Incarnation) -> Self {
        Self { replica, incarnation, forked_ms: None, held: false, named_from: incarnation.number, ..self }
    }
}

/// What an edge learns of its cluster at the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Home {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Its line of history.
    pub(crate) timeline: Timeline,
    /// How many shards it has.
    pub(crate) shards: u16,
}

pub(crate) fn key() -> Bytes {
    Kind::Identity.alone()
}

pub(crate) fn encode(identity: &Identity) -> Bytes {
    encode_value(identity)
}

pub(crate) fn decode(value: &Bytes) -> Result<Identity, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, incarnation};

    #[test]
    fn golden() {
        let home = Home { cluster: ClusterId::from_bytes([1; 16]), timeline: Timeline::from_bytes([2; 16]), shards: 4 };
        let identity = Identity {
            replica: "shop".parse().unwrap(),
            incarnation: incarnation(),
            home: Some(home),
            clock_offset_ms: -5,
            left: Vec::new(),
            forked_ms: None,
            held: false,
            named_from: 0,
        };
        check_golden(&key(), "01");
        check_golden(
            &encode(&identity),
            "01a4677265706c6963616473686f706b696e6361726e6174696f6ea2666e756d62657203656e6f6e6365500909090909090909090909090909090964686f6d65a367636c757374657250010101010101010101010101010101016874696d656c696e65500202020202020202020202020202020266736861726473046f636c6f636b5f6f66667365745f6d7324",
        );
        assert_eq!(decode(&encode(&identity)).unwrap(), identity);
    }
}
