//! Disks that are nearly full, broken or slow: who leads, what is refused, what is never acknowledged, and that the others
//! do not feel it.

use std::time::Duration;

use serde_json::json;
use skerry_api::documents::{Address, Consistency, Documents};
use skerry_api::problem::{Kind, Problem};
use skerry_host::consensus::snapshot::Thresholds;
use skerry_store::room::Room;
use skerry_store::simulated::Operation;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

const SOON: Duration = Duration::from_secs(12);
const SECOND: Duration = Duration::from_secs(1);
const LOW: Room = Room { free: 1 << 20, total: 1 << 40 };
const WIDE: Room = Room { free: 1 << 39, total: 1 << 40 };

fn address(number: u64) -> Address {
    Address { collection: "ledger".parse().unwrap(), key: format!("key-{number}").parse().unwrap() }
}

fn world(seed: u64, nodes: u64) -> World {
    let mut world = World::new(&Setup::small(seed, nodes, Flaw::None));
    world.start_all();
    world.found().unwrap();
    world
}

/// A write as node `at` answers it; `None` when it does not.
fn write(world: &mut World, at: usize, number: u64) -> Option<Result<(), Problem>> {
    world.put(at, SOON, address(number), &json!({ "value": number })).unwrap().map(|written| written.map(drop))
}

#[track_caller]
fn check_read(world: &mut World, at: usize, number: u64) {
    let read =
        world.call(at, SOON, move |node| async move { node.get(address(number), Consistency::Linearizable).await });
    let view = read.unwrap().unwrap().unwrap().view.object().unwrap();
    assert_eq!(view.get("value"), Some(&json!(number)));
}

#[test]
fn a_leader_with_a_full_disk_hands_over_and_leads_again_when_it_has_room() {
    let mut world = world(1, 3);
    let full = world.await_leader().unwrap();
    world.machines[full].disk.set_room(LOW);
    world.pass(4 * SECOND).unwrap();
    let leader = world.await_leader().unwrap();
    assert_ne!(leader, full);
    // It takes requests, and its log goes on.
    write(&mut world, full, 1).unwrap().unwrap();
    check_read(&mut world, full, 1);
    // Nor does it lead when the one that does goes away, as long as the other one can.
    world.power_off(leader);
    world.pass(8 * SECOND).unwrap();
    assert_ne!(world.await_leader().unwrap(), full);
    write(&mut world, full, 2).unwrap().unwrap();
    // Of two nodes the one has room, the other has not.
    let other = world.await_leader().unwrap();
    world.machines[other].disk.set_room(LOW);
    world.machines[full].disk.set_room(WIDE);
    world.pass(4 * SECOND).unwrap();
    assert_eq!(world.await_leader().unwrap(), full);
    write(&mut world, full, 3).unwrap().unwrap();
}

#[test]
fn where_every_disk_is_full_writes_are_refused_and_reads_go_on() {
    for nodes in [1, 3] {
        let mut world = world(2, nodes);
        let leader = world.await_leader().unwrap();
        write(&mut world, leader, 1).unwrap().unwrap();
        for machine in &world.machines {
            machine.disk.set_room(LOW);
        }
        world.pass(4 * SECOND).unwrap();
        for at in 0..world.machines.len() {
            let refused = write(&mut world, at, 2).unwrap().unwrap_err();
            assert_eq!((refused.kind, refused.kind.status()), (Kind::DiskFull, 507));
            assert!(refused.detail.contains("has 1 MiB free and must keep 4096 MiB: make room"), "{}", refused.detail);
            check_read(&mut world, at, 1);
        }
        // Reads come back also when the leader has to be another one.
        let leader = world.await_leader().unwrap();
        world.power_off(leader);
        world.pass(SECOND).unwrap();
        world.start(leader);
        world.pass(8 * SECOND).unwrap();
        for at in 0..world.machines.len() {
            check_read(&mut world, at, 1);
        }
        for machine in &world.machines {
            machine.disk.set_room(WIDE);
        }
        world.pass(2 * SECOND).unwrap();
        write(&mut world, 0, 2).unwrap().unwrap();
    }
}

/// Low, so that the state is flushed often.
const THRESHOLDS: Thresholds = Thresholds {
    entries_between: 4,
    entries_kept: 4,
    purge_entries_min: 1,
    log_bytes_max: u64::MAX,
    log_bytes_kept: u64::MAX,
    kept_for: Duration::from_secs(2),
    chunk_bytes: 1_000,
    compare_every: 1_000,
};

/// Writes until a node's disk breaks; what was acknowledged is there when that node is back, and it stopped with one
/// sentence. In a cluster of three the others go on meanwhile.
#[track_caller]
fn check_broken(nodes: u64, operation: Operation, expected: &str) {
    for done in 0..8 {
        let mut world = World::new(&Setup { thresholds: THRESHOLDS, ..Setup::small(done, nodes, Flaw::None) });
        world.start_all();
        world.found().unwrap();
        let leader = world.await_leader().unwrap();
        // With three nodes it is the leader's turn or a follower's.
        let broken = (leader + usize::try_from(done).unwrap() % 2) % world.machines.len();
        world.machines[broken].disk.break_after(operation, done);
        let (mut acknowledged, mut ended) = (Vec::new(), None);
        for number in 0..40 {
            if nodes == 1 && ended.is_some() {
                break;
            }
            let asked = (broken + 1) % world.machines.len();
            if let Some(Ok(())) = write(&mut world, asked, number) {
                acknowledged.push(number);
            }
            // The process ends then.
            if let Some(reason) = world.machines[broken].ended() {
                ended = Some(reason);
                world.kill(broken);
            }
        }
        assert_eq!(ended.as_deref(), Some(expected));
        assert!(nodes == 1 || acknowledged.len() >= 38, "{acknowledged:?}");
        world.start(broken);
        world.pass(SECOND).unwrap();
        for number in acknowledged {
            check_read(&mut world, broken, number);
        }
    }
}

#[test]
fn a_log_that_cannot_be_synced_is_never_acknowledged_and_stops_the_node() {
    let expected = "the log database failed: the simulated disk cannot sync log";
    check_broken(1, Operation::LogSync, expected);
    check_broken(3, Operation::LogSync, expected);
}

#[test]
fn a_log_that_cannot_be_written_stops_the_node() {
    let expected = "the log database failed: the simulated disk cannot write log";
    check_broken(1, Operation::LogWrite, expected);
    check_broken(3, Operation::LogWrite, expected);
}

#[test]
fn a_state_that_cannot_be_written_stops_the_node() {
    let expected = "the state database failed: the simulated disk cannot write shard-00000-0";
    check_broken(1, Operation::StateWrite, expected);
    check_broken(3, Operation::StateWrite, expected);
}

#[test]
fn a_state_that_cannot_be_synced_stops_the_node() {
    let expected = "the state database failed: the simulated disk cannot sync the state database";
    check_broken(1, Operation::StateSync, expected);
    check_broken(3, Operation::StateSync, expected);
}

/// Two seconds for each sync of one follower, and each write is answered within a hundredth of that.
#[test]
fn a_slow_disk_on_a_follower_does_not_slow_the_others() {
    let mut world = world(3, 3);
    let leader = world.await_leader().unwrap();
    world.machines[(leader + 1) % 3].disk_us = 2_000_000;
    for number in 0..100 {
        let soon = Duration::from_millis(20);
        world
            .put(leader, soon, address(number), &json!({ "value": number }))
            .unwrap()
            .expect("it is answered in time")
            .unwrap();
    }
}
