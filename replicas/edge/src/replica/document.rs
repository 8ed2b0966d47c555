//! Documents as the replica works on them: published state, pending changes on top, and the view of both.

use std::sync::Arc;

use skerry_channel::message::Collection;
use skerry_model::document::View;
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::state::{StateEngine, Unavailable, built_in};
use skerry_model::engine::{self, Engine, MergeDocument, OpenConflicts, Viewed};
use skerry_model::policy::{Chooser, EngineKind, MergePolicy, Policy};
use skerry_model::{PluginDigest, ShardId, VersionId};

use super::shown::Shown;
use super::{Error, Pending, Phase, Replica};
use crate::keys::head::Head;
use crate::keys::outbox::Entry;
use crate::keys::provisional::Provisional;
use crate::keys::{self, Place};

/// A view, and how it came about.
pub(super) struct Outcome {
    pub(super) viewed: Viewed,
    pub(super) plugin: Option<PluginDigest>,
    /// Whether the plugin was missing or could not run.
    pub(super) unsettled: bool,
}

impl Replica {
    /// Makes the engines of every collection that merges. One whose settings this edge cannot read is left out, and its
    /// documents are read-only copies here.
    pub(super) fn make_engines(&mut self) {
        let engines = self.known.collections().filter_map(|collection| Some((collection.id, self.engine(collection)?)));
        self.engines = engines.collect();
    }

    fn engine(&self, collection: &Collection) -> Option<Arc<dyn Engine>> {
        match collection.policy.engine(collection.world) {
            EngineKind::Strict => None,
            EngineKind::State => Some(Arc::new(StateEngine::new(self.merge_policy(collection)?))),
            EngineKind::Json => json_engine(collection),
        }
    }

    /// The policy of a collection of the state engine; where its plugin is not here, one that does nothing.
    fn merge_policy(&self, collection: &Collection) -> Option<Arc<dyn MergePolicy>> {
        let of_plugin = |digest| -> Arc<dyn MergePolicy> {
            let component = || self.stored_component(&digest).ok().flatten();
            let found = self.resolvers.merge_policy(digest, &component);
            found.unwrap_or_else(|reason| Arc::new(Unavailable { digest, reason: format!("it {reason}") }))
        };
        built_in(&collection.policy).or_else(|| collection.plugin.map(of_plugin))
    }

    pub(super) fn head(&self, place: &Place) -> Result<Option<Head>, Error> {
        Ok(self.table.get(&keys::head::key(place))?.map(|row| keys::head::decode(&row)).transpose()?)
    }

    pub(super) fn provisional(&self, place: &Place) -> Result<Option<Provisional>, Error> {
        Ok(self.table.get(&keys::provisional::key(place))?.map(|row| keys::provisional::decode(&row)).transpose()?)
    }

    /// What a reader sees once the staged rows are committed.
    pub(super) fn shown(&self, place: &Place) -> Result<Option<Shown>, Error> {
        match self.provisional(place)? {
            Some(provisional) => Ok(Some(provisional.into())),
            None => Ok(Shown::of(None, self.head(place)?)),
        }
    }

    /// What the core has published of a document.
    pub(super) fn published(
        &self,
        place: &Place,
        engine: &dyn Engine,
    ) -> Result<(Option<Head>, Box<dyn MergeDocument>), Error> {
        let Some(head) = self.head(place)? else { return Ok((None, engine.empty())) };
        let damaged = |source| Error::History { collection: place.collection, key: place.key.clone(), source };
        let document = self.history(place, head.epoch)?.load(engine).map_err(damaged)?;
        Ok((Some(head), document))
    }

