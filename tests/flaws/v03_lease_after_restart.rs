//! V03, at a lease: a follower acknowledges a leader's lease, is killed and is back within it, and votes for another
//! leader as if it had promised nothing. The old leader, cut off, would answer reads from its lease while its successor
//! writes. Safe because a node does not vote for one election timeout after it starts; re-created by a clock that jumps
//! over that wait.

use std::time::Duration;

use serde_json::{Value, json};
use skerry_api::documents::{Address, Consistency, Documents};
use skerry_host::node::Reads;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

/// Longer than a node needs to find that it has lost its leader.
const LONELY: Duration = Duration::from_millis(1_500);
/// How long the old leader's lease may last at most.
const LEASE: Duration = Duration::from_secs(1);
const SEEDS: u64 = 12;

fn address() -> Address {
    Address { collection: "ledger".parse().unwrap(), key: "key".parse().unwrap() }
}

fn write(world: &mut World, at: usize, value: u64, most: Duration) -> Result<bool, String> {
    let done = world.put(at, most, address(), &json!({ "value": value }))?;
    Ok(done.is_some_and(|written| written.is_ok()))
}

fn read(world: &mut World, at: usize) -> Result<Option<u64>, String> {
    let soon = Duration::from_millis(100);
    let read = world.call(at, soon, |node| async move { node.get(address(), Consistency::Linearizable).await })?;
    Ok(read.and_then(Result::ok).and_then(|read| read.view.object().unwrap().get("value").and_then(Value::as_u64)))
}

/// The interleaving once.
fn once(seed: u64, flaw: Flaw) -> Result<(), String> {
    let mut world = World::new(&Setup { reads: Reads::Lease, ..Setup::small(seed, 3, flaw) });
    world.start_all();
    world.found()?;
    let old = world.await_leader()?;
    let (promised, other) = ((old + 1) % 3, (old + 2) % 3);
    assert!(write(&mut world, old, 1, LONELY)?);
    cut(&world, old, other);
    world.pass(LONELY)?;
    world.power_off(promised);
    world.start(promised);
    cut(&world, old, promised);
    let mut wrote = false;
    let mut passed = Duration::ZERO;
    while passed < LEASE {
        let step = Duration::from_millis(10);
        world.pass(step)?;
        passed += step;
        let successor = world.leader().filter(|leader| *leader != old);
        if let Some(successor) = successor.filter(|_| !wrote) {
            wrote = write(&mut world, successor, 2, Duration::from_millis(100))?;
        }
        if wrote && read(&mut world, old)? == Some(1) {
            return Err(format!("seed {seed}: the old leader served what its successor had overwritten"));
        }
    }
    Ok(())
}

fn cut(world: &World, one: usize, other: usize) {
    let (one, other) = (world.machines[one].id, world.machines[other].id);
    world.wires.cut(one, other);
    world.wires.cut(other, one);
}

fn leases_hold_over_restarts(flaw: Flaw) -> Result<(), String> {
    (0..SEEDS).try_for_each(|seed| once(seed, flaw))
}

#[test]
fn a_lease_outlives_the_restart_of_who_granted_it() {
    leases_hold_over_restarts(Flaw::None).unwrap();
    let found = leases_hold_over_restarts(Flaw::NoWaitAfterRestart).unwrap_err();
    assert!(found.contains("overwritten"), "{found}");
}
