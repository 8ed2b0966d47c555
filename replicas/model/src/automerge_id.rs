//! The names under which Automerge's own clients know documents: sixteen bytes, written as `automerge:` and base58check, as
//! automerge-repo does.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, CollectionId, DocumentKey, hash_field};

const SCHEME: &str = "automerge:";

/// The id of a document for Automerge's own clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AutomergeId(#[serde(with = "serde_bytes")] [u8; 16]);

/// What is not the id of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no document id: sixteen bytes in base58check, as in an automerge: URL")]
pub struct BadId {
    found: String,
}

impl AutomergeId {
    /// The id of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id of a document: the one that it was made under where its key is an inbox's prefix and an id, else
    /// BLAKE3(cluster, collection, key)[..16], which no two clusters have in common.
    #[must_use]
    pub fn of(cluster: ClusterId, collection: CollectionId, inbox: Option<&Inbox>, key: &DocumentKey) -> Self {
        if let Some(id) = inbox.and_then(|inbox| inbox.id_of(key)) {
            return id;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(cluster.as_bytes());
        hasher.update(&collection.get().to_le_bytes());
        hash_field(&mut hasher, key.as_str().as_bytes());
        let mut id = [0; 16];
        hasher.finalize_xof().fill(&mut id);
        Self(id)
    }

    /// What clients are given: `automerge:` and the id.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{SCHEME}{self}")
    }
}

impl fmt::Display for AutomergeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.0).with_check().into_string())
    }
}

impl fmt::Debug for AutomergeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AutomergeId({self})")
    }
}

impl FromStr for AutomergeId {
    type Err = BadId;

    /// The id, with or without `automerge:` before it.
    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId { found: text.chars().take(80).collect() };
        let encoded = text.strip_prefix(SCHEME).unwrap_or(text);
        // Decoding takes the square of the length.
        if encoded.len() > 2 * 16 {
            return Err(bad());
        }
        let bytes = bs58::decode(encoded).with_check(None).into_vec().map_err(|_| bad())?;
        bytes.try_into().map(Self).map_err(|_| bad())
    }
}

/// Where documents go that clients of Automerge make under ids of their own: keys that begin like this, with the id behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Inbox(String);

/// What is no prefix of an inbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("inbox is {found} bytes long, the limit is {INBOX_BYTES_MAX}, and keys hold no control characters")]
pub struct BadInbox {
    found: usize,
}

/// The prefix of an inbox, in bytes.
const INBOX_BYTES_MAX: usize = 256;

impl Inbox {
    /// The key of the document with an id.
    #[must_use]
    pub fn key(&self, id: &AutomergeId) -> DocumentKey {
        DocumentKey::new(format!("{}{id}", self.0)).expect("the prefix was checked with an id behind it")
    }

    /// The id behind the prefix.
    #[must_use]
    pub fn id_of(&self, key: &DocumentKey) -> Option<AutomergeId> {
        key.as_str().strip_prefix(&self.0)?.parse().ok().filter(|id| self.key(id) == *key)
    }
}

impl TryFrom<String> for Inbox {
    type Error = BadInbox;

    fn try_from(prefix: String) -> Result<Self, BadInbox> {
        let found = prefix.len();
        let key = DocumentKey::new(format!("{prefix}{}", AutomergeId([0xff; 16])));
        if found > INBOX_BYTES_MAX || key.is_err() { Err(BadInbox { found }) } else { Ok(Self(prefix)) }
    }
}

impl FromStr for Inbox {
    type Err = BadInbox;

    fn from_str(prefix: &str) -> Result<Self, BadInbox> {
        prefix.to_owned().try_into()
    }
}

impl From<Inbox> for String {
    fn from(inbox: Inbox) -> Self {
        inbox.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_automerge_repo_writes_them() {
        // Encoded by bs58check 4, which @automerge/automerge-repo 2.5.6 uses.
        let id = AutomergeId::from_bytes(*b"sixteen bytes id");
        assert_eq!(id.url().parse::<AutomergeId>().unwrap(), id);
        assert_eq!(id.to_string(), "2cFvHEgfbRSEhBguRnVvTzz9Hse6");
        for bad in ["", "automerge:", "3usnGoo1", "automerge:0OIl", &"1".repeat(100), &id.to_string()[1..]] {
            assert!(bad.parse::<AutomergeId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_document_of_the_inbox_keeps_the_id_that_it_was_made_under() {
        let (cluster, collection) = (ClusterId::from_bytes([1; 16]), CollectionId::new(3));
        let inbox: Inbox = "in/".parse().unwrap();
        let id = AutomergeId::from_bytes([9; 16]);
        assert_eq!(AutomergeId::of(cluster, collection, Some(&inbox), &inbox.key(&id)), id);
        let of = |key: &str| AutomergeId::of(cluster, collection, Some(&inbox), &key.parse().unwrap());
        assert_ne!(of("in/lamp"), of("lamp"));
        assert_ne!(of(&format!("automerge/{id}")), id);
        assert_ne!(of("lamp"), AutomergeId::of(cluster, CollectionId::new(4), None, &"lamp".parse().unwrap()));
        // Another spelling of the same id is another key.
        assert_ne!(of(&format!("in/automerge:{id}")), id);
    }
}
