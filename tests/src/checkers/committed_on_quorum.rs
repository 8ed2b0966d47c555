//! What a node has applied is on the disks of a majority (Ongaro 2014, section 3.5). Looked at when it is first seen.

use std::collections::BTreeSet;

use skerry_model::ShardId;

use super::{Checker, View};

#[derive(Default)]
pub(super) struct CommittedOnQuorum {
    seen: BTreeSet<(ShardId, u64)>,
}

impl Checker for CommittedOnQuorum {
    fn name(&self) -> &'static str {
        "committed on a quorum"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            for line in on_node.applied_log() {
                if !self.seen.insert((shard, line.index)) {
                    continue;
                }
                // What a node has purged it holds in its state, which was on the disk first.
                let holds = |other: &super::ShardView| {
                    other.purged.is_some_and(|purged| line.index <= purged) || other.log.iter().any(|held| held == line)
                };
                // Who votes may have changed since the entry was committed, and nodes differ in what they know of it.
                let majorities = view.of(shard).filter_map(|(_, other)| other.running).map(|running| running.majority);
                let majority = majorities.min().unwrap_or_default();
                let holders = view.of(shard).filter(|(_, other)| holds(other)).count();
                if holders < majority {
                    return Err(format!(
                        "shard {shard}: node {node} has applied entry {}, which {holders} disks hold, not {majority}",
                        line.index
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, running, view, with_log};
    use super::*;

    #[test]
    fn an_entry_applied_on_a_minority_is_found() {
        let lone = with_log(running(1, true, 1), &[1]);
        refuses(CommittedOnQuorum::default(), vec![view(vec![lone, running(1, false, 0), running(1, false, 0)])]);
    }
}
