//! A fork: another copy of this folder has written under this edge's incarnation. The edge takes the next one and makes
//! what waits in the shard again, on what the core has published and accepted. Other shards have chains of their own:
//! what waits there is sent first under the incarnation it was written under, and comes here if that one forked too.

use std::collections::{BTreeMap, BTreeSet};

use skerry_api::problem::{Kind, Problem};
use skerry_channel::message::Refusal;
use skerry_model::document::View;
use skerry_model::engine::json::texts;
use skerry_model::engine::{MergeDocument, Write, WriteContext};
use skerry_model::{Incarnation, Nonce, ShardId};
use skerry_store::Limit;

use super::document::object;
use super::outbox::Settled;
use super::{Answer, Error, Replica};
use crate::keys::outbox::{Entry, Operation};
use crate::keys::{self, Place};
use crate::limits;

/// What making an operation again came to.
pub(super) enum Again {
    Made(Box<dyn MergeDocument>, Entry),
    /// The document reads like that already.
    Moot,
    Stranded(Refusal),
}

impl Replica {
    /// Another copy has written in a shard: makes what waits in it again. `sent` is what the batch was written under, `known`
    /// the incarnation that the core has seen of this replica.
    pub(super) fn fork(
        &mut self,
        id: ShardId,
        sent: Option<Incarnation>,
        known: Option<Incarnation>,
    ) -> Result<Settled, Error> {
        // One copy forks in shard after shard, each time under the incarnation that it was copied with.
        if sent == Some(self.identity.incarnation) && self.notice_fork() {
            return Ok(Settled::Held);
        }
        self.take_incarnation(known);
        tracing::warn!(
            replica = %self.identity.replica, shard = id.get(), incarnation = self.identity.incarnation.number,
            "another copy of this edge's folder has written to the core: going on under a new incarnation"
        );
        self.remake(id)
    }

    /// `true` when there have been too many forks of late, so that this copy is held.
    fn notice_fork(&mut self) -> bool {
        let now = self.clock.now_ms();
        let again = |before: u64| now.abs_diff(before) < limits::FORKS_WITHIN_MS;
        self.identity.held = self.identity.forked_ms.is_some_and(again);
        self.identity.forked_ms = Some(now);
        self.table.put(keys::identity::key(), keys::identity::encode(&self.identity));
        if self.identity.held {
            tracing::error!(replica = %self.identity.replica, "two copies of this edge's folder are at work: this one sends nothing more");
        }
        self.identity.held
    }

    /// Makes what waits in a shard again under the present incarnation, on what the core has published and accepted.
    pub(super) fn remake(&mut self, id: ShardId) -> Result<Settled, Error> {
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.next_sequence = 1;
        }
        let everything = Limit { rows: usize::MAX, bytes: usize::MAX };
        let entries = self.entries(&keys::outbox::of_shard(id), everything)?;
        let mut places = BTreeSet::new();
        for (slot, entry, bytes) in &entries {
            let place = entry.place()?;
            self.take_waiting(*slot, *bytes);
            self.forget_pending(&place, *slot);
            self.live.forget(&place);
            places.insert(place);
        }
        // What the core has published already it has taken, though its answer was lost.
        let (covered, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(|(_, entry, _)| entry.covered);
        covered.iter().for_each(|(slot, entry, _)| self.keep(*slot, entry));
        let (mut again, mut stranded) = (0, 0);
        let mut documents: BTreeMap<Place, Box<dyn MergeDocument>> = BTreeMap::new();
        for (slot, entry, _) in entries {
            let place = entry.place()?;
            let time_ms = entry.change()?.time_ms;
            match self.make_again(id, &place, documents.get(&place).map(AsRef::as_ref), &entry, time_ms)? {
                Again::Made(document, made) => {
                    again += 1;
                    documents.insert(place.clone(), document);
                    self.put_waiting(&place, slot, &made);
                    if let Some(shard) = self.shards.get_mut(&id) {
                        shard.next_sequence += 1;
                    }
                }
                Again::Moot => {
                    tracing::info!(shard = id.get(), key = %place.key, "an operation made again changes nothing");
                }
                Again::Stranded(refusal) => {
                    stranded += 1;
                    self.strand(slot, entry, refusal);
                }
            }
        }
        for place in places {
            self.rebuild(&place)?;
        }
        Ok(Settled::Forked { again, stranded })
    }

