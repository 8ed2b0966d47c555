//! What has to be written to make a survivor the only member of its cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use skerry_model::{CatalogVersion, ClusterId, NodeId, Scn, ShardId, Timeline};

use super::{Error, Shard, Survivor};
use crate::catalog::{MemberStep, Step};
use crate::consensus::network::hello::Founding;
use crate::consensus::types::{Entry, LogId, Membership, NodeAddress, Vote};
use crate::documents::record::{Effect, Record};
use crate::identity::Identity;

/// The cluster of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sole {
    pub(super) node: NodeId,
    pub(super) address: NodeAddress,
    pub(super) cluster: ClusterId,
    pub(super) timeline: Timeline,
    /// Whether edges offer again what this folder does not have.
    pub(super) replay_edges: bool,
}

/// What is written.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sole: Sole,
    /// Nodes that never come back.
    pub(super) removed: BTreeSet<NodeId>,
    /// Of each shard that is not as it should be.
    pub(super) endings: BTreeMap<ShardId, Ending>,
}

/// The end of a shard's log: a term of its own, led by the node that is left.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) vote: Vote,
    pub(super) entries: Vec<Entry>,
}

/// The plan for this line of history. `now` is proposed as the SCN of what is written.
///
/// # Errors
/// [`Error::Empty`], [`Error::NoMember`] and [`Error::Disagree`]: another survivor has to be taken.
pub(super) fn plan(survivor: &Survivor, timeline: Timeline, replay_edges: bool, now: Scn) -> Result<Plan, Error> {
    let sole = sole(survivor, timeline, replay_edges)?;
    let catalog = survivor.shards.first().ok_or(Error::Empty { shard: ShardId::new(0) })?;
    let mut steps = steps_ahead(catalog, &survivor.shards)?;
    let members = steps.iter().fold(catalog.reached.catalog.clone(), |catalog, step| catalog.after(step)).members;
    let removed = survivor.others();
    let still_wanted = removed.iter().filter(|node| !members.is_gone(**node));
    steps.extend(still_wanted.map(|node| Step::Members(MemberStep::Remove(*node))));
    let mut endings = BTreeMap::new();
    for shard in &survivor.shards {
        let last = shard.reached.last.ok_or(Error::Empty { shard: shard.id })?;
        let steps = if shard.id == catalog.id { &steps[..] } else { &[] };
        if !is_done(shard, &sole) || !steps.is_empty() {
            endings.insert(shard.id, ending(shard, last, &sole, steps, now));
        }
    }
    Ok(Plan { sole, removed, endings })
}

/// The node as the only member.
fn sole(survivor: &Survivor, timeline: Timeline, replay_edges: bool) -> Result<Sole, Error> {
    let node = survivor.node();
    let is_gone = survivor.shards.iter().any(|shard| shard.reached.catalog.members.is_gone(node));
    let added = survivor.shards.iter().find_map(|shard| shard.reached.catalog.members.added.get(&node));
    let in_groups = || survivor.shards.iter().find_map(|shard| shard.reached.membership.get_node(&node));
    let address = added.or_else(in_groups).filter(|_| !is_gone).ok_or(Error::NoMember { node })?;
    Ok(Sole { node, address: address.clone(), cluster: survivor.cluster, timeline, replay_edges })
}

/// Whether nothing has to be written to a shard.
fn is_done(shard: &Shard, sole: &Sole) -> bool {
    let is_alone = shard.reached.membership == sole.membership();
    is_alone && shard.reached.line == Some((sole.cluster, sole.timeline))
}

/// The steps of the catalog that shard 0 lacks here, although they were decided: another shard has taken them.
fn steps_ahead(catalog: &Shard, shards: &[Shard]) -> Result<Vec<Step>, Error> {
    let mut ahead: BTreeMap<CatalogVersion, Step> = BTreeMap::new();
    for shard in shards {
        for (version, step) in &shard.reached.steps {
            let known = catalog.reached.steps.get(version).or_else(|| ahead.get(version));
            if known.is_some_and(|known| known != step) {
                return Err(Error::Disagree { shard: shard.id, version: *version });
            }
            if *version > catalog.reached.catalog.version {
                ahead.insert(*version, step.clone());
            }
        }
    }
    Ok(ahead.into_values().collect())
}

fn ending(shard: &Shard, last: LogId, sole: &Sole, steps: &[Step], now: Scn) -> Ending {
    let voted = shard.vote.map_or(0, |vote| vote.leader_id.term);
    let vote = Vote::new_committed(voted.max(last.leader_id.term) + 1, sole.node);
    let found = Effect::Found { cluster: sole.cluster, timeline: sole.timeline };
    let first = shard.reached.catalog.version;
    let versions = std::iter::successors(Some(first.next()), |version| Some(version.next()));
    let steps = versions.zip(steps.iter().cloned()).map(|(version, step)| Effect::Catalog { version, step });
    let records = std::iter::once(found).chain(steps).map(|effect| Record::new(now, effect).encode());
    let group = EntryPayload::Membership(sole.membership());
    let payloads = std::iter::once(group).chain(records.map(EntryPayload::Normal));
    let entry = |(index, payload)| Entry { log_id: LogId::new(vote.leader_id.to_committed(), index), payload };
    Ending { vote, entries: (last.index + 1..).zip(payloads).map(entry).collect() }
}

impl Sole {
    fn membership(&self) -> Membership {
        let nodes = BTreeMap::from([(self.node, self.address.clone())]);
        Membership::new(vec![BTreeSet::from([self.node])], nodes).expect("the only voter is among the nodes")
    }

    /// The identity of the recovered folder.
    pub(super) fn identity(&self, before: Identity) -> Identity {
        let members = BTreeMap::from([(self.node, self.address.clone())]);
        let founding = before.founding.map(|founding| Founding {
            timeline: self.timeline,
            replay_edges: self.replay_edges,
            members: members.clone().into_iter().collect(),
            ..founding
        });
        Identity { founding, members, recovering: None, ..before }
    }
}
