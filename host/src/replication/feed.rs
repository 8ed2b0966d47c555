//! Pull, the core's side: batches from a cursor on. First a compact copy of the live documents in the order of keys,
//! then what changed, in the order of the feed and only up to what is resolved.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use skerry_channel::limits::{PULL_BYTES_TARGET, PULL_DOCUMENTS_MAX};
use skerry_channel::message::{Batch, Document, Manifest, MergeState};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::Subscription;
use skerry_model::engine::json::JsonEngine;
use skerry_model::engine::{Delta, Engine as _, Version};
use skerry_model::policy::EngineKind;
use skerry_model::{CollectionId, DocumentKey, Ordinal, Scn, VersionId};
use skerry_store::{Direction, Limit, OrderedStore};

use crate::catalog::Catalog;
use crate::consensus::state_machine::Progress;
use crate::documents::evaluate::json_engine;
use crate::documents::keys::head::Head;
use crate::documents::keys::{feed, head, version};
use crate::documents::read::{self, Error};
use crate::limits::{FEED_STEP, PULL_STEPS_MAX, SCAN_STEP};

/// A shard's replica, for reading its feed.
pub struct Feed<'a> {
    /// Its rows.
    pub rows: &'a dyn OrderedStore,
    /// The catalog it has reached.
    pub catalog: &'a Catalog,
    /// How far it has come: everything at or below its SCN is resolved.
    pub progress: Progress,
    /// Engines of the json collections that were met.
    engines: RefCell<BTreeMap<CollectionId, Option<JsonEngine>>>,
}

impl<'a> Feed<'a> {
    /// A shard's feed, as far as it has come.
    #[must_use]
    pub fn new(rows: &'a dyn OrderedStore, catalog: &'a Catalog, progress: Progress) -> Self {
        Self { rows, catalog, progress, engines: RefCell::default() }
    }
}

