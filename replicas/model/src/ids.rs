//! One newtype per identity, each with a constructor that can refuse. A value that exists is a valid one.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::limits;

/// Why a name, key or id was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value is empty or too long.
    #[error("{field} is {length} {unit} long, the limit is 1 to {max}")]
    Length {
        /// What was given.
        field: &'static str,
        /// Its length.
        length: usize,
        /// The largest length allowed.
        max: usize,
        /// What is counted.
        unit: &'static str,
    },
    /// The value has a character that its kind does not allow.
    #[error("{field} has the character {found:?}, allowed are {allowed}")]
    Character {
        /// What was given.
        field: &'static str,
        /// The first character refused.
        found: char,
        /// The characters allowed.
        allowed: &'static str,
    },
    /// The value is not the hexadecimal text of its size.
    #[error("{field} must be {digits} hexadecimal digits")]
    Hex {
        /// What was given.
        field: &'static str,
        /// How many digits it takes.
        digits: usize,
    },
    /// The value is not one of its kind at all.
    #[error("{field} {found:?} is not of the form {form}")]
    Form {
        /// What was given.
        field: &'static str,
        /// What it was.
        found: String,
        /// What it must look like.
        form: &'static str,
    },
}

/// A shard's SCNs are used up: it must stop taking writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shard's system change number has reached 2^64 - 1 and it takes no more writes")]
pub struct ScnExhausted;

/// System change number: milliseconds since 1970 in the high 48 bits, a counter in the low 16. Strictly increasing
/// within a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scn(u64);

impl Scn {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The SCN of these 64 bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The first SCN of a millisecond; times past 48 bits take the last millisecond there is.
    #[must_use]
    pub const fn at_millis(millis: u64) -> Self {
        const LAST_MILLISECOND: u64 = (1 << 48) - 1;
        Self((if millis > LAST_MILLISECOND { LAST_MILLISECOND } else { millis }) << 16)
    }

    /// The 64 bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// max(proposed, last + 1).
    ///
    /// # Errors
    /// [`ScnExhausted`] when `last` is 2^64 - 1: the shard must stop taking writes.
    pub fn assign(last: Self, proposed: Self) -> Result<Self, ScnExhausted> {
        let next = last.0.checked_add(1).ok_or(ScnExhausted)?;
        Ok(Self(next.max(proposed.0)))
    }
}

impl fmt::Display for Scn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Scn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form { field: "scn", found: shorten(text), form: "a whole number below 2^64" };
        text.parse().map(Self).map_err(|_| form())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// The id of this number.
            #[must_use]
            pub const fn new(number: $inner) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id! {
    /// One Raft group; see [`shard_of`].
    ShardId(u16)
}
number_id! {
    /// A Raft term.
    Term(u64)
}
number_id! {
    /// A core node. Never used again for another node.
    NodeId(u64)
}
number_id! {
    /// A collection for good: a collection that is deleted and made again under the same name has another id.
    CollectionId(u32)
}
number_id! {
    /// Which genesis a document's history stands on. 0 until a document is given a new one.
    Epoch(u32)
}
number_id! {
    /// How many changes the catalog has seen.
    CatalogVersion(u64)
}

impl CatalogVersion {
    /// The version after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a version stands in its shard's log: the record's index, and its position within the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Ordinal {
    /// Index of the record in the shard's log.
    pub index: u64,
    /// Position of the version in its record.
    pub position: u32,
}

/// What orders versions: the commit SCN, then the ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct VersionId {
    /// The commit SCN.
    pub scn: Scn,
    /// The place in the log.
    pub ordinal: Ordinal,
}

impl VersionId {
    /// Before every version.
    pub const ZERO: Self = Self { scn: Scn::ZERO, ordinal: Ordinal { index: 0, position: 0 } };
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.scn, self.ordinal.index, self.ordinal.position)
    }
}

