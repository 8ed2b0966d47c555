//! Pull: what the core says of the cluster, its catalog, and batches of the feed.

use std::collections::BTreeSet;
use std::sync::Arc;

use skerry_channel::limits::MANIFEST_ENTRIES_MAX;
use skerry_channel::message::{Batch, Catalog, Collection, Document, Manifest, MergeState, Pull, Welcome};
use skerry_channel::pull::{self, Cursor, Position, Step};
use skerry_channel::subscription::Subscription;
use skerry_model::engine::{Engine, MergeDocument, Version};
use skerry_model::ids::shard_of;
use skerry_model::{ClusterId, CollectionId, ShardId, Timeline};
use skerry_store::{KeyRange, Limit};

use super::history::History;
use super::{Error, Pending, Phase, Replica};
use crate::keys::cursor::{Copying, Role, Standing};
use crate::keys::head::Head;
use crate::keys::identity::Home;
use crate::keys::outbox::Entry;
use crate::keys::provisional::Provisional;
use crate::keys::{self, Place};
use crate::limits;

/// What a welcome led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcomed {
    /// Push and pull may go on.
    Home,
    /// The core is of another cluster than this edge belongs to; nothing was taken.
    OtherCluster {
        /// The cluster that this edge belongs to.
        own: ClusterId,
        /// The cluster that answered.
        found: ClusterId,
    },
    /// The core has been restored. What it no longer has is stranded or waits to be sent again, and its content is copied.
    Returning,
    /// The core is on another line of history and does not say how far it has come with this edge: to be asked again.
    OtherTimeline(Timeline),
    /// This edge has left the core's line of history for a later one; nothing was taken.
    Left(Timeline),
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installed {
    /// It is staged with its cursor.
    Taken {
        /// Documents in it.
        documents: usize,
        /// Whether the core has more.
        more: bool,
    },
    /// This edge no longer stands where it begins.
    Ignored,
    /// A document did not come out as the core has it: nothing of the batch was taken, and the shard is copied anew.
    Diverged,
}

/// A document of a batch, evaluated and not staged.
struct Evaluated {
    place: Place,
    collection: Arc<Collection>,
    head: Head,
    before: Option<Head>,
    content: Content,
}

/// What a document of a batch is here.
enum Content {
    /// Its view alone.
    Strict,
    /// Merged with what was here.
    Merged(Box<dyn MergeDocument>),
    /// With what it came by, to be merged when somebody needs it.
    Apart(Box<Apart>),
}

/// A document whose deltas are kept as they came.
struct Apart {
    /// All that it came by.
    history: History,
    /// Whether nothing that was here of it stays.
    replaces: bool,
    /// What was pending here and is among it.
    covered: Vec<(Pending, Entry)>,
    /// What is shown with more that is pending here, where there is more.
    stays: Option<Provisional>,
    /// Whether all that came is of this edge and shown here already.
    shows: bool,
}

/// How documents of a batch are taken.
#[derive(Debug, Clone, Copy)]
struct Taking {
    /// Each brings everything that there is of it.
    is_copy: bool,
    /// What a copy brings stands in the place of what is here, also where that is as new.
    heals: bool,
    /// Something here was not as the core has it: nothing is taken unseen.
    is_anew: bool,
}

/// Why a batch is not taken.
enum Refused {
    Stop(Error),
    Diverged,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Stop(error)
    }
}

impl Replica {
    /// Takes the core's welcome to a hello that was sent at `sent_ms` of this edge's own clock, in milliseconds since
    /// 1970. The first one makes the edge part of the cluster.
    ///
    /// # Errors
    /// [`Error`].
    pub fn welcomed(&mut self, welcome: Welcome, sent_ms: u64) -> Result<Welcomed, Error> {
        let found = Home { cluster: welcome.cluster, timeline: welcome.timeline, shards: welcome.shards };
        let before = self.identity.clone();
        match self.identity.home {
            Some(own) if own.cluster != found.cluster => {
                return Ok(Welcomed::OtherCluster { own: own.cluster, found: found.cluster });
            }
            Some(_) if self.identity.left.contains(&found.timeline) => return Ok(Welcomed::Left(found.timeline)),
            Some(own) if own.timeline != found.timeline => {
                let Some(restored) = &welcome.restored else { return Ok(Welcomed::OtherTimeline(found.timeline)) };
                self.set_clock(sent_ms, welcome.now_ms);
                self.follow(found, restored, welcome.catalog)?;
                return Ok(Welcomed::Returning);
            }
            Some(_) => {}
            None => {
                self.identity.home = Some(found);
                self.shards =
                    (0..found.shards).map(ShardId::new).map(|id| (id, self.new_shard(id, found.timeline))).collect();
                self.known = Arc::new((*self.known).clone().with_home(found));
            }
        }
        self.set_clock(sent_ms, welcome.now_ms);
        if self.identity != before {
            self.table.put(keys::identity::key(), keys::identity::encode(&self.identity));
        }
        self.take_catalog(welcome.catalog)?;
        Ok(Welcomed::Home)
    }

