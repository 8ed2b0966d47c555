//! A node votes for at most one candidate in a term, its vote outlives a crash, and all acknowledge the same leader of a
//! term (Ongaro 2014, section 3.4).

use std::collections::BTreeMap;

use skerry_model::{NodeId, ShardId};

use super::{Checker, View};
use crate::simulation::network::Grant;

#[derive(Default)]
pub(super) struct VoteSafety {
    votes: BTreeMap<(ShardId, NodeId, u64), NodeId>,
    leaders: BTreeMap<(ShardId, u64), NodeId>,
}

impl Checker for VoteSafety {
    fn name(&self) -> &'static str {
        "vote safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for Grant { shard, term, voter, candidate } in view.grants.iter().copied() {
            let known = *self.votes.entry((shard, voter, term)).or_insert(candidate);
            if known != candidate {
                return Err(format!("shard {shard}: node {voter} voted for {candidate} in term {term}, after {known}"));
            }
        }
        for (node, shard, on_node) in view.shards() {
            let Some(vote) = on_node.vote else { continue };
            // Who did not vote for the leader takes it all the same.
            let known = match vote.elected {
                true => *self.leaders.entry((shard, vote.term)).or_insert(vote.to),
                false => *self.votes.entry((shard, node, vote.term)).or_insert(vote.to),
            };
            if known != vote.to {
                let to = vote.to;
                return Err(format!("shard {shard}: node {node} voted for {to} in term {}, after {known}", vote.term));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, view};
    use super::super::{ShardView, VoteView};
    use super::*;

    #[test]
    fn two_votes_in_one_term_are_found() {
        let vote = |to, elected| {
            let vote = VoteView { term: 4, to: NodeId::new(to), elected };
            view(vec![ShardView { vote: Some(vote), ..ShardView::default() }])
        };
        refuses(VoteSafety::default(), vec![vote(1, false), vote(1, false), vote(2, false)]);
        refuses(VoteSafety::default(), vec![vote(1, false), vote(2, true), vote(3, true)]);
    }
}