    /// The document as shown, to try something on.
    pub(super) fn scratch(&self, place: &Place, engine: &dyn Engine) -> Result<Box<dyn MergeDocument>, Error> {
        // One that was loaded under another version of its plugin would go on with that.
        if let Some(scratch) = self.live.scratch(place).filter(|scratch| scratch.plugin() == engine.plugin()) {
            return Ok(scratch);
        }
        let (_, mut document) = self.published(place, engine)?;
        let waiting = self.pending_of(place)?;
        if !merge_together(&mut document, &waiting)? {
            for (pending, entry) in &waiting {
                merge_pending(document.as_mut(), place, *pending, entry)?;
            }
        }
        Ok(document)
    }

    /// The rows of what is pending in a document, in its order.
    fn pending_of(&self, place: &Place) -> Result<Vec<(Pending, Entry)>, Error> {
        let pending = self.pending.get(place).into_iter().flatten();
        pending.map(|pending| Ok((*pending, self.entry(*pending)?))).collect()
    }

    /// The row of a pending change.
    pub(super) fn entry(&self, pending: Pending) -> Result<Entry, Error> {
        let key = match pending.phase {
            Phase::Waiting => keys::outbox::key(pending.slot),
            Phase::Accepted => keys::accepted::key(pending.slot),
        };
        let row = self.table.get(&key)?.expect("a pending change has its row: both are staged together");
        Ok(match pending.phase {
            Phase::Waiting => keys::outbox::decode(&row)?,
            Phase::Accepted => keys::accepted::decode(&row)?,
        })
    }

    /// The view of a merged document under the collection's policy.
    pub(super) fn outcome(
        &self,
        collection: &Collection,
        document: &dyn MergeDocument,
    ) -> Result<Outcome, engine::Error> {
        self.outcome_of(collection, &|chooser| document.view(chooser))
    }