    /// Corrects this edge's clock by the core's, in milliseconds since 1970.
    fn set_clock(&mut self, sent_ms: u64, core_ms: u64) {
        self.hear_time(core_ms);
        // The answer was written about half way between sending and now.
        let middle = sent_ms / 2 + self.clock.now_ms() / 2;
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let offset = signed(core_ms).saturating_sub(signed(middle));
        if offset.abs_diff(self.identity.clock_offset_ms) >= limits::CLOCK_OFFSET_STEP_MS {
            self.identity.clock_offset_ms = offset;
        }
    }

    /// What to ask the core for news, once it has been reached. While something is to join, the two feeds take turns.
    ///
    /// # Errors
    /// [`Error`].
    pub fn pull_request(&mut self, wait_ms: u32) -> Result<Option<Pull>, Error> {
        if self.identity.home.is_none() {
            return Ok(None);
        }
        let joining = self.subscribed.joining.clone();
        self.joins_next = joining.is_some() && !self.joins_next;
        let wait_ms = if joining.is_some() { 0 } else { wait_ms };
        let (role, subscription) = match joining.filter(|_| self.joins_next) {
            Some(joining) => (Role::Joining, joining),
            None => (Role::Main, self.subscribed.held.clone()),
        };
        let standings: Vec<_> = self.shards.values().filter_map(|shard| shard.at(role)).cloned().collect();
        let mut manifests = Vec::new();
        for standing in &standings {
            manifests.extend(self.manifest(standing, &subscription)?);
        }
        Ok(Some(Pull {
            replica: self.identity.replica.clone(),
            subscription,
            catalog: self.known.catalog,
            cursors: standings.into_iter().map(|standing| standing.cursor).collect(),
            manifests,
            wait_ms,
        }))
    }

    /// What is held behind the cursor of a copy that compares.
    fn manifest(&self, standing: &Standing, subscription: &Subscription) -> Result<Option<Manifest>, Error> {
        let after = match &standing.cursor.position {
            Position::Feed { .. } => return Ok(None),
            Position::Copy { after: (collection, key), .. } => {
                Some(Place { collection: *collection, key: key.clone() })
            }
            Position::Start => None,
        };
        let (Some(home), Copying::Compared) = (self.identity.home, standing.copying) else { return Ok(None) };
        let shard = standing.cursor.shard;
        // All manifests of a pull share the bound, so that the frame stays within its own.
        let most = (MANIFEST_ENTRIES_MAX / usize::from(home.shards.max(1))).max(1);
        let (mut held, mut last) = (Vec::new(), after);
        loop {
            let limit = Limit { rows: limits::SCAN_STEP_ROWS, bytes: limits::SCAN_STEP_BYTES };
            let rows = self.table.scan(&between(last.as_ref(), None), limit)?;
            let Some((key, _)) = rows.last() else { return Ok(Some(Manifest { shard, held, more: false })) };
            last = Some(keys::head::decode_key(key)?);
            for (key, row) in rows {
                let place = keys::head::decode_key(&key)?;
                let is_of = |collection: &Arc<Collection>| {
                    shard_of(&collection.name, &place.key, home.shards) == shard
                        && subscription.covers(&collection.name, &place.key)
                };
                if self.known.by_id(place.collection).is_some_and(is_of) {
                    held.push((place.collection, place.key, keys::head::decode(&row)?.version));
                }
                if held.len() >= most {
                    return Ok(Some(Manifest { shard, held, more: true }));
                }
            }
        }
    }

