//! The work on one document's queue: evaluate what waits, propose it as one record, answer, and again.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use skerry_api::documents::{Change, Stamp, State, Written};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_channel::message::{Push, Pushed};
use skerry_channel::push::receiver::{Judgement, judge};
use skerry_model::{CollectionName, DocumentKey, Ordinal, PluginDigest, VersionId};

use super::Node;
use super::propose::Proposed;
use super::shard::{Refused, Shard, Waiting};
use super::slots::Place;
use crate::catalog::Collection;
use crate::documents::evaluate::{
    ByDocument, Context, Judged, Pending, PushEvaluation, Subject, WriteEvaluation, by_document, check_changes, etag,
    evaluate_push, evaluate_writes, judge_documents, storage_problem,
};
use crate::documents::keys::fold;
use crate::documents::keys::fold::Fold;
use crate::documents::read;
use crate::documents::record::Documents;
use crate::limits::{EVALUATED_INLINE_BYTES_MAX, EVALUATION_THREADS, EVALUATIONS_MAX, PUSH_PART_DOCUMENTS_MIN};

impl Node {
    /// Works on a document's queue until it is empty.
    pub(super) async fn work(self, shard: Arc<Shard>, place: Place) {
        loop {
            let slot = self.0.slots.hold(place.clone()).await;
            let Some(batch) = shard.dequeue(&place) else { return };
            // Otherwise what is queued behind it would wait for ever; those in the batch hear that nothing is known.
            let worked = AssertUnwindSafe(self.evaluate_batch(&shard, &place, batch)).catch_unwind().await;
            if worked.is_err() {
                tracing::error!(shard = %shard.id, key = %place.1, "writing a document failed in a way that is a bug");
            }
            drop(slot);
        }
    }

    async fn evaluate_batch(&self, shard: &Arc<Shard>, place: &Place, mut batch: Vec<Waiting>) {
        // Whoever has gone away before its write was evaluated no longer wants it.
        batch.retain(|waiting| !waiting.answer.is_closed());
        if batch.is_empty() {
            return;
        }
        for _ in 0..EVALUATIONS_MAX {
            if let Err(refused) = self.lead(shard).await {
                return refuse(batch, &refused);
            }
            let context = self.context(shard);
            let Some((name, collection)) = context.catalog.collection_by_id(place.0) else {
                let detail = "the collection was deleted while the write waited";
                return refuse(batch, &Problem::new(Kind::CollectionNotFound, detail).into());
            };
            let (name, collection) = (name.clone(), collection.clone());
            let evaluated = match self.evaluate(shard, &context, &collection, place, &batch).await {
                Ok(evaluated) => evaluated,
                Err(problem) => return refuse(batch, &problem.into()),
            };
            let WriteEvaluation { subject, effect, answers } = evaluated;
            let evaluated_over = subject.as_ref().map(|subject| subject.head().map(|head| head.version));
            let outcome = match effect {
                Some(effect) => {
                    let documents = Documents { catalog: context.catalog.version, documents: vec![effect], push: None };
                    self.propose_documents(shard, documents).await
                }
                // Nothing is proposed, so the answers are reads and wait like one.
                None => self.unless_newer(shard, place, evaluated_over).await,
            };
            match outcome {
                Ok(Proposed::Stale) => {}
                Ok(Proposed::Installed(first)) => {
                    let applied = AppliedWrites { node: self, context: &context, name: &name, collection: &collection };
                    applied.finish(shard, place, first, subject, answers, batch);
                    return;
                }
                Err(refused) => return refuse(batch, &refused),
            }
        }
        let problem = Problem::unavailable(Outcome::NotProposed, "the document changes too fast: try again");
        refuse(batch, &problem.into());
    }

