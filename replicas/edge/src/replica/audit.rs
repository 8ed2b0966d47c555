//! The audit of plugins at an edge: a sample of the views that the core has published is computed again. A difference is
//! an alarm and changes nothing: what the core has published stands.

use skerry_channel::message::Collection;
use skerry_model::engine::MergeDocument;

use super::Replica;
use crate::keys::Place;
use crate::keys::head::Head;
use crate::limits::AUDIT_ONE_IN;

/// What an audit has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Audit {
    met: u64,
    /// Views of the core's that were others here.
    pub(super) divergences: u64,
}

impl Replica {
    /// Whether a published view is to be computed again: one of [`AUDIT_ONE_IN`] that a plugin has decided.
    pub(super) fn audit_is_due(&mut self, collection: &Collection, head: &Head) -> bool {
        let plugin = head.plugin.filter(|digest| collection.plugin == Some(*digest));
        if head.view.is_none() || plugin.is_none_or(|digest| !self.components.contains(&digest)) {
            return false;
        }
        self.audit.met += 1;
        self.audit.met.is_multiple_of(AUDIT_ONE_IN)
    }

    /// Computes a published view again.
    pub(super) fn audit(&mut self, collection: &Collection, place: &Place, head: &Head, document: &dyn MergeDocument) {
        let Some(digest) = head.plugin else { return };
        // What cannot be computed here now says nothing.
        let Ok(outcome) = self.outcome(collection, document) else { return };
        let viewed = outcome.viewed;
        let agrees = viewed.view == head.view && viewed.fallback == head.fallback && viewed.conflicts == head.conflicts;
        if agrees || outcome.plugin != Some(digest) {
            return;
        }
        self.audit.divergences += 1;
        let input = document.conflicts().ok().map(|set| serde_json::json!({ "conflicts": set.conflicts }).to_string());
        let collection = &collection.name;
        tracing::error!(%collection, key = %place.key, %digest, input, "this edge's plugin decides otherwise than the core's");
    }
}