    /// Takes what comes beside batches. `false` when the core is on another line of history: its batches are not for
    /// this edge.
    ///
    /// # Errors
    /// [`Error`].
    pub fn pulled(&mut self, timeline: Timeline, catalog: Option<Catalog>, too_old: &[Cursor]) -> Result<bool, Error> {
        if self.identity.home.is_none_or(|home| home.timeline != timeline) {
            return Ok(false);
        }
        if let Some(catalog) = catalog {
            self.take_catalog(catalog)?;
        }
        for cursor in too_old {
            let Some((role, standing)) = self.standing_at(cursor) else { continue };
            tracing::warn!(shard = cursor.shard.get(), "this edge was away for long: comparing what it holds");
            if role == Role::Main && self.subscribed.joining.is_some() {
                // What was to join its place cannot any more.
                self.compare_whole();
                continue;
            }
            let cursor = Cursor { position: Position::Start, ..cursor.clone() };
            self.stand(role, cursor.shard, Standing { cursor, copying: Copying::Compared, ..standing });
        }
        self.retry_views();
        Ok(true)
    }

    /// Takes a catalog if it is newer than the one here.
    fn take_catalog(&mut self, catalog: Catalog) -> Result<(), Error> {
        let first = self.table.get(&keys::catalog::key())?.is_none();
        if catalog.version <= self.known.catalog && !first {
            return Ok(());
        }
        self.replace_catalog(&catalog)
    }

    /// Takes a catalog, whatever its version.
    pub(super) fn replace_catalog(&mut self, catalog: &Catalog) -> Result<(), Error> {
        let before = self.known.clone();
        self.table.put(keys::catalog::key(), keys::catalog::encode(catalog));
        self.known = Arc::new((*before).clone().with_catalog(catalog));
        self.make_engines();
        self.catalog_changed(&before)
    }

    /// Takes a batch of the feed: its documents and its cursor are staged together, or nothing is.
    ///
    /// # Errors
    /// [`Error`].
    pub fn install(&mut self, batch: Batch) -> Result<Installed, Error> {
        let id = batch.to.shard;
        let Some((role, standing)) = self.standing_at(&batch.from) else { return Ok(Installed::Ignored) };
        if pull::step(&standing.cursor, &batch) == Step::Ignore {
            return Ok(Installed::Ignored);
        }
        let is_copy = !matches!(batch.from.position, Position::Feed { .. });
        let is_anew = standing.copying == Copying::Anew;
        let taking = Taking { is_copy, heals: role == Role::Main || is_anew, is_anew };
        let evaluated = match self.evaluate_batch(&batch.documents, taking) {
            Ok(evaluated) => evaluated,
            Err(Refused::Stop(error)) => return Err(error),
            Err(Refused::Diverged) => {
                let mut cursor = standing.cursor;
                cursor.position = Position::Start;
                self.stand(role, id, Standing { cursor, copying: Copying::Anew, ..standing });
                return Ok(Installed::Diverged);
            }
        };
        let documents = evaluated.len();
        let gone = match (is_copy, standing.copying, &batch.gone) {
            (false, ..) | (true, Copying::First, _) => Vec::new(),
            (true, Copying::Compared, Some(gone)) => {
                gone.iter().map(|(collection, key)| Place { collection: *collection, key: key.clone() }).collect()
            }
            (true, Copying::Compared | Copying::Anew, _) => {
                let place = |document: &Document| Place { collection: document.collection, key: document.key.clone() };
                let kept = batch.documents.iter().map(place).collect();
                self.unmentioned(role, &batch, &kept)?
            }
        };
        gone.iter().try_for_each(|place| self.drop_published(place))?;
        for document in evaluated {
            self.take_document(document)?;
        }
        if let Position::Feed { after } = &batch.to.position {
            self.hear_time(after.scn.millis());
        }
        let copied = matches!(batch.to.position, Position::Feed { .. });
        let copying = if copied { Copying::First } else { standing.copying };
        let returning = standing.returning && !copied;
        self.stand(role, id, Standing { cursor: batch.to, copying, returning });
        if standing.returning && copied {
            let remade = self.remake(id)?;
            tracing::info!(shard = id.get(), ?remade, "the restored core's content is here");
        }
        if is_copy && copied {
            self.release_unpublished(role, id)?;
            self.join_when_copied();
        }
        Ok(Installed::Taken { documents, more: batch.more })
    }

    /// What a feed is of.
    fn copied_by(&self, role: Role) -> Option<&Subscription> {
        match role {
            Role::Main => Some(&self.subscribed.held),
            Role::Joining => self.subscribed.joining.as_ref(),
        }
    }

