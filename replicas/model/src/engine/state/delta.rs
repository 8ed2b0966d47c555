//! What a state document is on the disk and on its way: CBOR.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::seen::{Dot, Seen};
use crate::engine::{Delta, Error};
use crate::ids::Origin;

/// A state, and which operations it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The version of the policy's encoding that the state is in.
    pub(super) state_version: u32,
    pub(super) state: Bytes,
    pub(super) seen: Seen,
    /// What deletes have seen, themselves among it: the document is deleted while that is all there is.
    pub(super) covered: Seen,
}

impl Held {
    pub(super) fn is_deleted(&self) -> bool {
        self.seen.is_in(&self.covered)
    }

    pub(super) fn encode(&self) -> Bytes {
        encode(self)
    }

    pub(super) fn decode(what: &'static str, bytes: &Bytes) -> Result<Self, Error> {
        decode(what, bytes)
    }
}

/// The operation that made a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) author: Origin,
    /// The author's operation before it: if that was refused, so is this.
    pub(super) previous: Option<Dot>,
}

/// A state on its way to other replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateDelta {
    /// Who made it, until the core has taken it.
    pub(super) made: Option<Made>,
    pub(super) held: Held,
}

impl StateDelta {
    pub(super) fn encode(&self) -> Delta {
        Delta(encode(self))
    }

    pub(super) fn decode(delta: &Delta) -> Result<Self, Error> {
        let decoded: Self = decode("the change", &delta.0)?;
        decoded.held.seen.check()?;
        decoded.held.covered.check()?;
        Ok(decoded)
    }
}

/// Encodes what policies keep and what travels.
pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("it serializes, and memory takes every write");
    bytes.into()
}

/// # Errors
/// [`Error::Malformed`] names what it was to be.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &Bytes) -> Result<T, Error> {
    ciborium::from_reader(&bytes[..]).map_err(|error| Error::Malformed { what, reason: error.to_string() })
}