    /// Waits for the read index; what was evaluated over an older version than is then there, is stale.
    async fn unless_newer(
        &self,
        shard: &Shard,
        place: &Place,
        evaluated_over: Option<Option<VersionId>>,
    ) -> Result<Proposed, Refused> {
        self.local_read_index(shard).await?;
        let head = read::head(&shard.state.store(), place.0, &place.1).map_err(|error| storage_problem(&error))?;
        let is_same = evaluated_over.is_none_or(|evaluated| evaluated == head.map(|head| head.version));
        Ok(if is_same { Proposed::Installed(VersionId::ZERO) } else { Proposed::Stale })
    }

    /// What a leader's evaluation goes by.
    pub(super) fn context(&self, shard: &Shard) -> Context {
        Context {
            catalog: shard.state.catalog(),
            cluster: self.0.peers.founding().cluster,
            shards: self.0.peers.founding().shards,
            timeline: self.timeline(),
            core: self.0.core.clone(),
            now_ms: self.0.clock.now_ms(),
            resolvers: Arc::clone(&self.0.plugins) as _,
            health: Arc::clone(&self.0.health),
        }
    }

    async fn evaluate(
        &self,
        shard: &Arc<Shard>,
        context: &Context,
        collection: &Collection,
        place: &Place,
        batch: &[Waiting],
    ) -> Result<WriteEvaluation, Problem> {
        let mut strict = None;
        if !collection.policy.merges() {
            let requests: Vec<_> = batch.iter().map(|waiting| &waiting.request).collect();
            let subject = Subject::load_strict(&shard.state.store(), collection, &place.1, &requests)?;
            let weight = batch.iter().map(|waiting| waiting.bytes + subject.stored_bytes()).sum::<usize>();
            if weight <= EVALUATED_INLINE_BYTES_MAX {
                return Ok(evaluate_writes(&shard.state.store(), context, collection, subject, &requests));
            }
            strict = Some((subject, None));
        }
        let requests: Vec<_> = batch.iter().map(|waiting| waiting.request.clone()).collect();
        let live = self.0.live.take(place.0, &place.1);
        let (rows, key) = (shard.state.store(), place.1.clone());
        let active = context.catalog.digest(&collection.policy);
        let (context, collection) = (context.clone(), collection.clone());
        let job = move || {
            let requests: Vec<_> = requests.iter().collect();
            let (subject, fold) = match strict {
                Some(loaded) => loaded,
                None => Subject::load(&rows, &context, &collection, &key, live)?,
            };
            Ok((evaluate_writes(&rows, &context, &collection, subject, &requests), fold))
        };
        let computed = self.compute_in_turn(active.into_iter().collect(), job).await;
        let (evaluated, fold) = computed.unwrap_or_else(|| Err(panicked()))?;
        self.save_fold(shard, place, fold).await;
        Ok(evaluated)
    }

    /// Saves a document whole, so that the next load is short. Local, and nothing is lost without it.
    pub(super) async fn save_fold(&self, shard: &Shard, (collection, key): &Place, fold: Option<Fold>) {
        let Some(fold) = fold else { return };
        let mut batch = skerry_store::Batch::new();
        batch.put(fold::key(*collection, key, skerry_model::Epoch::new(0)), fold::encode(&fold));
        if let Err(error) = shard.state.store().install(batch).await {
            tracing::warn!(%error, %key, "a fold was not saved");
        }
    }

    /// Evaluates an edge's push on the leader and proposes it; of one whose outcome is too large for a record, as much of its
    /// beginning as fits: the edge sends the rest again.
    pub(super) async fn push_here(&self, shard: &Arc<Shard>, push: &Push) -> Result<Pushed, Refused> {
        let mut push = push.clone();
        loop {
            match self.push_together(shard, &push).await {
                Err(Refused::Problem(problem)) if problem.kind == Kind::TooLarge && push.changes.len() > 1 => {
                    push.changes.truncate(push.changes.len() / 2);
                }
                done => return done,
            }
        }
    }

