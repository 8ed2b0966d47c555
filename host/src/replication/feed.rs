//! Pull, the core's side: batches from a cursor on. First a compact copy of the live documents in the order of keys,
//! then what changed, in the order of the feed and only up to what is resolved.

use std::collections::BTreeSet;

use skerry_channel::limits::{PULL_BYTES_TARGET, PULL_DOCUMENTS_MAX};
use skerry_channel::message::{Batch, Document, MergeState};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::Subscription;
use skerry_model::policy::EngineKind;
use skerry_model::{CollectionId, DocumentKey, Ordinal, VersionId};
use skerry_store::{Direction, Limit, OrderedStore};

use crate::catalog::Catalog;
use crate::consensus::state_machine::Progress;
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
}

impl Feed<'_> {
    /// What is new for a receiver at `from`; `None` when nothing is.
    ///
    /// # Errors
    /// When rows cannot be read.
    pub fn batch(&self, from: &Cursor, subscription: &Subscription) -> Result<Option<Batch>, Error> {
        match &from.position {
            Position::Start => {
                // Everything applied so far lies at or below this; what comes later is in the feed behind it.
                let feed_after = VersionId {
                    scn: self.progress.scn,
                    ordinal: Ordinal { index: self.progress.index, position: u32::MAX },
                };
                self.copy(from, feed_after, None, subscription).map(Some)
            }
            // A node that has not come as far as the one where the copy began must not go on with it.
            Position::Copy { feed_after, .. } if feed_after.ordinal.index > self.progress.index => Ok(None),
            Position::Copy { feed_after, after } => self.copy(from, *feed_after, Some(after), subscription).map(Some),
            Position::Feed { after } => self.changes(from, *after, subscription),
        }
    }

    fn copy(
        &self,
        from: &Cursor,
        feed_after: VersionId,
        after: Option<&(CollectionId, DocumentKey)>,
        subscription: &Subscription,
    ) -> Result<Batch, Error> {
        let mut last = after.cloned();
        let mut batch = Growing::default();
        for _ in 0..PULL_STEPS_MAX {
            let mut range = head::all();
            if let Some((collection, key)) = &last {
                range = range.behind(head::key(*collection, key), Direction::Forward);
            }
            let heads = read::heads(self.rows, &range, SCAN_STEP)?;
            let more = heads.len() == SCAN_STEP;
            for (collection, key, head) in heads {
                // What is deleted since the copy began may be in the feed, so the receiver needs what was deleted. An
                // operation on a deleted document goes on from its state, so the receiver needs that too.
                let wanted = head.live || head.version > feed_after || self.delta_is_everything(collection);
                if wanted && self.covers(subscription, collection, &key) {
                    batch.add(self.document(collection, &key, &head, VersionId::ZERO)?);
                }
                last = Some((collection, key));
                if let (true, Some(after)) = (batch.is_full(), last.clone()) {
                    let to = Position::Copy { feed_after, after };
                    return Ok(batch.finish(from, to, true));
                }
            }
            if !more {
                return Ok(batch.finish(from, Position::Feed { after: feed_after }, true));
            }
        }
        let after = last.expect("several steps have met documents");
        Ok(batch.finish(from, Position::Copy { feed_after, after }, true))
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
        let known = version::from(collection, key, head.epoch, after);
        let known = self.rows.scan(&known, Limit::rows(1), Direction::Forward)?;
        match known.first().map(|(_, row)| version::decode(row)).transpose()? {
            Some(known) if known.body != version::Body::Deleted => Ok(after),
            _ => Ok(VersionId::ZERO),
        }
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
                let deltas = match self.delta_is_everything(collection) {
                    true => read::newest_delta(self.rows, collection, key, head)?.into_iter().collect(),
                    false => {
                        let base = self.base(collection, key, head, after)?;
                        read::deltas(self.rows, collection, key, head, base)?
                    }
                };
                Some(MergeState { deltas, seen: version })
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
        Batch { from: from.clone(), to: Cursor { position: to, ..from.clone() }, documents: self.documents, more }
    }

    /// A batch of the feed; `None` when it leads nowhere.
    fn finish_feed(self, from: &Cursor, after: VersionId, to: VersionId, more: bool) -> Option<Batch> {
        (to > after).then(|| self.finish(from, Position::Feed { after: to }, more))
    }
}