    /// What the core has accepted and a copy did not bring has been deleted since, or comes by the feed: it is not waited for.
    fn release_unpublished(&mut self, role: Role, id: ShardId) -> Result<(), Error> {
        let is_accepted = |pending: &Pending| pending.slot.shard == id && pending.phase == Phase::Accepted;
        let is_covered = |place: &Place| {
            let collection = self.known.by_id(place.collection);
            let covers = |collection: &Arc<Collection>| {
                self.copied_by(role).is_some_and(|copied| copied.covers(&collection.name, &place.key))
            };
            collection.is_some_and(covers)
        };
        let places = self.pending.iter().filter(|(place, list)| list.iter().any(is_accepted) && is_covered(place));
        for place in places.map(|(place, _)| place.clone()).collect::<Vec<_>>() {
            if self.head(&place)?.is_some() {
                continue;
            }
            let list = self.pending.get(&place).cloned().unwrap_or_default();
            for pending in list.into_iter().filter(is_accepted) {
                self.let_go_of_accepted(&place, pending)?;
            }
            self.rebuild(&place)?;
        }
        Ok(())
    }

    /// An accepted change is pending no longer, and kept.
    pub(super) fn let_go_of_accepted(&mut self, place: &Place, pending: Pending) -> Result<(), Error> {
        let entry = self.entry(pending)?;
        self.keep(pending.slot, &entry);
        self.table.delete(keys::accepted::key(pending.slot));
        self.forget_pending(place, pending.slot);
        Ok(())
    }

    /// The feed that stands at a cursor.
    fn standing_at(&self, cursor: &Cursor) -> Option<(Role, Standing)> {
        let shard = self.shards.get(&cursor.shard)?;
        let at = |role| shard.at(role).filter(|standing| standing.cursor == *cursor).map(|found| (role, found.clone()));
        at(Role::Main).or_else(|| at(Role::Joining))
    }

