//! At most one leader is elected in a term (Ongaro 2014, figure 3.2, Election Safety).

use std::collections::BTreeMap;

use skerry_model::{NodeId, ShardId};

use super::{Checker, View};

#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<(ShardId, u64), NodeId>,
}

impl Checker for ElectionSafety {
    fn name(&self) -> &'static str {
        "election safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let Some(running) = on_node.running.filter(|running| running.leads) else { continue };
            let known = *self.leaders.entry((shard, running.term)).or_insert(node);
            if known != node {
                return Err(format!("shard {shard}: nodes {known} and {node} both lead in term {}", running.term));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, running, view};
    use super::*;

    #[test]
    fn two_leaders_of_one_term_are_found_also_apart_in_time() {
        let first = view(vec![running(3, true, 0), running(3, false, 0)]);
        let second = view(vec![running(3, false, 0), running(3, true, 0)]);
        refuses(ElectionSafety::default(), vec![first, second]);
    }
}
