//! Which nodes make up the cluster: shard 0 logs what is wanted, and each shard's leader drives its group there.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::{Instant as _, WatchReceiver};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::{NodeId, ShardId, Term};
use tokio::time::{Instant, timeout};

use self::plan::{Group, Step, Wanted};
use super::leadership::Leadership;
use super::shard::Shard;
use super::{Node, documents};
use crate::catalog::{self, Catalog, MemberStep};
use crate::consensus::network::message::{Lane, Request};
use crate::consensus::quorum;
use crate::consensus::types::{Membership, NodeAddress};
use crate::documents::record::Effect;
use crate::limits::{
    HAND_OVER_TIMEOUT, HEARD_WITHIN, IN_FLIGHT_BYTES_MAX, PING_TIMEOUT, PROPOSAL_TIMEOUT, STEER_PAUSE, STOP_GRACE,
};

/// How long a node leads before it thinks of handing over to whom the shard is meant for: who has just come back may go
/// again.
const SPREAD_AFTER: Duration = Duration::from_secs(10);

impl Node {
    /// The nodes that are wanted.
    fn wanted(&self, catalog: &Catalog) -> BTreeMap<NodeId, Wanted> {
        let members = &catalog.members;
        let founded = self.0.peers.founding().members.iter().map(|(node, address)| (*node, address.clone()));
        let added = members.added.iter().map(|(node, address)| (*node, address.clone()));
        let wanted = founded.chain(added).filter(|(node, _)| !members.is_gone(*node)).map(|(node, address)| {
            let drained = members.drained.contains(&node);
            let until = members.replaced.get(&node).copied();
            (node, Wanted { address, drained, until, leaves: false })
        });
        wanted.collect()
    }

    /// The nodes that are wanted in a shard's group. Shard 0 lets go of a node last: one that hears of no further catalog would
    /// steer the groups that it leads by an old one.
    fn wanted_in(&self, shard: &Shard, catalog: &Catalog) -> BTreeMap<NodeId, Wanted> {
        let mut wanted = self.wanted(catalog);
        if shard.id != self.catalog_shard().id {
            return wanted;
        }
        let others = &self.shards()[1..];
        for (node, address) in shard.addresses() {
            // One that was to be replaced, and whose successor is to go instead, stays.
            let stays = wanted.get(&node).is_some_and(|it| it.until.is_none_or(|node| !wanted.contains_key(&node)));
            if !stays && catalog.members.is_leaving(node) && others.iter().any(|other| other.may_hold(node)) {
                wanted.insert(node, Wanted { address, drained: false, until: None, leaves: true });
            }
        }
        wanted
    }

    /// The nodes that are wanted, without those whose successor is there, and where they are reached.
    #[must_use]
    pub fn members_now(&self) -> BTreeMap<NodeId, NodeAddress> {
        let wanted = self.wanted(&self.catalog_shard().state.catalog());
        let is_there = |node: NodeId| self.shards().iter().all(|shard| shard.voters().contains(&node));
        let stays = |wanted: &Wanted| wanted.until.is_none_or(|successor| !is_there(successor));
        let stay = wanted.into_iter().filter(|(_, wanted)| stays(wanted));
        stay.map(|(node, wanted)| (node, wanted.address)).collect()
    }

    /// Every node that this one has heard of and that has not left, this one among them: one that has only just joined knows of
    /// its peers before it knows of the catalog.
    pub(super) fn members_heard_of(&self) -> BTreeMap<NodeId, NodeAddress> {
        let mut members = self.0.peers.addresses();
        members.extend(self.members_now());
        members.retain(|node, _| !self.has_left(*node));
        members
    }

    /// Whether a node is part of the cluster as far as this one knows: it is wanted, or still in some group.
    pub(super) fn is_member(&self, node: NodeId) -> bool {
        let catalog = self.catalog_shard().state.catalog();
        let is_wanted = || self.wanted(&catalog).contains_key(&node);
        (!catalog.members.is_leaving(node) && is_wanted()) || self.is_in_a_group(node)
    }

    /// Whether a node left for good. One that this node has not heard of did not: it may have been added while this node was
    /// away, and lead what this node has to learn from.
    pub(super) fn has_left(&self, node: NodeId) -> bool {
        self.catalog_shard().state.catalog().members.is_leaving(node) && !self.is_in_a_group(node)
    }

    fn is_in_a_group(&self, node: NodeId) -> bool {
        self.shards().iter().any(|shard| shard.may_hold(node))
    }

