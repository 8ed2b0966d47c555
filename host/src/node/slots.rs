//! One proposal in flight per document: whoever evaluates a document holds its slot until the record is applied. Slots
//! exist only while somebody holds or awaits them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use skerry_model::{CollectionId, DocumentKey};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A document's place, unique over all shards.
pub(crate) type Place = (CollectionId, DocumentKey);

/// The slots of a node.
#[derive(Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<BTreeMap<Place, Slot>>>);

struct Slot {
    turn: Arc<Semaphore>,
    users: usize,
}

/// A document's slot, held or awaited.
pub(crate) struct Held {
    slots: Slots,
    place: Place,
    permit: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// Waits for a document's slot, first come, first served.
    pub(crate) async fn hold(&self, place: Place) -> Held {
        let turn = {
            let mut slots = self.0.lock();
            let slot =
                slots.entry(place.clone()).or_insert_with(|| Slot { turn: Arc::new(Semaphore::new(1)), users: 0 });
            slot.users += 1;
            Arc::clone(&slot.turn)
        };
        // Made before waiting, so that a waiter that gives up is counted out as well.
        let mut held = Held { slots: self.clone(), place, permit: None };
        held.permit = Some(turn.acquire_owned().await.expect("the semaphore is never closed"));
        held
    }

    /// Waits for several; all who need more than one take them in the order of places, so none waits in a circle.
    pub(crate) async fn hold_all(&self, places: &std::collections::BTreeSet<Place>) -> Vec<Held> {
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push(self.hold(place.clone()).await);
        }
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.permit = None;
        let mut slots = self.slots.0.lock();
        if let Some(slot) = slots.get_mut(&self.place) {
            slot.users -= 1;
            if slot.users == 0 {
                slots.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str) -> Place {
        (CollectionId::new(1), key.parse().unwrap())
    }

    #[tokio::test]
    async fn one_holder_at_a_time_and_nothing_left_behind() {
        let slots = Slots::default();
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
        assert!(slots.0.lock().is_empty());
    }
}
