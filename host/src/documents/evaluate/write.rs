//! Evaluation of clients' writes to one document, one after another into one record, each a version of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value};
use skerry_api::documents::{Change, WriteRequest};
use skerry_api::problem::{Kind, Problem};
use skerry_model::document::{self, View};
use skerry_model::engine::{self, Delta, Open, Settled, Settlement, Write, WriteContext};
use skerry_model::policy::Resolver;
use skerry_store::OrderedStore;

use super::base::{self, Base};
use super::subject::NewView;
use super::{Context, Subject, chooser};
use crate::catalog::Collection;
use crate::documents::record::{DocumentEffect, MergeEffect};
use crate::limits::GROUP_BYTES_MAX;

/// What a write will have done once the record is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// What happens to the document.
    pub change: Change,
    /// The place in the record of the version that the write met or made; `None` for the one that was there before.
    pub position: Option<usize>,
}

/// What a run of writes came to.
pub struct WriteEvaluation {
    /// The subject, unless an evaluation panicked and left it in doubt.
    pub subject: Option<Subject>,
    /// What the log is to carry; none when no write changed anything.
    pub effect: Option<DocumentEffect>,
    /// One for each write that was evaluated. Fewer than there were when one panicked or when the record is full: those
    /// behind are evaluated anew.
    pub answers: Vec<Result<Pending, Problem>>,
}

/// Evaluates writes to one document in their order.
#[must_use]
pub fn evaluate_writes(
    rows: &dyn OrderedStore,
    context: &Context,
    collection: &Collection,
    mut subject: Subject,
    requests: &[&WriteRequest],
) -> WriteEvaluation {
    let mut answers = Vec::with_capacity(requests.len());
    for request in requests {
        // What a panic leaves behind is dropped below, so nothing broken is looked at again.
        let evaluated = catch_unwind(AssertUnwindSafe(|| evaluate(rows, context, collection, &mut subject, request)));
        let Ok(answer) = evaluated else {
            tracing::error!(key = %subject.key(), "an evaluation panicked");
            let detail = "evaluating this write failed in a way that is a bug; the document is as it was";
            answers.push(Err(Problem::new(Kind::Internal, detail)));
            let effect = subject.effect();
            return WriteEvaluation { subject: None, effect, answers };
        };
        answers.push(answer);
        // A merge whose outcome cannot be viewed is refused, but stays in the document: it is not used again, and what
        // waits behind is evaluated over what the log has.
        if collection.policy.merges() && subject.merge.is_none() {
            let effect = subject.effect();
            return WriteEvaluation { subject: None, effect, answers };
        }
        if subject.bytes >= GROUP_BYTES_MAX {
            break;
        }
    }
    let effect = subject.effect();
    WriteEvaluation { subject: Some(subject), effect, answers }
}

fn evaluate(
    rows: &dyn OrderedStore,
    context: &Context,
    collection: &Collection,
    subject: &mut Subject,
    request: &WriteRequest,
) -> Result<Pending, Problem> {
    if !request.conditions.hold(subject.etag(context).as_ref()) {
        let detail = "the document is at another version than the request names: read it again";
        return Err(Problem::new(Kind::PreconditionFailed, detail));
    }
    if request.write == Write::Delete && !subject.exists {
        return Err(Problem::new(Kind::DocumentNotFound, format!("there is no document {} to delete", subject.key())));
    }
    let base = match &request.base {
        Some(named) => Some(base::find(rows, context, collection, subject, named)?),
        None => None,
    };
    let existed = subject.exists;
    let changed = match collection.policy.merges() {
        true => merge(context, collection, subject, &request.write, base.as_ref())?,
        false => strict(context, subject, &request.write)?,
    };
    let change = match (existed, subject.exists) {
        _ if !changed => Change::Unchanged,
        (false, true) => Change::Created,
        (true, true) => Change::Updated,
        (_, false) => Change::Deleted,
    };
    Ok(Pending { change, position: subject.versions.len().checked_sub(1) })
}

fn strict(context: &Context, subject: &mut Subject, write: &Write) -> Result<bool, Problem> {
    let view = match write {
        Write::Put(object) => Some(View::of(object)?),
        Write::Patch(patch) => Some(View::of(&patched(seen(subject)?, patch)?)?),
        Write::Delete => None,
        Write::Operation(_) => {
            let detail = "documents of policy strict take whole documents and merge patches, and no operations";
            return Err(Problem::new(Kind::Refused, detail));
        }
        Write::Settle(_) => {
            return Err(Problem::new(Kind::Refused, "documents of policy strict have no conflicts to settle"));
        }
        Write::Merge(_) => {
            return Err(Problem::new(Kind::Refused, "documents of policy strict are not Automerge documents"));
        }
    };
    let new = NewView { view, plugin: None, conflicts: 0, fallback: None };
    subject.push(&context.core.origin, context.time_ms(), new, None);
    Ok(true)
}

