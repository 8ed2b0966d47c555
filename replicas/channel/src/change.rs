//! One change of a replica as it is pushed, and the chain that makes a run of them unforgeable and gapless.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::engine::Delta;
use skerry_model::ids::hash_field;
use skerry_model::{CollectionId, DocumentKey, Epoch, Incarnation, Origin, ShardId};

use crate::limits;

/// The hash of all changes up to one: chain0 = BLAKE3(replica, incarnation, shard), then BLAKE3(previous, whole change
/// frame).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(#[serde(with = "serde_bytes")] [u8; 32]);

impl Chain {
    /// Before the first change of an incarnation to one shard.
    #[must_use]
    pub fn start(replica: &Origin, incarnation: &Incarnation, shard: ShardId) -> Self {
        let mut hasher = blake3::Hasher::new();
        hash_field(&mut hasher, replica.as_str().as_bytes());
        hasher.update(&incarnation.number.to_le_bytes());
        hasher.update(incarnation.nonce.as_bytes());
        hasher.update(&shard.get().to_le_bytes());
        Self(*hasher.finalize().as_bytes())
    }

    /// After one more change.
    #[must_use]
    pub fn then(&self, change: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        hash_field(&mut hasher, change);
        Self(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Debug for Chain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chain({}…)", hex::encode(&self.0[..4]))
    }
}

/// How far a chain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Sequence number of the last change; 0 before the first.
    pub sequence: u64,
    /// The chain up to and with it.
    pub chain: Chain,
}

impl Mark {
    /// Before the first change.
    #[must_use]
    pub fn start(replica: &Origin, incarnation: &Incarnation, shard: ShardId) -> Self {
        Self { sequence: 0, chain: Chain::start(replica, incarnation, shard) }
    }

    /// After one more change.
    #[must_use]
    pub fn then(&self, change: &[u8]) -> Self {
        Self { sequence: self.sequence.saturating_add(1), chain: self.chain.then(change) }
    }
}

/// One change. Its encoded bytes are what the chain covers, what the outbox keeps and what is sent, never encoded anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Dense per incarnation and shard, from 1.
    pub sequence: u64,
    /// The collection, by id: a change never lands in a later collection of the same name.
    pub collection: CollectionId,
    /// The document.
    pub key: DocumentKey,
    /// The genesis its history stands on.
    pub epoch: Epoch,
    /// When it was written, corrected by the core's clock, in milliseconds since 1970.
    pub time_ms: i64,
    /// What it changed.
    pub delta: Delta,
}

/// Why bytes are not a change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Over the limit.
    #[error("the change is {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not a change.
    #[error("the change cannot be decoded: {0}")]
    Decode(String),
}

impl Change {
    /// The change frame.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    ///
    /// # Panics
    /// Never: writing to memory does not fail.
    pub fn encode(&self) -> Result<Bytes, Error> {
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("a change serializes, and memory takes every write");
        check_size(bytes.len())?;
        Ok(bytes.into())
    }

    /// The change of a frame.
    ///
    /// # Errors
    /// [`Error`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_size(bytes.len())?;
        ciborium::from_reader(bytes).map_err(|error| Error::Decode(error.to_string()))
    }
}

fn check_size(bytes: usize) -> Result<(), Error> {
    let max = limits::CHANGE_BYTES_MAX;
    if bytes > max { Err(Error::TooLarge { bytes, max }) } else { Ok(()) }
}
