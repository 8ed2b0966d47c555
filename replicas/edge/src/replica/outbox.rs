//! Push: what waits is sent shard by shard, and verdicts take it out.

use std::collections::BTreeSet;

use skerry_channel::limits as channel_limits;
use skerry_channel::message::{Hello, PROTOCOL, Push, Pushed, Verdict};
use skerry_channel::push::sender::{Confirmed, Effect, Message, Sender, Waiting};
use skerry_model::{Incarnation, ShardId, Timeline};
use skerry_store::{Direction, KeyRange, Limit};

use super::{Error, Pending, Phase, Replica, Shard};
use crate::keys::outbox::Entry;
use crate::keys::{self, Place, Slot};

/// What an answer to a push led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: the answer was to a batch that this edge had given up.
    Nothing,
    /// Verdicts were taken.
    Judged {
        /// Accepted, now or before.
        accepted: usize,
        /// Refused, and stranded.
        refused: usize,
    },
    /// Another copy of this folder has written: a new incarnation, and what waited was made again.
    Forked {
        /// Changes made again.
        again: usize,
        /// Operations that did not apply, and are stranded.
        stranded: usize,
    },
    /// The core is on another line of history; nothing was taken out.
    OtherTimeline(Timeline),
    /// The core has forgotten what it had confirmed, without another line of history; nothing was taken out.
    WentBack,
    /// Two copies of this folder are at work: this one sends nothing more until it is enrolled anew.
    Held,
}

impl Replica {
    /// What this edge says first.
    #[must_use]
    pub fn hello(&self) -> Hello {
        let (replica, incarnation) = (self.identity.replica.clone(), self.identity.incarnation);
        Hello { protocol: PROTOCOL, replica, incarnation, timeline: self.identity.home.map(|home| home.timeline) }
    }

    /// Shards with changes that wait and no batch on its way.
    #[must_use]
    pub fn ready_shards(&self) -> Vec<ShardId> {
        if self.identity.held {
            return Vec::new();
        }
        let may_send = |shard: &Shard| !shard.sender.is_waiting() && !shard.standing.returning;
        let ready = self.shards.iter().filter(|(_, shard)| shard.waiting > 0 && may_send(shard));
        ready.map(|(id, _)| *id).collect()
    }

    /// The next batch of a shard, to be sent once [`Replica::commit`] has returned; `None` when nothing waits or a batch
    /// is on its way.
    ///
    /// # Errors
    /// [`Error`].
    pub fn next_push(&mut self, id: ShardId) -> Result<Option<Push>, Error> {
        let Some(home) = self.identity.home.filter(|_| !self.identity.held) else { return Ok(None) };
        if self.shards.get(&id).is_none_or(|shard| shard.standing.returning) {
            return Ok(None);
        }
        let limit = Limit {
            rows: channel_limits::PUSH_CHANGES_MAX,
            bytes: channel_limits::PUSH_BYTES_TARGET + channel_limits::CHANGE_BYTES_MAX,
        };
        let outbox = self.waiting(id, limit)?;
        let effect = self.step(id, Message::Ready { outbox: &outbox, timeline: home.timeline });
        match effect {
            Some(Effect::Send(push)) => Ok(Some(push)),
            Some(Effect::Settle { .. } | Effect::Fork | Effect::OtherTimeline(_) | Effect::WentBack) | None => Ok(None),
        }
    }

    /// Takes the core's answer to the batch of a shard.
    ///
    /// # Errors
    /// [`Error`].
    pub fn pushed(&mut self, id: ShardId, answer: Pushed) -> Result<Settled, Error> {
        let known = known_incarnation(&answer);
        let sent = self.shards.get(&id).and_then(|shard| shard.sender.sent());
        // Only a comparison of chains looks at the outbox, and then at all of it.
        let outbox = match answer {
            Pushed::Elsewhere { .. } => self.waiting(id, Limit { rows: usize::MAX, bytes: usize::MAX })?,
            Pushed::Judged { .. } | Pushed::Fork { .. } | Pushed::OtherTimeline { .. } => Vec::new(),
        };
        match self.step(id, Message::Answered { answer, outbox: &outbox }) {
            Some(Effect::Settle { verdicts, confirmed }) => self.settle(id, verdicts, confirmed),
            Some(Effect::Fork) => self.fork(id, sent, known),
            Some(Effect::OtherTimeline(timeline)) => Ok(Settled::OtherTimeline(timeline)),
            Some(Effect::WentBack) => Ok(Settled::WentBack),
            Some(Effect::Send(_)) | None => Ok(Settled::Nothing),
        }
    }

    /// No answer came to the batch of a shard.
    pub fn push_lost(&mut self, id: ShardId) {
        let effect = self.step(id, Message::Lost);
        debug_assert!(effect.is_none(), "a lost batch asks for nothing");
    }

