//! The next step from what a shard's group is to what it is wanted to be, one change at a time: learner first, a vote when
//! it has caught up, and nobody leaves before whoever takes its place is there. Pure: the shell carries steps out and asks
//! again, so a leader killed at any point leaves nothing to undo.

use std::collections::{BTreeMap, BTreeSet};

use skerry_model::NodeId;

use crate::consensus::quorum::is_quorum;
use crate::consensus::types::NodeAddress;

/// Entries that a learner may lack when it gets its vote.
const LAG_MAX: u64 = 200;

/// What the cluster wants of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where it is reached.
    pub(super) address: NodeAddress,
    /// It keeps its vote, but leads nothing.
    pub(super) drained: bool,
    /// It stays until this node has its vote.
    pub(super) until: Option<NodeId>,
    /// It is on its way out of the cluster: it leads nothing and takes nobody's place.
    pub(super) leaves: bool,
}

impl Wanted {
    /// Whether it may lead at all.
    fn may_lead(&self) -> bool {
        !self.drained && !self.leaves
    }
}

/// A shard's group as its leader sees it.
#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    /// The leader.
    pub(super) leader: NodeId,
    /// Its voters; two sets while they change.
    pub(super) configurations: Vec<BTreeSet<NodeId>>,
    /// Everybody in it, voters and learners.
    pub(super) nodes: BTreeSet<NodeId>,
    /// The last entry that each is known to have, of those that answer.
    pub(super) matched: BTreeMap<NodeId, u64>,
    /// The leader's last entry.
    pub(super) last: u64,
    /// Who should lead, so that leaders are spread over the nodes; if anybody in particular should.
    pub(super) preferred: Option<NodeId>,
    /// Those whose disks are nearly full, as far as they were asked: they lead only where nobody else can.
    pub(super) low: BTreeSet<NodeId>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A node begins to follow, without a vote.
    AddLearner(NodeId, NodeAddress),
    /// These are the voters from here on.
    SetVoters(BTreeSet<NodeId>),
    /// A node without a vote follows no longer.
    Remove(NodeId),
    /// Another node leads.
    HandOver(NodeId),
}