impl FromStr for VersionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let form = || Error::Form { field: "version", found: shorten(text), form: "SCN.INDEX.POSITION" };
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or_else(form);
        let scn = next()?.parse()?;
        let index = next()?.parse().map_err(|_| form())?;
        let position = next()?.parse().map_err(|_| form())?;
        if parts.next().is_some() {
            return Err(form());
        }
        Ok(Self { scn, ordinal: Ordinal { index, position } })
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident[$size:literal], $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// The id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), hex::encode(self.0))
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                let mut bytes = [0; $size];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| Error::Hex { field: $field, digits: 2 * $size })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    serde_bytes::ByteArray::<$size>::deserialize(deserializer).map(|bytes| Self(bytes.into_array()))
                }
            }
        }
    };
}

bytes_id! {
    /// Random id of a line of history, made at bootstrap and by each restore; qualifies every cursor, ETag and ack.
    Timeline[16], "timeline"
}
bytes_id! {
    /// Random id of a cluster, made at bootstrap.
    ClusterId[16], "cluster id"
}
bytes_id! {
    /// BLAKE3 of a plugin's component.
    PluginDigest[32], "plugin digest"
}
bytes_id! {
    /// The random half of an [`Incarnation`]: the same number with another nonce is a fork.
    Nonce[16], "nonce"
}

impl PluginDigest {
    /// The digest of a component's bytes.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(*blake3::hash(component).as_bytes())
    }
}

/// A replica's run of sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Counts up from 1.
    pub number: u32,
    /// Tells two copies of one folder apart.
    pub nonce: Nonce,
}

impl Incarnation {
    /// The sixteen bytes that every Automerge actor of this incarnation begins with: BLAKE3(replica, incarnation)[..16].
    #[must_use]
    pub fn actor(&self, replica: &Origin) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        hash_field(&mut hasher, replica.as_str().as_bytes());
        hasher.update(&self.number.to_le_bytes());
        hasher.update(self.nonce.as_bytes());
        let mut actor = [0; 16];
        hasher.finalize_xof().fill(&mut actor);
        actor
    }
}

