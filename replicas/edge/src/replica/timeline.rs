//! The way to a core that has been restored (DESIGN.md, Channel): the core's content is copied anew, and what it does not
//! have of this edge's work is made again on that. What was never acknowledged is offered again in any case; what was, and
//! lies past the core's watermark, as the operator of the core chose, and is stranded else.
//! Invariant: a change that this edge stored is in the core's copy, in the outbox, or stranded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skerry_channel::message::{Catalog, Refusal, Restored};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::push::sender::{Confirmed, Sender, Waiting};
use skerry_model::{CollectionId, ShardId};
use skerry_store::Limit;

use super::known::Known;
use super::{Error, Pending, Phase, Replica};
use crate::keys::cursor::{Copying, Role, Standing};
use crate::keys::identity::Home;
use crate::keys::outbox::Entry;
use crate::keys::{self, Place, Slot};
use crate::limits;

impl Replica {
    /// Goes over to the line of history of a restored core. Nothing is sent of a shard until its content is here.
    pub(super) fn follow(&mut self, found: Home, restored: &Restored, catalog: Catalog) -> Result<(), Error> {
        let before = self.known.clone();
        let confirmed: BTreeMap<_, _> = (0..).map(ShardId::new).zip(restored.confirmed.iter().copied()).collect();
        if let Some(left) = self.identity.home.replace(found) {
            self.identity.left.push(left.timeline);
            let over = self.identity.left.len().saturating_sub(limits::LEFT_TIMELINES_MAX);
            self.identity.left.drain(..over);
            tracing::warn!(from = %left.timeline, to = %found.timeline, replay = restored.replay, "the core has been restored: following it");
        }
        let known =
            confirmed.values().flatten().map(|confirmed| confirmed.incarnation).max_by_key(|known| known.number);
        self.take_incarnation(known);
        self.known = Arc::new((*before).clone().with_home(found));
        let mut touched = BTreeSet::new();
        self.sort_out_waiting(&confirmed, &mut touched)?;
        self.sort_out_acknowledged(&confirmed, restored.replay, &mut touched)?;
        self.live.clear();
        self.subscribe_whole();
        let subscription = self.subscribed.held.digest();
        for id in self.shards.keys().copied().collect::<Vec<_>>() {
            self.table.delete(keys::confirmed::key(id));
            if let Some(shard) = self.shards.get_mut(&id) {
                shard.confirmed = None;
                shard.sender = Sender::new(self.identity.replica.clone(), id, None);
            }
            let cursor = Cursor { timeline: found.timeline, shard: id, subscription, position: Position::Start };
            self.stand(Role::Main, id, Standing { cursor, copying: Copying::Compared, returning: true });
        }
        self.strand_of_lost_collections(&before, &catalog, &mut touched)?;
        self.replace_catalog(&catalog)?;
        // A collection that was deleted after the moment the core is back at is there again.
        let known = self.known.clone();
        self.vanished.retain(|id| known.by_id(*id).is_none());
        for list in self.pending.values_mut() {
            list.sort_by_key(|pending| pending.slot.position);
        }
        touched.iter().try_for_each(|place| self.rebuild(place))
    }

    /// Takes out of the outbox what the core has, although its answer was lost.
    fn sort_out_waiting(
        &mut self,
        confirmed: &BTreeMap<ShardId, Option<Confirmed>>,
        touched: &mut BTreeSet<Place>,
    ) -> Result<(), Error> {
        let everything = Limit { rows: usize::MAX, bytes: usize::MAX };
        for id in self.shards.keys().copied().collect::<Vec<_>>() {
            let Some(known) = confirmed.get(&id).copied().flatten() else { continue };
            let entries = self.entries(&keys::outbox::of_shard(id), everything)?;
            let waiting: Vec<_> = entries
                .iter()
                .map(|(_, entry, _)| {
                    let (sequence, change) = (entry.change()?.sequence, entry.change.clone());
                    Ok(Waiting { incarnation: entry.incarnation, sequence, change })
                })
                .collect::<Result<_, Error>>()?;
            let taken = self.shards.get(&id).map_or(0, |shard| shard.sender.reached(&waiting, &known));
            for (slot, entry, bytes) in entries.into_iter().take(taken) {
                let place = entry.place()?;
                self.take_waiting(slot, bytes);
                self.forget_pending(&place, slot);
                self.keep(slot, &entry);
                touched.insert(place);
            }
        }
        Ok(())
    }

