//! Places that few may hold at once: each document's, whose one holder has the only proposal in flight until the record is
//! applied, and each plugin's, so that a slow one keeps no thread from the others. A place exists only while somebody holds
//! or awaits it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use skerry_model::{CollectionId, DocumentKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A document's place, unique over all shards.
pub(crate) type Place = (CollectionId, DocumentKey);

/// The slots of a node, so many for each place.
pub(crate) struct Slots<P: Ord> {
    each: usize,
    places: Arc<Mutex<BTreeMap<P, Slot>>>,
}

struct Slot {
    turns: Arc<Semaphore>,
    users: usize,
}

/// A slot, held or awaited.
pub(crate) struct Held<P: Ord> {
    slots: Slots<P>,
    place: P,
    permit: Option<OwnedSemaphorePermit>,
}

impl<P: Ord> Clone for Slots<P> {
    fn clone(&self) -> Self {
        Self { each: self.each, places: Arc::clone(&self.places) }
    }
}

impl<P: Ord + Clone> Slots<P> {
    /// So many slots for each place.
    pub(crate) fn new(each: usize) -> Self {
        Self { each, places: Arc::default() }
    }

    /// Waits for a slot, first come, first served.
    pub(crate) async fn hold(&self, place: P) -> Held<P> {
        let turns = {
            let mut places = self.places.lock();
            let new = || Slot { turns: Arc::new(Semaphore::new(self.each)), users: 0 };
            let slot = places.entry(place.clone()).or_insert_with(new);
            slot.users += 1;
            Arc::clone(&slot.turns)
        };
        // Made before waiting, so that a waiter that gives up is counted out as well.
        let mut held = Held { slots: self.clone(), place, permit: None };
        held.permit = Some(turns.acquire_owned().await.expect("the semaphore is never closed"));
        held
    }

    /// A slot, if one is free.
    pub(crate) fn try_hold(&self, place: P) -> Option<Held<P>> {
        let mut places = self.places.lock();
        let new = || Slot { turns: Arc::new(Semaphore::new(self.each)), users: 0 };
        let slot = places.entry(place.clone()).or_insert_with(new);
        let permit = Arc::clone(&slot.turns).try_acquire_owned().ok();
        if permit.is_some() {
            slot.users += 1;
        }
        // Where there is none, others use the place.
        permit.map(|permit| Held { slots: self.clone(), place, permit: Some(permit) })
    }

    /// Waits for several; all who need more than one take them in the order of places, so none waits in a circle.
    pub(crate) async fn hold_all(&self, places: &BTreeSet<P>) -> Vec<Held<P>> {
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push(self.hold(place.clone()).await);
        }
        held
    }
}

impl<P: Ord> Drop for Held<P> {
    fn drop(&mut self) {
        self.permit = None;
        let mut places = self.slots.places.lock();
        if let Some(slot) = places.get_mut(&self.place) {
            slot.users -= 1;
            if slot.users == 0 {
                places.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn place(key: &str) -> Place {
        (CollectionId::new(1), key.parse().unwrap())
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_nothing_left_behind() {
        let slots = Slots::new(1);
        let first = slots.hold(place("a")).await;
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { drop(slots.hold(place("a")).await) }
        });
        let given_up = tokio::spawn({
            let slots = slots.clone();
            async move { drop(slots.hold(place("a")).await) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        drop(first);
        waiting.await.unwrap();
        assert!(slots.places.lock().is_empty());
    }

    #[tokio::test]
    async fn a_place_has_as_many_holders_as_slots_and_leaves_the_others_alone() {
        let slots = Slots::new(2);
        let held = [slots.hold("slow").await, slots.hold("slow").await];
        assert!(slots.hold("slow").now_or_never().is_none());
        assert!(slots.try_hold("slow").is_none());
        drop(slots.try_hold("another").unwrap());
        assert!(slots.hold("another").now_or_never().is_some());
        drop(held);
        assert!(slots.hold("slow").now_or_never().is_some());
        assert!(slots.places.lock().is_empty());
    }
}
