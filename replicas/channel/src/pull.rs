//! Pull: where a receiver stands in the feed, and when it may take a batch.

use serde::{Deserialize, Serialize};
use skerry_model::{CollectionId, DocumentKey, ShardId, Timeline, VersionId};

use crate::message::Batch;
use crate::subscription::Digest;

/// A place in one shard's feed, good for one line of history and one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The line of history.
    pub timeline: Timeline,
    /// The shard.
    pub shard: ShardId,
    /// The subscription.
    pub subscription: Digest,
    /// The place.
    pub position: Position,
}

/// How far a receiver has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Position {
    /// It has nothing.
    Start,
    /// It is taking the first copy, in the order of collections and keys.
    Copy {
        /// The feed goes on after this version, which was the last when the copy began.
        feed_after: VersionId,
        /// The last document taken.
        after: (CollectionId, DocumentKey),
    },
    /// It has all up to this version and takes what changes.
    Feed {
        /// The last version taken.
        after: VersionId,
    },
}

/// What to do with a batch that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Install the documents and the batch's `to` in one atomic write.
    Install,
    /// The receiver no longer stands where the batch begins: it came twice, late, or for another subscription.
    Ignore,
}

/// Whether a receiver that stands at `cursor` takes this batch.
#[must_use]
pub fn step(cursor: &Cursor, batch: &Batch) -> Step {
    let same_feed = batch.to.timeline == cursor.timeline
        && batch.to.shard == cursor.shard
        && batch.to.subscription == cursor.subscription;
    if batch.from == *cursor && same_feed { Step::Install } else { Step::Ignore }
}
