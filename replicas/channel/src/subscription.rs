//! What an edge wants to hold.

use serde::{Deserialize, Serialize};
use skerry_model::ids::hash_field;
use skerry_model::{CollectionName, DocumentKey};

use crate::bounded;
use crate::limits::SUBSCRIPTION_ENTRIES_MAX;

/// A collection, or the part of it whose keys begin with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entry {
    /// The collection.
    pub collection: CollectionName,
    /// What keys begin with; empty for all.
    pub prefix: String,
}

/// Collections with optional key prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subscription {
    /// Everything, also collections made later.
    All,
    /// These, sorted and without repeats.
    Only(#[serde(deserialize_with = "bounded::list::<SUBSCRIPTION_ENTRIES_MAX, _, _>")] Vec<Entry>),
}

/// Too many entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the subscription has {found} entries, the limit is {max}")]
pub struct TooMany {
    found: usize,
    max: usize,
}

impl Subscription {
    /// These entries.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn only(mut entries: Vec<Entry>) -> Result<Self, TooMany> {
        let (found, max) = (entries.len(), SUBSCRIPTION_ENTRIES_MAX);
        if found > max {
            return Err(TooMany { found, max });
        }
        entries.sort();
        entries.dedup();
        Ok(Self::Only(entries))
    }

    /// Whether a document belongs to it.
    #[must_use]
    pub fn covers(&self, collection: &CollectionName, key: &DocumentKey) -> bool {
        match self {
            Self::All => true,
            Self::Only(entries) => entries
                .iter()
                .any(|entry| entry.collection == *collection && key.as_str().starts_with(entry.prefix.as_str())),
        }
    }

    /// What qualifies cursors, so that none is used for another subscription.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::All => {
                hasher.update(b"all");
            }
            Self::Only(entries) => {
                hasher.update(b"only");
                for entry in entries {
                    hash_field(&mut hasher, entry.collection.as_str().as_bytes());
                    hash_field(&mut hasher, entry.prefix.as_bytes());
                }
            }
        }
        let mut digest = [0; 16];
        hasher.finalize_xof().fill(&mut digest);
        Digest(digest)
    }
}

/// BLAKE3 of a subscription, its first sixteen bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(#[serde(with = "serde_bytes")] [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repeats_do_not_matter_to_the_digest() {
        let entry = |collection: &str, prefix: &str| Entry {
            collection: collection.parse().unwrap(),
            prefix: prefix.to_owned(),
        };
        let one = Subscription::only(vec![entry("items", "a"), entry("orders", "")]).unwrap();
        let other = Subscription::only(vec![entry("orders", ""), entry("items", "a"), entry("items", "a")]).unwrap();
        assert_eq!(one.digest(), other.digest());
        assert_ne!(one.digest(), Subscription::All.digest());
        assert!(one.covers(&"items".parse().unwrap(), &"apple".parse().unwrap()));
        assert!(!one.covers(&"items".parse().unwrap(), &"pear".parse().unwrap()));
    }
}
