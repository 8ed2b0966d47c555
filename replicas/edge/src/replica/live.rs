//! Merge documents in memory, as shown: what is published with what is pending. Only spares loading; every answer is the
//! same without it.

use quick_cache::Weighter;
use quick_cache::unsync::Cache;
use skerry_model::engine::MergeDocument;

use crate::keys::Place;
use crate::limits;

/// Live documents, bounded by [`limits::LIVE_DOCUMENTS_BYTES_MAX`].
pub(crate) struct LiveDocuments(Cache<Place, Live, ByMemory>);

struct Live {
    document: Box<dyn MergeDocument>,
    memory_bytes: u64,
}

#[derive(Clone)]
struct ByMemory;

impl Weighter<Place, Live> for ByMemory {
    fn weight(&self, _place: &Place, live: &Live) -> u64 {
        live.memory_bytes
    }
}

impl LiveDocuments {
    pub(crate) fn new() -> Self {
        Self(Cache::with_weighter(limits::LIVE_DOCUMENTS_ESTIMATE, limits::LIVE_DOCUMENTS_BYTES_MAX, ByMemory))
    }

    /// A copy to work on.
    pub(crate) fn scratch(&self, place: &Place) -> Option<Box<dyn MergeDocument>> {
        self.0.get(place).map(|live| live.document.scratch())
    }

    pub(crate) fn keep(&mut self, place: Place, document: Box<dyn MergeDocument>) {
        let memory_bytes = u64::try_from(document.memory_bytes()).unwrap_or(u64::MAX).max(1);
        self.0.insert(place, Live { document, memory_bytes });
    }

    /// Takes the new state of a document that is in use, and leaves out one that is not.
    pub(crate) fn refresh(&mut self, place: &Place, document: Box<dyn MergeDocument>) {
        if self.0.contains_key(place) {
            self.keep(place.clone(), document);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn forget(&mut self, place: &Place) {
        self.0.remove(place);
    }
}
