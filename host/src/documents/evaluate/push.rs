//! Evaluation of an edge's push: each change gets a verdict, and effects, refusals and the new watermark go into one
//! record.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use skerry_api::problem::{Kind, Problem};
use skerry_channel::change::{Change, Mark};
use skerry_channel::limits::REFUSAL_CHARS_MAX;
use skerry_channel::message::{Push, Refusal, Verdict};
use skerry_channel::push::receiver::Watermark;
use skerry_model::engine::{Author, Delta, MergeDocument, effective_time};
use skerry_model::ids::shard_of;
use skerry_model::policy::{EngineKind, Resolver};
use skerry_model::{CollectionId, DocumentKey, Epoch};
use std::sync::Arc;

use super::write::settled_view;
use super::{Context, Subject, not_now};
use crate::catalog::Collection;
use crate::documents::record::{Documents, MergeEffect, PushEffect};

/// A document's place, unique over all shards.
type Place = (CollectionId, DocumentKey);

/// What a push came to.
pub struct PushEvaluation {
    /// What the log is to carry.
    pub documents: Documents,
    /// The documents, for the next evaluation.
    pub subjects: Vec<Subject>,
}

/// Each change of a push, or why it is refused whatever its document holds.
///
/// # Errors
/// A problem of kind `unavailable` when one names a collection that this shard has not heard of yet; nothing is judged
/// then.
pub fn check_changes(context: &Context, push: &Push) -> Result<Vec<Result<Change, Refusal>>, Problem> {
    let changes: Vec<_> = push.changes.iter().enumerate().map(|(at, bytes)| check(context, push, at, bytes)).collect();
    // The edge has its catalog from shard 0, which may be ahead; a collection's id is the version that made it.
    let known = context.catalog.version.get();
    let is_ahead = |change: &Change| u64::from(change.collection.get()) > known;
    if changes.iter().flatten().any(is_ahead) {
        return Err(not_now("this shard has not heard of the collection yet: try again".to_owned()));
    }
    Ok(changes)
}

/// Changes of a push by the documents that they name.
pub type ByDocument = BTreeMap<Place, Vec<(usize, Change)>>;

/// Verdicts on some changes of a push, by their places in it.
pub struct Judged {
    verdicts: Vec<(usize, Verdict)>,
    subjects: Vec<Subject>,
}

/// The changes of each document that a push names, and verdicts on those that are refused whatever their document holds.
#[must_use]
pub fn by_document(changes: Vec<Result<Change, Refusal>>) -> (ByDocument, Judged) {
    let mut judged = Judged { verdicts: Vec::new(), subjects: Vec::new() };
    let mut by_document = ByDocument::new();
    for (at, change) in changes.into_iter().enumerate() {
        match change {
            Ok(change) => {
                by_document.entry((change.collection, change.key.clone())).or_default().push((at, change));
            }
            Err(refusal) => judged.verdicts.push((at, Verdict::Refused(refusal))),
        }
    }
    (by_document, judged)
}

/// Judges the changes of some documents, each with its subject. Those of different documents do not meet, so parts of a push
/// may be judged side by side.
///
/// # Errors
/// A problem of kind `unavailable` when a plugin cannot run here now; nothing is judged then.
pub fn judge_documents(
    context: &Context,
    push: &Push,
    documents: Vec<(Subject, Vec<(usize, Change)>)>,
) -> Result<Judged, Problem> {
    let author = Author::new(push.replica.clone(), &push.incarnation);
    let mut judged = Judged { verdicts: Vec::new(), subjects: Vec::with_capacity(documents.len()) };
    for (mut subject, changes) in documents {
        let (id, _) = subject.place();
        let (_, collection) = context.catalog.collection_by_id(id).expect("check has found the collection");
        let resolver = context.resolver(&collection.policy)?;
        let document = DocumentPush { context, collection, author: &author, resolver: resolver.as_ref() };
        judged.verdicts.extend(document.judge(&mut subject, &changes)?);
        if subject.head().is_none() {
            // Whoever brings many new ones seldom comes back to one, and it has only this change to be loaded from.
            subject.merge = None;
        }
        judged.subjects.push(subject);
    }
    Ok(judged)
}

