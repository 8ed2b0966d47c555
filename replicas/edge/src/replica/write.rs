//! Local writes: evaluated on a scratch copy, stored with their operation, answered after the commit.

use std::sync::Arc;

use serde_bytes::ByteArray;
use serde_json::{Map, Value};
use skerry_api::documents::{Address, Change as What, Conflicts, ETag, OpenConflict, WriteRequest, Written};
use skerry_api::problem::{Kind, NO_BASE, Outcome, Problem};
use skerry_channel::change::{self, Change};
use skerry_channel::message::Collection;
use skerry_model::document::View;
use skerry_model::engine::json::texts;
use skerry_model::engine::{Delta, Engine, MergeDocument, Open, Version, Write, WriteContext};
use skerry_model::ids::shard_of;
use skerry_model::policy::EngineKind;
use skerry_model::{Epoch, ShardId};

use super::base::Base;
use super::document::object;
use super::known::policy_text;
use super::read::document_not_found;
use super::shown::Shown;
use super::{Answer, Error, Replica};
use crate::keys::outbox::{Entry, Operation};
use crate::keys::{Place, Slot};
use crate::limits;

/// Where a write goes.
pub(super) struct Target {
    collection: Arc<Collection>,
    engine: Arc<dyn Engine>,
    place: Place,
    shard: ShardId,
}

/// A write that has been evaluated.
struct Evaluated {
    document: Box<dyn MergeDocument>,
    /// `None` when it changes nothing.
    delta: Option<Delta>,
    operation: Operation,
    time_ms: i64,
}

impl Replica {
    /// Writes a document. The answer may be given once [`Replica::commit`] has returned; the write is then stored here
    /// for good, also through a crash, until the core has judged it.
    ///
    /// # Errors
    /// [`Error`] when the database fails; a [`Problem`] changed nothing.
    pub fn write(&mut self, at: &Address, request: &WriteRequest) -> Result<Answer<Written>, Error> {
        let target = match self.target(at) {
            Ok(target) => target,
            Err(problem) => return Ok(Err(problem)),
        };
        let shown = self.shown(&target.place)?;
        let etag = shown.as_ref().and_then(|shown| shown.etag(&self.known));
        if !request.conditions.hold(etag.as_ref()) {
            let found = etag.map_or_else(|| "not there".to_owned(), |etag| format!("at version {}", etag.0));
            let detail = format!("the document is {found}, and the request's conditions do not allow that");
            return Ok(Err(Problem::new(Kind::PreconditionFailed, detail)));
        }
        if request.write == Write::Delete && etag.is_none() {
            return Ok(Err(document_not_found(at)));
        }
        let scratch = self.scratch(&target.place, target.engine.as_ref())?;
        let past = request.base.as_ref().filter(|base| Some(*base) != etag.as_ref());
        let base = match past.map(|past| self.past(&target, scratch.as_ref(), past)).transpose() {
            Ok(base) => base,
            Err(problem) => return Ok(Err(problem)),
        };
        let seen = match &base {
            Some(base) => base.view.as_ref(),
            None => shown.as_ref().and_then(|shown| shown.view.as_ref()),
        };
        let version = base.as_ref().map(|base| &base.version);
        match self.evaluate(target.shard, scratch, &request.write, version, seen) {
            Ok(evaluated) => self.take(&target, shown.as_ref(), evaluated),
            Err(problem) => Ok(Err(problem)),
        }
    }

    /// A version that is not the newest, as a write starts from it.
    fn past(&self, target: &Target, document: &dyn MergeDocument, named: &ETag) -> Answer<Base> {
        if target.collection.policy.engine(target.collection.world) != EngineKind::Json {
            return Err(Problem::new(Kind::Refused, NO_BASE));
        }
        self.named_base(&target.collection, document, named)
    }

    pub(super) fn target(&self, at: &Address) -> Answer<Target> {
        let collection = self.known.collection(&at.collection)?.clone();
        let home = self.known.home()?;
        let not_here = |detail| Problem::new(Kind::NotWritableHere, detail);
        let engine = self.engines.get(&collection.id).cloned().ok_or_else(|| {
            not_here(format!(
                "{} is {}: edges hold read-only copies, write it at {}",
                collection.name, collection.policy, self.known.core
            ))
        })?;
        if !self.known.subscription.covers(&at.collection, &at.key) {
            return Err(not_here(format!(
                "{} in {} is not in what this edge subscribes to, write it at {}",
                at.key, at.collection, self.known.core
            )));
        }
        let (found, max) = (self.unsent_bytes(), limits::OUTBOX_BYTES_MAX);
        if found >= max {
            let detail = format!("the outbox holds {found} bytes that the core has not taken yet, the limit is {max}");
            return Err(Problem::new(Kind::Overloaded, detail));
        }
        let place = Place { collection: collection.id, key: at.key.clone() };
        Ok(Target { collection, engine, place, shard: shard_of(&at.collection, &at.key, home.shards) })
    }

    fn evaluate(
        &self,
        shard: ShardId,
        mut document: Box<dyn MergeDocument>,
        write: &Write,
        base: Option<&Version>,
        seen: Option<&View>,
    ) -> Answer<Evaluated> {
        let fields = object(seen)?;
        let operation = operation(write, seen, fields.as_ref())?;
        let (author, time_ms) = (self.author(), self.now_ms());
        let context = WriteContext {
            author: &author,
            time_ms,
            number: Some(self.next_sequence(shard)),
            base,
            seen: fields.as_ref(),
        };
        let delta = document.apply(write, &context)?;
        Ok(Evaluated { document, delta, operation, time_ms })
    }

