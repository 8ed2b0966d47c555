//! A change that waits for the core's verdict, with the operation it came from.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteArray;
use skerry_channel::change::Change;
use skerry_model::document::View;
use skerry_model::{Incarnation, ShardId};
use skerry_store::KeyRange;

use super::{Error, Kind, Place, Slot, decode_value, encode_value};

const ROW: &str = "outbox";

/// What a write wanted, so that it can be made again on another copy of the document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// The document shall read like this.
    Put {
        /// Like this.
        document: View,
        /// What the writer saw; `None` where there was no document.
        seen: Option<View>,
    },
    /// An RFC 7396 merge patch.
    Patch {
        /// Its JSON.
        patch: Bytes,
    },
    /// The document shall be gone.
    Delete,
    /// An operation of the state policy.
    Operate {
        /// Its JSON.
        operation: Bytes,
        /// For splices, a digest of the texts as their writer saw them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        texts: Option<ByteArray<32>>,
    },
    /// Open conflicts end.
    Settle {
        /// How, as JSON.
        settlement: Bytes,
    },
}

/// A change of this edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// What it was written under.
    pub(crate) incarnation: Incarnation,
    /// The change frame: what the chain covers and what is sent.
    pub(crate) change: Bytes,
    /// What the write wanted.
    pub(crate) operation: Operation,
    /// Whether what the core has published has it already.
    pub(crate) covered: bool,
    /// Whether a core had acknowledged it that was restored since, so that the frame holds no more than what it takes to make
    /// the operation again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) replayed: bool,
}

impl Entry {
    /// What the change frame says.
    pub(crate) fn change(&self) -> Result<Change, Error> {
        Change::decode(&self.change).map_err(|error| Error { row: ROW, reason: error.to_string() })
    }

    /// The document.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        let change = self.change()?;
        Ok(Place { collection: change.collection, key: change.key })
    }
}

pub(crate) fn all() -> KeyRange {
    Kind::Outbox.all()
}

pub(crate) fn of_shard(shard: ShardId) -> KeyRange {
    KeyRange::prefix(Kind::Outbox.of_shard(shard))
}

pub(crate) fn key(slot: Slot) -> Bytes {
    Kind::Outbox.of_slot(slot)
}

pub(crate) fn decode_key(key: &[u8]) -> Result<Slot, Error> {
    Kind::Outbox.slot(ROW, key)
}

pub(crate) fn encode(entry: &Entry) -> Bytes {
    encode_value(entry)
}

pub(crate) fn decode(value: &Bytes) -> Result<Entry, Error> {
    decode_value(ROW, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::{check_golden, incarnation, slot};

    #[track_caller]
    fn check(operation: Operation, expected: &str) {
        let entry =
            Entry { incarnation: incarnation(), change: "frame".into(), operation, covered: false, replayed: false };
        check_golden(&encode(&entry), expected);
        assert_eq!(decode(&encode(&entry)).unwrap(), entry);
    }

    #[test]
    fn golden() {
        check_golden(&key(slot()), "4000020000000000000102");
        assert_eq!(decode_key(&key(slot())).unwrap(), slot());
        let view = || View::from_canonical(r#"{"a":1}"#.into());
        check(
            Operation::Put { document: view(), seen: Some(view()) },
            "01a46b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909666368616e6765456672616d65696f7065726174696f6ea163507574a268646f63756d656e74477b2261223a317d647365656e477b2261223a317d67636f7665726564f4",
        );
        check(
            Operation::Patch { patch: r#"{"a":null}"#.into() },
            "01a46b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909666368616e6765456672616d65696f7065726174696f6ea1655061746368a16570617463684a7b2261223a6e756c6c7d67636f7665726564f4",
        );
        check(
            Operation::Delete,
            "01a46b696e6361726e6174696f6ea2666e756d62657203656e6f6e63655009090909090909090909090909090909666368616e6765456672616d65696f7065726174696f6e6644656c65746567636f7665726564f4",
        );
    }
}