/// What a batch that the receiver may take comes to, once every change is judged: it ends at `end`.
#[must_use]
pub fn evaluate_push(
    context: &Context,
    known: Option<&Watermark>,
    push: &Push,
    end: Mark,
    parts: Vec<Judged>,
) -> PushEvaluation {
    let mut verdicts = vec![None; push.changes.len()];
    let mut subjects = Vec::new();
    for part in parts {
        part.verdicts.into_iter().for_each(|(at, verdict)| verdicts[at] = Some(verdict));
        subjects.extend(part.subjects);
    }
    let verdicts = verdicts.into_iter().map(|verdict| verdict.expect("each change was judged")).collect();
    let watermark = Watermark {
        incarnation: push.incarnation,
        mark: end,
        batch_first: push.first,
        batch_before: push.before,
        verdicts,
    };
    let effect = PushEffect {
        replica: push.replica.clone(),
        expected: known.map(|known| (known.incarnation, known.mark)),
        watermark,
    };
    let documents = subjects.iter_mut().filter_map(Subject::effect).collect();
    let documents = Documents { catalog: context.catalog.version, documents, push: Some(effect) };
    PushEvaluation { documents, subjects }
}

/// What can be said of a change without its document.
fn check(context: &Context, push: &Push, at: usize, bytes: &[u8]) -> Result<Change, Refusal> {
    let change = Change::decode(bytes).map_err(|error| refusal(Kind::Malformed, error.to_string()))?;
    let expected = push.first + at as u64;
    if change.sequence != expected {
        let detail = format!("the change says sequence {}, its place in the batch is {expected}", change.sequence);
        return Err(refusal(Kind::Malformed, detail));
    }
    if change.epoch != Epoch::new(0) {
        return Err(refusal(Kind::Refused, format!("the document has no epoch {}", change.epoch)));
    }
    match context.catalog.collection_by_id(change.collection) {
        None if u64::from(change.collection.get()) > context.catalog.version.get() => Ok(change),
        None => Err(refusal(Kind::CollectionNotFound, "the collection was deleted".to_owned())),
        Some((name, collection)) if !collection.policy.merges() => {
            Err(refusal(Kind::NotWritableHere, format!("collection {name} is strict: only the core writes it")))
        }
        Some((name, _)) if shard_of(name, &change.key, context.shards) != push.shard => {
            Err(refusal(Kind::Malformed, format!("document {} is not of shard {}", change.key, push.shard)))
        }
        Some(_) => Ok(change),
    }
}

/// Why one change was not merged.
enum Failed {
    /// The document is as it was.
    Refused(Refusal),
    /// Merging panicked half-way: the document must not be used again.
    InDoubt,
    /// It cannot be merged here now, so nothing is judged.
    NotNow(Problem),
}

/// What merging some changes came to.
struct Merged {
    verdicts: Vec<(usize, Verdict)>,
    deltas: Vec<Delta>,
    time_ms: i64,
}

struct DocumentPush<'a> {
    context: &'a Context,
    collection: &'a Collection,
    author: &'a Author,
    resolver: Option<&'a Arc<dyn Resolver>>,
}

