//! A write of this replica: what it starts from, who its actor is, and that it takes effect whole or not at all.

use std::borrow::Cow;
use std::cmp::Reverse;

use automerge::transaction::CommitOptions;
use automerge::{ActorId, ChangeHash, PatchLog, Prop, ROOT, ReadDoc};
use serde_json::{Map, Value};

use super::bytes::{Changes, Corrections, Seen};
use super::limits::{
    ACTOR_SHARE_BYTES_MAX, CHANGE_OPERATIONS_MAX, COUNTER_MAX, OPERATION_BYTES_MAX, PREDECESSOR_BYTES_MAX,
};
use super::walk::{Order, milliseconds, within_json};
use super::write::{End, Kind, Task};
use super::{JsonDocument, Last, splice, within};
use crate::document::{self, View};
use crate::engine::{Error, Settled, Settlement, Write, WriteContext};
use crate::limits::{BRANCHES_MAX, DOCUMENT_BYTES_MAX};

/// Checks that a document could be this. Answers with about how long it is as JSON, in bytes.
pub(super) fn valid(fields: &Map<String, Value>) -> Result<usize, Error> {
    // Of a number as short as 1e20, the canonical form has 21 digits.
    const CANONICAL_GROWS_MAX: usize = 8;
    for (name, field) in fields {
        document::check_value(field, &mut vec![name.into()])?;
    }
    let length = serde_json::to_vec(fields).map_err(document::Error::Syntax)?.len();
    if length > DOCUMENT_BYTES_MAX / CANONICAL_GROWS_MAX {
        View::of(fields)?;
    }
    Ok(length)
}

/// What became of a transaction.
enum Written {
    Nothing,
    Change(ChangeHash),
    /// It might not fit into the history: to be tried on a copy.
    Perhaps,
}

impl JsonDocument {
    /// Carries out a write. Answers with what it changed.
    ///
    /// # Errors
    /// [`Error`]; the document is as it was.
    pub(super) fn write(&mut self, write: &Write, context: &WriteContext<'_>) -> Result<Option<Changes>, Error> {
        let now = self.seen();
        let base = match context.base {
            Some(version) => self.at(version)?,
            None => now.clone(),
        };
        let current = base.heads == now.heads && base.deleted == now.deleted;
        // Each write at a base is a branch more, and the next one of now builds on them all.
        if !current {
            within("the branches of a document that is written at a base", now.heads.len(), BRANCHES_MAX)?;
        }
        let wanted = match write {
            // A delete of the past covers nothing that came since.
            Write::Delete => return Ok(if current { self.delete() } else { None }),
            Write::Put(fields) => Cow::Borrowed(fields),
            Write::Patch(Value::Object(fields)) => Cow::Borrowed(fields),
            Write::Patch(other) => Cow::Owned(document::check(other.clone())?),
            Write::Settle(settlement) => return self.settle(settlement, context),
            Write::Operation(operation) => return self.splice(operation, &base, !current, context),
            Write::Merge(delta) => return self.take_from_client(delta, context.time_ms),
        };
        let heads = (!current).then_some(&*base.heads);
        let unwritten = self.is_unwritten(&base.heads);
        let seen = context.seen.filter(|_| !base.deleted && !unwritten);
        let patch = matches!(write, Write::Patch(_));
        let length;
        let (kind, seen, wanted) = match seen {
            Some(seen) if patch => {
                length = valid(&merged(seen, &wanted)?)?;
                (Kind::Patch, Cow::Borrowed(seen), wanted)
            }
            seen => {
                let wanted = if patch { Cow::Owned(merged(&Map::new(), &wanted)?) } else { wanted };
                length = valid(&wanted)?;
                match seen {
                    Some(seen) => (Kind::Replace, Cow::Borrowed(seen), wanted),
                    None if unwritten => (Kind::Begin, Cow::Owned(self.present(heads)), wanted),
                    None => (Kind::Again, Cow::Owned(self.present(heads)), wanted),
                }
            }
        };
        let settings = self.settings.clone();
        let task = Task { kind, seen: &seen, wanted: &wanted, text: &settings.text, ends: &[], splices: &[] };
        self.commit(&task, length, heads, context)
    }

