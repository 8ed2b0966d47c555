//! A replica that holds something else than its leader is found out, by the checkers at once and by the nodes themselves at
//! the next place where they compare.

use std::time::Duration;

use serde_json::json;
use skerry_api::documents::Address;
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::documents::keys::head;
use skerry_store::{Batch, StateDb};
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

fn write(world: &mut World, at: usize, value: u64) -> Result<Option<bool>, String> {
    let at_key = Address { collection: "ledger".parse().unwrap(), key: "key".parse().unwrap() };
    let written = world.put(at, Duration::from_secs(5), at_key, &json!({ "value": value }))?;
    Ok(written.map(|written| written.is_ok()))
}

#[test]
fn a_damaged_replica_raises_the_alarm() {
    let thresholds = Thresholds { compare_every: 5, ..Thresholds::default() };
    let mut world = World::new(&Setup { thresholds, ..Setup::small(3, 3, Flaw::None) });
    world.start_all();
    world.found().unwrap();
    let leader = world.await_leader().unwrap();
    let damaged = (leader + 1) % 3;
    (0..20).for_each(|value| assert_eq!(write(&mut world, leader, value), Ok(Some(true))));
    world.pass(Duration::from_secs(5)).unwrap();
    let divergences = |world: &World| world.machines[damaged].node().map(|node| node.shards()[0].state.divergences());
    assert_eq!(divergences(&world), Some(0));
    // A row is lost under the node, so it finds preconditions broken that hold elsewhere.
    let node = world.machines[damaged].node().unwrap();
    let collection = node.shards()[0].state.catalog().collection(&"ledger".parse().unwrap()).unwrap().id;
    let mut batch = Batch::new();
    batch.delete(head::key(collection, &"key".parse().unwrap()));
    world.machines[damaged].disk.state().keyspace("shard-00000-0").unwrap().commit(batch).unwrap();
    let found = (20..40).find_map(|value| write(&mut world, leader, value).err()).unwrap();
    assert!(found.contains("state machine safety"), "{found}");
    // From here on every look finds it again; the nodes go on, up to the next place and past it.
    for value in 40..50 {
        let _ = write(&mut world, leader, value);
        for _ in 0..500 {
            let _ = world.tick();
        }
    }
    assert!(divergences(&world) > Some(0), "{:?}", divergences(&world));
}
