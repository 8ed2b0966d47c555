//! Disks that are nearly full: who leads, what is refused, and that it comes back.

use std::time::Duration;

use serde_json::json;
use skerry_api::documents::{Address, Conditions, Consistency, Documents, WriteRequest};
use skerry_api::problem::{Kind, Problem};
use skerry_model::engine::Write;
use skerry_store::room::Room;
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
    let fields = json!({ "value": number }).as_object().cloned().unwrap();
    let request = WriteRequest { write: Write::Put(fields), conditions: Conditions::default() };
    let written = world.call(at, SOON, move |node| async move { node.write(address(number), request).await });
    written.unwrap().map(|written| written.map(drop))
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
            assert!(refused.detail.contains("has 1 MiB free and must keep 52428 MiB: make room"), "{}", refused.detail);
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