    /// Splices Texts as they were at `base`.
    fn splice(
        &mut self,
        operation: &Value,
        base: &Seen,
        past: bool,
        context: &WriteContext<'_>,
    ) -> Result<Option<Changes>, Error> {
        let seen = context.seen.filter(|_| !base.deleted);
        let settings = self.settings.clone();
        let (splices, wanted) = splice::read(operation, &settings.text, seen)?;
        let length = valid(&wanted)?;
        let nothing = Map::new();
        let (seen, text) = (seen.unwrap_or(&nothing), &settings.text);
        let task = Task { kind: Kind::Splice, seen, wanted: &wanted, text, ends: &[], splices: &splices };
        self.commit(&task, length, past.then_some(&*base.heads), context)
    }

    /// Writes over every candidate of the conflicts that are named.
    fn settle(&mut self, settlement: &Settlement, context: &WriteContext<'_>) -> Result<Option<Changes>, Error> {
        let places = self.reader(None).walk(Order::Lww)?.places;
        let mut length = 0;
        let mut ends = Vec::with_capacity(settlement.conflicts.len() + settlement.notes.len());
        for (pointer, settled) in &settlement.conflicts {
            let open = places.iter().find(|place| place.path == *pointer);
            let open =
                open.ok_or_else(|| Error::Refused { reason: format!("there is no open conflict at {pointer}") })?;
            let path = document::steps(pointer);
            let value = match settled {
                Settled::Value(value) => Some(value.clone()),
                Settled::Removed => None,
            };
            ends.push(End { container: open.container.clone(), property: open.property.clone(), path, value });
        }
        for (name, note) in &settlement.notes {
            let (property, path) = (Prop::Map(name.clone()), vec![name.clone()]);
            ends.push(End { container: ROOT, property, path, value: Some(note.clone()) });
        }
        for end in &ends {
            if let Some(value) = &end.value {
                document::check_value(value, &mut end.path.iter().map(Cow::from).collect())?;
                length += serde_json::to_vec(value).map_err(document::Error::Syntax)?.len();
            }
        }
        // What goes from a list moves what is behind it.
        ends.sort_by_key(|end| match end.property {
            Prop::Map(_) => None,
            Prop::Seq(at) => Some(Reverse(at)),
        });
        let (settings, nothing) = (self.settings.clone(), Map::new());
        let (seen, wanted) = (&nothing, &nothing);
        let task = Task { kind: Kind::Settle, seen, wanted, text: &settings.text, ends: &ends, splices: &[] };
        self.commit(&task, length, None, context)
    }

    fn delete(&mut self) -> Option<Changes> {
        if !self.exists() {
            return None;
        }
        self.deleted = true;
        Some(Changes { deletes: vec![self.document.get_heads()], ..Changes::default() })
    }

    /// The fields that are there, by the built-in order; what each holds is left out where it is too much to read.
    fn present(&self, heads: Option<&[ChangeHash]>) -> Map<String, Value> {
        if let Ok(walked) = self.reader(heads).walk(Order::Lww) {
            return walked.settle(&|_| None);
        }
        let names = match heads {
            None => self.document.keys(ROOT),
            Some(heads) => self.document.keys_at(ROOT, heads),
        };
        names.map(|name| (name, Value::Null)).collect()
    }

    fn commit(
        &mut self,
        task: &Task<'_>,
        length: usize,
        heads: Option<&[ChangeHash]>,
        context: &WriteContext<'_>,
    ) -> Result<Option<Changes>, Error> {
        let extent = self.extent();
        let actors = self.actors.len();
        let fixed = 2 * length + (actors + self.document.get_heads().len()) * ACTOR_SHARE_BYTES_MAX;
        let each = OPERATION_BYTES_MAX + actors * PREDECESSOR_BYTES_MAX;
        let fits = |operations: usize| extent.plus(operations * each + fixed, operations).check(0).is_ok();
        let actor = self.actor(context, heads);
        match self.transact(task, heads, context, &actor, &fits)? {
            Written::Nothing => Ok(None),
            Written::Change(hash) => Ok(Some(self.committed(hash, context.time_ms))),
            Written::Perhaps => {
                let mut copy = self.clone();
                let Written::Change(hash) = copy.transact(task, heads, context, &actor, &|_| true)? else {
                    return Ok(None);
                };
                let changes = copy.committed(hash, context.time_ms);
                copy.extent().check(0)?;
                *self = copy;
                Ok(Some(changes))
            }
        }
    }