impl DocumentPush<'_> {
    /// Takes all changes of one document into one version. Where that leaves no valid document, each half is judged by
    /// itself, so that only those at fault are refused, and a few of them cost little.
    fn judge(&self, subject: &mut Subject, changes: &[(usize, Change)]) -> Result<Vec<(usize, Verdict)>, Problem> {
        let before = scratch(subject);
        let refusal = match self.take(subject, changes)? {
            Ok(verdicts) => return Ok(verdicts),
            Err(refusal) => refusal,
        };
        subject.merge = Some(before);
        if let [(at, _)] = changes {
            return Ok(vec![(*at, Verdict::Refused(refusal))]);
        }
        let (first, second) = changes.split_at(changes.len() / 2);
        let mut verdicts = self.judge(subject, first)?;
        verdicts.extend(self.judge(subject, second)?);
        Ok(verdicts)
    }

    /// Merges changes into one new version. The inner error: what they leave is no valid document.
    fn take(
        &self,
        subject: &mut Subject,
        changes: &[(usize, Change)],
    ) -> Result<Result<Vec<(usize, Verdict)>, Refusal>, Problem> {
        let merged = match self.context.catalog.engine(&self.collection.policy) {
            EngineKind::Json if changes.len() > 1 => self.merge_all(subject, changes),
            EngineKind::Json | EngineKind::State | EngineKind::Strict => self.merge_each(subject, changes),
        };
        let Merged { verdicts, mut deltas, time_ms } = match merged {
            Ok(merged) if merged.deltas.is_empty() => return Ok(Ok(merged.verdicts)),
            Ok(merged) => merged,
            Err(Failed::Refused(refusal)) => return Ok(Err(refusal)),
            Err(Failed::NotNow(problem)) => return Err(problem),
            Err(Failed::InDoubt) => {
                return Ok(Err(refusal(Kind::Malformed, "the change cannot be merged".to_owned())));
            }
        };
        let viewed = catch_unwind(AssertUnwindSafe(|| {
            settled_view(self.context, self.collection, subject, self.resolver, &mut deltas)
        }));
        let new = match viewed {
            Ok(Ok(new)) => new,
            Ok(Err(problem)) if problem.kind == Kind::Unavailable => return Err(problem),
            Ok(Err(problem)) => return Ok(Err(refusal(problem.kind, problem.detail))),
            Err(_panic) => return Ok(Err(refusal(Kind::Internal, "the document cannot be viewed".to_owned()))),
        };
        let seen = subject.merge.as_ref().expect("a collection that merges has a merge document").version();
        subject.push(&self.author.origin, time_ms, new, Some(MergeEffect { deltas, seen }));
        Ok(Ok(verdicts))
    }

    /// Merges changes in one step, all of them or none: each by itself would cost as much as the document is large.
    fn merge_all(&self, subject: &mut Subject, changes: &[(usize, Change)]) -> Result<Merged, Failed> {
        let document = subject.merge.as_mut().expect("a collection that merges has a merge document");
        let sent: Vec<_> = changes.iter().map(|(_, change)| &change.delta).collect();
        let now_ms = self.context.time_ms();
        let merged = catch_unwind(AssertUnwindSafe(|| document.merge_all_from(&sent, self.author, now_ms)));
        let deltas = merged.map_err(|_panic| Failed::InDoubt)?;
        let deltas = deltas.ok_or_else(|| Failed::Refused(refusal(Kind::Refused, "not all of them fit".to_owned())))?;
        let verdict = if deltas.is_empty() { Verdict::Repeated } else { Verdict::Accepted };
        let verdicts = changes.iter().map(|(at, _)| (*at, verdict.clone())).collect();
        let time_ms = changes.last().map_or(0, |(_, change)| effective_time(change.time_ms, now_ms));
        Ok(Merged { verdicts, deltas, time_ms })
    }

    /// Merges one change after the other.
    fn merge_each(&self, subject: &mut Subject, changes: &[(usize, Change)]) -> Result<Merged, Failed> {
        let mut merged = Merged { verdicts: Vec::with_capacity(changes.len()), deltas: Vec::new(), time_ms: 0 };
        for (at, change) in changes {
            let verdict = match self.merge(subject, change) {
                Ok(Some(delta)) => {
                    // Of states the last one holds all of them.
                    merged.deltas = vec![delta];
                    merged.time_ms = effective_time(change.time_ms, self.context.time_ms());
                    Verdict::Accepted
                }
                Ok(None) => Verdict::Repeated,
                Err(Failed::Refused(refusal)) => Verdict::Refused(refusal),
                Err(failed) => return Err(failed),
            };
            merged.verdicts.push((*at, verdict));
        }
        Ok(merged)
    }

    /// Merges one change; `None` when the document had it.
    fn merge(&self, subject: &mut Subject, change: &Change) -> Result<Option<Delta>, Failed> {
        let document = subject.merge.as_mut().expect("a collection that merges has a merge document");
        let before = document.version();
        let merged =
            catch_unwind(AssertUnwindSafe(|| document.merge_from(&change.delta, self.author, self.context.time_ms())));
        match merged {
            Ok(Ok(delta)) => Ok((document.version() != before).then_some(delta)),
            Ok(Err(error)) => {
                let problem = Problem::from(error);
                Err(match problem.kind {
                    Kind::Unavailable => Failed::NotNow(problem),
                    kind => Failed::Refused(refusal(kind, problem.detail)),
                })
            }
            Err(_panic) => Err(Failed::InDoubt),
        }
    }
}

