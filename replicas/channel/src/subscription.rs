//! What an edge wants to hold.

use std::fmt;
use std::str::FromStr;

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

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { collection, prefix } = self;
        if prefix.is_empty() { write!(f, "{collection}") } else { write!(f, "{collection}/{prefix}") }
    }
}

/// What is no entry of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not COLLECTION or COLLECTION/PREFIX: {source}")]
pub struct BadEntry {
    found: String,
    source: skerry_model::ids::Error,
}

impl FromStr for Entry {
    type Err = BadEntry;

    /// `COLLECTION` or `COLLECTION/PREFIX`.
    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let (collection, prefix) = text.split_once('/').unwrap_or((text, ""));
        let collection = collection.parse().map_err(|source| BadEntry { found: text.to_owned(), source })?;
        Ok(Self { collection, prefix: prefix.to_owned() })
    }
}

impl Entry {
    /// Whether everything that another entry covers is covered by this one.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.collection == other.collection && other.prefix.starts_with(&self.prefix)
    }
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

    /// What this one and another both cover; `None` where that takes more entries than a subscription may have.
    #[must_use]
    pub fn both(&self, other: &Self) -> Option<Self> {
        let (own, others) = match (self, other) {
            (Self::All, _) => return Some(other.clone()),
            (_, Self::All) => return Some(self.clone()),
            (Self::Only(own), Self::Only(others)) => (own, others),
        };
        let narrower = |entry: &&Entry, wider: &[Entry]| wider.iter().any(|wider| wider.includes(entry));
        let of_own = own.iter().filter(|entry| narrower(entry, others));
        let of_others = others.iter().filter(|entry| narrower(entry, own));
        Self::only(of_own.chain(of_others).cloned().collect()).ok()
    }

    /// Its entries that another one does not wholly cover; `None` when there are none.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (_, Self::All) => None,
            (Self::All, Self::Only(_)) => Some(Self::All),
            (Self::Only(own), Self::Only(others)) => {
                let beyond: Vec<_> =
                    own.iter().filter(|entry| !others.iter().any(|wider| wider.includes(entry))).cloned().collect();
                (!beyond.is_empty()).then_some(Self::Only(beyond))
            }
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

    fn of(entries: &[&str]) -> Subscription {
        Subscription::only(entries.iter().map(|entry| entry.parse().unwrap()).collect()).unwrap()
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        for text in ["items", "items/shop/a"] {
            assert_eq!(text.parse::<Entry>().unwrap().to_string(), text);
        }
        assert_eq!("items/shop/a".parse::<Entry>().unwrap().prefix, "shop/a");
        assert!("Items".parse::<Entry>().unwrap_err().to_string().contains("COLLECTION/PREFIX"));
    }

    #[test]
    fn two_subscriptions_are_compared_by_what_they_cover() {
        let (held, wanted) = (of(&["items/a", "items/bc", "orders/"]), of(&["items/ab", "items/b", "stock/"]));
        assert_eq!(held.both(&wanted), Some(of(&["items/ab", "items/bc"])));
        assert_eq!(wanted.beyond(&held), Some(of(&["items/b", "stock/"])));
        assert_eq!(of(&["items/ab"]).beyond(&held), None);
        assert_eq!(held.both(&Subscription::All), Some(held.clone()));
        assert_eq!(held.beyond(&Subscription::All), None);
        assert_eq!(Subscription::All.beyond(&held), Some(Subscription::All));
        let many: Vec<String> = (0..SUBSCRIPTION_ENTRIES_MAX).map(|n| format!("{n:03}")).collect();
        let each = |collection: &str, more: &str| {
            let entry =
                |key: &String| Entry { collection: collection.parse().unwrap(), prefix: format!("{key}{more}") };
            many.iter().map(entry).collect::<Vec<_>>()
        };
        let halves = |one: Vec<Entry>, other: Vec<Entry>| {
            let half = SUBSCRIPTION_ENTRIES_MAX / 2;
            Subscription::only([&one[..half], &other[half..]].concat()).unwrap()
        };
        let (narrow, wide) = (each("items", "x"), each("items", ""));
        let both = halves(narrow.clone(), wide.clone()).both(&halves(wide, narrow.clone()));
        assert_eq!(both, Subscription::only(narrow).ok());
    }
}
