//! Any interleaving of writes, syncs, losses, repeats and restarts on three replicas ends in equal versions and equal
//! views. Pure functions and simulated storage, no sockets: every case replays from its own values.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skerry_api::documents::Address;
use skerry_host::catalog::Step;
use skerry_model::engine::Write;
use skerry_tests::edge::Edge;

use super::world::{Sync, World, bundled, sync};

const KEYS: [&str; 3] = ["lantern", "rope", "sail"];
const FIELDS: [&str; 4] = ["remaining", "price", "tags", "note"];
const POLICIES: [&str; 3] = ["lww", "json", "plugin:stock"];

#[derive(Debug, Clone)]
enum Event {
    Write {
        who: usize,
        key: usize,
        write: Write,
    },
    Sync(Sync),
    /// The policy changes, while edges have unsent changes.
    SetPolicy {
        policy: usize,
    },
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3_i64..20).prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
        proptest::collection::vec((0_i64..9).prop_map(Value::from), 0..4).prop_map(Value::from),
        (0_i64..5).prop_map(|number| json!({ "deep": number })),
    ]
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map(0..FIELDS.len(), value(), 1..3)
        .prop_map(|fields| fields.into_iter().map(|(at, value)| (FIELDS[at].to_owned(), value)).collect())
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        3 => object().prop_map(Write::Put),
        5 => object().prop_map(|object| Write::Patch(Value::Object(object))),
        1 => (0..FIELDS.len()).prop_map(|at| Write::Patch(json!({ FIELDS[at]: null }))),
        1 => Just(Write::Delete),
    ]
}

/// `who` is 0 and 1 for the edges and, where it may be, 2 for the core.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..3_usize, 0..KEYS.len(), write()).prop_map(|(who, key, write)| Event::Write { who, key, write }),
        10 => sync().prop_map(Event::Sync),
        1 => (0..POLICIES.len()).prop_map(|policy| Event::SetPolicy { policy }),
    ]
}

fn at(key: usize) -> Address {
    Address { collection: "items".parse().unwrap(), key: KEYS[key].parse().unwrap() }
}

fn world(shards: u16) -> World {
    World::new(shards, &[("items", "plugin:stock")])
}

fn happen(world: &mut World, event: Event) {
    world.core.now_ms += 7;
    match event {
        // A refused write is one that its client heard of; only what was taken must converge.
        Event::Write { who: 2, key, write } => drop(world.core.write(&at(key), write)),
        Event::Write { who, key, write } => drop(world.edges[who].write(&at(key), write)),
        Event::Sync(sync) => world.sync(&sync),
        Event::SetPolicy { policy } => {
            let (name, policy) = ("items".parse().unwrap(), POLICIES[policy].parse().unwrap());
            world.core.step(&Step::SetPolicy { name, policy, settle: false });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn replicas_converge(events in proptest::collection::vec(event(), 1..60), shards in prop_oneof![Just(1_u16), Just(4)]) {
        let mut world = world(shards);
        for event in events {
            happen(&mut world, event);
        }
        world.settle();
        for key in 0..KEYS.len() {
            let expected = world.core.view(&at(key));
            for edge in &mut world.edges {
                prop_assert_eq!(edge.view(&at(key)), expected.clone());
            }
        }
        for edge in &mut world.edges {
            prop_assert_eq!(edge.stranded(), 0);
        }
    }
}

/// The story: both shops sell the last item while offline.
#[test]
fn the_last_item_sold_twice_is_oversold() {
    let mut world = world(1);
    world.core.write(&at(0), Write::Put(json!({ "remaining": 1 }).as_object().unwrap().clone())).unwrap();
    world.settle();
    for edge in &mut world.edges {
        edge.write(&at(0), Write::Patch(json!({ "remaining": 0 }))).unwrap();
    }
    world.settle();
    let (view, conflicts) = world.core.view(&at(0)).unwrap();
    assert_eq!(view.object().unwrap(), *json!({ "remaining": 0, "oversold": 1 }).as_object().unwrap());
    assert_eq!(conflicts, 1);
    for edge in &mut world.edges {
        assert_eq!(edge.view(&at(0)), Some((view.clone(), 1)));
    }
}

/// An edge that comes after a deletion has never held what was deleted, and gets all of it when it is written again.
#[test]
fn a_document_written_again_reaches_an_edge_that_never_had_it() {
    let mut world = world(1);
    let put = |value: Value| Write::Put(value.as_object().unwrap().clone());
    world.core.write(&at(0), put(json!({ "remaining": 1 }))).unwrap();
    world.core.write(&at(0), Write::Delete).unwrap();
    let mut late = Edge::new("late", 9, world.core.now_ms, bundled());
    late.settle(&mut world.core);
    assert_eq!(late.view(&at(0)), None);
    world.core.write(&at(0), put(json!({ "remaining": 7 }))).unwrap();
    late.settle(&mut world.core);
    assert_eq!(late.view(&at(0)), world.core.view(&at(0)));
    assert!(late.view(&at(0)).is_some());
}
