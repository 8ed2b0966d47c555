//! One document under steady writing here, while what was written comes back.

use serde_json::{Map, Value, json};
use skerry_api::documents::State;
use skerry_model::engine::Write;

use super::core::Core;
use super::{Machine, enrolled};
use crate::keys::{self, Place};
use crate::limits::DELTAS_APART_MAX;

impl Machine {
    fn place(&mut self, key: &str) -> Place {
        let collection = self.replica().known.collection(&"items".parse().unwrap()).unwrap().id;
        Place { collection, key: key.parse().unwrap() }
    }

    /// Checks that what is published of a document is what its head says, and answers how much of that is not merged yet.
    #[track_caller]
    fn apart(&mut self, place: &Place) -> usize {
        let replica = self.replica();
        let engine = replica.engines[&place.collection].clone();
        let (head, published) = replica.published(place, engine.as_ref()).unwrap();
        let head = head.unwrap();
        assert_eq!(head.seen, Some(published.version()));
        let deltas = replica.table.get(&keys::deltas::key(place, head.epoch)).unwrap();
        deltas.map_or(0, |row| keys::deltas::decode(&row).unwrap().len())
    }
}

#[test]
fn what_comes_back_to_its_writer_is_put_beside_what_was_saved() {
    let mut core = Core::new(1);
    core.now_ms = 1_700_000_000_000;
    let mut edge = enrolled("shop", &mut core);
    edge.put("log", json!({}));
    edge.sync(&mut core);
    let place = edge.place("log");
    let (mut expected, mut most) = (Map::new(), 0);
    for number in 1..=100 {
        let mut write = |edge: &mut Machine, field: String| {
            edge.patch("log", json!({ &field: number }));
            expected.insert(field, number.into());
        };
        write(&mut edge, format!("field {}", number % 9));
        edge.push(&mut core);
        let goes_on = number % 3 == 0;
        if goes_on {
            write(&mut edge, "later".to_owned());
        }
        let is_alone = number % 20 > 0;
        if !is_alone {
            core.write("log", &Write::Patch(json!({ "of the core": number })));
            expected.insert("of the core".to_owned(), number.into());
        }
        edge.pull(&mut core);
        let state = if goes_on { State::Provisional } else { State::Committed };
        edge.check("log", Value::Object(expected.clone()), state);
        assert!(!is_alone || edge.replica().live.scratch(&place).is_some(), "it need not be loaded for the next write");
        most = most.max(edge.apart(&place));
        if number % 10 == 7 {
            edge.restart();
            edge.check("log", Value::Object(expected.clone()), state);
        }
    }
    edge.sync(&mut core);
    edge.check("log", Value::Object(expected.clone()), State::Committed);
    assert_eq!(core.view("log"), Some(Value::Object(expected)));
    assert_eq!(most, DELTAS_APART_MAX);
}

/// A delete that meets another's creation takes nothing back, and comes to no delta that the core would publish.
#[test]
fn a_delete_that_deletes_nothing_is_not_waited_for() {
    let mut core = Core::new(1);
    core.now_ms = 1_700_000_000_000;
    let mut edge = enrolled("shop", &mut core);
    edge.put("log", json!({ "of the edge": 1 }));
    edge.try_write("log", Write::Delete).unwrap();
    core.write("log", &super::put(json!({ "of the core": 2 })));
    edge.pull(&mut core);
    edge.push(&mut core);
    edge.pull(&mut core);
    edge.check("log", json!({ "of the core": 2, "of the edge": 1 }), State::Committed);
    let place = edge.place("log");
    assert!(!edge.replica().pending.contains_key(&place));
}
