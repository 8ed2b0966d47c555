//! The term on a disk never falls, and within one run of a process nor does what it knows to be committed or has applied
//! (Ongaro 2014, figure 3.1).

use std::collections::BTreeMap;

use skerry_model::{NodeId, ShardId};

use super::{Checker, RunningView, View};

#[derive(Default)]
pub(super) struct Monotonic {
    terms: BTreeMap<(ShardId, NodeId), u64>,
    runs: BTreeMap<(ShardId, NodeId), RunningView>,
}

impl Checker for Monotonic {
    fn name(&self) -> &'static str {
        "monotonic term, commit and applied"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let at = (shard, node);
            if let Some(term) = on_node.vote.map(|vote| vote.term) {
                let known = self.terms.insert(at, term).unwrap_or_default();
                if term < known {
                    return Err(format!("shard {shard}: the term on node {node}'s disk fell from {known} to {term}"));
                }
            }
            let Some(now) = on_node.running else { continue };
            let Some(before) = self.runs.insert(at, now).filter(|before| before.run == now.run) else { continue };
            let fell = now.term < before.term || now.committed < before.committed || now.applied < before.applied;
            if fell {
                return Err(format!("shard {shard}: node {node} went back from {before:?} to {now:?}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, running, view};
    use super::super::{ShardView, VoteView};
    use super::*;

    #[test]
    fn what_falls_is_found() {
        let voted = |term| {
            let vote = VoteView { term, to: NodeId::new(1), elected: false };
            view(vec![ShardView { vote: Some(vote), ..ShardView::default() }])
        };
        refuses(Monotonic::default(), vec![voted(4), voted(3)]);
        refuses(Monotonic::default(), vec![view(vec![running(4, false, 9)]), view(vec![running(4, false, 8)])]);
        refuses(Monotonic::default(), vec![view(vec![running(4, false, 9)]), view(vec![running(3, false, 9)])]);
    }
}
