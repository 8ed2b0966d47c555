//! Push and pull: what two edges and a core come to.

use serde_json::json;
use skerry_api::documents::{Conditions, Match, State, WriteRequest};
use skerry_api::problem::Kind;
use skerry_channel::subscription::{Entry, Subscription};
use skerry_model::engine::Write;

use super::super::{Installed, Settled, Welcomed};
use super::core::Core;
use super::{Machine, at, enrolled, put};

#[test]
fn edges_converge_through_the_core() {
    let mut core = Core::new(4);
    core.copy_step = 2;
    let (mut shop, mut depot) = (enrolled("shop", &mut core), enrolled("depot", &mut core));
    for number in 0..30 {
        shop.put(&format!("shop-{number}"), json!({"by": "shop"}));
        depot.put(&format!("depot-{number}"), json!({"by": "depot"}));
        shop.patch("shared", json!({ format!("s{number}"): number }));
        depot.patch("shared", json!({ format!("d{number}"): number }));
    }
    shop.check("shop-7", json!({"by": "shop"}), State::Provisional);
    for _ in 0..2 {
        shop.sync(&mut core);
        depot.sync(&mut core);
    }
    assert_eq!(shop.keys(7), depot.keys(1_000));
    assert_eq!(shop.replica().counts().documents, 61);
    assert_eq!(depot.replica().counts().documents, 61);
    let (left, right) = (shop.read("shared").unwrap(), depot.read("shared").unwrap());
    assert_eq!(left.view.object().unwrap().len(), 60);
    assert_eq!((left.view, left.stamp.state), (right.view, right.stamp.state));
    assert!(left.stamp.scn.is_some());
    assert_ne!(left.stamp.etag, right.stamp.etag, "a tag holds at one edge alone");
    let mut late = enrolled("late", &mut core);
    assert_eq!(late.keys(1_000), shop.keys(1_000));
    assert!(late.replica().counts().copied);
}

#[test]
fn a_published_outcome_is_shown_as_it_came() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    core.write("rope", &put(json!({"n": 1})));
    let mut pulled = core.pull(&edge.replica().pull_request(0).unwrap().unwrap());
    let document = &mut pulled.batches[0].documents[0];
    document.view = Some(skerry_model::document::View::from_canonical(r#"{"n":"as the core says"}"#.into()));
    document.fallback = Some("a reason".to_owned());
    edge.replica().install(pulled.batches.remove(0)).unwrap();
    edge.replica().commit().unwrap();
    edge.check("rope", json!({"n": "as the core says"}), State::Committed);
    assert_eq!(edge.read("rope").unwrap().fallback.as_deref(), Some("a reason"));
}

#[test]
fn an_accepted_change_is_shown_until_the_feed_brings_it() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1}));
    assert_eq!(edge.push(&mut core), [Settled::Judged { accepted: 1, refused: 0 }]);
    edge.check("rope", json!({"n": 1}), State::Provisional);
    edge.restart();
    edge.check("rope", json!({"n": 1}), State::Provisional);
    assert_eq!(edge.replica().counts().unsent, 0);
    edge.pull(&mut core);
    edge.check("rope", json!({"n": 1}), State::Committed);
}

#[test]
fn a_feed_that_is_faster_than_the_verdict_shows_the_cores_outcome() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    let answer = core.push(&push);
    edge.pull(&mut core);
    edge.check("rope", json!({"n": 1}), State::Committed);
    assert_eq!(edge.replica().counts().unsent, 1);
    edge.replica().pushed(shard, answer).unwrap();
    edge.replica().commit().unwrap();
    edge.check("rope", json!({"n": 1}), State::Committed);
    edge.put("rope", json!({"n": 2}));
    edge.check("rope", json!({"n": 2}), State::Provisional);
    edge.sync(&mut core);
    edge.check("rope", json!({"n": 2}), State::Committed);
}

#[test]
fn a_refused_change_is_stranded_and_the_document_rebuilt() {
    let mut core = Core::new(1);
    core.write("refused-rope", &put(json!({"n": 1, "kept": true})));
    let mut edge = enrolled("shop", &mut core);
    core.refuses = Some("refused");
    edge.patch("refused-rope", json!({"n": 2}));
    edge.put("refused-new", json!({"n": 3}));
    edge.put("taken", json!({"n": 4}));
    edge.check("refused-rope", json!({"n": 2, "kept": true}), State::Provisional);
    edge.sync(&mut core);
    edge.check("refused-rope", json!({"n": 1, "kept": true}), State::Committed);
    edge.check_gone("refused-new");
    edge.check("taken", json!({"n": 4}), State::Committed);
    edge.crash();
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded, counts.documents), (0, 2, 2));
    let stranded = edge.replica().stranded(None, 10).unwrap();
    assert_eq!(stranded[0].key.as_str(), "refused-rope");
    assert_eq!(stranded[0].refusal.kind, "refused");
    assert_eq!(stranded[0].operation, crate::Operation::Patch { patch: r#"{"n":2}"#.into() });
    edge.put("refused-rope", json!({"n": 9, "kept": true}));
    edge.check("refused-rope", json!({"n": 9, "kept": true}), State::Provisional);
}

#[test]
fn what_builds_on_a_refused_change_is_refused_too() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    core.refuses = Some("rope");
    edge.put("rope", json!({"n": 1}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    edge.patch("rope", json!({"m": 2}));
    let answer = core.push(&push);
    edge.replica().pushed(shard, answer).unwrap();
    edge.replica().commit().unwrap();
    edge.check_gone("rope");
    core.refuses = None;
    edge.sync(&mut core);
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded, counts.documents), (0, 2, 0));
}

