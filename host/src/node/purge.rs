//! When a shard's log is cut. It keeps the last entries for nodes that were away for a moment, and on the leader all that a
//! node needs which is there and behind: one that takes a large snapshot would otherwise find the entries behind it gone,
//! and begin with another for ever. What it takes of the disk bounds both.

use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver as _};

use super::Node;
use super::shard::Shard;
use crate::consensus::snapshot::Thresholds;
use crate::consensus::types::RaftMetrics;
use crate::limits::LOG_BYTES_LOW_DIVISOR;

impl Node {
    /// Purges what is not needed, and has the state flushed first where bytes alone say that the log is too large.
    pub(super) async fn cut_log(&self, shard: &Shard) {
        let Thresholds { entries_kept, purge_entries_min, log_bytes_max, log_bytes_kept, kept_for, .. } =
            self.0.thresholds;
        let metrics = shard.raft.metrics().borrow_watched().clone();
        let index = |id: Option<crate::consensus::types::LogId>| id.map_or(0, |id| id.index);
        let (flushed, purged, applied) = (index(metrics.snapshot), index(metrics.purged), index(metrics.last_applied));
        let divisor = if self.headroom().is_low() { LOG_BYTES_LOW_DIVISOR } else { 1 };
        let is_large = shard.log.bytes() > log_bytes_max / divisor;
        let excess = shard.log.excess(log_bytes_kept / divisor).filter(|_| is_large).unwrap_or_default();
        let needed = needed_from(&metrics, kept_for).unwrap_or(u64::MAX);
        let unneeded = flushed.saturating_sub(entries_kept).min(needed);
        // What is not flushed is never purged.
        let last = unneeded.max(excess).min(flushed);
        let step = if excess > purged { 1 } else { purge_entries_min };
        if last >= purged + step {
            if last > needed {
                shard.cut.store(last, Ordering::Relaxed);
            }
            if let Err(fatal) = shard.raft.trigger().purge_log(last).await {
                tracing::debug!(shard = %shard.id, %fatal, "the log was not purged");
            }
        }
        if excess > flushed
            && applied >= excess
            && let Err(fatal) = shard.raft.trigger().snapshot().await
        {
            tracing::debug!(shard = %shard.id, %fatal, "the state was not flushed");
        }
    }
}

/// The last entry that every node has which this leader has heard of lately; `None` where it leads nobody. A node of which
/// nothing is known has none.
fn needed_from(metrics: &RaftMetrics, lately: Duration) -> Option<u64> {
    let replicated = metrics.replication.as_ref()?;
    let heard = metrics.heartbeat.as_ref()?;
    let is_there = |node| heard.get(node).copied().flatten().is_some_and(|at| at.into_inner().elapsed() <= lately);
    let matched = replicated.iter().filter(|(node, _)| **node != metrics.id && is_there(*node));
    matched.map(|(_, matched)| matched.as_ref().map_or(0, |matched| matched.index)).min()
}
