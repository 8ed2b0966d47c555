//! A document under evaluation: where it stands, and the versions it has been given so far.

use skerry_api::documents::{Conditions, ETag, WriteRequest};
use skerry_api::problem::Problem;
use skerry_model::automerge_id::AutomergeId;
use skerry_model::document::View;
use skerry_model::engine::{Engine, MergeDocument, OpenConflicts, Write};
use skerry_model::{CollectionId, DocumentKey, Epoch, PluginDigest};
use skerry_store::OrderedStore;

use super::{Context, chooser, etag, storage_problem};
use crate::catalog::Collection;
use crate::documents::keys::fold::Fold;
use crate::documents::keys::head::{Head, Stored};
use crate::documents::live::Live;
use crate::documents::read;
use crate::documents::record::{DocumentEffect, MergeEffect, VersionEffect};
use crate::limits::{FOLD_DELTAS_MIN, VIEW_WHOLE_BYTES};

/// A document under evaluation.
pub struct Subject {
    collection_id: CollectionId,
    key: DocumentKey,
    /// What clients of Automerge are to find it under; none where it is there already, where they cannot have it, or where
    /// its key says it.
    automerge: Option<AutomergeId>,
    epoch: Epoch,
    head: Option<Head>,
    plugin: Option<PluginDigest>,
    fallback: Option<String>,
    /// Whether there is a document.
    pub(super) exists: bool,
    /// What it reads as; also `None` where no write of this evaluation has to know.
    pub(super) view: Option<View>,
    stored: Stored,
    pub(super) merge: Option<Box<dyn MergeDocument>>,
    pub(super) versions: Vec<VersionEffect>,
    /// About what the versions take in a record, in bytes.
    pub(super) bytes: usize,
}

/// What a version reads as and how that was chosen.
pub(super) struct NewView {
    pub(super) view: Option<View>,
    pub(super) plugin: Option<PluginDigest>,
    pub(super) conflicts: u32,
    pub(super) fallback: Option<String>,
}

impl Subject {
    /// The document as the shard holds it; `live` is its merge document from an earlier evaluation, when it is still at
    /// the newest version. Also gives a fold worth saving, when many deltas had to be read.
    ///
    /// # Errors
    /// A problem when rows cannot be read.
    pub fn load(
        rows: &dyn OrderedStore,
        context: &Context,
        collection: &Collection,
        key: &DocumentKey,
        live: Option<Live>,
    ) -> Result<(Self, Option<Fold>), Problem> {
        let newest = read::newest(rows, collection.id, key).map_err(|error| storage_problem(&error))?;
        let (head, seen) = newest.unzip();
        let (merge, fold) = match context.engine(collection)? {
            Some(engine) => {
                let (merge, fold) = load_merge(rows, &*engine, collection, key, head.as_ref(), live)?;
                (Some(merge), fold)
            }
            None => (None, None),
        };
        let mut subject = Self::new(collection, key, head, seen, merge);
        // One of an inbox is found by its key, and must not stand for another document.
        let is_of_inbox = || collection.inbox.as_ref().is_some_and(|inbox| inbox.id_of(key).is_some());
        if head.is_none() && !is_of_inbox() {
            subject.automerge = context.automerge_id(collection, key);
        }
        Ok((subject, fold))
    }

    /// A strict document with no more than these writes have to know.
    ///
    /// # Errors
    /// A problem when rows cannot be read.
    pub fn load_strict(
        rows: &dyn OrderedStore,
        collection: &Collection,
        key: &DocumentKey,
        writes: &[&WriteRequest],
    ) -> Result<Self, Problem> {
        let head = read::head(rows, collection.id, key).map_err(|error| storage_problem(&error))?;
        let read = |head: &Head| read::version(rows, collection.id, key, head.epoch, head.version);
        let seen = head.as_ref().filter(|head| !is_replaced(head, writes)).map(read).transpose();
        Ok(Self::new(collection, key, head, seen.map_err(|error| storage_problem(&error))?, None))
    }