    /// Which of the wanted nodes answer, this one among them.
    pub(crate) async fn reachable(&self) -> BTreeSet<NodeId> {
        let wanted = self.wanted(&self.catalog_shard().state.catalog());
        let ask = |node: NodeId| async move {
            let asked = self.0.peers.call(node, Lane::Control, ShardId::new(0), Request::ReadIndex, PING_TIMEOUT);
            let answers = node == self.0.id || asked.await.is_ok();
            answers.then_some(node)
        };
        futures::future::join_all(wanted.into_keys().map(ask)).await.into_iter().flatten().collect()
    }

    /// Changes what the cluster is meant to be made of. The groups follow; see [`Shard::nodes`].
    ///
    /// # Errors
    /// A problem that says why not, above all when the rest would be no quorum.
    pub async fn change_members(&self, step: MemberStep) -> Result<(), Problem> {
        self.newest_catalog().await?;
        let catalog = self.catalog_shard().state.catalog();
        let wanted = self.wanted(&catalog);
        let refused = |detail: String| Err(Problem::new(Kind::Refused, detail));
        let leaves = match &step {
            MemberStep::Remove(node) => Some(*node),
            _ => None,
        };
        let known = match &step {
            // Said again, it is done already.
            MemberStep::Replace { old, new, .. } if catalog.members.replaced.get(old) == Some(new) => None,
            MemberStep::Remove(node) if catalog.members.is_leaving(*node) => None,
            MemberStep::Drain(node, _) | MemberStep::Replace { old: node, .. } | MemberStep::Remove(node) => {
                Some(*node)
            }
            MemberStep::Add(..) => None,
        };
        if let Some(node) = known.filter(|node| !wanted.contains_key(node)) {
            return Err(catalog::Error::NoNode(node).into());
        }
        if let MemberStep::Drain(node, true) = &step
            && wanted.iter().all(|(other, wanted)| other == node || wanted.drained)
        {
            return refused(format!("node {node} is the last that may lead: let another lead again first"));
        }
        let comes = match &step {
            MemberStep::Add(node, address) => wanted.get(node).filter(|known| known.address != *address).map(|_| node),
            MemberStep::Replace { old, new, .. } => {
                let is_said_again = catalog.members.replaced.get(old) == Some(new);
                (!is_said_again && wanted.contains_key(new)).then_some(new)
            }
            MemberStep::Remove(_) | MemberStep::Drain(..) => None,
        };
        if let Some(node) = comes {
            return refused(format!("node {node} is part of this cluster already: take an id that no node ever had"));
        }
        if let Some(leaves) = leaves.filter(|leaves| wanted.contains_key(leaves)) {
            let stay = self.members_now().into_keys();
            let rest: BTreeSet<NodeId> = stay.filter(|node| *node != leaves).collect();
            let up = self.reachable().await;
            if !quorum::is_quorum(std::slice::from_ref(&rest), &up) {
                let up = rest.intersection(&up).count();
                return refused(format!(
                    "without node {leaves}, {up} of {} nodes answer, which is no majority: bring others back first",
                    rest.len()
                ));
            }
            // Who left when this one took its place is gone for good, and must not be wanted again without it.
            let replaced = catalog.members.replaced.iter().filter(|(_, successor)| **successor == leaves);
            for (old, _) in replaced.filter(|(old, _)| self.shards().iter().all(|shard| !shard.nodes().contains(old))) {
                self.change_catalog(catalog::Step::Members(MemberStep::Remove(*old))).await?;
            }
        }
        self.change_catalog(catalog::Step::Members(step)).await
    }

    /// Hands a shard's leadership to a node, and waits until it leads.
    ///
    /// # Errors
    /// A problem that says why not.
    pub async fn transfer_leader(&self, shard: ShardId, to: NodeId) -> Result<(), Problem> {
        let Some(shard) = self.shard(shard).cloned() else {
            return Err(Problem::new(Kind::Refused, format!("there is no shard {shard}")));
        };
        if !shard.voters().contains(&to) {
            return Err(Problem::new(Kind::Refused, format!("node {to} has no vote in shard {}", shard.id)));
        }
        // A leader that hands over to a node that is down stops leading all the same.
        if !self.reachable().await.contains(&to) {
            return Err(Problem::new(Kind::Refused, format!("node {to} does not answer")));
        }
        if !self.low_on_disk(&shard, BTreeSet::from([to])).await.is_empty() {
            let detail = format!("the disk of node {to} is nearly full, so it must not lead");
            return Err(Problem::new(Kind::Refused, detail));
        }
        let deadline = Instant::now() + PROPOSAL_TIMEOUT;
        while shard.leader() != Some(to) {
            if Instant::now() >= deadline {
                let detail = format!("shard {} is still led by another node: try again", shard.id);
                return Err(Problem::unavailable(Outcome::Unknown, detail));
            }
            self.with_leader(&shard, |leader| {
                let (shard, asked) = (&shard, Request::HandOver(to));
                async move {
                    if leader == self.0.id {
                        shard.hand_over(to).await;
                        return Ok(());
                    }
                    match self.0.peers.call(leader, Lane::Control, shard.id, asked, PROPOSAL_TIMEOUT).await {
                        Ok(crate::consensus::network::message::Response::HandedOver) => Ok(()),
                        other => Err(documents::refused(other)),
                    }
                }
            })
            .await?;
            tokio::time::sleep(STEER_PAUSE).await;
        }
        Ok(())
    }

