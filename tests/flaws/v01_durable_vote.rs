//! V01: a term was raised before its vote was durable, so that two leaders of one term could be elected. Shown on whole
//! clusters in simulation, with checkers that look at every vote on the wire and on the disks.

use std::time::Duration;

use openraft::impls::{leader_id_adv, leader_id_std};
use openraft::vote::RaftLeaderId;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

/// Elections, in which every machine loses its power just when a vote was given. Terms and votes must hold throughout.
fn elections_between_power_cuts(flaw: Flaw) -> Result<(), String> {
    for seed in 0..5 {
        let mut world = World::new(&Setup::small(seed, 3, flaw));
        world.start_all();
        world.found()?;
        for _ in 0..8 {
            (0..3).for_each(|at| world.power_off(at));
            world.start_all();
            world.await_vote()?;
        }
    }
    Ok(())
}

#[test]
fn votes_outlive_power_cuts() {
    elections_between_power_cuts(Flaw::None).unwrap();
    let found = elections_between_power_cuts(Flaw::VoteNotDurable).unwrap_err();
    assert!(found.contains("vote safety") || found.contains("election safety"), "{found}");
}

/// A node that hears nobody for a minute stays in its term, so its return deposes nobody.
fn an_isolated_node_stays_in_its_term(flaw: Flaw) -> Result<(), String> {
    let mut world = World::new(&Setup::small(7, 3, flaw));
    world.start_all();
    world.found()?;
    let leader = world.await_leader()?;
    let isolated = (leader + 1) % 3;
    let (before, led) = (world.term(isolated), world.term(leader));
    world.set_isolated(isolated, true);
    world.pass(Duration::from_secs(60))?;
    if world.term(isolated) != before {
        return Err(format!("alone, the node went from term {before} to {}", world.term(isolated)));
    }
    world.set_isolated(isolated, false);
    world.pass(Duration::from_secs(5))?;
    if world.leader() != Some(leader) || world.term(leader) != led {
        return Err("its return deposed the leader".to_owned());
    }
    Ok(())
}

#[test]
fn pre_votes_are_asked_of_the_peers() {
    an_isolated_node_stays_in_its_term(Flaw::None).unwrap();
    an_isolated_node_stays_in_its_term(Flaw::NoPreVote).unwrap_err();
}

/// Whether a node that has voted for one candidate could vote for another one in the same term.
fn votes_twice<L: RaftLeaderId<Term = u64, NodeId = u64>>() -> bool {
    let vote = |candidate| openraft::vote::Vote::<L>::new(4, candidate);
    [(1, 2), (2, 1)].into_iter().any(|(first, second)| vote(second) > vote(first))
}

#[test]
fn leader_ids_allow_one_leader_in_a_term() {
    assert!(!votes_twice::<leader_id_std::LeaderId<u64, u64>>());
    assert!(votes_twice::<leader_id_adv::LeaderId<u64, u64>>());
}