    /// The same of any version of a document.
    pub(super) fn outcome_of(
        &self,
        collection: &Collection,
        view: &dyn Fn(Chooser<'_>) -> Result<Viewed, engine::Error>,
    ) -> Result<Outcome, engine::Error> {
        let built_in = |chooser| view(chooser).map(|viewed| Outcome { viewed, plugin: None, unsettled: false });
        if collection.policy.engine(collection.world) == EngineKind::State {
            let viewed = view(Chooser::Lww)?;
            return Ok(Outcome { viewed, plugin: collection.plugin, unsettled: false });
        }
        match (&collection.policy, collection.plugin) {
            (Policy::Json, _) => built_in(Chooser::Json),
            (Policy::Lww | Policy::Strict | Policy::Counter | Policy::Set, _) => built_in(Chooser::Lww),
            (Policy::Plugin { name, .. }, None) => fall_back(view, format!("plugin {name} is not active yet")),
            (Policy::Plugin { name, .. }, Some(digest)) => {
                let component = || self.stored_component(&digest).ok().flatten();
                let resolver = match self.resolvers.resolver(digest, &component) {
                    Ok(resolver) => resolver,
                    Err(reason) => return fall_back(view, format!("plugin {name} {reason}")),
                };
                let viewed = view(Chooser::Resolver(&*resolver))?;
                Ok(Outcome { viewed, plugin: Some(digest), unsettled: false })
            }
        }
    }

    /// The open conflicts of a merged document under the collection's policy; by the built-in order where its plugin
    /// cannot run here now.
    pub(super) fn open_conflicts(
        &self,
        collection: &Collection,
        document: &dyn MergeDocument,
    ) -> Result<OpenConflicts, engine::Error> {
        let resolver = match (&collection.policy, collection.plugin) {
            (Policy::Plugin { .. }, Some(digest)) => {
                let component = || self.stored_component(&digest).ok().flatten();
                self.resolvers.resolver(digest, &component).ok()
            }
            _ => None,
        };
        match (&resolver, &collection.policy) {
            (Some(resolver), _) => document.open(Chooser::Resolver(&**resolver)),
            (None, Policy::Json) => document.open(Chooser::Json),
            (None, _) => document.open(Chooser::Lww),
        }
    }

    /// As [`Replica::outcome`], but always with a view: where there can be none, in the built-in order or as published.
    fn outcome_or_fallback(
        &self,
        collection: &Collection,
        document: &dyn MergeDocument,
        head: Option<&Head>,
    ) -> Outcome {
        let refused = match self.outcome(collection, document) {
            Ok(outcome) => return outcome,
            Err(refused) => refused,
        };
        let unsettled = matches!(refused, engine::Error::Unavailable { .. });
        let built_in = if unsettled { document.view(Chooser::Lww) } else { Err(refused) };
        let viewed = built_in.unwrap_or_else(|error| Viewed {
            view: head.and_then(|head| head.view.clone()),
            conflicts: head.map_or(0, |head| head.conflicts),
            fallback: Some(error.to_string()),
            failed: matches!(error, engine::Error::PluginFailed { .. }),
        });
        let reason = viewed.fallback.clone().or_else(|| unsettled.then(|| "the plugin cannot run here now".to_owned()));
        Outcome { viewed: Viewed { fallback: reason, ..viewed }, plugin: None, unsettled }
    }

    /// Computes what is shown of a document from what is published and what is pending, and stages it. Pending changes
    /// that the published state has are let go of, the accepted ones at once, the others with their verdict.
    pub(super) fn show_again(
        &mut self,
        collection: &Collection,
        place: &Place,
        was_visible: bool,
        head: Option<&Head>,
        mut document: Box<dyn MergeDocument>,
    ) -> Result<(), Error> {
        self.changed.insert(place.clone());
        let (mut adds, mut tried) = (false, false);
        let mut waiting = self.pending_of(place)?.into_iter();
        while let Some((pending, entry)) = waiting.next() {
            match merge_pending(document.as_mut(), place, pending, &entry)? {
                Merged::Added => {
                    adds = true;
                    // Of what is published, all but the last is behind changes that are too: the rest is seldom among it, and is
                    // looked at again when it is.
                    if !std::mem::replace(&mut tried, true) && merge_together(&mut document, waiting.as_slice())? {
                        break;
                    }
                }
                Merged::Had => self.cover(place, pending, entry),
                // What is published is shown until then, and the place looked at again.
                Merged::NotNow => adds = true,
                Merged::Refused => {}
            }
        }
        self.stale.remove(place);
        self.unsettled.remove(place);
        if !adds {
            self.table.delete(keys::provisional::key(place));
            self.recount(was_visible, head.is_some_and(|head| head.view.is_some()));
            self.live.refresh(place, document);
            return Ok(());
        }
        let outcome = self.outcome_or_fallback(collection, document.as_ref(), head);
        self.recount(was_visible, outcome.viewed.view.is_some());
        self.put_provisional(place, head.map(|head| head.version), document.as_ref(), outcome);
        self.live.refresh(place, document);
        Ok(())
    }

    pub(super) fn put_provisional(
        &mut self,
        place: &Place,
        base: Option<VersionId>,
        document: &dyn MergeDocument,
        outcome: Outcome,
    ) -> Provisional {
        let Outcome { viewed: Viewed { view, conflicts, fallback, .. }, plugin, unsettled } = outcome;
        self.changed.insert(place.clone());
        let seen = document.version();
        let provisional = Provisional { base, view, plugin, conflicts, fallback, seen, unsettled };
        self.table.put(keys::provisional::key(place), keys::provisional::encode(&provisional));
        if unsettled {
            self.unsettled.insert(place.clone());
        }
        provisional
    }

    /// The published state has this change.
    pub(super) fn cover(&mut self, place: &Place, pending: Pending, entry: Entry) {
        match pending.phase {
            Phase::Accepted => {
                self.table.delete(keys::accepted::key(pending.slot));
                self.keep(pending.slot, &entry);
                self.forget_pending(place, pending.slot);
            }
            // What is here of a shard before the restored core's content came is of the core that was.
            Phase::Waiting if !entry.covered && !self.is_returning(pending.slot.shard) => {
                let covered = Entry { covered: true, ..entry };
                self.table.put(keys::outbox::key(pending.slot), keys::outbox::encode(&covered));
            }
            Phase::Waiting => {}
        }
    }

    fn is_returning(&self, shard: ShardId) -> bool {
        self.shards.get(&shard).is_some_and(|shard| shard.standing.returning)
    }

    /// Shows a document again from its rows, after its pending changes or its policy changed.
    pub(super) fn rebuild(&mut self, place: &Place) -> Result<(), Error> {
        self.live.forget(place);
        let known = self.known.clone();
        let Some(collection) = known.by_id(place.collection) else { return Ok(()) };
        let Some(engine) = self.engines.get(&place.collection).cloned() else { return Ok(()) };
        let was_visible = self.shown(place)?.is_some_and(|shown| shown.view.is_some());
        let (head, document) = self.published(place, engine.as_ref())?;
        self.show_again(collection, place, was_visible, head.as_ref(), document)
    }
}

/// The built-in order. The reason is only told where the plugin had something to decide.
fn fall_back(
    view: &dyn Fn(Chooser<'_>) -> Result<Viewed, engine::Error>,
    reason: String,
) -> Result<Outcome, engine::Error> {
    let viewed = view(Chooser::Lww)?;
    let open = viewed.conflicts > 0;
    Ok(Outcome { viewed: Viewed { fallback: open.then_some(reason), ..viewed }, plugin: None, unsettled: open })
}

/// What merging a pending change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Merged {
    Added,
    Had,
    /// The plugin cannot run here now.
    NotNow,
    /// It cannot be merged here: it builds on a refused one, or another copy of this folder has used its number. The
    /// core's verdict is on its way.
    Refused,
}

/// Merges pending changes in one step, since each by itself costs as much as the document is large. `false`, and nothing
/// done, where not all of them can be merged.
fn merge_together(document: &mut Box<dyn MergeDocument>, waiting: &[(Pending, Entry)]) -> Result<bool, Error> {
    let deltas = waiting.iter().map(|(_, entry)| Ok(entry.change()?.delta)).collect::<Result<Vec<_>, Error>>()?;
    if deltas.is_empty() {
        return Ok(true);
    }
    let mut together = document.scratch();
    let merged = together.merge_all(&deltas).is_ok();
    if merged {
        *document = together;
    }
    Ok(merged)
}

fn merge_pending(
    document: &mut dyn MergeDocument,
    place: &Place,
    pending: Pending,
    entry: &Entry,
) -> Result<Merged, Error> {
    match document.merge(&entry.change()?.delta) {
        Ok(true) => Ok(Merged::Added),
        Ok(false) => Ok(Merged::Had),
        Err(engine::Error::Unavailable { .. }) => Ok(Merged::NotNow),
        // Of what was published it holds no more than its operation, which is made again.
        Err(_) if entry.replayed => Ok(Merged::Refused),
        Err(error) => {
            tracing::warn!(
                collection = place.collection.get(), key = %place.key, position = pending.slot.position, %error,
                "a pending change does not apply and is not shown"
            );
            Ok(Merged::Refused)
        }
    }
}

/// The view as an object, where there is one.
pub(super) fn object(
    view: Option<&View>,
) -> Result<Option<serde_json::Map<String, serde_json::Value>>, skerry_model::document::Error> {
    view.map(View::object).transpose()
}

fn json_engine(collection: &Collection) -> Option<Arc<dyn Engine>> {
    let template = collection.template.as_ref().map(View::object).transpose();
    let engine = template.map_err(engine::Error::from).and_then(|template| {
        let text = collection.text.clone();
        JsonEngine::new(JsonSettings { template, text })
    });
    let log = |error: &engine::Error| {
        tracing::error!(collection = %collection.name, %error, "the collection's settings cannot be read here");
    };
    engine.inspect_err(log).ok().map(|engine| Arc::new(engine) as Arc<dyn Engine>)
}