    async fn push_together(&self, shard: &Arc<Shard>, push: &Push) -> Result<Pushed, Refused> {
        if push.timeline != self.timeline() {
            return Ok(Pushed::OtherTimeline { timeline: self.timeline() });
        }
        self.has_room(shard)?;
        // One batch of a replica and shard at a time; a repeat of it waits here and then meets the new watermark.
        let _turn = self.0.slots.hold(push_place(push)).await;
        for _ in 0..EVALUATIONS_MAX {
            self.lead(shard).await?;
            let known =
                read::watermark(&shard.state.store(), &push.replica).map_err(|error| storage_problem(&error))?;
            let end = match judge(known.as_ref(), push) {
                Judgement::Take(end) => end,
                Judgement::Answer(answer) => {
                    self.local_read_index(shard).await?;
                    return Ok(answer);
                }
            };
            let context = self.context(shard);
            let (changes, refused) = by_document(check_changes(&context, push)?);
            let _slots = self.0.slots.hold_all(&changes.keys().cloned().collect()).await;
            let parts: Vec<_> =
                parts(changes).into_iter().map(|part| self.judge_part(shard, &context, push, part)).collect();
            let mut judged = vec![refused];
            for part in futures::future::join_all(parts).await {
                judged.push(part?);
            }
            let PushEvaluation { documents, subjects } = evaluate_push(&context, known.as_ref(), push, end, judged);
            let effect = documents.push.clone().expect("a push moves its watermark");
            let newest = newest_positions(&documents);
            if let Proposed::Installed(first) = self.propose_documents(shard, documents).await? {
                self.park(shard, subjects, &newest, first);
                return Ok(Pushed::Judged { mark: effect.watermark.mark, verdicts: effect.watermark.verdicts });
            }
        }
        let detail = "the documents change too fast: try again";
        Err(Problem::unavailable(Outcome::NotProposed, detail).into())
    }

    /// Judges the changes of some documents of a push, off the tokio workers.
    async fn judge_part(
        &self,
        shard: &Arc<Shard>,
        context: &Context,
        push: &Push,
        part: ByDocument,
    ) -> Result<Judged, Problem> {
        let collections = part.keys().filter_map(|(id, _)| context.catalog.collection_by_id(*id));
        let plugins = collections.filter_map(|(_, collection)| context.catalog.digest(&collection.policy)).collect();
        let taken = |(place, changes): (Place, _)| {
            let live = self.0.live.take(place.0, &place.1);
            (place, live, changes)
        };
        let documents: Vec<_> = part.into_iter().map(taken).collect();
        let (rows, batch, context) = (shard.state.store(), push.clone(), context.clone());
        let job = move || {
            let (mut loaded, mut folds) = (Vec::with_capacity(documents.len()), Vec::new());
            for (place, live, changes) in documents {
                let (_, collection) = context.catalog.collection_by_id(place.0).expect("check_changes has found it");
                let (subject, fold) = Subject::load(&rows, &context, collection, &place.1, live)?;
                folds.extend(fold.map(|fold| (place, fold)));
                loaded.push((subject, changes));
            }
            Ok((judge_documents(&context, &batch, loaded)?, folds))
        };
        let computed = self.compute_in_turn(plugins, job).await;
        let (judged, folds) = computed.unwrap_or_else(|| Err(panicked()))?;
        for (place, fold) in folds {
            self.save_fold(shard, &place, Some(fold)).await;
        }
        Ok(judged)
    }

    /// Puts the documents of an applied push back into memory, at the versions they now have.
    fn park(&self, shard: &Shard, subjects: Vec<Subject>, newest: &BTreeMap<Place, u32>, first: VersionId) {
        for subject in subjects {
            let place = subject.place();
            let made = newest.get(&place).map(|&position| behind(first, position));
            let version = made.or_else(|| subject.head().map(|head| head.version));
            if let (Some(version), Some(document)) = (version, subject.into_merge()) {
                self.0.live.put(shard.id, place.0, place.1, version, document);
            }
        }
    }
}

/// A push in parts of about as many documents, one for each thread that evaluates, where they are worth it.
fn parts(documents: ByDocument) -> Vec<ByDocument> {
    let size = documents.len().div_ceil(EVALUATION_THREADS).max(PUSH_PART_DOCUMENTS_MIN);
    let mut parts = Vec::new();
    for (at, document) in documents.into_iter().enumerate() {
        if at % size == 0 {
            parts.push(ByDocument::new());
        }
        parts.last_mut().expect("there is one by now").insert(document.0, document.1);
    }
    parts
}