    pub(super) fn stand(&mut self, role: Role, id: ShardId, standing: Standing) {
        self.table.put(role.key(id), keys::cursor::encode(&standing));
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.stand(role, standing);
        }
    }

    fn evaluate_batch(&self, documents: &[Document], taking: Taking) -> Result<Vec<Evaluated>, Refused> {
        let Taking { is_copy: copying, heals, is_anew } = taking;
        let mut evaluated = Vec::with_capacity(documents.len());
        for document in documents {
            // The catalog is never older than the batch: what it does not name has been deleted since.
            let Some(collection) = self.known.by_id(document.collection).cloned() else { continue };
            let place = Place { collection: document.collection, key: document.key.clone() };
            let before = self.head(&place)?;
            // The feed may repeat what the copy, which is younger, has brought already, and a copy of what is to join what the
            // main feed has.
            let is_fresh = before.as_ref().is_none_or(|before| before.version < document.version);
            if !(is_fresh || copying && heals) {
                continue;
            }
            let (content, seen) = match (&document.merge, self.engines.get(&document.collection)) {
                (Some(state), Some(engine)) => {
                    let apart = match is_anew {
                        true => None,
                        false => self.kept_apart(&place, document, before.as_ref(), state, engine.as_ref(), copying)?,
                    };
                    match apart {
                        Some((apart, seen)) => (Content::Apart(Box::new(apart)), Some(seen)),
                        None => {
                            let base = match self.base(&place, document, engine.as_ref(), copying) {
                                // It was stored as it came, and does not merge here.
                                Err(Error::History { source, .. }) => {
                                    tracing::error!(key = %place.key, %source, "a document cannot be merged here");
                                    return Err(Refused::Diverged);
                                }
                                base => base?,
                            };
                            let merged = merge(base, &place, state)?;
                            let seen = merged.version();
                            (Content::Merged(merged), Some(seen))
                        }
                    }
                }
                (state, _) => (Content::Strict, state.as_ref().and_then(|state| state.seen.clone())),
            };
            let head = Head {
                epoch: document.epoch,
                version: document.version,
                view: document.view.clone(),
                plugin: document.plugin,
                conflicts: document.conflicts,
                fallback: document.fallback.clone(),
                seen,
            };
            evaluated.push(Evaluated { place, collection, head, before, content });
        }
        Ok(evaluated)
    }

    /// A document that need not be merged now, and what it has seen: what waits to be merged is little, its names alone say
    /// that it comes to what the core has, and what is shown here needs no merge either. That is so where nothing stays
    /// pending, and where all that came was pending, as when somebody goes on typing here.
    fn kept_apart(
        &self,
        place: &Place,
        document: &Document,
        before: Option<&Head>,
        state: &MergeState,
        engine: &dyn Engine,
        copying: bool,
    ) -> Result<Option<(Apart, Version)>, Error> {
        let of_epoch = before.filter(|before| before.epoch == document.epoch);
        let onto = of_epoch.filter(|_| !copying);
        let history = onto.map(|onto| self.history(place, onto.epoch)).transpose()?.unwrap_or_default();
        let history = history.and(&state.deltas);
        if history.is_long() {
            return Ok(None);
        }
        let Some(seen) = history.seen(engine).filter(|seen| state.seen.as_ref().is_none_or(|said| said == seen)) else {
            return Ok(None);
        };
        // Where the core says nothing these are all deltas that it has.
        if onto.is_some() && state.seen.is_none() && engine.version_of(None, &state.deltas).as_ref() != Some(&seen) {
            return Ok(None);
        }
        let (mut covered, mut came, mut stays) = (Vec::new(), 0, false);
        for pending in self.pending.get(place).into_iter().flatten() {
            let entry = self.entry(*pending)?;
            if entry.replayed {
                return Ok(None);
            }
            let delta = entry.change()?.delta;
            came += usize::from(state.deltas.contains(&delta));
            // What was published before may be merged and saved by now.
            if history.names(&delta) || (entry.covered && !copying) {
                covered.push((*pending, entry));
                continue;
            }
            stays = true;
            // What came is in the order of what is pending, so nothing behind this is among it.
            if came == state.deltas.len() {
                break;
            }
        }
        let goes_on = !copying && of_epoch.is_some() == before.is_some();
        let is_own = goes_on && came == state.deltas.len();
        let provisional = if is_own { self.provisional(place)? } else { None };
        // Where what stays adds nothing, it is found out which of it the core has.
        let provisional =
            provisional.filter(|provisional| provisional.fallback.is_none() && stays == (provisional.seen != seen));
        let shows = provisional.is_some();
        if stays && !shows {
            return Ok(None);
        }
        let (replaces, stays) = (copying && of_epoch.is_some(), provisional.filter(|_| stays));
        Ok(Some((Apart { history, replaces, covered, stays, shows }, seen)))
    }

    /// What a batch's deltas come on top of. A copy brings everything, so it starts from nothing and heals what was
    /// damaged here.
    fn base(
        &self,
        place: &Place,
        document: &Document,
        engine: &dyn Engine,
        copying: bool,
    ) -> Result<Box<dyn MergeDocument>, Error> {
        if copying {
            return Ok(engine.empty());
        }
        match self.published(place, engine)? {
            (Some(head), published) if head.epoch == document.epoch => Ok(published),
            _ => Ok(engine.empty()),
        }
    }

    fn take_document(&mut self, evaluated: Evaluated) -> Result<(), Error> {
        let Evaluated { place, collection, head, before, content } = evaluated;
        let was_visible = self.shown(&place)?.is_some_and(|shown| shown.view.is_some());
        let is_strict = matches!(content, Content::Strict);
        if let Some(before) = before.filter(|before| before.epoch != head.epoch || is_strict) {
            self.forget_history(&place, before.epoch);
        }
        self.table.put(keys::head::key(&place), keys::head::encode(&head));
        let is_audited = self.audit_is_due(&collection, &head);
        match content {
            Content::Merged(document) => {
                self.save(&place, head.epoch, document.as_ref());
                if is_audited {
                    self.audit(&collection, &place, &head, document.as_ref());
                }
                return self.show_again(&collection, &place, was_visible, Some(&head), document);
            }
            Content::Apart(apart) => {
                let Apart { history, replaces, covered, shows, stays } = *apart;
                for (pending, entry) in covered {
                    self.cover(&place, pending, entry);
                }
                if replaces {
                    self.forget_history(&place, head.epoch);
                }
                self.put_deltas(&place, head.epoch, &history);
                if !shows {
                    self.live.forget(&place);
                }
                if let Some(engine) = self.engines.get(&place.collection).cloned().filter(|_| is_audited) {
                    let (_, document) = self.published(&place, engine.as_ref())?;
                    self.audit(&collection, &place, &head, document.as_ref());
                }
                if let Some(provisional) = stays {
                    // What is shown is what it was, on top of more that is published.
                    let provisional = Provisional { base: Some(head.version), ..provisional };
                    self.table.put(keys::provisional::key(&place), keys::provisional::encode(&provisional));
                    self.changed.insert(place);
                    return Ok(());
                }
                self.stale.remove(&place);
                self.unsettled.remove(&place);
            }
            Content::Strict => {}
        }
        self.changed.insert(place.clone());
        self.table.delete(keys::provisional::key(&place));
        self.recount(was_visible, head.view.is_some());
        Ok(())
    }

    /// A copy that is not the first leaves out what was deleted since the one before: what it covers between its two places
    /// and does not mention.
    fn unmentioned(&self, role: Role, batch: &Batch, kept: &BTreeSet<Place>) -> Result<Vec<Place>, Error> {
        let Some(home) = self.identity.home else { return Ok(Vec::new()) };
        let subscription = self.copied_by(role);
        let place = |(collection, key): &(CollectionId, skerry_model::DocumentKey)| Place {
            collection: *collection,
            key: key.clone(),
        };
        let after = match &batch.from.position {
            Position::Copy { after, .. } => Some(place(after)),
            Position::Start | Position::Feed { .. } => None,
        };
        let up_to = match &batch.to.position {
            Position::Copy { after, .. } => Some(place(after)),
            Position::Start | Position::Feed { .. } => None,
        };
        let mut gone = Vec::new();
        self.table.for_each(between(after.as_ref(), up_to.as_ref()), |key, _| {
            let place = keys::head::decode_key(&key)?;
            let is_covered = self.known.by_id(place.collection).is_some_and(|collection| {
                shard_of(&collection.name, &place.key, home.shards) == batch.to.shard
                    && subscription.is_some_and(|subscription| subscription.covers(&collection.name, &place.key))
            });
            if is_covered && !kept.contains(&place) {
                gone.push(place);
            }
            Ok::<_, Error>(())
        })?;
        Ok(gone)
    }

    /// Lets go of a document that the core no longer has. What this edge has changed in it stays pending on an empty
    /// document until the core judges it.
    fn drop_published(&mut self, place: &Place) -> Result<(), Error> {
        let was_visible = self.shown(place)?.is_some_and(|shown| shown.view.is_some());
        if let Some(head) = self.head(place)? {
            self.forget_published(place, head.epoch);
        }
        self.live.forget(place);
        let known = self.known.clone();
        match (known.by_id(place.collection), self.engines.get(&place.collection).cloned()) {
            (Some(collection), Some(engine)) => self.show_again(collection, place, was_visible, None, engine.empty()),
            _ => {
                self.changed.insert(place.clone());
                self.recount(was_visible, false);
                Ok(())
            }
        }
    }
}

