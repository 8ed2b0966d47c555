//! Edges whose clocks are decades off, or jump while they are out of touch.

use proptest::prelude::*;
use serde_json::json;
use skerry_api::documents::Address;
use skerry_model::document::View;
use skerry_model::engine::Write;
use skerry_tests::edge::Edge;

use crate::world::{World, bundled};

/// 1970, and the last moment of 2099.
const CLOCKS: std::ops::Range<u64> = 0..4_102_444_800_000;
const MINUTE_MS: u64 = 60_000;

fn at() -> Address {
    Address { collection: "notes".parse().unwrap(), key: "one".parse().unwrap() }
}

fn put(value: &str) -> Write {
    Write::Put(json!({ "field": value }).as_object().unwrap().clone())
}

fn shown(view: Option<(View, u32)>) -> String {
    view.unwrap().0.object().unwrap()["field"].as_str().unwrap().to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_later_write_wins_whatever_the_clocks_say(wrong in CLOCKS, jumped in CLOCKS) {
        let mut world = World::new(1, &[("notes", "lww")]);
        let scn = world.core.scn();
        let mut edge = Edge::new("wrong", 9, wrong, bundled());
        edge.settle(&mut world.core);
        // Corrected by the core's when it said hello: what is written a minute later, by a right clock, wins.
        edge.write(&at(), put("first")).unwrap();
        world.core.now_ms += MINUTE_MS + 1;
        world.core.write(&at(), put("second")).unwrap();
        edge.settle(&mut world.core);
        world.settle();
        prop_assert_eq!(shown(world.core.view(&at())), "second");

        // Out of touch, it jumps anywhere: what is written after its change has come still wins.
        edge.set_clock(jumped);
        edge.write(&at(), put("jumped")).unwrap();
        edge.push(&mut world.core, false, false);
        world.core.now_ms += MINUTE_MS + 1;
        world.core.write(&at(), put("last")).unwrap();
        edge.settle(&mut world.core);
        world.settle();
        prop_assert_eq!(shown(world.core.view(&at())), "last");
        prop_assert_eq!(shown(edge.view(&at())), "last");
        // And the SCNs have followed the core's clock alone.
        let moved = world.core.scn().millis() - scn.millis();
        prop_assert!(moved <= 2 * (MINUTE_MS + 1) + 1_000, "{} ms", moved);
    }
}
