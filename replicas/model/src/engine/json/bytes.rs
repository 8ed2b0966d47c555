//! The bytes of versions, deltas and saved documents: CBOR arrays that begin with the epoch (which genesis a document
//! has; there is one so far) and the format. Golden bytes: tests/bytes.rs.

use std::collections::BTreeMap;

use automerge::ChangeHash;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};

use crate::engine::{self, Error};

const EPOCH: u32 = 0;
const FORMAT: u8 = 1;

type Hash = ByteArray<32>;

/// Effective times that differ from what the changes say, in milliseconds since 1970.
pub(super) type Corrections = BTreeMap<ChangeHash, i64>;

/// What a document has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The changes that nothing builds on, in order.
    pub(super) heads: Vec<ChangeHash>,
    /// Whether a delete saw exactly these.
    pub(super) deleted: bool,
    /// Digest of the effective times that differ from what the changes say, since they decide what wins.
    pub(super) corrections: Option<[u8; 16]>,
}

/// What changes one document.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Changes {
    /// Automerge's change chunks, uncompressed, each after those it builds on.
    pub(super) chunks: Vec<Vec<u8>>,
    /// The heads that deletes saw.
    pub(super) deletes: Vec<Vec<ChangeHash>>,
    /// Effective times.
    pub(super) corrections: Corrections,
}

/// A whole document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Saved {
    /// What Automerge saves.
    pub(super) document: Vec<u8>,
    /// Whether a delete saw all of it.
    pub(super) deleted: bool,
    /// Effective times.
    pub(super) corrections: Corrections,
}

#[derive(Serialize, Deserialize)]
struct VersionForm(u32, u8, Vec<Hash>, bool, Option<ByteArray<16>>);

#[derive(Serialize, Deserialize)]
struct DeltaForm(u32, u8, Vec<ByteBuf>, Vec<Vec<Hash>>, Vec<(Hash, i64)>);

#[derive(Serialize, Deserialize)]
struct SavedForm(u32, u8, ByteBuf, bool, Vec<(Hash, i64)>);

impl Seen {
    pub(super) fn encode(&self) -> engine::Version {
        if *self == Self::default() {
            return engine::Version::default();
        }
        let form = VersionForm(EPOCH, FORMAT, forms(&self.heads), self.deleted, self.corrections.map(ByteArray::new));
        engine::Version(to_bytes(&form))
    }

    pub(super) fn decode(version: &engine::Version) -> Result<Self, Error> {
        if version.0.is_empty() {
            return Ok(Self::default());
        }
        let VersionForm(epoch, format, heads, deleted, corrections) = from_bytes("a version", &version.0)?;
        expect("a version", epoch, format)?;
        let mut heads = hashes(heads);
        heads.sort_unstable();
        heads.dedup();
        Ok(Self { heads, deleted, corrections: corrections.map(ByteArray::into_array) })
    }
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What comes behind these.
    pub(super) fn add(&mut self, later: Self) {
        self.chunks.extend(later.chunks);
        self.deletes.extend(later.deletes);
        for (hash, time) in later.corrections {
            // Of two times the earlier counts.
            self.corrections.entry(hash).and_modify(|known| *known = time.min(*known)).or_insert(time);
        }
    }

    pub(super) fn encode(self) -> engine::Delta {
        let chunks = self.chunks.into_iter().map(ByteBuf::from).collect();
        let deletes = self.deletes.iter().map(|heads| forms(heads)).collect();
        engine::Delta(to_bytes(&DeltaForm(EPOCH, FORMAT, chunks, deletes, times(&self.corrections))))
    }

    pub(super) fn decode(delta: &engine::Delta) -> Result<Self, Error> {
        if delta.0.is_empty() {
            return Ok(Self::default());
        }
        let DeltaForm(epoch, format, chunks, deletes, corrections) = from_bytes("a delta", &delta.0)?;
        expect("a delta", epoch, format)?;
        Ok(Self {
            chunks: chunks.into_iter().map(ByteBuf::into_vec).collect(),
            deletes: deletes.into_iter().map(hashes).collect(),
            corrections: from_times(corrections),
        })
    }
}

impl Saved {
    pub(super) fn encode(self) -> Bytes {
        let document = ByteBuf::from(self.document);
        to_bytes(&SavedForm(EPOCH, FORMAT, document, self.deleted, times(&self.corrections)))
    }

    pub(super) fn decode(bytes: &Bytes) -> Result<Self, Error> {
        let SavedForm(epoch, format, document, deleted, corrections) = from_bytes("a saved document", bytes)?;
        expect("a saved document", epoch, format)?;
        Ok(Self { document: document.into_vec(), deleted, corrections: from_times(corrections) })
    }
}

/// A digest of effective times; `None` for none.
pub(super) fn digest(corrections: &Corrections) -> Option<[u8; 16]> {
    if corrections.is_empty() {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    for (hash, time) in corrections {
        hasher.update(&hash.0).update(&time.to_le_bytes());
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    Some(digest)
}

fn forms(hashes: &[ChangeHash]) -> Vec<Hash> {
    hashes.iter().map(|hash| ByteArray::new(hash.0)).collect()
}

fn hashes(forms: Vec<Hash>) -> Vec<ChangeHash> {
    forms.into_iter().map(|hash| ChangeHash(hash.into_array())).collect()
}

fn times(corrections: &Corrections) -> Vec<(Hash, i64)> {
    corrections.iter().map(|(hash, time)| (ByteArray::new(hash.0), *time)).collect()
}

fn from_times(times: Vec<(Hash, i64)>) -> Corrections {
    times.into_iter().map(|(hash, time)| (ChangeHash(hash.into_array()), time)).collect()
}

fn to_bytes<T: Serialize>(form: &T) -> Bytes {
    let mut bytes = Vec::new();
    ciborium::into_writer(form, &mut bytes).expect("these forms have no maps and a Vec takes all bytes");
    bytes.into()
}

fn from_bytes<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    let mut rest = bytes;
    let form =
        ciborium::from_reader(&mut rest).map_err(|error| Error::Malformed { what, reason: error.to_string() })?;
    if rest.is_empty() {
        Ok(form)
    } else {
        Err(Error::Malformed { what, reason: "more follows after its end".to_owned() })
    }
}

fn expect(what: &'static str, epoch: u32, format: u8) -> Result<(), Error> {
    if (epoch, format) == (EPOCH, FORMAT) {
        return Ok(());
    }
    let reason = format!("epoch {epoch}, format {format}; this version reads epoch {EPOCH}, format {FORMAT}");
    Err(Error::Malformed { what, reason })
}
