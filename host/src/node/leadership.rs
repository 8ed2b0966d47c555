//! What a node's log says of who leads its shards: who has begun to, and that nobody does for its clients.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::{Instant as _, WatchReceiver as _};
use skerry_model::{NodeId, ShardId, Term};

use super::shard::Shard;

/// How long a leader may hear from no quorum before the log says so.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(2);

/// Whether a shard is served here, as the log has said it last.
#[derive(Debug, Default)]
pub(super) struct Service {
    is_down: AtomicBool,
}

impl Service {
    /// Says that it is served again, if it was not.
    pub(super) fn up(&self, shard: ShardId) {
        if self.is_down.load(Ordering::Relaxed) && self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(%shard, "the shard is served again");
        }
    }

    /// Says that it is not served, and why, if it was until now.
    pub(super) fn down(&self, shard: ShardId, reason: &str) {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(%shard, reason, "the shard is not served");
        }
    }
}

/// Who led a shard when it was looked at last.
#[derive(Debug, Default)]
pub(super) struct Leadership(Option<(Term, NodeId)>);

impl Leadership {
    /// Says what has changed.
    pub(super) fn look(&mut self, shard: &Shard) {
        let metrics = shard.raft.metrics().borrow_watched().clone();
        let term = Term::new(metrics.current_term);
        let leader = metrics.current_leader.map(|leader| (term, leader));
        if let Some((term, leader)) = leader.filter(|_| leader != self.0) {
            tracing::info!(shard = %shard.id, %term, %leader, "the shard has a leader");
            self.0 = Some((term, leader));
        }
        if shard.raft.is_leader() {
            let acked = metrics.last_quorum_acked;
            match acked.is_none_or(|at| at.into_inner().elapsed() < QUORUM_SILENCE_MAX) {
                true => shard.service.up(shard.id),
                // A group of one hears from nobody.
                false if shard.majority() > 1 => shard.service.down(shard.id, "no quorum answers this leader"),
                false => {}
            }
        }
    }
}
