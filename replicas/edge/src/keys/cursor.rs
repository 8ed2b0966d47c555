//! How far the feed of a shard has been taken; written together with what was taken.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_channel::pull::Cursor;
use skerry_model::ShardId;
use skerry_store::KeyRange;

use super::{Error, Kind, decode_value, encode_value};

const ROW: &str = "cursor";

/// Where this edge stands in the feed of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// The cursor.
    pub(crate) cursor: Cursor,
    /// What the copy in progress, if there is one, finds here.
    pub(crate) copying: Copying,
    /// Whether the copy in progress is of a restored core: what waits is made again on it, and sent no sooner.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) returning: bool,
}

/// What a copy finds here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Copying {
    /// Nothing: it is the first.
    First,
    /// Content that may be damaged: all of it comes again, and what does not come has gone.
    Anew,
    /// Content that may be old: what differs comes.
    Compared,
}

/// Which of an edge's feeds a cursor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The subscription.
    Main,
    /// What is to join the subscription, while it is copied.
    Joining,
}

impl Role {
    fn kind(self) -> Kind {
        match self {
            Self::Main => Kind::Cursor,
            Self::Joining => Kind::Joining,
        }
    }

    pub(crate) fn all(self) -> KeyRange {
        self.kind().all()
    }

    pub(crate) fn key(self, shard: ShardId) -> Bytes {
        self.kind().of_shard(shard)
    }

    pub(crate) fn decode_key(self, key: &[u8]) -> Result<ShardId, Error> {
        self.kind().shard(ROW, key)
    }
}

pub(crate) fn encode(standing: &Standing) -> Bytes {
    encode_value(standing)
}

pub(crate) fn decode(value: &Bytes) -> Result<Standing, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use skerry_channel::pull::Position;
    use skerry_channel::subscription::Subscription;
    use skerry_model::{CollectionId, Ordinal, Scn, Timeline, VersionId};

    use super::*;
    use crate::keys::testing::check_golden;

    #[test]
    fn golden() {
        let shard = ShardId::new(2);
        let version = VersionId { scn: Scn::from_bits(77), ordinal: Ordinal { index: 3, position: 1 } };
        let after = (CollectionId::new(7), "a".parse().unwrap());
        let cursor = Cursor {
            timeline: Timeline::from_bytes([2; 16]),
            shard,
            subscription: Subscription::All.digest(),
            position: Position::Copy { feed_after: version, after },
        };
        let standing = Standing { cursor, copying: Copying::Anew, returning: false };
        check_golden(&Role::Main.key(shard), "200002");
        check_golden(&Role::Joining.key(shard), "220002");
        check_golden(
            &encode(&standing),
            "01a266637572736f72a46874696d656c696e655002020202020202020202020202020202657368617264026c737562736372697074696f6e502f8bdc4303b3efffb9461170282c8f9868706f736974696f6ea164436f7079a26a666565645f6166746572a26373636e184d676f7264696e616ca265696e6465780368706f736974696f6e016561667465728207616167636f7079696e6764416e6577",
        );
        assert_eq!(Role::Main.decode_key(&Role::Main.key(shard)).unwrap(), shard);
        assert_eq!(decode(&encode(&standing)).unwrap(), standing);
    }
}
