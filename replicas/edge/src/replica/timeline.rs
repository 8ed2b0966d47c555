//! The way to a core that has been restored (DESIGN.md, Channel): the core's content is copied anew, and what it does not
//! have of this edge's work is made again on that. What was never acknowledged is offered again in any case; what was, and
//! lies past the core's watermark, as the operator of the core chose, and is stranded else.
//! Invariant: a change that this edge stored is in the core's copy, in the outbox, or stranded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_channel::message::{Catalog, Collection, Refusal, Restored, Taken, Verdict};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::push::sender::{Confirmed, Waiting};
use skerry_model::{CollectionId, ShardId};
use skerry_store::Limit;

use super::known::Known;
use super::{Error, Pending, Phase, Replica};
use crate::keys::cursor::{Copying, Role, Standing};
use crate::keys::identity::Home;
use crate::keys::outbox::Entry;
use crate::keys::{self, Place};
use crate::limits;

/// How far the restored core has come with each chain.
type Reached = BTreeMap<ShardId, Taken>;

/// Where a change of this edge is, as seen by a restored core.
enum Fate {
    /// In its content.
    InCore,
    /// It was refused there, and the answer was lost.
    Refused(Refusal),
    /// It has not come there.
    Past,
    /// It was acknowledged under a name that this folder had before, of which the core says nothing here.
    OfAnotherName,
}

impl Replica {
    /// Goes over to the line of history of a restored core. Nothing is sent of a shard until its content is here.
    pub(super) fn follow(&mut self, found: Home, restored: &Restored, catalog: Catalog) -> Result<(), Error> {
        let before = self.known.clone();
        let taken = (0..).map(ShardId::new).zip(restored.confirmed.iter().cloned());
        let reached: Reached = taken.filter_map(|(id, taken)| Some((id, taken?))).collect();
        if let Some(left) = self.identity.home.replace(found) {
            self.identity.left.push(left.timeline);
            let over = self.identity.left.len().saturating_sub(limits::LEFT_TIMELINES_MAX);
            self.identity.left.drain(..over);
            tracing::warn!(from = %left.timeline, to = %found.timeline, replay = restored.replay, "the core has been restored: following it");
        }
        // Answers of the core that was there are no answers of this one.
        self.connection_lost();
        let known = reached.values().map(|taken| taken.confirmed.incarnation).max_by_key(|known| known.number);
        self.take_incarnation(known);
        self.known = Arc::new((*before).clone().with_home(found));
        let mut touched = BTreeSet::new();
        self.sort_out_waiting(&reached, &mut touched)?;
        self.sort_out_acknowledged(&reached, restored.replay, &mut touched)?;
        self.live.clear();
        self.subscribe_whole();
        let subscription = self.subscribed.held.digest();
        for id in self.shards.keys().copied().collect::<Vec<_>>() {
            let cursor = Cursor { timeline: found.timeline, shard: id, subscription, position: Position::Start };
            self.stand(Role::Main, id, Standing { cursor, copying: Copying::Compared, returning: true });
        }
        let lost = lost_collections(&before, &catalog);
        self.strand_of_lost_collections(&lost)?;
        self.replace_catalog(&catalog)?;
        // A collection that was deleted after the moment the core is back at is there again.
        let known = self.known.clone();
        self.vanished.retain(|id| known.by_id(*id).is_none());
        // What stands here under an id that means another collection now is of nobody.
        for id in lost {
            while self.drop_rows(id)? > 0 {}
        }
        for list in self.pending.values_mut() {
            list.sort_by_key(|pending| pending.slot.position);
        }
        touched.iter().try_for_each(|place| self.rebuild(place))
    }

    /// Where a change is, by its number alone.
    fn fate(&self, shard: ShardId, entry: &Entry, reached: &Reached) -> Result<Fate, Error> {
        if entry.incarnation.number < self.identity.named_from {
            return Ok(Fate::OfAnotherName);
        }
        let sequence = entry.change()?.sequence;
        let Some(taken) = reached.get(&shard) else { return Ok(Fate::Past) };
        let Confirmed { incarnation, mark } = taken.confirmed;
        // The core takes no change of an incarnation after one of a later.
        let is_within = entry.incarnation.number < incarnation.number
            || (entry.incarnation == incarnation && sequence <= mark.sequence);
        Ok(match taken.verdict(&entry.incarnation, sequence) {
            _ if !is_within => Fate::Past,
            Some(Verdict::Refused(refusal)) => Fate::Refused(refusal.clone()),
            Some(Verdict::Accepted | Verdict::Repeated) | None => Fate::InCore,
        })
    }