    fn new(
        collection: &Collection,
        key: &DocumentKey,
        head: Option<Head>,
        seen: Option<read::Seen>,
        merge: Option<Box<dyn MergeDocument>>,
    ) -> Self {
        Self {
            collection_id: collection.id,
            key: key.clone(),
            automerge: None,
            epoch: head.map_or(Epoch::new(0), |head| head.epoch),
            plugin: seen.as_ref().and_then(|seen| seen.version.plugin),
            fallback: seen.as_ref().and_then(|seen| seen.version.fallback.clone()),
            exists: head.is_some_and(|head| head.live),
            view: seen.and_then(|seen| seen.view),
            stored: head.map_or(Stored::default(), |head| head.stored),
            head,
            merge,
            versions: Vec::new(),
            bytes: 0,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &DocumentKey {
        &self.key
    }

    /// The genesis that its history stands on.
    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The document's place, unique over all shards.
    #[must_use]
    pub fn place(&self) -> (CollectionId, DocumentKey) {
        (self.collection_id, self.key.clone())
    }

    /// How long it is as the shard holds it, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.head.map_or(0, |head| head.stored.bytes as usize)
    }

    /// The newest version in the shard.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// The plugin that computed the newest version's view.
    #[must_use]
    pub fn plugin(&self) -> Option<PluginDigest> {
        self.plugin
    }

    /// The merge document.
    #[must_use]
    pub fn document(&self) -> Option<&dyn MergeDocument> {
        self.merge.as_deref()
    }

    /// Its open conflicts as the collection's policy shows them; none for a strict document.
    ///
    /// # Errors
    /// A problem, when the plugin cannot run here now or there are more than are listed.
    pub fn open(&self, context: &Context, collection: &Collection) -> Result<Option<OpenConflicts>, Problem> {
        let resolver = context.resolver(&collection.policy)?;
        let chooser = chooser(&collection.policy, resolver.as_ref());
        Ok(self.merge.as_ref().map(|merge| merge.open(chooser)).transpose()?)
    }

    /// The merge document, given back for the next evaluation.
    #[must_use]
    pub fn into_merge(self) -> Option<Box<dyn MergeDocument>> {
        self.merge
    }

    /// The ETag of the document as it stands, `None` when there is none. A version of this evaluation has one that no
    /// header can carry.
    pub(super) fn etag(&self, context: &Context) -> Option<ETag> {
        match (&self.head, self.versions.is_empty()) {
            _ if !self.exists => None,
            (Some(head), true) => Some(etag(context.timeline, head.version, self.plugin)),
            _ => Some(ETag("\0".to_owned())),
        }
    }

    /// Whether readers would see no difference.
    pub(super) fn reads_like(&self, new: &NewView) -> bool {
        self.reads_much_like(new) && self.fallback == new.fallback
    }

    /// Whether readers would see no difference but in the words of a failure.
    pub(super) fn reads_much_like(&self, new: &NewView) -> bool {
        let conflicts = self.head.map_or(0, |head| head.conflicts);
        let both_decide = self.fallback.is_some() == new.fallback.is_some();
        self.view == new.view && both_decide && conflicts == new.conflicts
    }

    /// Adds a version.
    pub(super) fn push(
        &mut self,
        author: &skerry_model::Origin,
        time_ms: i64,
        new: NewView,
        merge: Option<MergeEffect>,
    ) {
        let before = self.view.as_ref().map(|view| (view, self.stored));
        let (body, stored) = read::body(before, new.view.as_ref());
        let version = VersionEffect {
            origin: author.clone(),
            time_ms,
            body,
            stored,
            plugin: new.plugin,
            conflicts: new.conflicts,
            fallback: new.fallback,
            merge,
        };
        self.bytes += version.approximate_bytes();
        self.versions.push(version);
        self.exists = new.view.is_some();
        self.view = new.view;
        self.stored = stored;
    }

    /// What the log is to carry, or `None` when nothing changed.
    pub(super) fn effect(&mut self) -> Option<DocumentEffect> {
        let versions = std::mem::take(&mut self.versions);
        (!versions.is_empty()).then(|| DocumentEffect {
            collection: self.collection_id,
            key: self.key.clone(),
            epoch: self.epoch,
            expected: self.head.map(|head| head.version),
            automerge: self.automerge,
            versions,
        })
    }
}

/// Whether the writes replace the document whatever it reads as, and it is so short that the new one is stored whole: then
/// its head says all that they need.
fn is_replaced(head: &Head, writes: &[&WriteRequest]) -> bool {
    let is_blind =
        |request: &&WriteRequest| matches!(request.write, Write::Put(_)) && request.conditions == Conditions::default();
    let is_short = head.stored.bytes as usize <= VIEW_WHOLE_BYTES;
    is_short && writes.iter().all(is_blind)
}

/// The merge document from the one in memory, where that is the same or a little older, else from its fold and deltas. Also
/// gives a fold worth saving, when many deltas had to be read.
///
/// # Errors
/// A problem when rows cannot be read.
pub fn load_merge(
    rows: &dyn OrderedStore,
    engine: &dyn Engine,
    collection: &Collection,
    key: &DocumentKey,
    head: Option<&Head>,
    live: Option<Live>,
) -> Result<(Box<dyn MergeDocument>, Option<Fold>), Problem> {
    let Some(head) = head else { return Ok((engine.empty(), None)) };
    match live.filter(|(version, merge)| *version <= head.version && merge.plugin() == engine.plugin()) {
        Some((version, merge)) if version == head.version => return Ok((merge, None)),
        Some((version, mut merge)) if !engine.delta_is_everything() => {
            let since = read::deltas(rows, collection.id, key, head, version);
            merge.merge_all(&since.map_err(|error| storage_problem(&error))?)?;
            return Ok((merge, None));
        }
        _ => {}
    }
    if engine.delta_is_everything() {
        let mut document = engine.empty();
        let delta = read::newest_delta(rows, collection.id, key, head).map_err(|error| storage_problem(&error))?;
        delta.map(|delta| document.merge(&delta)).transpose()?;
        return Ok((document, None));
    }
    let (fold, deltas) = read::merge_parts(rows, collection.id, key, head).map_err(|error| storage_problem(&error))?;
    let mut document = match &fold {
        Some(fold) => engine.load(&fold.saved)?,
        None => engine.empty(),
    };
    document.merge_all(&deltas)?;
    let fold = (deltas.len() >= FOLD_DELTAS_MIN).then(|| Fold { through: head.version, saved: document.save() });
    Ok((document, fold))
}