    /// The connection to the core is gone, and with it every answer that was still to come.
    pub fn connection_lost(&mut self) {
        let ids: Vec<_> = self.shards.keys().copied().collect();
        ids.into_iter().for_each(|id| self.push_lost(id));
    }

    fn step(&mut self, id: ShardId, message: Message<'_>) -> Option<Effect> {
        let replica = self.identity.replica.clone();
        let shard = self.shards.get_mut(&id)?;
        let sender = std::mem::replace(&mut shard.sender, Sender::new(replica, id, None));
        let (sender, effect) = sender.step(message);
        shard.sender = sender;
        effect
    }

    /// The first changes of a shard's outbox.
    fn waiting(&self, id: ShardId, limit: Limit) -> Result<Vec<Waiting>, Error> {
        let entries = self.entries(&self.outbox(id), limit)?;
        let waiting = entries.into_iter().map(|(_, entry, _)| {
            let sequence = entry.change()?.sequence;
            Ok(Waiting { incarnation: entry.incarnation, sequence, change: entry.change })
        });
        waiting.collect()
    }

    /// The rows of a shard's outbox.
    fn outbox(&self, id: ShardId) -> KeyRange {
        let from = self.shards.get(&id).map_or(0, |shard| shard.waiting_from);
        let before = from.checked_sub(1).map(|position| keys::outbox::key(Slot { shard: id, position }));
        let all = keys::outbox::of_shard(id);
        before.map_or(all.clone(), |before| all.behind(before, Direction::Forward))
    }

    /// Rows of an outbox, with the size of their values.
    pub(super) fn entries(&self, range: &KeyRange, limit: Limit) -> Result<Vec<(Slot, Entry, usize)>, Error> {
        let rows = self.table.scan(range, limit)?;
        let decoded = rows
            .into_iter()
            .map(|(key, value)| Ok((keys::outbox::decode_key(&key)?, keys::outbox::decode(&value)?, value.len())));
        decoded.collect()
    }

    /// Verdicts on the first changes of a shard's outbox, and what the core has confirmed with them.
    fn settle(&mut self, id: ShardId, verdicts: Vec<Verdict>, confirmed: Confirmed) -> Result<Settled, Error> {
        let entries = self.entries(&self.outbox(id), Limit::rows(verdicts.len()))?;
        let last = entries.last().map(|(slot, ..)| slot.position);
        let (mut accepted, mut refused) = (0, 0);
        let (mut to_rebuild, mut settled) = (BTreeSet::new(), BTreeSet::new());
        for ((slot, entry, bytes), verdict) in entries.into_iter().zip(verdicts) {
            let change = entry.change()?;
            let place = Place { collection: change.collection, key: change.key };
            self.take_waiting(slot, bytes);
            settled.insert(place.clone());
            match verdict {
                Verdict::Accepted | Verdict::Repeated => {
                    accepted += 1;
                    self.keep_until_published(&place, slot, &entry);
                }
                Verdict::Refused(refusal) => {
                    refused += 1;
                    self.forget_pending(&place, slot);
                    self.strand(slot, entry, refusal);
                    to_rebuild.insert(place);
                }
            }
        }
        if let (Some(last), Some(shard)) = (last, self.shards.get_mut(&id)) {
            shard.waiting_from = last + 1;
        }
        self.confirm(id, confirmed);
        for place in to_rebuild {
            self.rebuild(&place)?;
        }
        for place in settled {
            self.leave_document(&place)?;
        }
        Ok(Settled::Judged { accepted, refused })
    }

    /// An accepted change stays pending until the feed has brought it, so that a reader here does not see it vanish and
    /// come back.
    fn keep_until_published(&mut self, place: &Place, slot: Slot, entry: &Entry) {
        if entry.covered || self.known.by_id(place.collection).is_none() {
            self.keep(slot, entry);
            return self.forget_pending(place, slot);
        }
        self.table.put(keys::accepted::key(slot), keys::accepted::encode(entry));
        let accepted = Pending { slot, phase: Phase::Accepted };
        let pending = self.pending.get_mut(place).and_then(|list| list.iter_mut().find(|pending| pending.slot == slot));
        if let Some(pending) = pending {
            *pending = accepted;
        }
    }

    fn confirm(&mut self, id: ShardId, confirmed: Confirmed) {
        self.table.put(keys::confirmed::key(id), keys::confirmed::encode(&confirmed));
        let incarnation = self.identity.incarnation;
        if let Some(shard) = self.shards.get_mut(&id)
            && confirmed.incarnation == incarnation
        {
            shard.next_sequence = shard.next_sequence.max(confirmed.mark.sequence + 1);
        }
    }
}

/// The incarnation that the core has seen of this replica, from an answer that may be a fork.
fn known_incarnation(answer: &Pushed) -> Option<Incarnation> {
    match answer {
        Pushed::Fork { incarnation } => Some(*incarnation),
        Pushed::Elsewhere { incarnation, .. } => *incarnation,
        Pushed::Judged { .. } | Pushed::OtherTimeline { .. } => None,
    }
}
