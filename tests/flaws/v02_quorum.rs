//! V02: quorums were computed wrongly, worst in joint consensus. The rule is compared with counting by hand for every size
//! and pair of configurations; and clusters of every size serve with as many nodes down as they may lose, and with one
//! more do not.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use skerry_api::documents::Address;
use skerry_host::consensus::quorum::is_quorum;
use skerry_host::limits::CLUSTER_SIZES;
use skerry_model::NodeId;
use skerry_tests::simulation::faults::Flaw;
use skerry_tests::simulation::{Setup, World};

type Voters = BTreeSet<NodeId>;
type Rule = fn(&[Voters], &Voters) -> bool;

/// Deliberately wrong rules.
mod flawed {
    use super::Voters;

    /// Half is enough, which an even number of nodes has twice.
    pub(super) fn half(configurations: &[Voters], nodes: &Voters) -> bool {
        configurations.iter().all(|voters| voters.intersection(nodes).count() >= voters.len().div_ceil(2))
    }

    /// A majority of all that are in either configuration.
    pub(super) fn of_the_union(configurations: &[Voters], nodes: &Voters) -> bool {
        let union: Voters = configurations.iter().flatten().copied().collect();
        union.intersection(nodes).count() > union.len() / 2
    }
}

/// By counting: in each configuration those that are in are more than those that are not.
fn by_counting(configurations: &[Voters], nodes: &Voters) -> bool {
    configurations.iter().all(|voters| {
        let (mut inside, mut outside) = (0, 0);
        for voter in voters {
            *if nodes.contains(voter) { &mut inside } else { &mut outside } += 1;
        }
        inside > outside
    })
}

fn voters(most: usize) -> impl Strategy<Value = Voters> {
    proptest::collection::btree_set((1_u64..=9).prop_map(NodeId::new), 1..=most)
}

/// Compares a rule with counting.
fn check(rule: Rule) -> Result<(), String> {
    let cases = (proptest::collection::vec(voters(7), 1..=2), proptest::collection::btree_set(1_u64..=9, 0..=9));
    let mut runner = TestRunner::deterministic();
    let outcome = runner.run(&cases, |(configurations, nodes)| {
        let nodes = nodes.into_iter().map(NodeId::new).collect();
        prop_assert_eq!(rule(&configurations, &nodes), by_counting(&configurations, &nodes));
        Ok(())
    });
    outcome.map_err(|error| error.to_string())
}

#[test]
fn quorums_are_majorities_of_every_configuration() {
    check(is_quorum).unwrap();
    check(flawed::half).unwrap_err();
    check(flawed::of_the_union).unwrap_err();
}

/// Whether a write on some node that is up is acknowledged.
fn is_writable(world: &mut World, up: usize) -> Result<bool, String> {
    let at = Address { collection: "ledger".parse().unwrap(), key: "key".parse().unwrap() };
    let answer = world.put(up, Duration::from_secs(20), at, &serde_json::json!({}))?;
    Ok(answer.is_some_and(|written| written.is_ok()))
}

#[test]
fn clusters_lose_what_they_may_and_no_more() {
    for nodes in CLUSTER_SIZES {
        let mut world = World::new(&Setup::small(nodes as u64, nodes as u64, Flaw::None));
        world.start_all();
        world.found().unwrap();
        let may_lose = (nodes - 1) / 2;
        for at in 0..may_lose {
            world.power_off(at);
        }
        world.await_leader().unwrap();
        assert!(is_writable(&mut world, nodes - 1).unwrap(), "{nodes} nodes, {may_lose} lost");
        world.power_off(may_lose);
        if nodes > 1 {
            assert!(!is_writable(&mut world, nodes - 1).unwrap(), "{nodes} nodes, {} lost", may_lose + 1);
        }
    }
}
