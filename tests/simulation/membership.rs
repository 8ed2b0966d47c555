//! Changes of the membership that follow each other.

use std::collections::BTreeSet;
use std::time::Duration;

use skerry_host::catalog::MemberStep;
use skerry_host::consensus::types::NodeAddress;
use skerry_model::NodeId;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

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