    /// Sees to one shard's group: while this node leads it, takes one step after the other to what is wanted; a node that
    /// is in the group no longer does not campaign.
    pub(super) async fn steer(self, shard: Arc<Shard>) {
        // With the term, since who has led again meanwhile was made to, and is not sent away at once.
        let mut leads_since: Option<(Term, Instant)> = None;
        let mut led_at = Instant::now();
        let mut leadership = Leadership::default();
        loop {
            tokio::time::sleep(STEER_PAUSE).await;
            shard.fetches.forget_idle();
            leadership.look(&shard);
            self.cut_log(&shard).await;
            let catalog = self.catalog_shard().state.catalog();
            // Any of them may lead, and requests must find the way there.
            for (node, address) in shard.addresses() {
                self.0.peers.learn(node, &address);
            }
            let is_gone = catalog.members.is_gone(self.0.id) && !shard.nodes().contains(&self.0.id);
            if is_gone || self.holds_back(&shard, &mut led_at).await {
                shard.raft.runtime_config().elect(false);
            } else if Instant::now() >= self.0.votes_from {
                shard.raft.runtime_config().elect(true);
            }
            if !shard.raft.is_leader() {
                leads_since = None;
                continue;
            }
            self.compare_effects(&shard).await;
            self.forget_feed(&shard).await;
            let term = shard.term();
            let (_, since) =
                *leads_since.take_if(|(led, _)| *led == term).get_or_insert_with(|| (term, Instant::now()));
            leads_since = Some((term, since));
            if !self.may_steer(&shard, &catalog) {
                continue;
            }
            let wanted = self.wanted_in(&shard, &catalog);
            let mut group = shard.group();
            group.preferred = (since.elapsed() >= SPREAD_AFTER).then(|| self.preferred(&shard, &wanted)).flatten();
            let mut step = plan::next(&wanted, &group);
            if self.headroom().is_low() || matches!(step, Some(Step::HandOver(_))) {
                group.low = self.low_on_disk(&shard, shard.voters()).await;
                step = plan::next(&wanted, &group);
            }
            if let Some(step) = step {
                tracing::info!(shard = %shard.id, ?step, "the group changes");
                shard.carry_out(step).await;
            }
        }
    }

    /// Whether this node knows enough of the cluster to change a group that it leads. One that has joined lately may lead a
    /// shard before it has the catalog, and would take those for wanted that the cluster began with.
    fn may_steer(&self, shard: &Shard, catalog: &Catalog) -> bool {
        let is_of_it = || self.wanted(catalog).contains_key(&self.0.id) || catalog.members.is_leaving(self.0.id);
        catalog.version >= shard.state.progress().catalog && is_of_it()
    }

    /// Hands over whatever this node leads to who can take it, and lets what is under way be answered, so that stopping it
    /// costs nobody an election or an answer.
    pub(crate) async fn hand_over_all(&self) {
        let catalog = self.catalog_shard().state.catalog();
        let everything = u32::try_from(IN_FLIGHT_BYTES_MAX).expect("limits.rs keeps it small");
        let handing = self.shards().iter().map(|shard| async {
            let mut wanted = self.wanted_in(shard, &catalog);
            wanted.entry(self.0.id).and_modify(|own| own.drained = true);
            let is_leader = shard.raft.is_leader();
            if let Some(Step::HandOver(to)) = is_leader.then(|| plan::next(&wanted, &shard.group())).flatten() {
                shard.hand_over(to).await;
            }
            // Where that takes too long the rest is told that nothing is known.
            let _ = timeout(HAND_OVER_TIMEOUT, shard.room.acquire_many(everything)).await;
        });
        futures::future::join_all(handing).await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Logs this leader's hash of all effects when there is a new one, for every replica to compare.
    async fn compare_effects(&self, shard: &Shard) {
        let Some((index, effects)) = shard.state.uncompared() else { return };
        if let Err(refused) = self.propose(shard, Effect::Compare { index, effects }).await {
            tracing::debug!(shard = %shard.id, ?refused, "the effects were not compared");
        }
    }

    /// The node that a shard is meant for while this one leads more than its share: each shard is meant for the next node.
    fn preferred(&self, shard: &Shard, wanted: &BTreeMap<NodeId, Wanted>) -> Option<NodeId> {
        let may: Vec<NodeId> = wanted.iter().filter(|(_, wanted)| !wanted.drained).map(|(node, _)| *node).collect();
        let led = self.shards().iter().filter(|shard| shard.raft.is_leader()).count();
        let leads_too_much = !may.is_empty() && led > self.shards().len().div_ceil(may.len());
        leads_too_much.then(|| may[usize::from(shard.id.get()) % may.len()])
    }
}

impl Shard {
    /// The group as this node knows it.
    pub(super) fn membership(&self) -> Membership {
        self.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    /// Everybody in the group, with a vote or without.
    #[must_use]
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.membership().nodes().map(|(node, _)| *node).collect()
    }

