//! How plugins do on real documents, as this node has evaluated them: a version that fails on too many is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use skerry_model::{CollectionId, DocumentKey, PluginDigest};

use crate::limits::{
    FAILING_DOCUMENTS_MIN, FAILING_SHARE_MAX, HEALTH_DOCUMENTS_MAX, HEALTH_VERSIONS_MAX, TRIED_DOCUMENTS_MIN,
};

/// The documents that each version was tried on, by its latest evaluation.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<PluginDigest, Tried>>);

/// Documents by the hash of their place: two that collide count as one.
#[derive(Debug, Default)]
struct Tried {
    /// Evaluations that it failed in.
    failures: u64,
    failing: BTreeSet<u64>,
    working: BTreeSet<u64>,
}

impl Health {
    /// Notes that a version has decided a document, or failed on it by its own fault.
    pub fn note(&self, digest: PluginDigest, collection: CollectionId, key: &DocumentKey, failed: bool) {
        let mut versions = self.0.lock();
        if versions.len() >= HEALTH_VERSIONS_MAX && !versions.contains_key(&digest) {
            versions.pop_first();
        }
        let tried = versions.entry(digest).or_default();
        tried.failures += u64::from(failed);
        let place = hash(collection, key);
        let is_known = tried.failing.contains(&place) || tried.working.contains(&place);
        // Past the bound the share of the first ones stands for all.
        if !is_known && tried.failing.len() + tried.working.len() >= HEALTH_DOCUMENTS_MAX {
            return;
        }
        let (to, from) = match failed {
            true => (&mut tried.failing, &mut tried.working),
            false => (&mut tried.working, &mut tried.failing),
        };
        from.remove(&place);
        to.insert(place);
    }

    /// In how many evaluations a version has failed by its own fault so far.
    #[must_use]
    pub fn failures(&self, digest: PluginDigest) -> u64 {
        self.0.lock().get(&digest).map_or(0, |tried| tried.failures)
    }

    /// Forgets what a version did: it is active anew, and its documents may have been repaired.
    pub fn forget(&self, digest: PluginDigest) {
        self.0.lock().remove(&digest);
    }

    /// Why a version must not stay, in one sentence, when it fails on too many documents.
    #[must_use]
    pub fn complaint(&self, digest: PluginDigest) -> Option<String> {
        let versions = self.0.lock();
        let Tried { failing, working, .. } = versions.get(&digest)?;
        let (failing, all) = (failing.len(), failing.len() + working.len());
        let is_enough = failing >= FAILING_DOCUMENTS_MIN && all >= TRIED_DOCUMENTS_MIN;
        let too_many = is_enough && failing * 100 > all * FAILING_SHARE_MAX;
        too_many.then(|| format!("it failed on {failing} of {all} documents, the limit is {FAILING_SHARE_MAX} %"))
    }
}

fn hash(collection: CollectionId, key: &DocumentKey) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&collection.get().to_be_bytes()).update(key.as_str().as_bytes());
    let bytes = hasher.finalize();
    let (first, _) = bytes.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: PluginDigest = PluginDigest::from_bytes([1; 32]);

    fn note(health: &Health, documents: std::ops::Range<usize>, failed: bool) {
        for document in documents {
            let key = DocumentKey::new(format!("d{document}")).unwrap();
            health.note(DIGEST, CollectionId::new(1), &key, failed);
        }
    }

    #[test]
    fn a_share_of_documents_is_too_many_and_not_a_number_of_calls() {
        let health = Health::default();
        (0..10 * TRIED_DOCUMENTS_MIN).for_each(|_| note(&health, 0..1, true));
        assert_eq!(health.complaint(DIGEST), None, "it is one document");
        assert_eq!(health.failures(DIGEST), 10 * TRIED_DOCUMENTS_MIN as u64);
        note(&health, 0..FAILING_DOCUMENTS_MIN, true);
        assert_eq!(health.complaint(DIGEST), None, "it was tried on few");
        note(&health, FAILING_DOCUMENTS_MIN..TRIED_DOCUMENTS_MIN, false);
        assert!(health.complaint(DIGEST).is_some());
        note(&health, TRIED_DOCUMENTS_MIN..FAILING_DOCUMENTS_MIN * 100 / FAILING_SHARE_MAX, false);
        assert_eq!(health.complaint(DIGEST), None, "few of many fail");
        assert_eq!(health.complaint(PluginDigest::from_bytes([2; 32])), None);
    }

    #[test]
    fn a_version_that_is_active_anew_begins_anew() {
        let health = Health::default();
        note(&health, 0..TRIED_DOCUMENTS_MIN, true);
        assert!(health.complaint(DIGEST).is_some());
        health.forget(DIGEST);
        assert_eq!(health.complaint(DIGEST), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_its_share_is_the_first_ones() {
        let health = Health::default();
        note(&health, 0..HEALTH_DOCUMENTS_MAX, false);
        note(&health, HEALTH_DOCUMENTS_MAX..2 * HEALTH_DOCUMENTS_MAX, true);
        assert_eq!(health.complaint(DIGEST), None);
        for version in 0..=u8::try_from(HEALTH_VERSIONS_MAX).unwrap() {
            let key = DocumentKey::new("d").unwrap();
            health.note(PluginDigest::from_bytes([version; 32]), CollectionId::new(1), &key, false);
        }
        assert!(health.0.lock().len() <= HEALTH_VERSIONS_MAX);
    }
}
