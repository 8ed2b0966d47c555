//! Changes of the membership that follow each other.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use skerry_api::documents::Address;
use skerry_host::catalog::MemberStep;
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::consensus::types::NodeAddress;
use skerry_model::ids::shard_of;
use skerry_model::{CollectionName, DocumentKey, NodeId, ShardId};
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

use super::snapshots::{SOON, THRESHOLDS};

fn change(world: &mut World, step: MemberStep) {
    let changed = world.call(1, Duration::from_secs(10), |node| async move {
        node.change_members(step).await.map_err(|problem| problem.detail)
    });
    assert_eq!(changed, Ok(Some(Ok(()))));
    world.settle().unwrap();
}

/// Node 4 takes node 1's place and is removed later: node 1 does not come back. Seed 20154 led here.
#[test]
fn a_replaced_node_stays_away_when_its_successor_is_removed() {
    let mut world = World::new(&Setup { spares: 1, ..Setup::small(6, 3, Flaw::None) });
    world.start_all();
    world.found().unwrap();
    world.start(3);
    let address = NodeAddress { node: "node-4:1".to_owned(), http: "http://node-4".to_owned() };
    change(&mut world, MemberStep::Replace { old: NodeId::new(1), new: NodeId::new(4), address });
    change(&mut world, MemberStep::Remove(NodeId::new(4)));
    world.pass(Duration::from_secs(5)).unwrap();
    let voters = world.machines[1].node().map(|node| node.shards()[0].voters());
    assert_eq!(voters, Some(BTreeSet::from([2, 3].map(NodeId::new))));
}

/// A node that has only just come leads a shard before it has the catalog, and takes nobody's vote there.
#[test]
fn a_node_without_the_catalog_leaves_the_group_that_it_leads_as_it_is() {
    let thresholds = Thresholds { entries_kept: 0, ..THRESHOLDS };
    let mut world = World::new(&Setup { spares: 2, shards: 2, thresholds, ..Setup::small(8, 3, Flaw::None) });
    world.start_all();
    world.found().unwrap();
    let address = |node: u64| NodeAddress { node: format!("node-{node}:1"), http: format!("http://node-{node}") };
    world.start(3);
    let replace = MemberStep::Replace { old: NodeId::new(1), new: NodeId::new(4), address: address(4) };
    change(&mut world, replace);
    // Shard 0 is a long way to go for a new node, shard 1 is none.
    let collection: CollectionName = "ledger".parse().unwrap();
    let keys = (0..).map(|number| format!("key-{number}").parse::<DocumentKey>().unwrap());
    for key in keys.filter(|key| shard_of(&collection, key, 2) == ShardId::new(0)).take(300) {
        let at = Address { collection: collection.clone(), key };
        world.put(1, SOON, at, &json!({ "value": 1 })).unwrap().unwrap().unwrap();
    }
    world.pass(SOON).unwrap();
    world.start(4);
    let added = world.call(1, SOON, move |node| async move {
        node.change_members(MemberStep::Add(NodeId::new(5), address(5))).await.map_err(|problem| problem.detail)
    });
    assert_eq!(added, Ok(Some(Ok(()))));
    let all = BTreeSet::from([2, 3, 4, 5].map(NodeId::new));
    let voters = |world: &World| world.machines[1].node().map(|node| node.shards()[1].voters());
    for _ in 0..200 {
        if voters(&world).as_ref() == Some(&all) {
            break;
        }
        world.pass(Duration::from_millis(50)).unwrap();
    }
    let handed = world.call(1, SOON, |node| async move {
        node.transfer_leader(ShardId::new(1), NodeId::new(5)).await.map_err(|problem| problem.detail)
    });
    assert_eq!(handed, Ok(Some(Ok(()))));
    let newcomer = world.machines[4].node().unwrap();
    let has_catalog = || newcomer.shards()[0].state.progress().index > 0;
    assert!(!has_catalog(), "the catalog was there too soon for this test");
    while !has_catalog() {
        world.pass(Duration::from_millis(100)).unwrap();
        assert_eq!(newcomer.shards()[1].nodes(), all);
    }
    world.settle().unwrap();
    assert_eq!(voters(&world), Some(all));
}