/// Feeds one variable-length field with its length first, so that two different lists of fields never hash alike.
pub fn hash_field(hasher: &mut blake3::Hasher, field: &[u8]) {
    hasher.update(&(field.len() as u64).to_le_bytes());
    hasher.update(field);
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            ///
            /// # Errors
            /// [`Error`] names the field and the limit.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                let text = text.into();
                let check: fn(&str) -> Result<(), Error> = $check;
                check(&text)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

text_id! {
    /// A collection's name.
    CollectionName, |text| check_name("collection", text, limits::NAME_CHARS_MAX)
}
text_id! {
    /// A plugin's name.
    PluginName, |text| check_name("plugin", text, limits::NAME_CHARS_MAX)
}
text_id! {
    /// A replica's id: what wrote a change. The core cluster as a whole is one replica, [`Origin::core`].
    Origin, |text| check_name("replica", text, limits::ORIGIN_CHARS_MAX)
}
text_id! {
    /// A document's key within its collection: 1 to 512 bytes of UTF-8.
    DocumentKey, |text| check_length("key", text.len(), limits::KEY_BYTES_MAX, "bytes")
}

impl Origin {
    /// The core cluster as a replica.
    #[must_use]
    pub fn core() -> Self {
        Self("core".to_owned())
    }
}

fn check_length(field: &'static str, length: usize, max: usize, unit: &'static str) -> Result<(), Error> {
    if length == 0 || length > max {
        return Err(Error::Length { field, length, max, unit });
    }
    Ok(())
}

/// Names go into URLs, file names and metrics, so they keep to what needs escaping in none of them.
fn check_name(field: &'static str, text: &str, max: usize) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let allowed = "a-z, 0-9, and after the first character also . _ -";
    check_length(field, text.chars().count(), max, "characters")?;
    let refused = text.chars().enumerate().find(|&(at, c)| !(plain(c) || (at > 0 && matches!(c, '.' | '_' | '-'))));
    match refused {
        Some((_, found)) => Err(Error::Character { field, found, allowed }),
        None => Ok(()),
    }
}

/// Enough of a refused value to recognise it, without repeating a megabyte to whoever sent it.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// A document's shard: SipHash-2-4 with the key bytes 00 to 0f, of (u32 little-endian length of the collection's name,
/// name, key), modulo the shard count fixed at bootstrap.
///
/// # Panics
/// When `shards` is 0, which no cluster has.
#[must_use]
pub fn shard_of(collection: &CollectionName, key: &DocumentKey, shards: u16) -> ShardId {
    assert!(shards > 0, "a cluster has at least one shard");
    let mut hasher = SipHasher24::new_with_key(&std::array::from_fn(|at| u8::try_from(at).expect("16 fits in a byte")));
    let name_length = u32::try_from(collection.as_str().len()).expect("a name has at most 64 characters");
    hasher.write(&name_length.to_le_bytes());
    hasher.write(collection.as_str().as_bytes());
    hasher.write(key.as_str().as_bytes());
    let shard = hasher.finish() % u64::from(shards);
    ShardId(u16::try_from(shard).expect("a remainder of a u16 fits in one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scn_is_strictly_increasing() {
        let last = Scn::from_bits(100);
        assert_eq!(Scn::assign(last, Scn::from_bits(5)), Ok(Scn::from_bits(101)));
        assert_eq!(Scn::assign(last, Scn::from_bits(500)), Ok(Scn::from_bits(500)));
        assert_eq!(Scn::assign(Scn::from_bits(u64::MAX), Scn::ZERO), Err(ScnExhausted));
        assert_eq!(Scn::at_millis(7).millis(), 7);
    }

    #[track_caller]
    fn check_shard(collection: &str, key: &str, expected: u16) {
        let found = shard_of(&collection.parse().unwrap(), &key.parse().unwrap(), 8);
        assert_eq!(found.get(), expected, "{collection}/{key}");
    }

    /// Golden: clients outside this repository compute the same numbers. Computed with an independent SipHash-2-4.
    #[test]
    fn shards_are_golden() {
        check_shard("items", "lantern", 5);
        check_shard("items", "rope", 3);
        check_shard("stock", "tide-table", 5);
        check_shard("a", "b", 3);
        check_shard("regions", "FR-75", 6);
        check_shard("items", "ü", 3);
    }

    #[test]
    fn names_and_keys_are_bounded() {
        assert!(CollectionName::new("a".repeat(64)).is_ok());
        assert!(CollectionName::new("a".repeat(65)).is_err());
        assert!(CollectionName::new("").is_err());
        assert!(CollectionName::new(".hidden").is_err());
        assert!(CollectionName::new("Stock").is_err());
        assert!(DocumentKey::new("é".repeat(256)).is_ok());
        let error = DocumentKey::new("é".repeat(257)).unwrap_err().to_string();
        assert_eq!(error, "key is 514 bytes long, the limit is 1 to 512");
    }

    #[test]
    fn version_ids_round_trip() {
        let version = VersionId { scn: Scn::from_bits(77), ordinal: Ordinal { index: 3, position: 1 } };
        assert_eq!(version.to_string().parse::<VersionId>(), Ok(version));
        assert!("77.3".parse::<VersionId>().is_err());
        assert!("77.3.1.9".parse::<VersionId>().is_err());
    }

    #[test]
    fn actors_differ_by_replica_number_and_nonce() {
        let shop = Origin::new("shop").unwrap();
        let first = Incarnation { number: 1, nonce: Nonce::from_bytes([0; 16]) };
        let again = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
        assert_ne!(first.actor(&shop), again.actor(&shop));
        assert_ne!(first.actor(&shop), first.actor(&Origin::core()));
    }
}
