//! Tickets: random, good for one connection and for a short time, known to the node that made them.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use skerry_model::env::Random;
use tokio::time::Instant;

use crate::limits::{TICKET_LIFETIME, TICKETS_MAX};

/// The tickets of a node that are not used yet, with the moment at which each is too old.
#[derive(Default)]
pub(super) struct Tickets(Mutex<BTreeMap<String, Instant>>);

impl Tickets {
    /// A new ticket; `None` while too many are out.
    pub(super) fn make(&self, random: &dyn Random) -> Option<String> {
        let now = Instant::now();
        let mut out = self.0.lock();
        if out.len() >= TICKETS_MAX {
            out.retain(|_, until| *until > now);
        }
        if out.len() >= TICKETS_MAX {
            return None;
        }
        let ticket = hex::encode(random.id());
        out.insert(ticket.clone(), now + TICKET_LIFETIME);
        Some(ticket)
    }

    /// Uses a ticket up; `false` for one that is not good.
    pub(super) fn take(&self, ticket: &str) -> bool {
        self.0.lock().remove(ticket).is_some_and(|until| until > Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use skerry_model::env::SystemRandom;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_ticket_is_good_once_and_for_a_while() {
        let tickets = Tickets::default();
        let [used, old] = [(); 2].map(|()| tickets.make(&SystemRandom).unwrap());
        assert!(tickets.take(&used) && !tickets.take(&used) && !tickets.take("another"));
        tokio::time::advance(TICKET_LIFETIME).await;
        assert!(!tickets.take(&old));
    }

    #[tokio::test(start_paused = true)]
    async fn tickets_that_nobody_uses_make_room_for_others() {
        let tickets = Tickets::default();
        assert!((0..TICKETS_MAX).all(|_| tickets.make(&SystemRandom).is_some()));
        assert_eq!(tickets.make(&SystemRandom), None);
        tokio::time::advance(TICKET_LIFETIME).await;
        assert!(tickets.make(&SystemRandom).is_some());
    }
}
