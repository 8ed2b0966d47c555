//! Leaders that hand over, and nodes that are replaced, under load and with somebody killed in the middle.

use std::collections::BTreeSet;
use std::ops::Range;

use rand::RngExt;
use rand::seq::IndexedRandom;
use skerry_api::bodies::{self, NewMember, Replacement, Transfer};
use skerry_api::client::Error;
use skerry_model::{NodeId, ShardId};
use skerry_tests::processes::until;
use tokio::runtime::Handle;

use super::choices::{Choices, FAULT_MS};
use super::clients::Shared;
use super::cluster::{Cluster, NODES, SHARDS};
use super::faults::Fault;
use super::places::{Place, slot};

const HANDOVERS: Range<usize> = 2..6;
/// From the moment that a change is accepted. It takes two or three seconds when nobody is in its way.
const MIDDLE_MS: Range<u64> = 0..2_500;

/// Who is killed in the middle of a change.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Nobody,
    Leader,
    Old,
    New,
}

/// Hands a shard to a node that does not lead it, and another one, and so on; each of them leads when it is said to.
pub(super) fn transfer(choices: &mut Choices<Fault>, cluster: &Cluster) {
    for _ in 0..choices.random.random_range(HANDOVERS) {
        let shard = choices.random.random_range(0..SHARDS);
        let leader = cluster.leader_id(&choices.runtime, shard);
        let others: Vec<u64> =
            cluster.places().map(|place| place.id).into_iter().filter(|id| Some(*id) != leader).collect();
        let to = NodeId::new(*others.choose(&mut choices.random).expect("one leads at most"));
        let client = cluster.client(&[choices.random.random_range(0..NODES)]);
        let transfer = Transfer { shard: ShardId::new(shard), to };
        let what = format!("node {to} to lead shard {shard}");
        done(&choices.runtime, &what, async || client.transfer_leader(transfer).await);
    }
}

/// Starts a node at this place and puts it into its slot, in one step or in two. Whoever is killed meanwhile comes back,
/// unless it is the one that goes; the change finishes all the same, and that one ends and loses its folder.
pub(super) fn replace(choices: &mut Choices<Fault>, cluster: &mut Cluster, shared: &Shared, place: Place) {
    let slot = slot(place.id);
    let runtime = choices.runtime.clone();
    let (old, new) = (NodeId::new(cluster.places()[slot].id), NodeId::new(place.id));
    let stay: Vec<usize> = (0..NODES).filter(|node| *node != slot).collect();
    // The old one is asked last, since it may not hear of its own end.
    let client = cluster.client(&[stay[0], stay[1], slot]);
    let (http, node) = (format!("http://{}", place.http), place.called.to_string());
    let victim = *[Victim::Nobody, Victim::Leader, Victim::Old, Victim::New].choose(&mut choices.random).expect("four");
    let (in_one_step, turn_early) = (choices.random.random_bool(0.5), choices.random.random_bool(0.5));
    println!("chaos: node {new} for node {old}, in one step: {in_one_step}, killed: {victim:?}");

    cluster.start_successor(place);
    if turn_early {
        shared.turn_to(slot, cluster.client_of_successor());
    }
    if in_one_step {
        let by = Replacement { id: new, http, node };
        done(&runtime, "a replacement to be accepted", async || client.replace_member(old, &by).await);
        kill(choices, cluster, victim, old, new);
    } else {
        let member = NewMember { http, node };
        done(&runtime, "a node to be added", async || client.add_member(new, &member).await);
        kill(choices, cluster, victim, old, new);
        all_shards(&runtime, cluster, &stay, &format!("node {new} to vote"), |shard| shard.voters.contains(&new));
    }
    let ids = BTreeSet::from_iter(stay.iter().map(|node| NodeId::new(cluster.places()[*node].id)).chain([new]));
    if in_one_step {
        all_shards(&runtime, cluster, &stay, &format!("{new} to be in the place of {old}"), |shard| is(shard, &ids));
    }
    done(&runtime, "a node to be removed", async || client.remove_member(old).await);
    all_shards(&runtime, cluster, &stay, &format!("node {old} to be out"), |shard| is(shard, &ids));
    cluster.succeed();
    shared.turn_to(slot, cluster.client(&[slot]));
    all_shards(&runtime, cluster, &[slot], &format!("node {new} to know its group"), |shard| is(shard, &ids));
}

/// Kills somebody at some moment, and starts it again after another one, unless it is to go.
fn kill(choices: &mut Choices<Fault>, cluster: &mut Cluster, victim: Victim, old: NodeId, new: NodeId) {
    choices.last(MIDDLE_MS);
    let shard = choices.random.random_range(0..SHARDS);
    let id = match victim {
        Victim::Nobody => None,
        Victim::Leader => cluster.leader_id(&choices.runtime, shard),
        Victim::Old => Some(old.get()),
        Victim::New => Some(new.get()),
    };
    let Some(id) = id else { return };
    cluster.kill_by_id(id);
    choices.last(FAULT_MS);
    if id != old.get() {
        cluster.start_by_id(id);
    }
}

fn is(shard: &bodies::Shard, ids: &BTreeSet<NodeId>) -> bool {
    shard.voters == *ids && shard.learners.is_empty()
}

/// Asks until it is done: what a cluster refuses while it changes, it does later.
fn done(runtime: &Handle, what: &str, ask: impl AsyncFn() -> Result<(), Error>) {
    until(what, || runtime.block_on(ask()).inspect_err(|error| println!("chaos: {what}: {error}")).ok());
}

/// Waits until these nodes see every shard like this.
fn all_shards(
    runtime: &Handle,
    cluster: &Cluster,
    nodes: &[usize],
    what: &str,
    holds: impl Fn(&bodies::Shard) -> bool,
) {
    for node in nodes {
        let client = cluster.client(&[*node]);
        until(what, || runtime.block_on(client.cluster()).ok().filter(|seen| seen.shards.iter().all(&holds)));
    }
}
