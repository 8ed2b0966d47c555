//! How plugins do on real documents, as this node has evaluated them: a version that fails on too many is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use skerry_model::{CollectionId, DocumentKey, PluginDigest};

use crate::limits::{FAILING_DOCUMENTS_MIN, FAILING_SHARE_MAX, HEALTH_DOCUMENTS_MAX, HEALTH_VERSIONS_MAX};

/// The documents that each version was tried on, by its latest evaluation.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<PluginDigest, Tried>>);

#[derive(Debug, Default)]
struct Tried {
    failing: BTreeSet<(CollectionId, DocumentKey)>,
    working: BTreeSet<(CollectionId, DocumentKey)>,
}

impl Health {
    /// Notes that a version has decided a document, or failed on it by its own fault.
    pub fn note(&self, digest: PluginDigest, collection: CollectionId, key: &DocumentKey, failed: bool) {
        let mut versions = self.0.lock();
        if versions.len() >= HEALTH_VERSIONS_MAX && !versions.contains_key(&digest) {
            // Whoever is active is noted again soon.
            versions.clear();
        }
        let tried = versions.entry(digest).or_default();
        let place = (collection, key.clone());
        let (to, from) = match failed {
            true => (&mut tried.failing, &mut tried.working),
            false => (&mut tried.working, &mut tried.failing),
        };
        from.remove(&place);
        // Past the bound the share of the first ones stands for all.
        if to.len() < HEALTH_DOCUMENTS_MAX {
            to.insert(place);
        }
    }

    /// Why a version must not stay, in one sentence, when it fails on too many documents.
    #[must_use]
    pub fn complaint(&self, digest: PluginDigest) -> Option<String> {
        let versions = self.0.lock();
        let Tried { failing, working } = versions.get(&digest)?;
        let (failing, all) = (failing.len(), failing.len() + working.len());
        let too_many = failing >= FAILING_DOCUMENTS_MIN && failing * 100 > all * FAILING_SHARE_MAX;
        too_many.then(|| format!("it failed on {failing} of {all} documents, the limit is {FAILING_SHARE_MAX} %"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: PluginDigest = PluginDigest::from_bytes([1; 32]);

    fn note(health: &Health, document: usize, failed: bool) {
        let key = DocumentKey::new(format!("d{document}")).unwrap();
        health.note(DIGEST, CollectionId::new(1), &key, failed);
    }

    #[test]
    fn a_share_of_documents_is_too_many_and_not_a_number_of_calls() {
        let health = Health::default();
        (0..10 * FAILING_DOCUMENTS_MIN).for_each(|_| note(&health, 0, true));
        assert_eq!(health.complaint(DIGEST), None, "it is one document");
        (0..FAILING_DOCUMENTS_MIN).for_each(|document| note(&health, document, true));
        assert!(health.complaint(DIGEST).is_some());
        (0..FAILING_DOCUMENTS_MIN * 100 / FAILING_SHARE_MAX)
            .for_each(|document| note(&health, 1_000 + document, false));
        assert_eq!(health.complaint(DIGEST), None, "few of many fail");
        (0..FAILING_DOCUMENTS_MIN).for_each(|document| note(&health, document, false));
        assert_eq!(health.complaint(PluginDigest::from_bytes([2; 32])), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let health = Health::default();
        (0..2 * HEALTH_DOCUMENTS_MAX).for_each(|document| note(&health, document, document % 2 == 0));
        for version in 0..=u8::try_from(HEALTH_VERSIONS_MAX).unwrap() {
            let key = DocumentKey::new("d").unwrap();
            health.note(PluginDigest::from_bytes([version; 32]), CollectionId::new(1), &key, false);
        }
        let versions = health.0.lock();
        assert!(versions.len() <= HEALTH_VERSIONS_MAX);
        assert!(versions.values().all(|tried| tried.failing.len() <= HEALTH_DOCUMENTS_MAX));
    }
}
