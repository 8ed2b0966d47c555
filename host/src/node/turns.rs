//! How much of a node a version of a plugin may take: half of the processors, and after an evaluation in which it failed by
//! its own fault, as where it takes all the fuel there is, nothing for a while. So it slows down its own collections alone.

use std::collections::BTreeSet;

use skerry_model::PluginDigest;
use tokio::time::{Instant, sleep};

use super::Node;
use super::slots::Held;
use crate::limits::{PLUGIN_REST_FACTOR, PLUGIN_REST_MAX};

/// A version of a plugin at work.
pub(super) struct Turn {
    held: Held<PluginDigest>,
    digest: PluginDigest,
    began: Instant,
    failures: u64,
}

impl Node {
    /// Waits until these versions of plugins may run once more beside themselves.
    pub(super) async fn plugin_turns(&self, plugins: BTreeSet<PluginDigest>) -> Vec<Turn> {
        let held = self.0.plugin_turns.hold_all(&plugins).await;
        let began = Instant::now();
        let turn = |(held, digest)| Turn { held, digest, began, failures: self.0.health.failures(digest) };
        held.into_iter().zip(plugins).map(turn).collect()
    }

    /// Ends turns; those of versions that failed meanwhile are kept from others for a while.
    pub(super) fn end_turns(&self, turns: Vec<Turn>) {
        for Turn { held, digest, began, failures } in turns {
            if self.0.health.failures(digest) == failures {
                continue;
            }
            let rest = (began.elapsed() * PLUGIN_REST_FACTOR).min(PLUGIN_REST_MAX);
            tokio::spawn(async move {
                sleep(rest).await;
                drop(held);
            });
        }
    }
}