    /// Stages a write.
    fn take(&mut self, target: &Target, shown: Option<&Shown>, evaluated: Evaluated) -> Result<Answer<Written>, Error> {
        let was_visible = shown.is_some_and(|shown| shown.view.is_some());
        let Evaluated { document, delta, operation, time_ms } = evaluated;
        let Some(delta) = delta else {
            let stamp = shown.and_then(|shown| shown.stamp(&self.known, &target.collection));
            return Ok(Ok(Written { change: What::Unchanged, stamp }));
        };
        let head = self.head(&target.place)?;
        let epoch = head.as_ref().map_or(Epoch::default(), |head| head.epoch);
        let staged = self
            .frame(target.shard, &target.place, epoch, time_ms, delta)
            .and_then(|change| Ok((change, self.outcome(&target.collection, document.as_ref())?)));
        let (change, outcome) = match staged {
            Ok(staged) => staged,
            Err(problem) => return Ok(Err(problem)),
        };
        let entry =
            Entry { incarnation: self.identity.incarnation, change, operation, covered: false, replayed: false };
        self.enqueue(target.shard, &target.place, &entry);
        let base = head.map(|head| head.version);
        let provisional = self.put_provisional(&target.place, base, document.as_ref(), outcome);
        self.recount(was_visible, provisional.view.is_some());
        self.live.keep(target.place.clone(), document);
        let change = match (was_visible, provisional.view.is_some()) {
            (false, true) => What::Created,
            (true, false) => What::Deleted,
            (true, true) | (false, false) => What::Updated,
        };
        Ok(Ok(Written { change, stamp: Shown::from(provisional).stamp(&self.known, &target.collection) }))
    }

    pub(super) fn next_sequence(&self, shard: ShardId) -> u64 {
        self.shards.get(&shard).map_or(1, |shard| shard.next_sequence)
    }

    /// The change frame with the next sequence number of the shard.
    pub(super) fn frame(
        &self,
        shard: ShardId,
        place: &Place,
        epoch: Epoch,
        time_ms: i64,
        delta: Delta,
    ) -> Answer<bytes::Bytes> {
        let sequence = self.next_sequence(shard);
        let Place { collection, key } = place.clone();
        let change = Change { sequence, collection, key, epoch, time_ms, delta };
        change.encode().map_err(|error| match error {
            change::Error::TooLarge { .. } => Problem::new(Kind::TooLarge, error.to_string()),
            change::Error::Decode(_) => Problem::new(Kind::Internal, error.to_string()),
        })
    }

    /// Puts a framed change at the end of the outbox.
    pub(super) fn enqueue(&mut self, shard: ShardId, place: &Place, entry: &Entry) {
        let slot = Slot { shard, position: self.tally.next_position };
        self.tally.next_position += 1;
        self.put_tally();
        if let Some(shard) = self.shards.get_mut(&shard) {
            shard.next_sequence += 1;
        }
        self.put_waiting(place, slot, entry);
    }

    /// The open conflicts of a document as shown here, with what the view shows at each.
    ///
    /// # Errors
    /// As [`Replica::write`].
    pub fn conflicts(&self, at: &Address) -> Result<Answer<Conflicts>, Error> {
        let collection = match self.known.collection(&at.collection) {
            Ok(collection) => collection,
            Err(problem) => return Ok(Err(problem)),
        };
        let place = Place { collection: collection.id, key: at.key.clone() };
        let found = self.shown(&place)?;
        let Some(shown) = found.filter(|shown| shown.view.is_some()) else { return Ok(Err(document_not_found(at))) };
        let document = match self.engines.get(&collection.id) {
            Some(engine) => Some(self.scratch(&place, engine.as_ref())?),
            None => None,
        };
        Ok(self.describe(collection, &shown, document.as_deref()))
    }

    fn describe(
        &self,
        collection: &Collection,
        shown: &Shown,
        document: Option<&dyn MergeDocument>,
    ) -> Answer<Conflicts> {
        let open = document.map(|document| self.open_conflicts(collection, document)).transpose()?.unwrap_or_default();
        let listed = |open: Open| OpenConflict { conflict: open.conflict, shown: open.shown };
        let etag = shown.etag(&self.known).ok_or_else(|| {
            Problem::unavailable(Outcome::NotProposed, "the document was deleted while its conflicts were read")
        })?;
        Ok(Conflicts {
            policy: policy_text(&collection.policy, shown.plugin),
            fallback: shown.fallback.clone(),
            etag,
            conflicts: open.conflicts.into_iter().map(listed).collect(),
        })
    }
}

fn json(value: &impl serde::Serialize) -> bytes::Bytes {
    serde_json::to_vec(value).expect("JSON values serialize").into()
}

/// What a write wanted, for storage.
fn operation(write: &Write, seen: Option<&View>, fields: Option<&Map<String, Value>>) -> Answer<Operation> {
    Ok(match write {
        Write::Put(document) => Operation::Put { document: View::of(document)?, seen: seen.cloned() },
        Write::Patch(patch) => Operation::Patch { patch: json(patch) },
        Write::Delete => Operation::Delete,
        Write::Operation(operation) => {
            let texts = texts(operation, fields).map(ByteArray::new);
            Operation::Operate { operation: json(operation), texts }
        }
        Write::Settle(settlement) => Operation::Settle { settlement: json(settlement) },
        Write::Merge(_) => {
            let detail = "clients of Automerge are served by core nodes, not by edges";
            return Err(Problem::new(Kind::NotWritableHere, detail));
        }
    })
}