impl Feed<'_> {
    /// Whether the feed reaches back to where a receiver stands.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn reaches(&self, from: &Cursor) -> Result<bool, Error> {
        let (Position::Copy { feed_after: after, .. } | Position::Feed { after }) = &from.position else {
            return Ok(true);
        };
        // One SCN may have many entries, and the receiver may stand between two of them.
        let floor = feed::floor::<Error>(self.rows)?;
        Ok(floor == Scn::ZERO || after.scn > floor)
    }

    /// Whether a receiver plainly has all there is: less than to look for a batch.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn ends_at(&self, from: &Cursor) -> Result<bool, Error> {
        let Position::Feed { after } = &from.position else { return Ok(false) };
        let next = self.rows.scan(&feed::after(*after), Limit::rows(1), Direction::Forward)?;
        Ok(next.is_empty() && self.reaches(from)?)
    }

    /// What is new for a receiver at `from`; `None` when nothing is. Where it says what it holds, a copy is of what differs.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn batch(
        &self,
        from: &Cursor,
        subscription: &Subscription,
        manifest: Option<&Manifest>,
    ) -> Result<Option<Batch>, Error> {
        match &from.position {
            Position::Start => {
                // Everything applied so far lies at or below this; what comes later is in the feed behind it.
                let feed_after = VersionId {
                    scn: self.progress.scn,
                    ordinal: Ordinal { index: self.progress.index, position: u32::MAX },
                };
                self.copy(from, feed_after, None, subscription, manifest).map(Some)
            }
            // A node that has not come as far as the one where the copy began must not go on with it.
            Position::Copy { feed_after, .. } if feed_after.ordinal.index > self.progress.index => Ok(None),
            Position::Copy { feed_after, after } => {
                self.copy(from, *feed_after, Some(after), subscription, manifest).map(Some)
            }
            Position::Feed { after } => self.changes(from, *after, subscription),
        }
    }

    fn copy(
        &self,
        from: &Cursor,
        feed_after: VersionId,
        after: Option<&(CollectionId, DocumentKey)>,
        subscription: &Subscription,
        manifest: Option<&Manifest>,
    ) -> Result<Batch, Error> {
        let mut last = after.cloned();
        let mut batch = Growing::default();
        let mut held = Held::of(manifest);
        for _ in 0..PULL_STEPS_MAX {
            let mut range = head::all();
            if let Some((collection, key)) = &last {
                range = range.behind(head::key(*collection, key), Direction::Forward);
            }
            let heads = read::heads(self.rows, &range, SCAN_STEP)?;
            let more = heads.len() == SCAN_STEP;
            for (collection, key, head) in heads {
                let place = (collection, key);
                if let Some(end) = held.ends_before(&place) {
                    return Ok(batch.finish_copy(from, Position::Copy { feed_after, after: end }, held));
                }
                // What is deleted since the copy began may be in the feed, so the receiver needs what was deleted. An
                // operation on a deleted document goes on from its state, so the receiver needs that too.
                let wanted = (head.live || head.version > feed_after || self.delta_is_everything(collection))
                    && self.covers(subscription, collection, &place.1);
                if held.differs(&place, head.version, wanted) && wanted {
                    batch.add(self.document(collection, &place.1, &head, VersionId::ZERO)?);
                }
                last = Some(place);
                if let (true, Some(after)) = (batch.is_full(), last.clone()) {
                    return Ok(batch.finish_copy(from, Position::Copy { feed_after, after }, held));
                }
            }
            if !more {
                let to = match held.rest() {
                    Some(after) => Position::Copy { feed_after, after },
                    None => Position::Feed { after: feed_after },
                };
                return Ok(batch.finish_copy(from, to, held));
            }
        }
        let after = last.expect("several steps have met documents");
        Ok(batch.finish_copy(from, Position::Copy { feed_after, after }, held))
    }

    fn changes(&self, from: &Cursor, after: VersionId, subscription: &Subscription) -> Result<Option<Batch>, Error> {
        let mut to = after;
        let mut seen = BTreeSet::new();
        let mut batch = Growing::default();
        for _ in 0..PULL_STEPS_MAX {
            let entries = self.rows.scan(&feed::after(to), Limit::rows(FEED_STEP), Direction::Forward)?;
            let more = entries.len() == FEED_STEP;
            for (key, row) in entries {
                let version = feed::decode_key(&key)?;
                if version.scn > self.progress.scn {
                    return Ok(batch.finish_feed(from, after, to, false));
                }
                let feed::Entry { collection, key, .. } = feed::decode(&row)?;
                let wanted = self.covers(subscription, collection, &key) && seen.insert((collection, key.clone()));
                if wanted && let Some(head) = read::head(self.rows, collection, &key)? {
                    batch.add(self.document(collection, &key, &head, after)?);
                }
                to = version;
                if batch.is_full() {
                    return Ok(batch.finish_feed(from, after, to, true));
                }
            }
            if !more {
                return Ok(batch.finish_feed(from, after, to, false));
            }
        }
        Ok(batch.finish_feed(from, after, to, true))
    }

    /// A collection that is gone is not served; edges hear of it through the catalog.
    fn covers(&self, subscription: &Subscription, collection: CollectionId, key: &DocumentKey) -> bool {
        self.catalog.collection_by_id(collection).is_some_and(|(name, _)| subscription.covers(name, key))
    }

    fn delta_is_everything(&self, collection: CollectionId) -> bool {
        let collection = self.catalog.collection_by_id(collection);
        collection.is_some_and(|(_, collection)| self.catalog.engine(&collection.policy) == EngineKind::State)
    }

    /// What a receiver that has everything up to `after` holds of a document: nothing, where it was deleted then, since a
    /// first copy leaves out the deleted.
    fn base(
        &self,
        collection: CollectionId,
        key: &DocumentKey,
        head: &Head,
        after: VersionId,
    ) -> Result<VersionId, Error> {
        if after == VersionId::ZERO {
            return Ok(after);
        }
        let known = version::from(collection, key, head.epoch, after);
        let known = self.rows.scan(&known, Limit::rows(1), Direction::Forward)?;
        match known.first().map(|(_, row)| version::decode(row)).transpose()? {
            Some(known) if known.body != version::Body::Deleted => Ok(after),
            _ => Ok(VersionId::ZERO),
        }
    }

    /// What a receiver that has everything up to `after` lacks of a merge document; and whether that is all there is.
    fn deltas(
        &self,
        collection: CollectionId,
        key: &DocumentKey,
        head: &Head,
        after: VersionId,
    ) -> Result<(Vec<Delta>, bool), Error> {
        if self.delta_is_everything(collection) {
            return Ok((read::newest_delta(self.rows, collection, key, head)?.into_iter().collect(), false));
        }
        let base = self.base(collection, key, head, after)?;
        Ok((read::deltas(self.rows, collection, key, head, base)?, base == VersionId::ZERO))
    }

    /// What a document has seen that has taken these deltas, where their names say it.
    fn version_of(&self, id: CollectionId, deltas: &[Delta]) -> Option<Version> {
        let make = || {
            let (_, collection) = self.catalog.collection_by_id(id)?;
            json_engine(collection.template.as_ref(), &collection.text).ok()
        };
        self.engines.borrow_mut().entry(id).or_insert_with(make).as_ref()?.version_of(None, deltas)
    }

    /// A document at its newest version, with the deltas after `after`.
    fn document(
        &self,
        collection: CollectionId,
        key: &DocumentKey,
        head: &Head,
        after: VersionId,
    ) -> Result<Document, Error> {
        let seen = read::version(self.rows, collection, key, head.epoch, head.version)?;
        let merge = match seen.version.seen {
            Some(version) => {
                let (deltas, are_all) = match seen.version.previous {
                    // A row that is asked for by its key is found sooner than one that is looked for.
                    None if !self.delta_is_everything(collection) => {
                        (read::deltas_of(self.rows, collection, key, head)?, true)
                    }
                    _ => self.deltas(collection, key, head, after)?,
                };
                // What it has seen cannot be compressed, and takes as much as the rest of a short document.
                let says_itself = are_all && self.version_of(collection, &deltas).as_ref() == Some(&version);
                Some(MergeState { deltas, seen: (!says_itself).then_some(version) })
            }
            None => None,
        };
        Ok(Document {
            collection,
            key: key.clone(),
            epoch: head.epoch,
            version: head.version,
            view: seen.view,
            plugin: seen.version.plugin,
            conflicts: seen.version.conflicts,
            fallback: seen.version.fallback,
            merge,
        })
    }
}