    /// Takes out of the outbox what the core has judged, although its answer was lost. Here the chain says how far that is: a
    /// copy of this folder may have used the same numbers.
    fn sort_out_waiting(&mut self, reached: &Reached, touched: &mut BTreeSet<Place>) -> Result<(), Error> {
        let everything = Limit { rows: usize::MAX, bytes: usize::MAX };
        for id in self.shards.keys().copied().collect::<Vec<_>>() {
            let entries = self.entries(&keys::outbox::of_shard(id), everything)?;
            // What went back into the outbox at an earlier restore has its numbers alone.
            let (replayed, written): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, entry, _)| entry.replayed);
            let waiting = written.iter().map(|(_, entry, _)| {
                let (sequence, change) = (entry.change()?.sequence, entry.change.clone());
                Ok(Waiting { incarnation: entry.incarnation, sequence, change })
            });
            let waiting: Vec<_> = waiting.collect::<Result<_, Error>>()?;
            let on_chain = match (self.shards.get(&id), reached.get(&id)) {
                (Some(shard), Some(taken)) => shard.sender.reached(&waiting, &taken.confirmed),
                (None, _) | (_, None) => 0,
            };
            let written = written.into_iter().enumerate().map(|(at, entry)| (at < on_chain, entry));
            for (may_be_within, (slot, entry, bytes)) in replayed.into_iter().map(|entry| (true, entry)).chain(written)
            {
                let fate = if may_be_within { self.fate(id, &entry, reached)? } else { Fate::Past };
                let place = entry.place()?;
                touched.insert(place.clone());
                if let Fate::Past | Fate::OfAnotherName = fate {
                    // What the core had published of it was the other core's.
                    self.table.put(keys::outbox::key(slot), keys::outbox::encode(&Entry { covered: false, ..entry }));
                    continue;
                }
                self.take_waiting(slot, bytes);
                self.forget_pending(&place, slot);
                match fate {
                    Fate::Refused(refusal) => self.strand(slot, entry, refusal),
                    Fate::InCore | Fate::Past | Fate::OfAnotherName => self.keep(slot, &entry),
                }
            }
        }
        Ok(())
    }

    /// What was acknowledged and lies past the core's watermark goes into the outbox again, or is stranded.
    fn sort_out_acknowledged(
        &mut self,
        reached: &Reached,
        replay: bool,
        touched: &mut BTreeSet<Place>,
    ) -> Result<(), Error> {
        let mut acknowledged = Vec::new();
        self.table.for_each(keys::accepted::all(), |key, value| {
            acknowledged.push((None, keys::accepted::decode_key(&key)?, keys::accepted::decode(&value)?));
            Ok::<_, Error>(())
        })?;
        self.table.for_each(keys::kept::all(), |key, row| {
            let (_, slot) = keys::kept::decode_key(&key)?;
            let entry = keys::kept::decode(&row)?;
            acknowledged.push((Some((key, row)), slot, entry));
            Ok::<_, Error>(())
        })?;
        acknowledged.sort_by_key(|(_, slot, _)| slot.position);
        for (kept, slot, entry) in acknowledged {
            let place = entry.place()?;
            let fate = self.fate(slot.shard, &entry, reached)?;
            match kept {
                Some(_) if matches!(fate, Fate::InCore) => continue,
                Some((key, row)) => self.forget_kept(key, &row),
                None => {
                    self.table.delete(keys::accepted::key(slot));
                    self.forget_pending(&place, slot);
                    touched.insert(place.clone());
                }
            }
            let strand = |detail: &str| Refusal { kind: "restored".to_owned(), detail: detail.to_owned() };
            match fate {
                Fate::InCore => self.keep(slot, &entry),
                Fate::Refused(refusal) => self.strand(slot, entry, refusal),
                Fate::Past if replay => {
                    self.put_waiting(&place, slot, &Entry { covered: false, replayed: true, ..entry });
                    touched.insert(place);
                }
                Fate::Past => {
                    let detail = "the core took it, and has been restored to a moment before that";
                    self.strand(slot, entry, strand(detail));
                }
                Fate::OfAnotherName => {
                    let detail = "the core has been restored, and took this under the name that this folder had before: look \
                                  whether it is still there";
                    self.strand(slot, entry, strand(detail));
                }
            }
        }
        Ok(())
    }

    /// Strands what waits for these collections.
    fn strand_of_lost_collections(&mut self, lost: &BTreeSet<CollectionId>) -> Result<(), Error> {
        let of_lost = self.pending.iter().filter(|(place, _)| lost.contains(&place.collection));
        let of_lost: Vec<(Place, Vec<Pending>)> = of_lost.map(|(place, list)| (place.clone(), list.clone())).collect();
        for (place, list) in of_lost {
            for pending in list.into_iter().filter(|pending| pending.phase == Phase::Waiting) {
                let entry = self.entry(pending)?;
                let bytes = keys::outbox::encode(&entry).len();
                self.take_waiting(pending.slot, bytes);
                self.forget_pending(&place, pending.slot);
                let detail = "the restored core does not have the collection".to_owned();
                self.strand(pending.slot, entry, Refusal { kind: "collection-gone".to_owned(), detail });
            }
        }
        Ok(())
    }
}

/// Collections that a restored core does not have, or has something else in place of.
fn lost_collections(before: &Known, catalog: &Catalog) -> BTreeSet<CollectionId> {
    let kind = |collection: &Collection| collection.policy.engine(collection.world);
    let is_same =
        |one: &Collection, other: &Collection| one.id == other.id && one.name == other.name && kind(one) == kind(other);
    let lost = before.collections().filter(|known| !catalog.collections.iter().any(|found| is_same(known, found)));
    lost.map(|collection| collection.id).collect()
}
