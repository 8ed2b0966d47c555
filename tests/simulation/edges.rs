//! Edges in situations of their own, beside those that seeds bring about.

use std::time::Duration;

use serde_json::json;
use skerry_api::documents::Address;
use skerry_host::catalog::MemberStep;
use skerry_model::NodeId;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

/// The node that an edge waits at for news leaves the cluster and goes on running: the edge hears from another what is new.
/// Seed 9002 showed an edge that was told for ever that nothing was.
#[test]
fn an_edge_turns_away_from_a_node_that_was_removed() {
    let mut world = World::new(&Setup { edges: 1, ..Setup::small(5, 3, Flaw::None) });
    world.start_all();
    world.found().unwrap();
    // An edge asks the first node first.
    world.rest().unwrap();
    let removed = world.call(1, Duration::from_secs(10), |node| async move {
        node.change_members(MemberStep::Remove(NodeId::new(1))).await.map_err(|problem| problem.detail)
    });
    assert_eq!(removed, Ok(Some(Ok(()))));
    world.settle().unwrap();
    let at = Address { collection: "marks".parse().unwrap(), key: "key-0".parse().unwrap() };
    let written = world.put(1, Duration::from_secs(10), at, &json!({ "left": 1 }));
    assert_eq!(written.map(|answer| answer.map(|written| written.is_ok())), Ok(Some(true)));
    world.rest().unwrap();
}