#[test]
fn strict_and_unknown_collections_are_not_written_here() {
    let mut edge = enrolled("shop", &mut Core::new(1));
    let request = WriteRequest::new(put(json!({})));
    let mut in_collection = |name: &str| {
        let at = skerry_api::documents::Address { collection: name.parse().unwrap(), ..at("x") };
        edge.replica().write(&at, &request).unwrap().unwrap_err()
    };
    let strict = in_collection("ledger");
    assert_eq!(strict.kind, Kind::NotWritableHere);
    assert_eq!(strict.detail, "ledger is strict: edges hold read-only copies, write it at http://core");
    assert_eq!(in_collection("nowhere").kind, Kind::CollectionNotFound);
}

#[test]
fn conditions_are_honoured() {
    let mut edge = enrolled("shop", &mut Core::new(1));
    edge.put("rope", json!({"n": 1}));
    let tag = edge.read("rope").unwrap().stamp.etag;
    let mut write = |n: u32, conditions: Conditions| {
        let request = WriteRequest { conditions, ..WriteRequest::new(put(json!({ "n": n }))) };
        edge.replica().write(&at("rope"), &request).unwrap()
    };
    let only = |tags: Match| Conditions { if_match: Some(tags), if_none_match: None };
    assert!(write(2, only(Match::Tags(vec![tag.clone()]))).is_ok());
    let refused = write(3, only(Match::Tags(vec![tag]))).unwrap_err();
    assert_eq!(refused.kind, Kind::PreconditionFailed);
    let absent = Conditions { if_match: None, if_none_match: Some(Match::Any) };
    assert_eq!(write(3, absent).unwrap_err().kind, Kind::PreconditionFailed);
}

#[test]
fn deletes_travel_and_a_missing_document_is_not_deleted() {
    let mut core = Core::new(1);
    core.write("rope", &put(json!({"n": 1})));
    let mut edge = enrolled("shop", &mut core);
    edge.try_write("rope", Write::Delete).unwrap();
    edge.check_gone("rope");
    assert_eq!(edge.try_write("rope", Write::Delete).unwrap_err().kind, Kind::DocumentNotFound);
    edge.sync(&mut core);
    assert_eq!(core.view("rope"), None);
    assert_eq!(edge.replica().counts().documents, 0);
    assert_eq!(edge.keys(10), Vec::<String>::new());
}

#[test]
fn a_writes_time_is_corrected_by_the_cores_clock() {
    let mut core = Core::new(1);
    core.now_ms = 5_000_000_000;
    let mut edge = enrolled("shop", &mut core);
    edge.clock.set(1_000_500);
    edge.put("refused", json!({"n": 1}));
    core.refuses = Some("refused");
    edge.sync(&mut core);
    assert_eq!(edge.replica().stranded(None, 10).unwrap()[0].time_ms, 5_000_000_500);
}

/// The core logs its own time for a change from the future; the edge's copy of the change is the same all the same.
#[test]
fn a_time_that_the_core_corrected_does_not_keep_a_change_pending() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.clock.set(9_000_000_000);
    edge.put("rope", json!({"n": 1}));
    edge.push(&mut core);
    edge.pull(&mut core);
    edge.check("rope", json!({"n": 1}), State::Committed);
}

#[test]
fn a_document_that_came_out_differently_is_copied_anew() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    core.write("rope", &put(json!({"n": 1})));
    edge.pull(&mut core);
    core.write("rope", &Write::Patch(json!({"n": 2})));
    let mut pulled = core.pull(&edge.replica().pull_request(0).unwrap().unwrap());
    pulled.batches[0].documents[0].merge.as_mut().unwrap().deltas.clear();
    assert_eq!(edge.replica().install(pulled.batches.remove(0)).unwrap(), Installed::Diverged);
    edge.replica().commit().unwrap();
    edge.check("rope", json!({"n": 1}), State::Committed);
    edge.crash();
    edge.pull(&mut core);
    edge.check("rope", json!({"n": 2}), State::Committed);
    assert_eq!(edge.replica().counts().documents, 1);
}

