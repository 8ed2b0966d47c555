//! What published documents came by. Merging costs as much as a document is large, so what comes by the feed is put beside
//! what was saved, and merged once somebody needs it or there is much of it.

use skerry_model::Epoch;
use skerry_model::engine::{self, Delta, Engine, MergeDocument, Version};

use super::{Error, Replica};
use crate::keys::history::Saved;
use crate::keys::{self, Place};
use crate::limits;

/// All that a published document came by.
#[derive(Debug, Default)]
pub(super) struct History {
    saved: Option<Saved>,
    /// Since then, oldest first.
    deltas: Vec<Delta>,
}

impl History {
    /// With more behind it.
    pub(super) fn and(mut self, deltas: &[Delta]) -> Self {
        self.deltas.extend_from_slice(deltas);
        self
    }

    /// Whether so much waits to be merged that it is to be done now.
    pub(super) fn is_long(&self) -> bool {
        let bytes: usize = self.deltas.iter().map(|delta| delta.0.len()).sum();
        self.deltas.len() > limits::DELTAS_APART_MAX || bytes > limits::DELTAS_APART_BYTES_MAX
    }

    /// Whether this is among what has not been merged.
    pub(super) fn names(&self, delta: &Delta) -> bool {
        self.deltas.contains(delta)
    }

    /// What the document has seen, where that can be told without merging.
    pub(super) fn seen(&self, engine: &dyn Engine) -> Option<Version> {
        engine.version_of(self.saved.as_ref().map(|saved| &saved.seen), &self.deltas)
    }

    /// The document.
    pub(super) fn load(&self, engine: &dyn Engine) -> Result<Box<dyn MergeDocument>, engine::Error> {
        let mut document =
            self.saved.as_ref().map_or_else(|| Ok(engine.empty()), |saved| engine.load(&saved.document))?;
        if !self.deltas.is_empty() {
            document.merge_all(&self.deltas)?;
        }
        Ok(document)
    }
}

impl Replica {
    pub(super) fn history(&self, place: &Place, epoch: Epoch) -> Result<History, Error> {
        let saved = self.table.get(&keys::history::key(place, epoch))?;
        let deltas = self.table.get(&keys::deltas::key(place, epoch))?;
        Ok(History {
            saved: saved.map(|row| keys::history::decode(&row)).transpose()?,
            deltas: deltas.map(|row| keys::deltas::decode(&row)).transpose()?.unwrap_or_default(),
        })
    }

    /// Stages what came behind what is saved.
    pub(super) fn put_deltas(&mut self, place: &Place, epoch: Epoch, history: &History) {
        self.table.put(keys::deltas::key(place, epoch), keys::deltas::encode(&history.deltas));
    }

    /// Stages a document in the place of all that it came by.
    pub(super) fn save(&mut self, place: &Place, epoch: Epoch, document: &dyn MergeDocument) {
        let saved = Saved { document: document.save(), seen: document.version() };
        self.table.put(keys::history::key(place, epoch), keys::history::encode(&saved));
        self.table.delete(keys::deltas::key(place, epoch));
    }

    pub(super) fn forget_history(&mut self, place: &Place, epoch: Epoch) {
        self.table.delete(keys::history::key(place, epoch));
        self.table.delete(keys::deltas::key(place, epoch));
    }

    /// Lets go of all that is stored of a published document.
    pub(super) fn forget_published(&mut self, place: &Place, epoch: Epoch) {
        self.table.delete(keys::head::key(place));
        self.forget_history(place, epoch);
    }
}