/// Heads after one place up to and with another.
fn between(after: Option<&Place>, up_to: Option<&Place>) -> KeyRange {
    use std::ops::Bound;
    let all = keys::head::all();
    let (first, last) = all.bounds();
    let owned = |bound: Bound<&[u8]>| bound.map(bytes::Bytes::copy_from_slice);
    let start = after.map_or_else(|| owned(first), |place| Bound::Excluded(keys::head::key(place)));
    let end = up_to.map_or_else(|| owned(last), |place| Bound::Included(keys::head::key(place)));
    KeyRange::new((start, end))
}

/// Merges what a batch brings, and checks that the outcome is what the core has.
fn merge(
    mut base: Box<dyn MergeDocument>,
    place: &Place,
    state: &MergeState,
) -> Result<Box<dyn MergeDocument>, Refused> {
    let diverged = |reason: String| {
        tracing::error!(
            collection = place.collection.get(), key = %place.key, reason,
            "a document did not come out as the core has it: copying its shard anew"
        );
        Refused::Diverged
    };
    base.merge_all(&state.deltas).map_err(|error| diverged(error.to_string()))?;
    match &state.seen {
        Some(expected) if base.version() != *expected => {
            let (found, expected) = (hex::encode(&base.version().0), hex::encode(&expected.0));
            Err(diverged(format!("it has seen {found}, the core says {expected}")))
        }
        Some(_) | None => Ok(base),
    }
}