    /// Whether a node may be in the group: in the one that is decided, or in one that may be. A replica that has not
    /// learned of any cannot say no, and its leader may be a node that is on its way out.
    fn may_hold(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics().borrow_watched().clone();
        [metrics.committed_membership_config, metrics.membership_config].iter().any(|stored| {
            let membership = stored.membership();
            membership.get_joint_config().is_empty() || membership.get_node(&node).is_some()
        })
    }

    /// Where each of them is reached.
    fn addresses(&self) -> Vec<(NodeId, NodeAddress)> {
        self.membership().nodes().map(|(node, address)| (*node, address.clone())).collect()
    }

    /// Those with a vote.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.membership().voter_ids().collect()
    }

    /// How many nodes are a majority of the voters; of the smaller set while they change.
    #[must_use]
    pub fn majority(&self) -> usize {
        let membership = self.membership();
        let sizes = membership.get_joint_config().iter().map(|voters| quorum::majority(voters.len()));
        sizes.min().unwrap_or_default()
    }

    fn group(&self) -> Group {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let last = metrics.last_log_index.unwrap_or_default();
        let replicated = metrics.replication.unwrap_or_default();
        let heard = metrics.heartbeat.unwrap_or_default();
        // What a node had when it was last heard says nothing of one that is down: leadership must never go there.
        let answers = |node: &NodeId| {
            let last = heard.get(node).copied().flatten();
            last.is_some_and(|last| last.into_inner().elapsed() < HEARD_WITHIN)
        };
        let matched = replicated.into_iter().filter_map(|(node, at)| Some((node, at?.index)));
        let matched = matched.filter(|(node, _)| answers(node));
        Group {
            leader: metrics.id,
            configurations: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(node, _)| *node).collect(),
            matched: matched.chain([(metrics.id, last)]).collect(),
            last,
            preferred: None,
            low: BTreeSet::new(),
        }
    }

    /// Asks openraft to hand the leadership over, and waits a moment for the other to lead; whether it does is seen in who
    /// leads. What is under way meanwhile is still answered, and what comes later goes to the new leader.
    pub(super) async fn hand_over(&self, to: NodeId) {
        if let Err(error) = self.raft.trigger().transfer_leader(to).await {
            return tracing::warn!(shard = %self.id, %to, %error, "the leadership was not handed over");
        }
        let mut metrics = self.raft.metrics();
        let leads_no_longer = async { while self.raft.is_leader() && metrics.changed().await.is_ok() {} };
        if timeout(HAND_OVER_TIMEOUT, leads_no_longer).await.is_err() {
            tracing::warn!(shard = %self.id, %to, "the leadership was not taken over in time");
        }
    }

    /// A step that fails is found wanting again the next time.
    async fn carry_out(&self, step: Step) {
        let done = match step {
            Step::HandOver(to) => return self.hand_over(to).await,
            Step::AddLearner(node, address) => {
                timeout(PROPOSAL_TIMEOUT, self.raft.add_learner(node, address, false)).await
            }
            Step::SetVoters(voters) => {
                let change = ChangeMembers::ReplaceAllVoters(voters);
                timeout(PROPOSAL_TIMEOUT, self.raft.change_membership(change, true)).await
            }
            Step::Remove(node) => {
                let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
                timeout(PROPOSAL_TIMEOUT, self.raft.change_membership(change, true)).await
            }
        };
        match done {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(shard = %self.id, %error, "the group did not change"),
            Err(_elapsed) => tracing::warn!(shard = %self.id, "the group has not changed in time"),
        }
    }
}
