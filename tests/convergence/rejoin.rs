//! Edges that were away for longer than the feed reaches back compare what they hold, and are sent what differs.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skerry_api::documents::Address;
use skerry_channel::message::{Manifest, Pull};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::Subscription;
use skerry_host::catalog::Step;
use skerry_model::engine::Write;
use skerry_model::policy::Policy;
use skerry_model::{CatalogVersion, CollectionId, DocumentKey, ShardId, VersionId};
use skerry_tests::core::Core;
use skerry_tests::edge::Edge;

use crate::world::bundled;

type Place = (CollectionId, DocumentKey);

fn at(key: &str) -> Address {
    Address { collection: "items".parse().unwrap(), key: key.parse().unwrap() }
}

fn fields(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn put(core: &mut Core, key: &str, value: &Value) {
    core.now_ms += 1;
    core.write(&at(key), Write::Put(fields(value))).unwrap();
}

fn core(shards: u16, documents: usize) -> Core {
    let mut core = Core::new(shards, bundled());
    core.step(&Step::CreateCollection {
        name: "items".parse().unwrap(),
        policy: Policy::Lww,
        template: None,
        text: Vec::new(),
        settle: false,
        inbox: None,
    });
    (0..documents).for_each(|number| put(&mut core, &format!("k{number:02}"), &json!({"n": number})));
    core
}

#[test]
fn an_edge_that_was_away_is_sent_what_differs_and_keeps_its_own_work() {
    let mut core = core(2, 60);
    let mut edge = Edge::new("shop", 1, core.now_ms, bundled());
    edge.settle(&mut core);
    assert_eq!(edge.received, 60);
    edge.write(&at("k05"), Write::Put(fields(&json!({"n": "own"})))).unwrap();
    edge.write(&at("own"), Write::Put(fields(&json!({"n": "own"})))).unwrap();
    for key in ["k10", "k20", "new"] {
        put(&mut core, key, &json!({"n": "later"}));
    }
    for key in ["k30", "k31"] {
        core.write(&at(key), Write::Delete).unwrap();
    }
    core.forget_feed();
    edge.settle(&mut core);
    assert_eq!(edge.received, 60 + 5, "three that changed, and two of its own that came back");
    for key in ["k05", "k10", "k20", "k30", "k31", "k59", "new", "own"] {
        assert_eq!(edge.view(&at(key)), core.view(&at(key)), "{key}");
    }
    assert_eq!(edge.stranded(), 0);
    core.forget_feed();
    edge.settle(&mut core);
    assert_eq!(edge.received, 65);
}

/// A receiver that holds this, compares in steps of so many, and ends up with what it returns.
fn compare(core: &Core, mut held: BTreeMap<Place, VersionId>, step: usize) -> BTreeMap<Place, VersionId> {
    let subscription = Subscription::All;
    let shard = ShardId::new(0);
    let timeline = core.welcome().timeline;
    let mut cursor = Cursor { timeline, shard, subscription: subscription.digest(), position: Position::Start };
    for _ in 0..1_000 {
        let after = match &cursor.position {
            Position::Start => None,
            Position::Copy { after, .. } => Some(after.clone()),
            Position::Feed { .. } => return held,
        };
        let rest = held.iter().filter(|(place, _)| after.as_ref().is_none_or(|after| *place > after));
        let rest: Vec<_> = rest.map(|((collection, key), version)| (*collection, key.clone(), *version)).collect();
        let manifest = Manifest { shard, more: rest.len() > step, held: rest.into_iter().take(step).collect() };
        assert!(manifest.fits(std::slice::from_ref(&cursor)));
        let pull = Pull {
            replica: "shop".parse().unwrap(),
            subscription: subscription.clone(),
            catalog: CatalogVersion::new(9),
            cursors: vec![cursor],
            manifests: vec![manifest],
            wait_ms: 0,
        };
        let batch = core.pull(&pull).batches.remove(0);
        for place in batch.gone.unwrap() {
            assert!(held.remove(&place).is_some(), "{place:?} was not held");
        }
        for document in batch.documents {
            let before = held.insert((document.collection, document.key), document.version);
            assert_ne!(before, Some(document.version), "it was held already");
        }
        cursor = batch.to;
    }
    panic!("the comparison does not end");
}

proptest! {
    #[test]
    fn a_comparison_ends_with_what_is_there(
        step in 1..9_usize,
        fates in prop::collection::vec((0..3_u8, 0..3_u8), 30),
        phantoms in prop::collection::btree_set("[a-z][0-9]", 0..6),
    ) {
        let mut core = core(1, 30);
        let before = compare(&core, BTreeMap::new(), 1);
        for (number, (change, _)) in fates.iter().enumerate() {
            let key = format!("k{number:02}");
            match change {
                0 => {}
                1 => put(&mut core, &key, &json!({"n": "changed"})),
                _ => core.write(&at(&key), Write::Delete).unwrap(),
            }
        }
        put(&mut core, "j", &json!({}));
        put(&mut core, "z", &json!({}));
        let truth = compare(&core, BTreeMap::new(), 1);
        let mut held = BTreeMap::new();
        for ((place, version), (_, fate)) in before.iter().zip(&fates) {
            let version = match fate {
                0 => continue,
                1 => version,
                _ => truth.get(place).unwrap_or(version),
            };
            held.insert(place.clone(), *version);
        }
        let collection = before.keys().next().unwrap().0;
        held.extend(phantoms.iter().map(|key| ((collection, key.parse().unwrap()), VersionId::ZERO)));
        prop_assert_eq!(compare(&core, held, step), truth);
    }
}