/// A copy has no tombstones, so the feed may build on what this edge never got.
#[test]
fn a_document_that_is_written_again_after_its_delete_arrives_whole() {
    let mut core = Core::new(1);
    core.write("rope", &put(json!({"n": 1})));
    core.write("rope", &Write::Delete);
    let mut edge = enrolled("shop", &mut core);
    core.write("rope", &put(json!({"n": 2})));
    edge.pull(&mut core);
    edge.check("rope", json!({"n": 2}), State::Committed);
    assert!(edge.replica().counts().copied);
}

#[test]
fn a_batch_that_comes_twice_is_ignored() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    core.write("rope", &put(json!({"n": 1})));
    let batch = core.pull(&edge.replica().pull_request(0).unwrap().unwrap()).batches.remove(0);
    assert_eq!(edge.replica().install(batch.clone()).unwrap(), Installed::Taken { documents: 1, more: false });
    assert_eq!(edge.replica().install(batch).unwrap(), Installed::Ignored);
}

#[test]
fn an_edge_that_was_away_for_long_finds_out_what_is_gone() {
    let mut core = Core::new(2);
    core.copy_step = 3;
    for number in 0..10 {
        core.write(&format!("a{number}"), &put(json!({"n": number})));
        core.write(&format!("b{number}"), &put(json!({"n": number})));
    }
    let mut edge = enrolled("shop", &mut core);
    assert_eq!(edge.replica().counts().documents, 20);
    let only_b = Entry { collection: "items".parse().unwrap(), prefix: "b".to_owned() };
    edge.subscription = Some(Subscription::only(vec![only_b]).unwrap());
    edge.restart();
    core.write("b3", &Write::Delete);
    core.write("b4", &put(json!({"n": "later"})));
    core.forget("b3");
    edge.sync(&mut core);
    while edge.replica().upkeep().unwrap() {}
    edge.replica().commit().unwrap();
    assert_eq!(edge.replica().counts().documents, 9);
    assert!(edge.keys(100).iter().all(|key| key.starts_with('b') && key != "b3"));
    let problem = edge.try_write("a1", put(json!({}))).unwrap_err();
    assert_eq!(problem.kind, Kind::NotWritableHere);
}

#[test]
fn a_collection_that_is_gone_strands_what_waits_for_it() {
    let mut core = Core::new(2);
    let mut edge = enrolled("shop", &mut core);
    (0..200).for_each(|number| core.write(&format!("n{number}"), &put(json!({"n": number}))));
    edge.sync(&mut core);
    edge.put("n7", json!({"n": 70}));
    core.delete_collection("items");
    edge.sync(&mut core);
    assert_eq!(edge.read("n7").unwrap_err().kind, Kind::CollectionNotFound);
    let counts = edge.replica().counts();
    assert_eq!((counts.unsent, counts.stranded), (0, 1));
    edge.replica().upkeep().unwrap();
    edge.replica().commit().unwrap();
    edge.crash();
    while edge.replica().upkeep().unwrap() {}
    edge.replica().commit().unwrap();
    assert_eq!(edge.replica().counts().documents, 0);
    core.set_collection(9, "items", skerry_model::policy::Policy::Lww, None);
    edge.sync(&mut core);
    edge.check_gone("n7");
}

#[test]
fn another_line_of_history_stops_push_and_pull_until_the_next_hello() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1}));
    let mut restored = core.restored(3, false);
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    let answer = restored.push(&push);
    assert_eq!(edge.replica().pushed(shard, answer).unwrap(), Settled::OtherTimeline(restored.timeline));
    let pulled = restored.pull(&edge.replica().pull_request(0).unwrap().unwrap());
    assert!(!edge.replica().pulled(pulled.timeline, pulled.catalog, &pulled.too_old).unwrap());
    assert_eq!(edge.replica().counts().unsent, 1);
    edge.check("rope", json!({"n": 1}), State::Provisional);
    assert_eq!(edge.hello(&mut restored), Welcomed::Returning);
}

#[test]
fn pages_leave_nothing_out() {
    let mut core = Core::new(1);
    let mut edge: Machine = enrolled("shop", &mut core);
    (0..50).for_each(|number| core.write(&format!("k{:03}", number * 2), &put(json!({"n": number}))));
    edge.sync(&mut core);
    (0..50).for_each(|number| edge.put(&format!("k{:03}", number * 2 + 1), json!({"n": number})));
    (0..10).for_each(|number| drop(edge.try_write(&format!("k{number:03}"), Write::Delete).unwrap()));
    let expected: Vec<String> = (10..100).map(|number| format!("k{number:03}")).collect();
    for limit in [1, 7, 90, 1_000] {
        assert_eq!(edge.keys(limit), expected, "{limit}");
    }
}
