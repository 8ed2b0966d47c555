//! Nodes that were away for longer than the log reaches, and nodes that stop on their way back.

use std::time::Duration;

use serde_json::json;
use skerry_api::documents::{Address, Consistency, Documents};
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::node::Node;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

pub(super) const SOON: Duration = Duration::from_secs(3);
pub(super) const WRITES: u64 = 60;
/// Every row is a chunk of its own, so that a transfer takes a second and more.
pub(super) const THRESHOLDS: Thresholds = Thresholds {
    entries_between: 10,
    entries_kept: 5,
    purge_entries_min: 1,
    log_bytes_max: u64::MAX,
    log_bytes_kept: u64::MAX,
    kept_for: Duration::from_secs(2),
    chunk_bytes: 1,
    compare_every: 10,
};

fn address(number: u64) -> Address {
    Address { collection: "ledger".parse().unwrap(), key: format!("key-{}", number % 5).parse().unwrap() }
}

pub(super) fn write(world: &mut World, at: usize, value: u64) -> Result<(), String> {
    let done = world.put(at, SOON, address(value), &json!({ "value": value }))?;
    done.ok_or("a write was not answered")?.map(drop).map_err(|problem| problem.detail)
}

pub(super) fn world(seed: u64, thresholds: Thresholds, flaw: Flaw) -> Result<World, String> {
    let mut world = World::new(&Setup { thresholds, ..Setup::small(seed, 3, flaw) });
    world.start_all();
    world.found()?;
    Ok(world)
}

/// A world in which one node has missed more than the others' logs hold; and which one.
fn with_one_behind(seed: u64, thresholds: Thresholds) -> Result<(World, usize), String> {
    let mut world = world(seed, thresholds, Flaw::None)?;
    let leader = world.await_leader()?;
    let away = (leader + 1) % 3;
    world.set_isolated(away, true);
    for value in 0..WRITES {
        write(&mut world, leader, value)?;
    }
    // For a node that was there a moment ago the log is kept.
    world.pass(SOON)?;
    Ok((world, away))
}

fn applied(node: &Node) -> u64 {
    node.shards()[0].state.progress().index
}

/// Waits until a node has all that the leader has, and reads the last write from its own rows.
pub(super) fn await_caught_up(world: &mut World, at: usize) -> Result<(), String> {
    for _ in 0..600 {
        world.pass(Duration::from_millis(100))?;
        let leader = world.leader().and_then(|leader| world.machines[leader].node());
        let caught_up =
            leader.zip(world.machines[at].node()).is_some_and(|(leader, own)| applied(&own) >= applied(&leader));
        if caught_up {
            let last = address(WRITES - 1);
            let read = world.call(at, SOON, |node| async move { node.get(last, Consistency::Local).await })?;
            let view = read.and_then(Result::ok).map(|read| read.view.object().unwrap());
            let value = view.as_ref().and_then(|view| view.get("value")).cloned();
            return if value == Some(json!(WRITES - 1)) { Ok(()) } else { Err(format!("it reads {view:?}")) };
        }
    }
    Err("the node has not come back within a minute".to_owned())
}

pub(super) fn generation(world: &World, at: usize) -> u64 {
    world.machines[at].node().map_or(0, |node| node.shards()[0].state.generation())
}

#[test]
fn who_was_away_for_too_long_comes_back_by_snapshot() {
    let (mut world, away) = with_one_behind(1, THRESHOLDS).unwrap();
    world.set_isolated(away, false);
    await_caught_up(&mut world, away).unwrap();
    assert!(generation(&world, away) > 0);
}

#[test]
fn a_short_absence_is_served_from_the_log() {
    let kept = Thresholds { entries_kept: 2 * WRITES, ..THRESHOLDS };
    let (mut world, away) = with_one_behind(1, kept).unwrap();
    world.set_isolated(away, false);
    await_caught_up(&mut world, away).unwrap();
    assert_eq!(generation(&world, away), 0);
}