/// The next step; `None` when the group is as it is wanted, or has to wait.
pub(super) fn next(wanted: &BTreeMap<NodeId, Wanted>, group: &Group) -> Option<Step> {
    let voters = group.configurations.last()?;
    // A change that was cut short half-way is finished before another begins.
    if group.configurations.len() > 1 {
        return Some(Step::SetVoters(voters.clone()));
    }
    // A successor that is itself to go takes nobody's place.
    let takes_over =
        |successor: NodeId| voters.contains(&successor) && wanted.get(&successor).is_some_and(|it| !it.leaves);
    let stays =
        |node: &NodeId| wanted.get(node).is_some_and(|wanted| wanted.until.is_none_or(|node| !takes_over(node)));
    let has_caught_up = |node: &NodeId| group.matched.get(node).is_some_and(|at| at + LAG_MAX >= group.last);
    if let Some((node, wanted)) = wanted.iter().find(|(node, _)| !group.nodes.contains(node) && stays(node)) {
        return Some(Step::AddLearner(*node, wanted.address.clone()));
    }
    let ready = wanted.keys().find(|node| stays(node) && !voters.contains(node) && has_caught_up(node));
    if let Some(ready) = ready {
        return Some(Step::SetVoters(voters.iter().copied().chain([*ready]).collect()));
    }
    let may_at_all = |node: &NodeId| wanted.get(node).is_none_or(Wanted::may_lead);
    let may_lead = |node: &NodeId| {
        *node != group.leader && stays(node) && may_at_all(node) && voters.contains(node) && has_caught_up(node)
    };
    let is_fit = |node: &NodeId| may_lead(node) && !group.low.contains(node);
    let fit = || group.preferred.filter(is_fit).or_else(|| voters.iter().copied().find(is_fit));
    let successor = || fit().or_else(|| voters.iter().copied().find(may_lead));
    if let Some(leaving) = voters.iter().find(|node| !stays(node)) {
        if *leaving == group.leader {
            return successor().map(Step::HandOver);
        }
        let rest: BTreeSet<NodeId> = voters.iter().copied().filter(|node| node != leaving).collect();
        let current = rest.iter().copied().filter(has_caught_up).collect();
        // Never into a group that could not decide anything.
        return is_quorum(std::slice::from_ref(&rest), &current).then_some(Step::SetVoters(rest));
    }
    if let Some(gone) = group.nodes.iter().find(|node| !stays(node) && !voters.contains(node)) {
        return Some(Step::Remove(*gone));
    }
    if !may_at_all(&group.leader) {
        return successor().map(Step::HandOver);
    }
    if group.low.contains(&group.leader) {
        return fit().map(Step::HandOver);
    }
    group.preferred.filter(is_fit).map(Step::HandOver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(nodes: &[u64]) -> BTreeMap<NodeId, Wanted> {
        let one = |node: u64| {
            let address = NodeAddress { node: format!("n{node}"), http: String::new() };
            (NodeId::new(node), Wanted { address, drained: false, until: None, leaves: false })
        };
        nodes.iter().map(|node| one(*node)).collect()
    }

    fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId::new).collect()
    }

    /// Node 1 leads; everybody has everything.
    fn group(voters: &[u64], learners: &[u64]) -> Group {
        let nodes: BTreeSet<NodeId> = ids(voters).union(&ids(learners)).copied().collect();
        Group {
            leader: NodeId::new(1),
            configurations: vec![ids(voters)],
            matched: nodes.iter().map(|node| (*node, 1_000)).collect(),
            nodes,
            last: 1_000,
            preferred: None,
            low: BTreeSet::new(),
        }
    }

    /// A replacement that is taken back when the new node votes already: the old one is not sent away beside it.
    #[test]
    fn who_was_to_be_replaced_stays_when_its_successor_goes() {
        let mut wanted = wanted(&[1]);
        wanted.entry(NodeId::new(1)).and_modify(|one| one.until = Some(NodeId::new(2)));
        let (_, after) = steps(&wanted, group(&[1, 2], &[]));
        assert_eq!((after.configurations, after.nodes), (vec![ids(&[1])], ids(&[1])));
    }

    /// The same while the new node still has to stay: it hands over, and the old one is not sent away for it.
    #[test]
    fn who_leaves_takes_nobodys_place() {
        let mut wanted = wanted(&[1, 2]);
        wanted.entry(NodeId::new(1)).and_modify(|one| one.until = Some(NodeId::new(2)));
        wanted.entry(NodeId::new(2)).and_modify(|two| two.leaves = true);
        let led_by_the_new = Group { leader: NodeId::new(2), ..group(&[1, 2], &[]) };
        assert_eq!(next(&wanted, &led_by_the_new), Some(Step::HandOver(NodeId::new(1))));
        assert_eq!(next(&wanted, &group(&[1, 2], &[])), None);
    }

    /// Carries steps out until none is left.
    fn steps(wanted: &BTreeMap<NodeId, Wanted>, mut group: Group) -> (Vec<Step>, Group) {
        let mut done = Vec::new();
        while let Some(step) = next(wanted, &group) {
            match &step {
                Step::AddLearner(node, _) => {
                    group.nodes.insert(*node);
                    group.matched.insert(*node, group.last);
                }
                Step::SetVoters(voters) => group.configurations = vec![voters.clone()],
                Step::Remove(node) => drop(group.nodes.remove(node)),
                Step::HandOver(node) => group.leader = *node,
            }
            done.push(step);
            assert!(done.len() < 20, "no end: {done:?}");
        }
        (done, group)
    }

    #[test]
    fn a_node_learns_before_it_votes() {
        let mut lagging = group(&[1, 2, 3], &[]);
        assert!(matches!(next(&wanted(&[1, 2, 3, 4]), &lagging), Some(Step::AddLearner(..))));
        lagging.nodes.insert(NodeId::new(4));
        lagging.matched.insert(NodeId::new(4), 100);
        assert_eq!(next(&wanted(&[1, 2, 3, 4]), &lagging), None);
        lagging.matched.insert(NodeId::new(4), 900);
        assert_eq!(next(&wanted(&[1, 2, 3, 4]), &lagging), Some(Step::SetVoters(ids(&[1, 2, 3, 4]))));
    }

    #[test]
    fn a_leader_that_leaves_hands_over_first() {
        let (done, end) = steps(&wanted(&[2, 3]), group(&[1, 2, 3], &[]));
        assert_eq!(done[0], Step::HandOver(NodeId::new(2)));
        assert_eq!((end.configurations, end.nodes), (vec![ids(&[2, 3])], ids(&[2, 3])));
    }

    #[test]
    fn a_replaced_node_stays_until_its_successor_votes() {
        let mut want = wanted(&[1, 2, 3, 4]);
        want.get_mut(&NodeId::new(3)).unwrap().until = Some(NodeId::new(4));
        let (done, end) = steps(&want, group(&[1, 2, 3], &[]));
        assert_eq!(end.nodes, ids(&[1, 2, 4]));
        let vote = done.iter().position(|step| *step == Step::SetVoters(ids(&[1, 2, 3, 4]))).unwrap();
        let leave = done.iter().position(|step| *step == Step::SetVoters(ids(&[1, 2, 4]))).unwrap();
        assert!(vote < leave);
    }

    #[test]
    fn a_change_cut_short_is_finished_first() {
        let mut joint = group(&[1, 2, 3], &[4]);
        joint.configurations.push(ids(&[1, 2, 3, 4]));
        assert_eq!(next(&wanted(&[1, 2, 3]), &joint), Some(Step::SetVoters(ids(&[1, 2, 3, 4]))));
    }

    #[test]
    fn nobody_leaves_when_the_rest_could_not_decide() {
        let mut behind = group(&[1, 2, 3], &[]);
        behind.matched.insert(NodeId::new(2), 0);
        assert_eq!(next(&wanted(&[1, 2]), &behind), None);
    }

    #[test]
    fn a_drained_leader_hands_over_and_a_spread_one_too() {
        let mut want = wanted(&[1, 2, 3]);
        let mut calm = group(&[1, 2, 3], &[]);
        assert_eq!(next(&want, &calm), None);
        calm.preferred = Some(NodeId::new(3));
        assert_eq!(next(&want, &calm), Some(Step::HandOver(NodeId::new(3))));
        want.get_mut(&NodeId::new(3)).unwrap().drained = true;
        assert_eq!(next(&want, &calm), None);
        want.get_mut(&NodeId::new(1)).unwrap().drained = true;
        assert_eq!(next(&want, &calm), Some(Step::HandOver(NodeId::new(2))));
    }

    #[test]
    fn a_leader_with_a_full_disk_hands_over_to_one_with_room() {
        let mut want = wanted(&[1, 2, 3]);
        let mut full = group(&[1, 2, 3], &[]);
        full.low = ids(&[1, 2]);
        assert_eq!(next(&want, &full), Some(Step::HandOver(NodeId::new(3))));
        full.low = ids(&[1, 2, 3]);
        assert_eq!(next(&want, &full), None);
        full.low = ids(&[3]);
        full.preferred = Some(NodeId::new(3));
        assert_eq!(next(&want, &full), None);
        // Who is to lead no more goes to one with a full disk where there is no other.
        full.low = ids(&[2, 3]);
        want.get_mut(&NodeId::new(1)).unwrap().drained = true;
        assert_eq!(next(&want, &full), Some(Step::HandOver(NodeId::new(2))));
    }
}
