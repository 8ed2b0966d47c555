//! What follows from a catalog that changed: plugins to fetch, views to compute anew, rows of collections that are gone.
//! Done in small steps between other work.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use skerry_model::policy::Policy;
use skerry_model::{CollectionId, PluginDigest, PluginName};
use skerry_store::{KeyRange, Limit};

use super::known::Known;
use super::{Error, Phase, Replica};
use crate::keys::{self, Place};
use crate::limits;

impl Replica {
    /// Reads what upkeep keeps in memory.
    pub(super) fn load_upkeep(&mut self) -> Result<(), Error> {
        let (mut components, mut stale) = (BTreeSet::new(), BTreeSet::new());
        self.table.for_each(keys::plugin::all(), |key, _| {
            components.insert(keys::plugin::decode_key(&key)?);
            Ok::<_, Error>(())
        })?;
        self.table.for_each(keys::provisional::all(), |key, value| {
            if keys::provisional::decode(&value)?.unsettled {
                stale.insert(keys::provisional::decode_key(&key)?);
            }
            Ok::<_, Error>(())
        })?;
        (self.components, self.stale) = (components, stale);
        let mut vanished = self.held(keys::head::all(), keys::head::of_collection, keys::head::decode_key)?;
        vanished.extend(self.held(
            keys::provisional::all(),
            keys::provisional::of_collection,
            keys::provisional::decode_key,
        )?);
        vanished.retain(|collection| self.known.by_id(*collection).is_none());
        self.vanished = vanished;
        Ok(())
    }

    /// Collections that have rows of a kind, found by skipping from one to the next.
    fn held(
        &self,
        all: KeyRange,
        of_collection: fn(CollectionId) -> Bytes,
        decode_key: fn(&[u8]) -> Result<Place, keys::Error>,
    ) -> Result<BTreeSet<CollectionId>, Error> {
        let end = all.bounds().1.map(Bytes::copy_from_slice);
        let (mut held, mut range) = (BTreeSet::new(), all);
        while let Some((key, _)) = self.table.scan(&range, Limit::rows(1))?.pop() {
            let collection = decode_key(&key)?.collection;
            held.insert(collection);
            let Some(next) = collection.get().checked_add(1) else { break };
            range = KeyRange::new((Bound::Included(of_collection(CollectionId::new(next))), end.clone()));
        }
        Ok(held)
    }

    /// Notes what a new catalog asks for.
    pub(super) fn catalog_changed(&mut self, before: &Known) -> Result<(), Error> {
        let known = self.known.clone();
        let gone = before.collections().map(|collection| collection.id).filter(|id| known.by_id(*id).is_none());
        self.vanished.extend(gone);
        let changed = |id: CollectionId| match (before.by_id(id), known.by_id(id)) {
            (Some(old), Some(new)) => old.policy != new.policy || old.plugin != new.plugin,
            (None, _) | (_, None) => false,
        };
        self.stale.extend(self.pending.keys().filter(|place| changed(place.collection)).cloned());
        // What the core accepted went with the collection; what it has not judged it will refuse.
        let orphans = self.pending.iter().filter(|(place, _)| known.by_id(place.collection).is_none());
        let accepted: Vec<_> = orphans
            .flat_map(|(place, list)| list.iter().map(|pending| (place.clone(), *pending)))
            .filter(|(_, pending)| pending.phase == Phase::Accepted)
            .collect();
        for (place, pending) in accepted {
            self.let_go_of_accepted(&place, pending)?;
        }
        let wanted: BTreeSet<_> = known.collections().filter_map(|collection| collection.plugin).collect();
        for digest in self.components.iter().filter(|digest| !wanted.contains(digest)) {
            self.table.delete(keys::plugin::key(digest));
        }
        self.components.retain(|digest| wanted.contains(digest));
        Ok(())
    }

    /// Plugins that the catalog names and whose components are not here, in the order of their names.
    #[must_use]
    pub fn missing_components(&self) -> Vec<(PluginName, PluginDigest)> {
        let named = self.known.collections().filter_map(|collection| match &collection.policy {
            Policy::Plugin { name, .. } => collection.plugin.map(|digest| (name.clone(), digest)),
            Policy::Strict | Policy::Lww | Policy::Json | Policy::Counter | Policy::Set => None,
        });
        let missing: BTreeSet<_> = named.filter(|(_, digest)| !self.components.contains(digest)).collect();
        missing.into_iter().collect()
    }

    /// Plugins whose components are here.
    #[must_use]
    pub fn components(&self) -> Vec<PluginDigest> {
        self.components.iter().copied().collect()
    }

    /// Takes a component. `false` when its bytes are not what the digest names; nothing is taken then.
    pub fn take_component(&mut self, digest: PluginDigest, component: &Bytes) -> bool {
        if PluginDigest::of(component) != digest {
            return false;
        }
        self.table.put(keys::plugin::key(&digest), keys::plugin::encode(component));
        self.components.insert(digest);
        self.make_engines();
        self.retry_views();
        true
    }

    /// The component of a plugin, if it is here.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stored_component(&self, digest: &PluginDigest) -> Result<Option<Bytes>, Error> {
        let row = self.table.get(&keys::plugin::key(digest))?;
        Ok(row.map(|row| keys::plugin::decode(&row)).transpose()?)
    }

    /// Has the views that fell back for want of a plugin computed anew.
    pub fn retry_views(&mut self) {
        self.stale.append(&mut self.unsettled);
    }

    /// A bounded step of upkeep. `true` when more is left.
    ///
    /// # Errors
    /// [`Error`].
    pub fn upkeep(&mut self) -> Result<bool, Error> {
        for _ in 0..limits::UPKEEP_STEPS_MAX {
            let Some(place) = self.stale.pop_first() else { break };
            self.rebuild(&place)?;
        }
        if let Some(collection) = self.vanished.first().copied()
            && self.drop_rows(collection)? == 0
        {
            self.vanished.remove(&collection);
        }
        let (kept, leaving) = (self.let_go_of_kept()?, self.leave()?);
        Ok(!self.stale.is_empty() || !self.vanished.is_empty() || kept || leaving)
    }

    /// Removes some rows of a collection that is gone; 0 when there are none left.
    pub(super) fn drop_rows(&mut self, collection: CollectionId) -> Result<usize, Error> {
        let limit = Limit { rows: limits::UPKEEP_STEPS_MAX, bytes: limits::SCAN_STEP_BYTES };
        let rows = self.table.scan(&KeyRange::prefix(keys::provisional::of_collection(collection)), limit)?;
        let mut dropped = rows.len();
        for (key, value) in rows {
            let place = keys::provisional::decode_key(&key)?;
            let beneath = self.head(&place)?.is_some_and(|head| head.view.is_some());
            self.recount(keys::provisional::decode(&value)?.view.is_some(), beneath);
            self.live.forget(&place);
            self.stale.remove(&place);
            self.unsettled.remove(&place);
            self.table.delete(key);
        }
        if dropped > 0 {
            return Ok(dropped);
        }
        let rows = self.table.scan(&KeyRange::prefix(keys::head::of_collection(collection)), limit)?;
        dropped += rows.len();
        for (key, value) in rows {
            let (place, head) = (keys::head::decode_key(&key)?, keys::head::decode(&value)?);
            self.recount(head.view.is_some(), false);
            self.live.forget(&place);
            // In one step, so that what a later collection under the id brings does not come on top of it.
            self.forget_published(&place, head.epoch);
        }
        Ok(dropped)
    }
}
