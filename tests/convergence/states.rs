//! Documents of state policies on three replicas: however operations, syncs, losses, repeats, crashes and restarts fall
//! together, all end with the same, and every increment that was acknowledged counts once.

use proptest::prelude::*;
use serde_json::{Value, json};
use skerry_api::documents::Address;
use skerry_model::engine::Write;

use super::world::{Sync, World, sync};

const KEYS: [&str; 2] = ["lantern", "rope"];

#[derive(Debug, Clone)]
enum Event {
    /// 0 and 1 are the edges, 2 is the core.
    Write {
        who: usize,
        key: usize,
        write: Write,
    },
    Sync(Sync),
}

fn at(collection: &str, key: usize) -> Address {
    Address { collection: collection.parse().unwrap(), key: KEYS[key].parse().unwrap() }
}

fn increment() -> impl Strategy<Value = Write> {
    (-9_i64..=9).prop_map(|inc| Write::Operation(json!({ "inc": inc })))
}

fn level() -> impl Strategy<Value = Write> {
    (-9_i64..=9).prop_map(|level| Write::Operation(json!({ "set": level })))
}

fn change_of_set() -> impl Strategy<Value = Write> {
    let item = || prop_oneof![Just(json!("a")), Just(json!({ "b": 1 })), Just(json!(3))];
    prop_oneof![
        4 => item().prop_map(|item| Write::Operation(json!({ "add": item }))),
        3 => item().prop_map(|item| Write::Operation(json!({ "remove": item }))),
        1 => Just(Write::Delete),
    ]
}

fn events(write: impl Strategy<Value = Write>) -> impl Strategy<Value = Vec<Event>> {
    let writing = (0..3_usize, 0..KEYS.len(), write).prop_map(|(who, key, write)| Event::Write { who, key, write });
    proptest::collection::vec(prop_oneof![8 => writing, 10 => sync().prop_map(Event::Sync)], 1..60)
}

/// Lets everything happen and settle; answers what each write came to that was taken.
fn play(world: &mut World, collection: &str, events: Vec<Event>) -> Vec<(usize, Write)> {
    let mut taken = Vec::new();
    for event in events {
        world.core.now_ms += 7;
        match event {
            Event::Sync(sync) => world.sync(&sync),
            Event::Write { who, key, write } => {
                let at = at(collection, key);
                let done = match who {
                    2 => world.core.write(&at, write.clone()),
                    edge => world.edges[edge].write(&at, write.clone()),
                };
                if done.is_ok() {
                    taken.push((key, write));
                }
            }
        }
    }
    world.settle();
    taken
}

fn check_equal(world: &mut World, collection: &str) -> Result<(), TestCaseError> {
    for key in 0..KEYS.len() {
        let expected = world.core.view(&at(collection, key));
        for edge in &mut world.edges {
            prop_assert_eq!(edge.view(&at(collection, key)), expected.clone());
        }
    }
    for edge in &mut world.edges {
        prop_assert_eq!(edge.stranded(), 0);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_increment_counts_once(events in events(increment()), shards in prop_oneof![Just(1_u16), Just(4)]) {
        let mut world = World::new(shards, &[("tally", "counter")]);
        let taken = play(&mut world, "tally", events);
        check_equal(&mut world, "tally")?;
        for key in 0..KEYS.len() {
            let increments = taken.iter().filter(|(of, _)| *of == key).map(|(_, write)| match write {
                Write::Operation(operation) => operation["inc"].as_i64().unwrap(),
                other => panic!("{other:?}"),
            });
            let expected: i64 = increments.sum();
            let view = world.core.view(&at("tally", key)).map(|(view, _)| view.object().unwrap());
            let value = view.as_ref().and_then(|view| view["value"].as_i64());
            prop_assert_eq!(value.unwrap_or_default(), expected);
        }
    }

    #[test]
    fn documents_of_a_merge_policy_converge(events in events(level()), shards in prop_oneof![Just(1_u16), Just(4)]) {
        let mut world = World::new(shards, &[("levels", "plugin:max-register")]);
        let taken = play(&mut world, "levels", events);
        check_equal(&mut world, "levels")?;
        for key in 0..KEYS.len() {
            let levels = taken.iter().filter(|(of, _)| *of == key).map(|(_, write)| match write {
                Write::Operation(operation) => operation["set"].as_i64().unwrap(),
                other => panic!("{other:?}"),
            });
            let view = world.core.view(&at("levels", key)).map(|(view, _)| view.object().unwrap());
            let value = view.as_ref().and_then(|view| view["value"].as_i64());
            prop_assert_eq!(value, levels.max());
        }
    }

    #[test]
    fn sets_converge(events in events(change_of_set()), shards in prop_oneof![Just(1_u16), Just(4)]) {
        let mut world = World::new(shards, &[("tags", "set")]);
        play(&mut world, "tags", events);
        check_equal(&mut world, "tags")?;
    }
}

#[test]
fn what_one_edge_adds_survives_what_another_removes() {
    let mut world = World::new(1, &[("tags", "set")]);
    let add = |item: &str| Write::Operation(json!({ "add": item }));
    world.core.write(&at("tags", 0), add("sale")).unwrap();
    world.settle();
    world.edges[0].write(&at("tags", 0), Write::Operation(json!({ "remove": "sale" }))).unwrap();
    world.edges[1].write(&at("tags", 0), add("sale")).unwrap();
    world.settle();
    let (view, _) = world.core.view(&at("tags", 0)).unwrap();
    assert_eq!(Value::Object(view.object().unwrap()), json!({ "items": ["sale"] }));
    check_equal(&mut world, "tags").unwrap();
}

#[test]
fn a_document_is_no_operation_and_an_operation_no_document() {
    let mut world = World::new(1, &[("tally", "counter"), ("notes", "lww"), ("ledger", "strict")]);
    let put = world.core.write(&at("tally", 0), Write::Put(serde_json::Map::new())).unwrap_err();
    assert!(put.detail.contains("take operations"), "{}", put.detail);
    for (collection, said) in [("notes", "take operations like {\"splice\""), ("ledger", "no operations")] {
        let operation = Write::Operation(json!({ "inc": 1 }));
        let refused = world.core.write(&at(collection, 0), operation).unwrap_err();
        assert!(refused.detail.contains(said), "{}", refused.detail);
    }
}
