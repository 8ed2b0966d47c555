//! A subscription that changes while the edge runs.

use serde_json::json;
use skerry_api::documents::State;
use skerry_api::problem::Kind;
use skerry_channel::subscription::Subscription;
use skerry_model::engine::Write;

use super::core::Core;
use super::{Machine, enrolled, put};

impl Machine {
    fn subscribe(&mut self, entries: &[&str]) {
        let entries = entries.iter().map(|entry| entry.parse().unwrap()).collect();
        self.replica().subscribe(Subscription::only(entries).unwrap()).unwrap();
        self.replica().commit().unwrap();
    }

    fn settle_down(&mut self) {
        while self.replica().upkeep().unwrap() {}
        self.replica().commit().unwrap();
    }
}

/// A core with ten documents under each of three letters, and an edge that holds those under `a`.
fn with_a() -> (Core, Machine) {
    let mut core = Core::new(2);
    core.copy_step = 2;
    for number in 0..10 {
        ["a", "b", "c"].iter().for_each(|letter| core.write(&format!("{letter}{number}"), &put(json!({"n": number}))));
    }
    let mut edge = Machine::new("shop");
    edge.subscribe(&["items/a"]);
    edge.sync(&mut core);
    (core, edge)
}

#[test]
fn a_new_prefix_is_copied_and_then_joins() {
    let (mut core, mut edge) = with_a();
    assert_eq!(edge.replica().counts().documents, 10);
    edge.subscribe(&["items/a", "items/b"]);
    assert!(edge.replica().counts().joining && !edge.replica().counts().copied);
    edge.try_write("b3", put(json!({"n": "early"}))).unwrap();
    for number in 0..6 {
        core.write(&format!("a{number}"), &put(json!({"n": "later"})));
        core.write(&format!("b{number}"), &put(json!({"n": "later"})));
        edge.pull_once(&mut core);
    }
    core.write("b9", &Write::Delete);
    edge.pull(&mut core);
    let counts = edge.replica().counts();
    assert!(counts.copied && !counts.joining);
    assert_eq!(counts.documents, 19);
    edge.check("a1", json!({"n": "later"}), State::Committed);
    edge.check("b1", json!({"n": "later"}), State::Committed);
    edge.sync(&mut core);
    core.write("b7", &put(json!({"n": "joined"})));
    edge.sync(&mut core);
    edge.check("b7", json!({"n": "joined"}), State::Committed);
    edge.check_gone("c1");
}

#[test]
fn joining_goes_on_after_a_restart() {
    let (mut core, mut edge) = with_a();
    edge.subscribe(&["items/a", "items/b", "items/c"]);
    (0..3).for_each(|_| drop(edge.pull_once(&mut core)));
    let so_far = edge.replica().counts().documents;
    assert!(so_far > 10 && so_far < 30, "{so_far}");
    edge.crash();
    assert_eq!(edge.replica().counts().documents, so_far);
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().documents, 30);
}

#[test]
fn what_is_left_goes_once_nothing_waits_in_it() {
    let (mut core, mut edge) = with_a();
    edge.put("a3", json!({"n": "unsent"}));
    edge.put("anew", json!({"n": "unsent"}));
    edge.subscribe(&["items/b"]);
    edge.settle_down();
    assert_eq!(edge.replica().counts().documents, 2, "what waits is still here");
    let problem = edge.try_write("a1", put(json!({}))).unwrap_err();
    assert_eq!(problem.kind, Kind::NotWritableHere);
    edge.crash();
    edge.push(&mut core);
    edge.settle_down();
    assert_eq!(edge.replica().counts().documents, 0);
    assert_eq!(core.view("a3"), Some(json!({"n": "unsent"})));
    assert_eq!(core.view("anew"), Some(json!({"n": "unsent"})));
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().documents, 10);
    edge.restart();
    assert_eq!(edge.keys(100).len(), 10);
    edge.subscribe(&["items/a", "items/b"]);
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().documents, 21);
    edge.check("anew", json!({"n": "unsent"}), State::Committed);
}

#[test]
fn a_wider_subscription_and_back() {
    let (mut core, mut edge) = with_a();
    edge.replica().subscribe(Subscription::All).unwrap();
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().documents, 30);
    edge.subscribe(&["items/a1", "items/c"]);
    edge.settle_down();
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().documents, 11);
    edge.subscribe(&["items/a1", "items/b"]);
    edge.subscribe(&["items/a1"]);
    edge.settle_down();
    edge.sync(&mut core);
    assert_eq!(edge.keys(100), ["a1"]);
    core.write("a1", &put(json!({"n": "still"})));
    edge.sync(&mut core);
    edge.check("a1", json!({"n": "still"}), State::Committed);
}

#[test]
fn a_restored_core_ends_the_joining_and_brings_all_of_it() {
    let (mut core, mut edge) = with_a();
    let mut restored = core.restored(7, false);
    core.write("b1", &put(json!({"n": "lost"})));
    edge.subscribe(&["items/a", "items/b"]);
    (0..3).for_each(|_| drop(edge.pull_once(&mut core)));
    edge.hello(&mut restored);
    edge.pull(&mut restored);
    assert_eq!(edge.replica().counts().documents, 20);
    edge.check("b1", json!({"n": 1}), State::Committed);
}

/// Nothing of it is asked for twice: what is held already is only compared.
#[test]
fn a_folder_says_what_it_held_before() {
    let (mut core, mut edge) = with_a();
    edge.restart();
    assert_eq!(edge.replica().subscription(), &Subscription::only(vec!["items/a".parse().unwrap()]).unwrap());
    assert_eq!(edge.pull(&mut core), []);
    let everything = enrolled("depot", &mut core).replica().subscription().clone();
    assert_eq!(everything, Subscription::All);
}

/// Between the place of the feed and the later one of the copy that joins it documents were deleted, and made again.
#[test]
fn what_was_deleted_before_the_copy_does_not_stop_the_feed() {
    let (mut core, mut edge) = with_a();
    core.write("b3", &Write::Delete);
    core.write("b4", &Write::Delete);
    edge.subscribe(&["items/a", "items/b"]);
    edge.pull(&mut core);
    assert_eq!(edge.replica().counts().documents, 18);
    core.write("b4", &put(json!({"n": "again"})));
    let installed = edge.pull(&mut core);
    assert!(!installed.contains(&super::Installed::Diverged), "{installed:?}");
    edge.check("b4", json!({"n": "again"}), State::Committed);
    edge.check_gone("b3");
}

/// A change that was accepted during a copy, and deleted by somebody before the copy came to it, is not shown for ever.
#[test]
fn an_accepted_change_that_is_gone_when_the_copy_comes_is_gone_here() {
    let mut core = Core::new(1);
    (0..4).for_each(|number| core.write(&format!("k{number}"), &put(json!({"n": number}))));
    core.copy_step = 1;
    let mut edge = Machine::new("shop");
    edge.hello(&mut core);
    edge.pull_once(&mut core);
    edge.put("z", json!({"n": "ghost"}));
    edge.push(&mut core);
    core.write("z", &Write::Delete);
    core.forget("z");
    edge.pull(&mut core);
    edge.check_gone("z");
    assert_eq!(edge.replica().counts().documents, 4);
}
