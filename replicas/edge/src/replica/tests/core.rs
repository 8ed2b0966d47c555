//! A core small enough to see through: one log for all shards, no Raft.

use std::collections::BTreeMap;
use std::sync::Arc;

use skerry_channel::change::Change;
use skerry_channel::message::{
    Batch, Catalog, Collection, Document, Hello, MergeState, Pull, Pulled, Push, Pushed, Refusal, Restored, Taken,
    Verdict, Welcome,
};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::push::receiver::{Judgement, Watermark, judge};
use skerry_channel::push::sender::Confirmed;
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::{Author, Delta, Engine, MergeDocument, Write, WriteContext};
use skerry_model::ids::shard_of;
use skerry_model::policy::{Chooser, Policy, Resolver};
use skerry_model::{
    CatalogVersion, ClusterId, CollectionId, DocumentKey, Epoch, Incarnation, Nonce, Ordinal, Origin, PluginDigest,
    Scn, ShardId, Timeline, VersionId,
};

type Place = (CollectionId, DocumentKey);

pub(crate) struct Core {
    pub(crate) timeline: Timeline,
    /// Whether edges offer again what it has lost of their work.
    replay: bool,
    pub(crate) now_ms: u64,
    /// Changes to documents whose key begins with this are refused.
    pub(crate) refuses: Option<&'static str>,
    /// Documents in one batch of a copy.
    pub(crate) copy_step: usize,
    pub(crate) catalog: Catalog,
    pub(crate) resolver: Option<Arc<dyn Resolver>>,
    /// How many batches were judged anew.
    pub(crate) judged: usize,
    shards: u16,
    last: u64,
    /// Its feed does not reach back to before this.
    floor: VersionId,
    watermarks: BTreeMap<(Origin, ShardId), Watermark>,
    documents: BTreeMap<Place, Held>,
}

struct Held {
    document: Box<dyn MergeDocument>,
    version: VersionId,
    log: Vec<(VersionId, Delta)>,
}

impl Core {
    pub(crate) fn new(shards: u16) -> Self {
        let mut core = Self {
            timeline: Timeline::from_bytes([2; 16]),
            replay: false,
            now_ms: 1_000_000,
            refuses: None,
            copy_step: usize::MAX,
            catalog: Catalog { version: CatalogVersion::new(0), collections: Vec::new() },
            resolver: None,
            judged: 0,
            shards,
            last: 0,
            floor: VersionId::ZERO,
            watermarks: BTreeMap::new(),
            documents: BTreeMap::new(),
        };
        core.set_collection(1, "items", Policy::Lww, None);
        core.set_collection(2, "ledger", Policy::Strict, None);
        core
    }

    pub(crate) fn set_collection(&mut self, id: u32, name: &str, policy: Policy, plugin: Option<PluginDigest>) {
        let id = CollectionId::new(id);
        let collection = Collection {
            id,
            name: name.parse().unwrap(),
            policy,
            plugin,
            world: None,
            template: None,
            text: Vec::new(),
            settle: false,
            inbox: None,
        };
        self.catalog.collections.retain(|other| other.name != collection.name);
        self.catalog.collections.push(collection);
        self.catalog.version = self.catalog.version.next();
    }

    pub(crate) fn delete_collection(&mut self, name: &str) {
        self.catalog.collections.retain(|collection| collection.name.as_str() != name);
        self.catalog.version = self.catalog.version.next();
        let kept: Vec<_> = self.catalog.collections.iter().map(|collection| collection.id).collect();
        self.documents.retain(|(id, _), _| kept.contains(id));
    }

    /// The same core at this moment, on a line of history of its own: what a restore makes.
    pub(crate) fn restored(&self, timeline: u8, replay: bool) -> Self {
        let held =
            |held: &Held| Held { document: held.document.scratch(), version: held.version, log: held.log.clone() };
        Self {
            timeline: Timeline::from_bytes([timeline; 16]),
            replay,
            catalog: self.catalog.clone(),
            resolver: self.resolver.clone(),
            watermarks: self.watermarks.clone(),
            documents: self.documents.iter().map(|(place, document)| (place.clone(), held(document))).collect(),
            ..*self
        }
    }