fn scratch(subject: &Subject) -> Box<dyn MergeDocument> {
    subject.merge.as_ref().expect("a collection that merges has a merge document").scratch()
}

fn refusal(kind: Kind, detail: String) -> Refusal {
    Refusal { kind: kind.name().to_owned(), detail: detail.chars().take(REFUSAL_CHARS_MAX).collect() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use skerry_api::problem::Outcome;
    use skerry_channel::change::Chain;
    use skerry_model::ids::Nonce;
    use skerry_model::policy::{MergePolicy, Policy};
    use skerry_model::{ClusterId, Incarnation, Origin, PluginDigest, ShardId, Timeline};

    use super::*;
    use crate::catalog::{Catalog, Step};
    use crate::documents::evaluate::{Health, Resolvers};

    struct NoPlugins;

    impl Resolvers for NoPlugins {
        fn resolver(&self, _: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
            Err("none".to_owned())
        }

        fn merge_policy(&self, _: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
            Err("none".to_owned())
        }
    }

    fn create(name: &str) -> Step {
        let name = name.parse().unwrap();
        Step::CreateCollection {
            name,
            policy: Policy::Lww,
            template: None,
            text: Vec::new(),
            settle: false,
            inbox: None,
        }
    }

    /// What a shard that has come as far as `catalog` says to a change of this collection.
    fn said(catalog: &Catalog, collection: u32) -> Result<Vec<Result<Change, Refusal>>, Problem> {
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
        let context = Context {
            catalog: Arc::new(catalog.clone()),
            cluster: ClusterId::from_bytes([1; 16]),
            shards: 1,
            timeline: Timeline::from_bytes([1; 16]),
            core: Author::new(Origin::core(), &incarnation),
            now_ms: 0,
            resolvers: Arc::new(NoPlugins),
            health: Arc::new(Health::default()),
        };
        let change = Change {
            sequence: 1,
            collection: CollectionId::new(collection),
            key: DocumentKey::new("d").unwrap(),
            epoch: Epoch::new(0),
            time_ms: 0,
            delta: Delta::default(),
        };
        let push = Push {
            replica: Origin::new("shop").unwrap(),
            incarnation,
            timeline: context.timeline,
            shard: ShardId::new(0),
            first: 1,
            before: Chain::start(&Origin::new("shop").unwrap(), &incarnation, ShardId::new(0)),
            changes: vec![change.encode().unwrap()],
        };
        check_changes(&context, &push)
    }

    #[test]
    fn a_collection_of_the_future_is_waited_for_and_one_of_the_past_is_not() {
        let first = Catalog::default().after(&create("one"));
        let gone = first.after(&Step::DeleteCollection { name: "one".parse().unwrap() });
        let problem = said(&first, 3).unwrap_err();
        assert_eq!((problem.kind, problem.outcome), (Kind::Unavailable, Some(Outcome::NotProposed)));
        assert!(said(&first, 1).unwrap()[0].is_ok());
        let refused = said(&gone, 1).unwrap();
        let kinds: BTreeSet<_> = refused.iter().map(|change| change.as_ref().unwrap_err().kind.as_str()).collect();
        assert_eq!(kinds, BTreeSet::from([Kind::CollectionNotFound.name()]));
    }
}