/// The document after an RFC 7396 merge patch; where there was none, the patch makes one.
fn patched(seen: Option<Map<String, Value>>, patch: &Value) -> Result<Map<String, Value>, Problem> {
    let mut value = Value::Object(seen.unwrap_or_default());
    json_patch::merge(&mut value, patch);
    Ok(document::check(value)?)
}

fn merge(
    context: &Context,
    collection: &Collection,
    subject: &mut Subject,
    write: &Write,
    base: Option<&Base>,
) -> Result<bool, Problem> {
    let resolver = context.resolver(&collection.policy)?;
    let seen = match base {
        Some(Base { view, .. }) => view.as_ref().map(View::object).transpose()?,
        None => seen(subject)?,
    };
    let merge = subject.merge.as_mut().expect("a collection that merges has a merge document");
    let circumstances = WriteContext {
        author: &context.core,
        time_ms: context.time_ms(),
        number: None,
        base: base.map(|base| &base.seen),
        seen: seen.as_ref(),
    };
    // One that fails is refused to its sender and says nothing of the document.
    let Some(delta) = merge.apply(write, &circumstances)? else { return Ok(false) };
    let mut deltas = vec![delta];
    let new = match settled_view(context, collection, subject, resolver.as_ref(), &mut deltas) {
        Ok(new) => new,
        Err(problem) => {
            subject.merge = None;
            return Err(problem);
        }
    };
    let seen = subject.merge.as_ref().expect("it is still there").version();
    let effect = MergeEffect { deltas, seen };
    subject.push(&context.core.origin, context.time_ms(), new, Some(effect));
    Ok(true)
}

/// The same, once the core has written back what was decided, where the collection asks for it: as a change of its own
/// that is added to `deltas`.
pub(super) fn settled_view(
    context: &Context,
    collection: &Collection,
    subject: &mut Subject,
    resolver: Option<&Arc<dyn Resolver>>,
    deltas: &mut Vec<Delta>,
) -> Result<NewView, Problem> {
    let new = new_view(context, collection, subject, resolver)?;
    let (true, 1.., None) = (collection.settle, new.conflicts, &new.fallback) else { return Ok(new) };
    // Past the number that is listed they stay open.
    let Ok(Some(open)) = subject.open(context, collection) else { return Ok(new) };
    let times = open.conflicts.iter().flat_map(|open| &open.conflict.candidates).map(|candidate| candidate.time);
    // Not now: a write that was made since, and is still on its way, must not look older than what is written back.
    let time_ms = times.max().unwrap_or_else(|| context.time_ms());
    let ends = |open: Open| (open.conflict.path, open.shown.map_or(Settled::Removed, Settled::Value));
    let conflicts = open.conflicts.into_iter().map(ends).collect();
    let settlement = Settlement { conflicts, notes: open.notes };
    let circumstances = WriteContext { author: &context.core, time_ms, number: None, base: None, seen: None };
    let merge = subject.merge.as_mut().expect("a collection that merges has a merge document");
    match merge.apply(&Write::Settle(settlement), &circumstances) {
        Ok(Some(delta)) => {
            deltas.push(delta);
            new_view(context, collection, subject, resolver)
        }
        Ok(None) => Ok(new),
        Err(error) => {
            tracing::warn!(key = %subject.key(), %error, "what was decided is not written back");
            Ok(new)
        }
    }
}

/// What the merge document reads as under the collection's policy.
pub(super) fn new_view(
    context: &Context,
    collection: &Collection,
    subject: &Subject,
    resolver: Option<&Arc<dyn Resolver>>,
) -> Result<NewView, Problem> {
    let merge = subject.merge.as_ref().expect("a collection that merges has a merge document");
    let viewed = merge.view(chooser(&collection.policy, resolver));
    note_failure(context, collection, subject, viewed.as_ref().err());
    let viewed = viewed?;
    let plugin = context.catalog.digest(&collection.policy);
    // Where nothing met, a resolver has decided nothing.
    if let Some(digest) = plugin.filter(|_| viewed.conflicts > 0 || merge.plugin().is_some()) {
        context.health.note(digest, collection.id, subject.key(), viewed.failed);
    }
    Ok(NewView { view: viewed.view, plugin, conflicts: viewed.conflicts, fallback: viewed.fallback })
}

/// Notes that a merge policy has failed on a document by its own fault.
pub(super) fn note_failure(
    context: &Context,
    collection: &Collection,
    subject: &Subject,
    error: Option<&engine::Error>,
) {
    if let Some(engine::Error::PluginFailed { .. }) = error
        && let Some(digest) = context.catalog.digest(&collection.policy)
    {
        context.health.note(digest, collection.id, subject.key(), true);
    }
}

fn seen(subject: &Subject) -> Result<Option<Map<String, Value>>, Problem> {
    Ok(subject.view.as_ref().map(View::object).transpose()?)
}