/// What a receiver says it holds, walked beside what is there.
struct Held<'m> {
    rest: std::iter::Peekable<std::slice::Iter<'m, (CollectionId, DocumentKey, VersionId)>>,
    /// The last of them, where the receiver holds more behind it.
    end: Option<(CollectionId, DocumentKey)>,
    gone: Option<Vec<(CollectionId, DocumentKey)>>,
}

impl<'m> Held<'m> {
    fn of(manifest: Option<&'m Manifest>) -> Self {
        let held: &[_] = manifest.map_or(&[], |manifest| &manifest.held);
        let last = held.last().filter(|_| manifest.is_some_and(|manifest| manifest.more));
        Self {
            rest: held.iter().peekable(),
            end: last.map(|(collection, key, _)| (*collection, key.clone())),
            gone: manifest.map(|_| Vec::new()),
        }
    }

    /// The last that the receiver has named, when this document lies behind it: what it holds there it has not said.
    fn ends_before(&mut self, place: &(CollectionId, DocumentKey)) -> Option<(CollectionId, DocumentKey)> {
        if self.end.as_ref()? < place { self.rest() } else { None }
    }

    /// Whether the receiver does not hold this version. What it holds before this document is gone, and so is the document
    /// when it is not wanted and another version is held.
    fn differs(&mut self, place: &(CollectionId, DocumentKey), version: VersionId, wanted: bool) -> bool {
        while let Some((collection, key, held)) =
            self.rest.next_if(|(collection, key, _)| (*collection, key) <= (place.0, &place.1))
        {
            let is_same = (*collection, key) == (place.0, &place.1);
            if is_same && *held == version {
                return false;
            }
            if !is_same || !wanted {
                self.gone.get_or_insert_default().push((*collection, key.clone()));
            }
        }
        true
    }

    /// What is left is gone too; where the receiver's list ended, when it holds more.
    fn rest(&mut self) -> Option<(CollectionId, DocumentKey)> {
        let rest: Vec<_> = self.rest.by_ref().map(|(collection, key, _)| (*collection, key.clone())).collect();
        self.gone.iter_mut().for_each(|gone| gone.extend_from_slice(&rest));
        self.end.take()
    }
}

/// A batch that grows to its bounds.
#[derive(Default)]
struct Growing {
    documents: Vec<Document>,
    bytes: usize,
}

impl Growing {
    fn add(&mut self, document: Document) {
        self.bytes += document.content_bytes();
        self.documents.push(document);
    }

    fn is_full(&self) -> bool {
        self.documents.len() >= PULL_DOCUMENTS_MAX || self.bytes >= PULL_BYTES_TARGET
    }

    fn finish(self, from: &Cursor, to: Position, more: bool) -> Batch {
        let to = Cursor { position: to, ..from.clone() };
        Batch { from: from.clone(), to, documents: self.documents, gone: None, more }
    }

    fn finish_copy(self, from: &Cursor, to: Position, held: Held<'_>) -> Batch {
        Batch { gone: held.gone, ..self.finish(from, to, true) }
    }

    /// A batch of the feed; `None` when it leads nowhere.
    fn finish_feed(self, from: &Cursor, after: VersionId, to: VersionId, more: bool) -> Option<Batch> {
        (to > after).then(|| self.finish(from, Position::Feed { after: to }, more))
    }
}
