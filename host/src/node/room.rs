//! A node whose disk is nearly full takes no writes and gives up leadership (DESIGN.md, Storage). It goes on following as
//! long as the disk takes it: a follower that stopped would cost the others their quorum.

use std::collections::BTreeSet;
use std::sync::Arc;

use skerry_api::problem::{Kind, Problem};
use skerry_model::NodeId;
use skerry_store::limits::DISK_LOOK_INTERVAL;
use skerry_store::room::Headroom;
use tokio::time::Instant;

use super::Node;
use super::shard::{Refused, Shard};
use crate::consensus::network::message::{Lane, Request, Response};
use crate::env::executor::{Executor, compute};
use crate::limits::{LOW_CAMPAIGN_AFTER, PING_TIMEOUT};

/// Looks at the disk, off the tokio workers.
pub(super) async fn look(executor: &dyn Executor, headroom: &Arc<Headroom>) {
    let looking = Arc::clone(headroom);
    if compute(executor, move || looking.look()).await.is_none() {
        tracing::error!("looking at the disk failed in a way that is a bug");
    }
}

impl Node {
    /// How much room this node's disk has.
    #[must_use]
    pub fn headroom(&self) -> &Headroom {
        &self.0.headroom
    }

    /// Looks at the disk again and again.
    pub(super) async fn watch_disk(self) {
        loop {
            tokio::time::sleep(DISK_LOOK_INTERVAL).await;
            look(&*self.0.executor, &self.0.headroom).await;
        }
    }

    /// Whether this node, as leader, takes writes.
    pub(super) fn has_room(&self, shard: &Shard) -> Result<(), Refused> {
        match self.0.headroom.check() {
            Ok(()) => Ok(()),
            Err(_) if !shard.raft.is_leader() => Err(Refused::NotLeader(shard.leader())),
            Err(shortage) => {
                let detail = format!("node {} takes no writes, {shortage}", self.0.id);
                Err(Problem::new(Kind::DiskFull, detail).into())
            }
        }
    }

    /// Which of some nodes say that their disks are nearly full.
    pub(super) async fn low_on_disk(&self, shard: &Shard, nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let ask = |node: NodeId| async move {
            let is_low = if node == self.0.id {
                self.0.headroom.is_low()
            } else {
                let asked = self.0.peers.call(node, Lane::Control, shard.id, Request::IsLowOnDisk, PING_TIMEOUT).await;
                matches!(asked, Ok(Response::IsLowOnDisk(true)))
            };
            is_low.then_some(node)
        };
        futures::future::join_all(nodes.into_iter().map(ask)).await.into_iter().flatten().collect()
    }

    /// Whether this node leaves it to others to campaign for a shard: its disk is nearly full, and the shard had a leader
    /// a moment ago, the last time at `led_at`. Where nobody else can lead it does, for the sake of reads.
    pub(super) async fn holds_back(&self, shard: &Shard, led_at: &mut Instant) -> bool {
        if !self.0.headroom.is_low() || shard.raft.is_leader() || self.is_led(shard).await {
            *led_at = Instant::now();
        }
        self.0.headroom.is_low() && led_at.elapsed() < LOW_CAMPAIGN_AFTER
    }

    /// Whether the leader that this node knows of still has a quorum.
    async fn is_led(&self, shard: &Shard) -> bool {
        let Some(leader) = shard.leader().filter(|leader| *leader != self.0.id) else { return false };
        let asked = self.0.peers.call(leader, Lane::Control, shard.id, Request::ReadIndex, PING_TIMEOUT);
        matches!(asked.await, Ok(Response::ReadIndex(_)))
    }
}