    /// What was acknowledged and lies past the core's watermark goes into the outbox again, or is stranded.
    fn sort_out_acknowledged(
        &mut self,
        confirmed: &BTreeMap<ShardId, Option<Confirmed>>,
        replay: bool,
        touched: &mut BTreeSet<Place>,
    ) -> Result<(), Error> {
        let mut past: Vec<(Slot, Entry)> = Vec::new();
        let has = |slot: Slot, entry: &Entry| -> Result<bool, Error> {
            let known = confirmed.get(&slot.shard).copied().flatten();
            let sequence = entry.change()?.sequence;
            Ok(known.is_some_and(|known| is_within(entry, sequence, &known)))
        };
        let mut accepted = Vec::new();
        self.table.for_each(keys::accepted::all(), |key, value| {
            accepted.push((keys::accepted::decode_key(&key)?, keys::accepted::decode(&value)?));
            Ok::<_, Error>(())
        })?;
        for (slot, entry) in accepted {
            let place = entry.place()?;
            self.table.delete(keys::accepted::key(slot));
            self.forget_pending(&place, slot);
            if has(slot, &entry)? {
                self.keep(slot, &entry);
            } else {
                past.push((slot, entry));
            }
            touched.insert(place);
        }
        let mut kept = Vec::new();
        self.table.for_each(keys::kept::all(), |key, row| {
            let (_, slot) = keys::kept::decode_key(&key)?;
            let entry = keys::kept::decode(&row)?;
            if !has(slot, &entry)? {
                kept.push((key, row, slot, entry));
            }
            Ok::<_, Error>(())
        })?;
        for (key, row, slot, entry) in kept {
            self.forget_kept(key, &row);
            past.push((slot, entry));
        }
        past.sort_by_key(|(slot, _)| slot.position);
        for (slot, entry) in past {
            if replay {
                self.put_waiting(&entry.place()?, slot, &Entry { covered: false, ..entry });
            } else {
                let detail = "the core took it, and has been restored to a moment before that".to_owned();
                self.strand(slot, entry, Refusal { kind: "restored".to_owned(), detail });
            }
        }
        Ok(())
    }

    /// Strands what waits for collections that the restored core does not have, or has something else in place of.
    fn strand_of_lost_collections(
        &mut self,
        before: &Known,
        catalog: &Catalog,
        touched: &mut BTreeSet<Place>,
    ) -> Result<(), Error> {
        let is_same = |id: CollectionId| {
            let name = before.by_id(id).map(|collection| &collection.name);
            catalog.collections.iter().any(|collection| collection.id == id && Some(&collection.name) == name)
        };
        let lost = self.pending.iter().filter(|(place, _)| !is_same(place.collection));
        let lost: Vec<(Place, Vec<Pending>)> = lost.map(|(place, list)| (place.clone(), list.clone())).collect();
        for (place, list) in lost {
            for pending in list.into_iter().filter(|pending| pending.phase == Phase::Waiting) {
                let entry = self.entry(pending)?;
                let bytes = keys::outbox::encode(&entry).len();
                self.take_waiting(pending.slot, bytes);
                self.forget_pending(&place, pending.slot);
                let detail = "the restored core does not have the collection".to_owned();
                self.strand(pending.slot, entry, Refusal { kind: "collection-gone".to_owned(), detail });
            }
            touched.insert(place);
        }
        Ok(())
    }
}

/// Whether a change that the core once acknowledged lies at or below a watermark of its shard.
fn is_within(entry: &Entry, sequence: u64, known: &Confirmed) -> bool {
    // The core takes no change of an incarnation after one of a later.
    entry.incarnation.number < known.incarnation.number
        || (entry.incarnation == known.incarnation && sequence <= known.mark.sequence)
}
