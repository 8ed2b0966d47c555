//! What was committed at an index stays there (Ongaro 2014, figure 3.2, State Machine Safety, seen in the logs).

use std::collections::BTreeMap;

use skerry_model::ShardId;

use super::{Checker, View};

#[derive(Default)]
pub(super) struct CommittedImmutable {
    committed: BTreeMap<(ShardId, u64), (u64, [u8; 32])>,
}

impl Checker for CommittedImmutable {
    fn name(&self) -> &'static str {
        "committed is immutable"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            for line in on_node.applied_log() {
                let now = (line.term, line.digest);
                let known = *self.committed.entry((shard, line.index)).or_insert(now);
                if known != now {
                    let (index, term) = (line.index, line.term);
                    return Err(format!(
                        "shard {shard}: node {node} has applied entry {index} of term {term}, where one of term {} was \
                         applied before",
                        known.0
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
    fn a_committed_entry_that_changes_is_found() {
        let before = view(vec![with_log(running(1, true, 1), &[1])]);
        let after = view(vec![with_log(running(2, true, 1), &[2])]);
        refuses(CommittedImmutable::default(), vec![before, after]);
    }
}
