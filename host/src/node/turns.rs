//! How much of a node a version of a plugin may take: three of four threads, and after an evaluation in which it failed by
//! its own fault, as where it takes all the fuel there is, nothing for a while. So it slows down its own collections alone.

use std::collections::BTreeSet;

use skerry_model::PluginDigest;
use tokio::time::{Instant, sleep};

use super::Node;
use super::slots::Held;
use crate::env::executor::compute;
use crate::limits::{PLUGIN_REST_FACTOR, PLUGIN_REST_MAX};

/// A version of a plugin at work.
struct Turn {
    held: Held<PluginDigest>,
    digest: PluginDigest,
    began: Instant,
    failures: u64,
}

impl Node {
    /// Runs an evaluation in which these versions of plugins may be called, once they may run once more beside themselves.
    /// `None` when it panicked.
    pub(super) async fn compute_in_turn<T: Send + 'static>(
        &self,
        plugins: BTreeSet<PluginDigest>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        if plugins.is_empty() {
            return compute(&*self.0.executor, job).await;
        }
        let turns = self.plugin_turns(plugins).await;
        let node = self.clone();
        // Whoever asked may go away: the evaluation runs to its end all the same, and keeps its turns until then.
        let working = tokio::spawn(async move {
            let computed = compute(&*node.0.executor, job).await;
            node.end_turns(turns);
            computed
        });
        working.await.ok().flatten()
    }

    /// All turns at once: whoever waits for one holds none, so that a plugin that rests stops no other.
    async fn plugin_turns(&self, plugins: BTreeSet<PluginDigest>) -> Vec<Turn> {
        let slots = &self.0.plugin_turns;
        let mut awaited: Option<(PluginDigest, Held<PluginDigest>)> = None;
        let held = loop {
            let mut hold = |digest: &PluginDigest| match awaited.take_if(|(had, _)| had == digest) {
                Some((_, held)) => Some(held),
                None => slots.try_hold(*digest),
            };
            let held: Vec<_> = plugins.iter().map_while(&mut hold).collect();
            let Some(missing) = plugins.iter().nth(held.len()) else { break held };
            drop((held, awaited.take()));
            // Kept, or those who wait would take it from each other for ever.
            awaited = Some((*missing, slots.hold(*missing).await));
        };
        let began = Instant::now();
        let turn = |(held, digest)| Turn { held, digest, began, failures: self.0.health.failures(digest) };
        held.into_iter().zip(plugins).map(turn).collect()
    }

    /// Ends turns; those of versions that failed meanwhile are kept from others for a while.
    fn end_turns(&self, turns: Vec<Turn>) {
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
