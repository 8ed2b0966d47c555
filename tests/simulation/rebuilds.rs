//! Nodes whose state is gone while their log no longer holds what would make it again: any peer gives it back.

use std::time::Duration;

use skerry_host::consensus::snapshot::Thresholds;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

use super::snapshots::{SOON, THRESHOLDS, WRITES, await_caught_up, generation, world, write};

/// Three nodes with purged logs, one of which is off and has lost its state; and which one.
fn with_one_lost(seed: u64) -> (World, usize) {
    let mut world = world(seed, THRESHOLDS, Flaw::None).unwrap();
    let leader = world.await_leader().unwrap();
    let lost = (leader + 1) % 3;
    for value in 0..WRITES {
        write(&mut world, leader, value).unwrap();
    }
    world.pass(SOON).unwrap();
    world.power_off(lost);
    world.machines[lost].disk.lose_state();
    (world, lost)
}

#[test]
fn a_state_that_is_gone_comes_back_from_a_peer_and_the_node_votes() {
    for seed in 0..4 {
        let (mut world, lost) = with_one_lost(seed);
        world.start(lost);
        await_caught_up(&mut world, lost).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        assert!(generation(&world, lost) > 0);
        // Without one of the others it is needed.
        let other = (0..3).find(|at| *at != lost && world.leader() != Some(*at)).unwrap();
        world.power_off(other);
        world.pass(SOON).unwrap();
        let leader = world.await_leader().unwrap();
        write(&mut world, leader, WRITES).unwrap();
    }
}

/// The peer that gives it need not lead: the two of them are the quorum only once one has its state back.
#[test]
fn a_state_comes_back_where_nobody_leads() {
    let (mut world, lost) = with_one_lost(5);
    let leader = world.await_leader().unwrap();
    world.power_off(leader);
    world.start(lost);
    world.pass(4 * SOON).unwrap();
    await_caught_up(&mut world, lost).unwrap();
    let leader = world.await_leader().unwrap();
    write(&mut world, leader, WRITES).unwrap();
}

/// It loses its power again and again while it asks; the others go on writing, so that each time it asks for another one.
#[test]
fn a_node_that_stops_while_it_asks_asks_again() {
    for step in 1..=6 {
        let (mut world, lost) = with_one_lost(step);
        let leader = world.await_leader().unwrap();
        for round in 0..3 {
            world.start(lost);
            world.pass(Duration::from_millis(7 * step * (round + 1))).unwrap();
            write(&mut world, leader, WRITES - 1).unwrap();
            world.power_off(lost);
        }
        world.start(lost);
        await_caught_up(&mut world, lost).unwrap_or_else(|wrong| panic!("step {step}: {wrong}"));
    }
}

/// What is not purged is applied again.
#[test]
fn a_state_that_is_gone_comes_back_from_the_log() {
    let mut world = world(1, Thresholds::default(), Flaw::None).unwrap();
    let leader = world.await_leader().unwrap();
    for value in 0..WRITES {
        write(&mut world, leader, value).unwrap();
    }
    for at in 0..3 {
        world.power_off(at);
        world.machines[at].disk.lose_state();
    }
    world.start_all();
    for at in 0..3 {
        await_caught_up(&mut world, at).unwrap();
        assert_eq!(generation(&world, at), 0);
    }
}

#[test]
fn a_node_alone_says_that_nobody_can_help() {
    let mut world = World::new(&Setup { thresholds: THRESHOLDS, ..Setup::small(1, 1, Flaw::None) });
    world.start_all();
    world.found().unwrap();
    for value in 0..WRITES {
        write(&mut world, 0, value).unwrap();
    }
    world.pass(SOON).unwrap();
    world.power_off(0);
    world.machines[0].disk.lose_state();
    world.start(0);
    let stopped = world.pass(SOON).unwrap_err();
    assert!(stopped.contains("there is no other node to rebuild it from: put back a copy"), "{stopped}");
}
