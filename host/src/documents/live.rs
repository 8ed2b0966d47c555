//! Merge documents kept in memory between evaluations, bounded by bytes. Whoever evaluates takes one out and puts it
//! back with the version it stands at, so that two never change the same one.

use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use skerry_model::engine::MergeDocument;
use skerry_model::{CollectionId, DocumentKey, ShardId, VersionId};

use crate::limits::LIVE_BYTES_MAX;

type Place = (CollectionId, DocumentKey);

/// The documents in memory of one node. A document's place is unique over all shards.
pub struct LiveDocuments(Cache<Place, Parked, ByBytes>);

#[derive(Clone)]
struct Parked {
    shard: ShardId,
    bytes: u64,
    document: Arc<Mutex<Option<Live>>>,
}

/// A document and the version it stands at.
pub type Live = (VersionId, Box<dyn MergeDocument>);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Place, Parked> for ByBytes {
    fn weight(&self, place: &Place, parked: &Parked) -> u64 {
        parked.bytes + place.1.as_str().len() as u64 + 64
    }
}

impl Default for LiveDocuments {
    fn default() -> Self {
        const TYPICAL_BYTES: u64 = 16 << 10;
        let expected = usize::try_from(LIVE_BYTES_MAX / TYPICAL_BYTES).expect("a few thousand");
        Self(Cache::with_weighter(expected, LIVE_BYTES_MAX, ByBytes))
    }
}

impl LiveDocuments {
    /// Takes a document out.
    #[must_use]
    pub fn take(&self, collection: CollectionId, key: &DocumentKey) -> Option<Live> {
        let (_, parked) = self.0.remove(&(collection, key.clone()))?;
        parked.document.lock().take()
    }

    /// Puts a document of a shard back, at its version.
    pub fn put(
        &self,
        shard: ShardId,
        collection: CollectionId,
        key: DocumentKey,
        version: VersionId,
        document: Box<dyn MergeDocument>,
    ) {
        let bytes = document.memory_bytes() as u64;
        let document = Arc::new(Mutex::new(Some((version, document))));
        self.0.insert((collection, key), Parked { shard, bytes, document });
    }

    /// Lets go of a shard's documents.
    pub fn forget(&self, shard: ShardId) {
        self.0.retain(|_, parked| parked.shard != shard);
    }

    /// What all documents hold together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }
}
