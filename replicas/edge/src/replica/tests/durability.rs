//! What a crash leaves: every answered write, once.

use serde_json::json;
use skerry_api::documents::State;

use super::core::Core;
use super::{Machine, enrolled};

#[test]
fn an_answered_write_survives_a_crash() {
    let mut core = Core::new(4);
    let mut edge = enrolled("shop", &mut core);
    for number in 0..20 {
        edge.put(&format!("item-{number}"), json!({"n": number}));
        edge.crash();
    }
    assert_eq!(edge.replica().counts().unsent, 20);
    assert_eq!(edge.keys(3).len(), 20);
    edge.sync(&mut core);
    for number in 0..20 {
        assert_eq!(core.view(&format!("item-{number}")), Some(json!({"n": number})));
        edge.check(&format!("item-{number}"), json!({"n": number}), State::Committed);
    }
}

/// The process dies after the commit, after the push reached the core, after the answer was taken but not committed.
#[test]
fn nothing_is_lost_or_taken_twice_wherever_the_edge_dies() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    for round in 0..4 {
        edge.patch("count", json!({ format!("round-{round}"): true }));
        if round > 0 {
            let shard = edge.replica().ready_shards()[0];
            let push = edge.replica().next_push(shard).unwrap().unwrap();
            let answer = core.push(&push);
            if round > 1 {
                edge.replica().pushed(shard, answer).unwrap();
            }
            if round > 2 {
                edge.replica().commit().unwrap();
            }
        }
        edge.crash();
        edge.sync(&mut core);
        let judged = core.judged;
        edge.sync(&mut core);
        assert_eq!((core.judged, judged), (round + 1, round + 1), "each change was taken once");
        assert_eq!(edge.replica().counts().unsent, 0);
    }
    let expected = json!({"round-0": true, "round-1": true, "round-2": true, "round-3": true});
    assert_eq!(core.view("count"), Some(expected.clone()));
    edge.check("count", expected, State::Committed);
}

#[test]
fn an_unclean_stop_takes_the_next_incarnation_and_a_clean_one_does_not() {
    let mut core = Core::new(2);
    let mut edge = enrolled("shop", &mut core);
    assert_eq!(edge.replica().counts().incarnation, 1);
    edge.put("before", json!({"n": 1}));
    edge.restart();
    assert_eq!(edge.replica().counts().incarnation, 1);
    edge.put("between", json!({"n": 2}));
    edge.crash();
    assert_eq!(edge.replica().counts().incarnation, 2);
    edge.put("after", json!({"n": 3}));
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().unsent, 0);
    for key in ["before", "between", "after"] {
        assert!(core.view(key).is_some(), "{key}");
    }
}

#[test]
fn a_crash_before_the_commit_leaves_the_state_before() {
    let mut edge = enrolled("shop", &mut Core::new(1));
    edge.put("rope", json!({"n": 1}));
    let request = skerry_api::documents::WriteRequest::new(super::put(json!({"n": 2})));
    edge.replica().write(&super::at("rope"), &request).unwrap().unwrap();
    edge.crash();
    edge.check("rope", json!({"n": 1}), State::Provisional);
    assert_eq!(edge.replica().counts().unsent, 1);
}

#[test]
fn writes_of_one_group_build_on_each_other() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    for number in 0..10 {
        let write = skerry_model::engine::Write::Patch(json!({ format!("f{number}"): number }));
        let request = skerry_api::documents::WriteRequest::new(write);
        edge.replica().write(&super::at("rope"), &request).unwrap().unwrap();
    }
    edge.replica().commit().unwrap();
    let before = edge.read("rope").unwrap();
    assert_eq!(before.view.object().unwrap().len(), 10);
    edge.sync(&mut core);
    let after = edge.read("rope").unwrap();
    assert_eq!((after.view, after.stamp.etag), (before.view, before.stamp.etag), "equal content has equal tags");
}

#[test]
fn a_full_disk_fails_the_commit() {
    let mut edge: Machine = enrolled("shop", &mut Core::new(1));
    edge.disk.set_full(true);
    let request = skerry_api::documents::WriteRequest::new(super::put(json!({"n": 2})));
    edge.replica().write(&super::at("rope"), &request).unwrap().unwrap();
    assert!(edge.replica().commit().is_err());
}
