//! Two live copies of one folder.

use serde_json::json;
use skerry_api::documents::State;

use super::super::{Replica, Settled};
use super::core::Core;
use super::{Machine, enrolled};

/// Two machines that start from the same folder, cleanly stopped, so that both go on under the same incarnation.
fn copies(core: &mut Core) -> (Machine, Machine) {
    // The same steps on two disks make the same folder: randomness and time are arguments.
    let make = |core: &mut Core| {
        let mut machine = Machine::new("shop");
        machine.hello(core);
        machine.pull(core);
        machine
    };
    (make(core), make(core))
}

#[test]
fn a_fork_makes_waiting_operations_again_under_the_next_incarnation() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    assert_eq!(one.replica().hello(), other.replica().hello(), "the copies write under the same incarnation");
    one.put("rope", json!({"one": 1}));
    one.sync(&mut core);
    other.put("rope", json!({"other": 2}));
    other.patch("rope", json!({"more": 3}));
    other.put("lamp", json!({"n": 4}));
    let settled = other.push(&mut core);
    assert_eq!(settled[0], Settled::Forked { again: 3, stranded: 0 });
    assert_eq!(settled[1], Settled::Judged { accepted: 3, refused: 0 });
    assert_eq!(other.replica().counts().incarnation, 2);
    other.pull(&mut core);
    assert_eq!(core.view("lamp"), Some(json!({"n": 4})));
    assert_eq!(core.view("rope"), Some(json!({"one": 1, "other": 2, "more": 3})));
    other.check("rope", json!({"one": 1, "other": 2, "more": 3}), State::Committed);
    one.sync(&mut core);
    one.check("rope", json!({"one": 1, "other": 2, "more": 3}), State::Committed);
    one.put("rope", json!({"all": 5}));
    assert!(matches!(one.push(&mut core)[0], Settled::Forked { again: 1, stranded: 0 }));
    assert_eq!(one.replica().counts().incarnation, 3);
}

#[test]
fn what_another_copy_published_under_our_numbers_does_not_stop_the_pull() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    one.put("rope", json!({"one": 1}));
    one.sync(&mut core);
    other.put("rope", json!({"other": 2}));
    other.pull(&mut core);
    other.check("rope", json!({"one": 1}), State::Committed);
    assert_eq!(other.replica().counts().unsent, 1);
    other.sync(&mut core);
    assert_eq!(core.view("rope"), Some(json!({"one": 1, "other": 2})));
    other.check("rope", json!({"one": 1, "other": 2}), State::Committed);
}

#[test]
fn a_folder_put_back_to_an_earlier_state_is_a_fork() {
    let mut core = Core::new(1);
    let (mut one, mut restored) = copies(&mut core);
    for number in 0..5 {
        one.put(&format!("n{number}"), json!({"n": number}));
        one.sync(&mut core);
    }
    restored.clock.set(2_000_000);
    core.now_ms = 2_000_000;
    restored.put("n0", json!({"n": "again"}));
    restored.sync(&mut core);
    restored.sync(&mut core);
    assert_eq!(restored.replica().counts().incarnation, 2);
    assert_eq!(core.view("n0"), Some(json!({"n": "again"})));
    assert_eq!(restored.keys(100).len(), 5);
}

#[test]
fn an_operation_that_does_not_apply_is_stranded() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    one.put("rope", json!({"one": 1}));
    one.sync(&mut core);
    other.put("lamp", json!({"n": 4}));
    core.delete_collection("items");
    core.set_collection(9, "items", skerry_model::policy::Policy::Lww, None);
    other.hello(&mut core);
    assert_eq!(other.push(&mut core), [Settled::Forked { again: 0, stranded: 1 }]);
    assert_eq!(other.replica().stranded(None, 10).unwrap()[0].refusal.kind, "collection-gone");
    let mut third = enrolled("depot", &mut core);
    third.check_gone("lamp");
}

/// Two live copies of one folder do not take turns for ever: one is held, and nothing of either is lost.
#[test]
fn the_second_fork_in_an_hour_holds_a_copy_until_it_is_enrolled_anew() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    for round in 0..3 {
        for (name, machine) in [("one", &mut one), ("other", &mut other)] {
            machine.put(&format!("{name}{round}"), json!({"n": round}));
            machine.push(&mut core);
        }
    }
    let held = [&mut one, &mut other].map(|machine| machine.replica().counts().held);
    assert_eq!(held, [false, true], "the copy that forked twice is held, the one left alone is not");
    assert_eq!(other.replica().ready_shards(), []);
    assert_eq!(other.replica().counts().unsent, 2);
    other.restart();
    assert!(other.replica().counts().held);

    other.replica.take().unwrap().close().unwrap();
    let refused = Replica::enrol(other.options()).err().unwrap().to_string();
    assert!(refused.contains("is replica shop already"), "{refused}");
    other.start();

    other.enrol_as("depot");
    other.sync(&mut core);
    one.sync(&mut core);
    other.sync(&mut core);
    for round in 0..3 {
        for name in ["one", "other"] {
            let key = format!("{name}{round}");
            assert_eq!(core.view(&key), Some(json!({"n": round})), "{key}");
            one.check(&key, json!({"n": round}), State::Committed);
            other.check(&key, json!({"n": round}), State::Committed);
        }
    }
    assert_eq!(one.replica().counts().incarnation, 3);
}

#[test]
fn forks_far_apart_hold_nobody() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    for round in 0..4_u64 {
        for (name, machine) in [("one", &mut one), ("other", &mut other)] {
            machine.clock.set(1_000_000 + round * crate::limits::FORKS_WITHIN_MS);
            machine.put(&format!("{name}{round}"), json!({"n": round}));
            machine.push(&mut core);
            assert!(!machine.replica().counts().held);
        }
    }
    assert_eq!(core.view("other3"), Some(json!({"n": 3})));
}

/// The core took it, its answer was lost, and its content came by the feed: it is not made a second time.
#[test]
fn what_the_core_has_published_is_not_made_again() {
    let mut core = Core::new(1);
    let (mut one, mut other) = copies(&mut core);
    one.put("rope", json!({"n": 1}));
    let shard = one.replica().ready_shards()[0];
    let push = one.replica().next_push(shard).unwrap().unwrap();
    core.push(&push);
    one.replica().connection_lost();
    one.pull(&mut core);
    one.put("lamp", json!({"n": 2}));
    other.put("other", json!({"n": 3}));
    other.push(&mut core);
    assert_eq!(one.push(&mut core)[0], Settled::Forked { again: 1, stranded: 0 });
    one.pull(&mut core);
    one.check("rope", json!({"n": 1}), State::Committed);
    one.check("lamp", json!({"n": 2}), State::Committed);
    assert_eq!(one.replica().counts().unsent, 0);
}