    pub(crate) fn welcome(&self, hello: &Hello) -> Welcome {
        let confirmed = |shard: u16| {
            let known = self.watermarks.get(&(hello.replica.clone(), ShardId::new(shard)));
            known.map(|known| Taken {
                confirmed: Confirmed { incarnation: known.incarnation, mark: known.mark },
                batch_first: known.batch_first,
                verdicts: known.verdicts.clone(),
            })
        };
        let restored = hello.timeline.filter(|known| *known != self.timeline);
        Welcome {
            restored: restored
                .map(|_| Restored { replay: self.replay, confirmed: (0..self.shards).map(confirmed).collect() }),
            cluster: ClusterId::from_bytes([1; 16]),
            timeline: self.timeline,
            shards: self.shards,
            now_ms: self.now_ms,
            catalog: self.catalog.clone(),
        }
    }

    /// A write by a client of the core.
    pub(crate) fn write(&mut self, key: &str, write: &Write) {
        let place = (CollectionId::new(1), key.parse().unwrap());
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([0; 16]) };
        let author = Author::new(Origin::core(), &incarnation);
        let mut document = self.scratch(&place);
        let seen = document.view(Chooser::Lww).unwrap().view.map(|view| view.object().unwrap());
        let time_ms = i64::try_from(self.now_ms).unwrap();
        let context = WriteContext { author: &author, time_ms, number: None, base: None, seen: seen.as_ref() };
        let delta = document.apply(write, &context).unwrap().unwrap();
        self.commit(place, document, delta);
    }

    /// Forgets a deleted document for good, as the end of the rejoin window does.
    pub(crate) fn forget(&mut self, key: &str) {
        self.documents.remove(&(CollectionId::new(1), key.parse().unwrap()));
        self.floor = self.documents.values().map(|held| held.version).max().unwrap_or(VersionId::ZERO);
    }

    pub(crate) fn view(&self, key: &str) -> Option<serde_json::Value> {
        let held = self.documents.get(&(CollectionId::new(1), key.parse().unwrap()))?;
        let view = held.document.view(Chooser::Lww).unwrap().view?;
        Some(serde_json::Value::Object(view.object().unwrap()))
    }

    fn scratch(&self, place: &Place) -> Box<dyn MergeDocument> {
        let empty = || JsonEngine::new(JsonSettings::default()).unwrap().empty();
        self.documents.get(place).map_or_else(empty, |held| held.document.scratch())
    }

    fn commit(&mut self, place: Place, document: Box<dyn MergeDocument>, delta: Delta) {
        self.last += 1;
        let scn = Scn::from_bits((self.now_ms << 16) + self.last);
        let version = VersionId { scn, ordinal: Ordinal { index: self.last, position: 0 } };
        let mut log = self.documents.remove(&place).map(|held| held.log).unwrap_or_default();
        log.push((version, delta));
        self.documents.insert(place, Held { document, version, log });
    }

    pub(crate) fn push(&mut self, push: &Push) -> Pushed {
        if push.timeline != self.timeline {
            return Pushed::OtherTimeline { timeline: self.timeline };
        }
        let who = (push.replica.clone(), push.shard);
        match judge(self.watermarks.get(&who), push) {
            Judgement::Answer(answer) => answer,
            Judgement::Take(mark) => {
                self.judged += 1;
                let verdicts: Vec<_> = push.changes.iter().map(|change| self.verdict(push, change)).collect();
                let (batch_first, batch_before, incarnation) = (push.first, push.before, push.incarnation);
                let watermark = Watermark { incarnation, mark, batch_first, batch_before, verdicts: verdicts.clone() };
                self.watermarks.insert(who, watermark);
                Pushed::Judged { mark, verdicts }
            }
        }
    }

    fn verdict(&mut self, push: &Push, change: &[u8]) -> Verdict {
        let refused = |kind: &str, detail: String| Verdict::Refused(Refusal { kind: kind.to_owned(), detail });
        let change = Change::decode(change).unwrap();
        let place = (change.collection, change.key.clone());
        if !self.catalog.collections.iter().any(|collection| collection.id == change.collection) {
            return refused("collection-gone", "The collection is gone.".to_owned());
        }
        if self.refuses.is_some_and(|prefix| change.key.as_str().starts_with(prefix)) {
            return refused("refused", "Not this one.".to_owned());
        }
        let author = Author::new(push.replica.clone(), &push.incarnation);
        let mut document = self.scratch(&place);
        let before = document.version();
        let now_ms = i64::try_from(self.now_ms).unwrap();
        match document.merge_from(&change.delta, &author, now_ms) {
            Ok(_) if document.version() == before => Verdict::Repeated,
            Ok(delta) => {
                self.commit(place, document, delta);
                Verdict::Accepted
            }
            Err(error) => refused("refused", error.to_string()),
        }
    }

    pub(crate) fn pull(&self, pull: &Pull) -> Pulled {
        let catalog = (pull.catalog != self.catalog.version).then(|| self.catalog.clone());
        let cursors = pull.cursors.iter().filter(|cursor| cursor.timeline == self.timeline).cloned();
        let (too_old, cursors): (Vec<_>, Vec<_>) = cursors.partition(|cursor| match cursor.position {
            Position::Feed { after } => after < self.floor,
            Position::Start | Position::Copy { .. } => false,
        });
        let batches = cursors.iter().filter_map(|cursor| self.batch(pull, cursor)).collect();
        Pulled { batches, too_old, catalog, timeline: self.timeline }
    }

    fn batch(&self, pull: &Pull, from: &Cursor) -> Option<Batch> {
        let name = |id: CollectionId| {
            self.catalog.collections.iter().find(|collection| collection.id == id).map(|found| found.name.clone())
        };
        let mine = |place: &Place| {
            name(place.0).is_some_and(|name| {
                shard_of(&name, &place.1, self.shards) == from.shard && pull.subscription.covers(&name, &place.1)
            })
        };
        let newest = self.documents.values().map(|held| held.version).max().unwrap_or(VersionId::ZERO);
        let (documents, position, more) = match &from.position {
            Position::Feed { after } => {
                let changed = self.documents.iter().filter(|(place, held)| held.version > *after && mine(place));
                let documents: Vec<_> = changed.map(|(place, held)| self.published(place, held, *after)).collect();
                if documents.is_empty() {
                    return None;
                }
                (documents, Position::Feed { after: newest }, false)
            }
            Position::Start | Position::Copy { .. } => {
                let (feed_after, after) = match &from.position {
                    Position::Copy { feed_after, after } => (*feed_after, Some(after.clone())),
                    Position::Start | Position::Feed { .. } => (newest, None),
                };
                let rest = self.documents.iter().filter(|(place, held)| {
                    let live = held.document.view(Chooser::Lww).unwrap().view.is_some();
                    (live || held.version > feed_after)
                        && mine(place)
                        && after.as_ref().is_none_or(|after| *place > after)
                });
                let rest: Vec<_> = rest.collect();
                let more = rest.len() > self.copy_step;
                let step: Vec<_> = rest.into_iter().take(self.copy_step).collect();
                let position = match step.last() {
                    Some((place, _)) if more => Position::Copy { feed_after, after: (*place).clone() },
                    _ => Position::Feed { after: feed_after },
                };
                let documents =
                    step.into_iter().map(|(place, held)| self.published(place, held, VersionId::ZERO)).collect();
                (documents, position, more)
            }
        };
        Some(Batch { from: from.clone(), to: Cursor { position, ..from.clone() }, documents, gone: None, more })
    }

    fn published(&self, place: &Place, held: &Held, after: VersionId) -> Document {
        let collection = self.catalog.collections.iter().find(|collection| collection.id == place.0).unwrap();
        let chooser = match &self.resolver {
            Some(resolver) if collection.plugin.is_some() => Chooser::Resolver(resolver.as_ref()),
            _ => Chooser::Lww,
        };
        let viewed = held.document.view(chooser).unwrap();
        let deltas = held.log.iter().filter(|(version, _)| *version > after).map(|(_, delta)| delta.clone()).collect();
        Document {
            collection: place.0,
            key: place.1.clone(),
            epoch: Epoch::default(),
            version: held.version,
            view: viewed.view,
            plugin: collection.plugin,
            conflicts: viewed.conflicts,
            fallback: viewed.fallback,
            merge: Some(MergeState { deltas, seen: Some(held.document.version()) }),
        }
    }
}