/// The leader keeps what is behind the snapshot, however much clients write meanwhile.
#[test]
fn one_snapshot_is_enough_while_clients_write() {
    let (mut world, away) = with_one_behind(1, THRESHOLDS).unwrap();
    world.set_isolated(away, false);
    let leader = world.await_leader().unwrap();
    let mut written = WRITES;
    while generation(&world, away) == 0 {
        write(&mut world, leader, written).unwrap();
        written += 1;
    }
    assert!(written > WRITES + 3 * THRESHOLDS.entries_between, "the snapshot was no long one: {written}");
    for value in written..written + WRITES {
        write(&mut world, leader, value).unwrap();
    }
    let behind = applied(&world.machines[leader].node().unwrap());
    world.pass(SOON).unwrap();
    assert!(applied(&world.machines[away].node().unwrap()) >= behind);
    assert_eq!(generation(&world, away), 1);
}

/// Entries may be few and large, so a log is also bounded in bytes.
#[test]
fn a_log_that_has_become_large_is_purged_however_few_its_entries_are() {
    let (entries_between, entries_kept) = (1_000_000, 1_000_000);
    let few = Thresholds { entries_between, entries_kept, log_bytes_max: 4_000, log_bytes_kept: 1_000, ..THRESHOLDS };
    let (mut world, away) = with_one_behind(1, few).unwrap();
    world.set_isolated(away, false);
    await_caught_up(&mut world, away).unwrap();
    assert!(generation(&world, away) > 0);
}

/// The node loses its power again and again at moments spread over its way back; each time it opens and goes on.
#[test]
fn a_node_that_stops_on_its_way_back_opens_and_comes_back() {
    let mut snapshots = 0;
    for step in 1..=8 {
        let (mut world, away) = with_one_behind(step, THRESHOLDS).unwrap();
        world.set_isolated(away, false);
        for _ in 0..3 {
            world.pass(Duration::from_millis(211 * step)).unwrap();
            world.power_off(away);
            world.pass(Duration::from_millis(50)).unwrap();
            world.start(away);
        }
        await_caught_up(&mut world, away).unwrap_or_else(|wrong| panic!("step {step}: {wrong}"));
        snapshots += generation(&world, away);
    }
    assert!(snapshots >= 8, "{snapshots}");
}

/// The leader goes away in the middle of a transfer; its successor begins another one.
#[test]
fn a_leader_that_stops_while_it_sends_is_replaced() {
    for step in 1..=5 {
        let (mut world, away) = with_one_behind(step, THRESHOLDS).unwrap();
        world.set_isolated(away, false);
        world.pass(Duration::from_millis(127 * step)).unwrap();
        let leader = world.await_leader().unwrap();
        world.power_off(leader);
        world.pass(SOON).unwrap();
        world.start(leader);
        await_caught_up(&mut world, away).unwrap_or_else(|wrong| panic!("step {step}: {wrong}"));
    }
}

/// A log is purged only up to what the state on the disk holds, or nodes that lose their power all at once wait for each
/// other's state for ever.
fn every_node_opens_after_a_power_loss(flaw: Flaw) -> Result<(), String> {
    for seed in 0..4 {
        let mut world = world(seed, THRESHOLDS, flaw)?;
        let leader = world.await_leader()?;
        for value in 0..WRITES {
            write(&mut world, leader, value)?;
        }
        world.pass(SOON)?;
        (0..3).for_each(|at| world.power_off(at));
        world.start_all();
        for at in 0..3 {
            await_caught_up(&mut world, at)?;
        }
    }
    Ok(())
}

#[test]
fn a_log_is_purged_behind_the_synced_state() {
    every_node_opens_after_a_power_loss(Flaw::None).unwrap();
    let found = every_node_opens_after_a_power_loss(Flaw::StateNotSynced).unwrap_err();
    assert!(found.contains("has not come back"), "{found}");
}