    /// The incarnation after every one that this edge or the core has seen.
    pub(super) fn take_incarnation(&mut self, known: Option<Incarnation>) {
        let own = self.identity.incarnation;
        let last = known.map_or(own.number, |known| known.number.max(own.number));
        self.identity.incarnation = Incarnation { number: last + 1, nonce: Nonce::from_bytes(self.random.id()) };
        self.table.put(keys::identity::key(), keys::identity::encode(&self.identity));
        self.shards.values_mut().for_each(|shard| shard.next_sequence = 1);
    }

    /// Makes one operation again at a time, on `document` where operations before it were made already.
    pub(super) fn make_again(
        &self,
        shard: ShardId,
        place: &Place,
        document: Option<&dyn MergeDocument>,
        entry: &Entry,
        time_ms: i64,
    ) -> Result<Again, Error> {
        let known = self.known.clone();
        let engine = self.engines.get(&place.collection);
        let (Some(collection), Some(engine)) = (known.by_id(place.collection), engine) else {
            let detail = "The collection is gone, or no longer takes writes of edges.".to_owned();
            return Ok(Again::Stranded(Refusal { kind: "collection-gone".to_owned(), detail }));
        };
        let mut scratch = match document {
            Some(document) => document.scratch(),
            None => self.scratch(place, engine.as_ref())?,
        };
        let shown = self.outcome(collection, scratch.as_ref()).ok().and_then(|outcome| outcome.viewed.view);
        let change = entry.change()?;
        let epoch = self.head(place)?.map_or(change.epoch, |head| head.epoch);
        let circumstances = (shown.as_ref(), time_ms, self.next_sequence(shard));
        let made = apply_again(self, scratch.as_mut(), &entry.operation, circumstances);
        let framed =
            made.and_then(|delta| delta.map(|delta| self.frame(shard, place, epoch, time_ms, delta)).transpose());
        Ok(match framed {
            Ok(Some(change)) => {
                let (incarnation, operation) = (self.identity.incarnation, entry.operation.clone());
                Again::Made(scratch, Entry { incarnation, change, operation, covered: false, replayed: false })
            }
            Ok(None) => Again::Moot,
            Err(problem) => Again::Stranded(Refusal { kind: problem.kind.name().to_owned(), detail: problem.detail }),
        })
    }
}

fn apply_again(
    replica: &Replica,
    document: &mut dyn MergeDocument,
    operation: &Operation,
    (shown, time_ms, number): (Option<&View>, i64, u64),
) -> Answer<Option<skerry_model::engine::Delta>> {
    let (write, seen) = match operation {
        // Whoever saw no document removes none of the fields that have come meanwhile.
        Operation::Put { document, seen } => {
            let empty = || shown.map(|_| serde_json::Map::new());
            (Write::Put(document.object()?), object(seen.as_ref())?.or_else(empty))
        }
        Operation::Patch { patch } => {
            let patch = serde_json::from_slice(patch).map_err(skerry_model::document::Error::Syntax)?;
            (Write::Patch(patch), object(shown)?)
        }
        Operation::Delete => (Write::Delete, object(shown)?),
        Operation::Operate { operation, texts: seen } => {
            let operation = serde_json::from_slice(operation).map_err(skerry_model::document::Error::Syntax)?;
            let shown = object(shown)?;
            // Places in a text mean other characters once it reads otherwise.
            if seen.is_some_and(|seen| texts(&operation, shown.as_ref()) != Some(*seen)) {
                let detail = "the text has changed since: look at it, and write what is still wanted anew";
                return Err(Problem::new(Kind::Refused, detail));
            }
            (Write::Operation(operation), shown)
        }
        Operation::Settle { settlement } => {
            let settlement = serde_json::from_slice(settlement).map_err(skerry_model::document::Error::Syntax)?;
            (Write::Settle(settlement), object(shown)?)
        }
    };
    let author = replica.author();
    let context = WriteContext { author: &author, time_ms, number: Some(number), base: None, seen: seen.as_ref() };
    Ok(document.apply(&write, &context)?)
}