/// A place that stands for a replica's pushes to one shard: no collection has the id 0.
fn push_place(push: &Push) -> Place {
    let key = format!("{}/{}", push.shard, push.replica);
    (skerry_model::CollectionId::new(0), key.parse().expect("a replica id and a number are a valid key"))
}

/// The version so many behind the first one of a change.
fn behind(first: VersionId, position: u32) -> VersionId {
    let ordinal = Ordinal { index: first.ordinal.index, position: first.ordinal.position + position };
    VersionId { scn: first.scn, ordinal }
}

/// The place in the change of each document's newest version.
fn newest_positions(documents: &Documents) -> BTreeMap<Place, u32> {
    let mut made = 0;
    let newest = documents.documents.iter().map(|effect| {
        made += u32::try_from(effect.versions.len()).expect("a record has few versions");
        ((effect.collection, effect.key.clone()), made - 1)
    });
    newest.collect()
}

pub(super) fn panicked() -> Problem {
    Problem::new(Kind::Internal, "loading the document failed in a way that is a bug; it is as it was")
}

/// Tells all who wait the same.
fn refuse(batch: Vec<Waiting>, refused: &Refused) {
    for waiting in batch {
        let refused = match refused {
            Refused::NotLeader(leader) => Refused::NotLeader(*leader),
            Refused::Problem(problem) => Refused::Problem(problem.clone()),
        };
        // Whoever has gone away needs no answer.
        let _ = waiting.answer.send(Err(refused));
    }
}

struct AppliedWrites<'a> {
    node: &'a Node,
    context: &'a Context,
    name: &'a CollectionName,
    collection: &'a Collection,
}

impl AppliedWrites<'_> {
    /// Answers everyone whose write was evaluated, queues the others again, and keeps the document in memory.
    fn finish(
        &self,
        shard: &Shard,
        place: &Place,
        first: VersionId,
        subject: Option<Subject>,
        answers: Vec<Result<Pending, Problem>>,
        batch: Vec<Waiting>,
    ) {
        let made = answers.iter().flatten().filter_map(|pending| pending.position).max();
        let id = |position: usize| behind(first, u32::try_from(position).expect("a record has few versions"));
        let before = subject.as_ref().and_then(|subject| subject.head().map(|head| head.version));
        let newest = made.map(id).or(before);
        let active = self.context.catalog.digest(&self.collection.policy);
        // A write that changed nothing is answered with the version that was there.
        let stored = subject.as_ref().and_then(Subject::plugin);
        let mut waiting = batch.into_iter();
        for answer in answers {
            let asked = waiting.next().expect("there is at most one answer for each request");
            let answer = answer.map(|pending| match pending.position {
                Some(position) => self.written(&place.1, pending, Some(id(position)), active),
                None => self.written(&place.1, pending, before, stored),
            });
            let _ = asked.answer.send(answer.map_err(Refused::from));
        }
        shard.requeue(place, waiting.collect());
        if let (Some(version), Some(document)) = (newest, subject.and_then(Subject::into_merge)) {
            self.node.0.live.put(shard.id, place.0, place.1.clone(), version, document);
        }
    }

    fn written(
        &self,
        key: &DocumentKey,
        pending: Pending,
        version: Option<VersionId>,
        plugin: Option<PluginDigest>,
    ) -> Written {
        let stamp = version.filter(|_| pending.change != Change::Deleted).map(|version| Stamp {
            etag: etag(self.context.timeline, version, plugin),
            scn: Some(format!("{}.{}", self.context.timeline, version.scn)),
            policy: self.context.catalog.describe(&self.collection.policy),
            state: State::Committed,
            automerge: self.context.automerge_id(self.collection, key),
        });
        tracing::trace!(collection = %self.name, change = ?pending.change, "a write was applied");
        Written { change: pending.change, stamp }
    }
}
