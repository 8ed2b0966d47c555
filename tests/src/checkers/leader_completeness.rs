//! What was committed in a term is in the log of every leader of a later term (Ongaro 2014, figure 3.2, Leader
//! Completeness). Looked at where a node's disk holds the index at all: what was purged had been applied.

use std::collections::BTreeMap;

use skerry_model::ShardId;

use super::{Checker, View};

#[derive(Default)]
pub(super) struct LeaderCompleteness {
    /// The term of each index that some node has applied, and the lowest term in which it was seen to be.
    committed: BTreeMap<(ShardId, u64), (u64, u64)>,
}

impl Checker for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader completeness"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (_, shard, on_node) in view.shards() {
            let Some(running) = on_node.running else { continue };
            for line in on_node.applied_log() {
                let seen = self.committed.entry((shard, line.index)).or_insert((line.term, running.term));
                seen.1 = seen.1.min(running.term);
            }
        }
        for (node, shard, on_node) in view.shards() {
            let Some(leader) = on_node.running.filter(|running| running.leads) else { continue };
            let behind_purged = on_node.purged.map(|purged| purged + 1);
            let Some(first) = behind_purged.or(on_node.log.first().map(|line| line.index)) else { continue };
            let held: BTreeMap<u64, u64> = on_node.log.iter().map(|line| (line.index, line.term)).collect();
            for ((_, index), (term, seen_in)) in self.committed.range((shard, first)..=(shard, u64::MAX)) {
                if *seen_in < leader.term && held.get(index) != Some(term) {
                    let held = held.get(index);
                    return Err(format!(
                        "shard {shard}: node {node} leads in term {} and holds {held:?} where term {term} was committed \
                         at index {index}",
                        leader.term
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
    fn a_leader_without_a_committed_entry_is_found() {
        let before = view(vec![with_log(running(1, true, 2), &[1, 1]), with_log(running(1, false, 0), &[1])]);
        let after = view(vec![with_log(running(1, false, 2), &[1, 1]), with_log(running(2, true, 0), &[1, 2])]);
        refuses(LeaderCompleteness::default(), vec![before, after]);
    }
}
