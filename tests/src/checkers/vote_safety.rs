//! A node votes for at most one candidate in a term, and its vote outlives a crash (Ongaro 2014, section 3.4).

use std::collections::BTreeMap;

use skerry_model::{NodeId, ShardId};

use super::{Checker, View};

#[derive(Default)]
pub(super) struct VoteSafety {
    votes: BTreeMap<(ShardId, NodeId, u64), NodeId>,
}

impl Checker for VoteSafety {
    fn name(&self) -> &'static str {
        "vote safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let Some((term, candidate)) = on_node.vote else { continue };
            let known = *self.votes.entry((shard, node, term)).or_insert(candidate);
            if known != candidate {
                let what = format!("shard {shard}: node {node} voted for {known} and {candidate} in term {term}");
                return Err(what);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShardView;
    use super::super::testing::{refuses, view};
    use super::*;

    #[test]
    fn two_votes_in_one_term_are_found() {
        let voted =
            |candidate| view(vec![ShardView { vote: Some((4, NodeId::new(candidate))), ..ShardView::default() }]);
        refuses(VoteSafety::default(), vec![voted(1), voted(1), voted(2)]);
    }
}