    /// One transaction, which is rolled back unless it can be kept.
    fn transact(
        &mut self,
        task: &Task<'_>,
        heads: Option<&[ChangeHash]>,
        context: &WriteContext<'_>,
        actor: &ActorId,
        fits: &dyn Fn(usize) -> bool,
    ) -> Result<Written, Error> {
        if self.counter >= COUNTER_MAX {
            let (found, max) =
                (self.counter.try_into().unwrap_or(usize::MAX), COUNTER_MAX.try_into().unwrap_or(usize::MAX));
            return Err(Error::Limit { what: "the operations that a document has counted", found, max });
        }
        let options =
            || CommitOptions::default().with_message(context.author.origin.as_str()).with_time(context.time_ms);
        // A write that leaves everything as it is still makes a document of nothing.
        let must_show = !self.exists() && matches!(task.kind, Kind::Begin | Kind::Again);
        self.document.set_actor(actor.clone());
        let mut transaction = match heads {
            None => self.document.transaction(),
            Some(heads) => self
                .document
                .transaction_at(PatchLog::inactive(), heads)
                .expect("an inactive patch log fits any document"),
        };
        task.write(&mut transaction)
            .map_err(|error| Error::Malformed { what: "a write", reason: error.to_string() })?;
        let operations = automerge::transaction::Transactable::pending_ops(&transaction);
        if operations > CHANGE_OPERATIONS_MAX {
            return Err(Error::Limit { what: "a change's operations", found: operations, max: CHANGE_OPERATIONS_MAX });
        }
        if !fits(operations) {
            return Ok(Written::Perhaps);
        }
        if let (Some(hash), _) = transaction.commit_with(options()) {
            return Ok(Written::Change(hash));
        }
        if !must_show {
            return Ok(Written::Nothing);
        }
        self.document.set_actor(actor.clone());
        Ok(Written::Change(self.document.empty_commit(options())))
    }

    /// Notes a change that was just made.
    fn committed(&mut self, hash: ChangeHash, time_ms: i64) -> Changes {
        let change = self.document.get_change_by_hash(&hash).expect("the change was just made");
        let mut corrections = Corrections::new();
        let time = within_json(time_ms);
        if milliseconds(time_ms) != time {
            corrections.insert(hash, time);
        }
        self.corrections.extend(corrections.clone());
        self.history.added += change.raw_bytes().len();
        self.counter = self.counter.max(change.max_op());
        let last = Last { sequence: change.seq(), counter: change.max_op() };
        self.actors.insert(change.actor_id().clone(), last);
        self.deleted = false;
        Changes { chunks: vec![change.raw_bytes().to_vec()], deletes: Vec::new(), corrections }
    }

    /// The actor of a write. An actor's changes form a line, so a write at heads that do not cover the author's last
    /// change needs another one: the author's sixteen bytes and a number, [`REPLICA_ACTOR_BYTES`](super::REPLICA_ACTOR_BYTES)
    /// in all. (Automerge would put bytes of its own first.)
    fn actor(&self, context: &WriteContext<'_>, heads: Option<&[ChangeHash]>) -> ActorId {
        let author = context.author.actor;
        let later = heads.map(|heads| self.document.get_changes_meta(heads)).unwrap_or_default();
        let numbered = |number: u32| {
            let bytes = number.to_be_bytes();
            let significant = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len() - 1);
            [&author[..], &bytes[bytes.len() - significant..]].concat()
        };
        let is_free = |actor: &Vec<u8>| later.iter().all(|change| change.actor.to_bytes() != actor);
        let actor = (0..=u32::MAX).map(numbered).find(is_free);
        ActorId::from(actor.expect("a document has fewer changes than there are numbers"))
    }
}

/// A merge patch (RFC 7396) applied to a document.
fn merged(seen: &Map<String, Value>, patch: &Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let patch = Value::Object(patch.clone());
    document::check_value(&patch, &mut Vec::new())?;
    let mut merged = Value::Object(seen.clone());
    json_patch::merge(&mut merged, &patch);
    match merged {
        Value::Object(fields) => Ok(fields),
        other => Ok(document::check(other)?),
    }
}
