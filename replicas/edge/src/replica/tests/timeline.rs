//! A core that was restored to an earlier moment, on a line of history of its own.

use serde_json::json;
use skerry_api::documents::State;
use skerry_model::Timeline;
use skerry_model::engine::Write;
use skerry_model::policy::Policy;

use super::super::Welcomed;
use super::core::Core;
use super::{Machine, enrolled};

impl Machine {
    /// Hears of the restore, takes the core's content and sends what waits.
    fn come_back(&mut self, core: &mut Core) {
        assert_eq!(self.hello(core), Welcomed::Returning);
        assert!(self.replica().counts().returning);
        assert_eq!(self.replica().ready_shards(), [], "nothing is sent before the core's content is here");
        self.pull(core);
        assert!(!self.replica().counts().returning);
        self.sync(core);
    }
}

/// An edge that had something acknowledged before the core's backup, something after it, and something never.
fn lived(core: &mut Core) -> (Machine, Core) {
    let mut edge = enrolled("shop", core);
    edge.put("before", json!({"n": 1}));
    edge.put("lamp", json!({"n": 1}));
    edge.sync(core);
    let backup = core.restored(7, false);
    edge.put("after", json!({"n": 2}));
    edge.patch("before", json!({"more": 2}));
    edge.sync(core);
    core.write("others", &super::put(json!({"n": 3})));
    core.write("lamp", &Write::Delete);
    edge.sync(core);
    edge.put("unsent", json!({"n": 4}));
    edge.patch("after", json!({"unsent": 4}));
    (edge, backup)
}

#[test]
fn work_past_the_restored_moment_is_stranded_and_unsent_work_is_sent() {
    let (mut edge, mut restored) = lived(&mut Core::new(4));
    edge.come_back(&mut restored);
    edge.check("before", json!({"n": 1}), State::Committed);
    edge.check("lamp", json!({"n": 1}), State::Committed);
    edge.check("unsent", json!({"n": 4}), State::Committed);
    edge.check("after", json!({"unsent": 4}), State::Committed);
    edge.check_gone("others");
    assert_eq!(restored.view("unsent"), Some(json!({"n": 4})));
    let stranded = edge.replica().stranded(None, 10).unwrap();
    let mut keys: Vec<_> = stranded.iter().map(|work| (work.key.as_str(), work.refusal.kind.as_str())).collect();
    keys.sort_unstable();
    assert_eq!(keys, [("after", "restored"), ("before", "restored")]);
    for work in stranded {
        edge.replica().retry_stranded(work.id).unwrap().unwrap();
    }
    edge.sync(&mut restored);
    assert_eq!(restored.view("before"), Some(json!({"n": 1, "more": 2})));
    assert_eq!(edge.replica().counts().stranded, 0);
}

#[test]
fn work_past_the_restored_moment_goes_back_where_the_operator_said_so() {
    let (mut edge, backup) = lived(&mut Core::new(4));
    let mut restored = backup.restored(8, true);
    edge.come_back(&mut restored);
    assert_eq!(edge.replica().counts().stranded, 0);
    for (key, expected) in
        [("before", json!({"n": 1, "more": 2})), ("after", json!({"n": 2, "unsent": 4})), ("unsent", json!({"n": 4}))]
    {
        assert_eq!(restored.view(key), Some(expected.clone()), "{key}");
        edge.check(key, expected, State::Committed);
    }
    edge.restart();
    assert_eq!(edge.hello(&mut restored), Welcomed::Home);
    assert_eq!(edge.replica().counts().documents, 4);
}

/// What the core has taken before the moment it is back at is not offered again, although no answer ever said so.
#[test]
fn a_lost_answer_is_found_in_the_restored_core() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    core.push(&push);
    edge.replica().connection_lost();
    let mut restored = core.restored(7, false);
    edge.put("lamp", json!({"n": 2}));
    edge.come_back(&mut restored);
    assert_eq!(restored.judged, 2, "the lamp alone was judged again");
    edge.check("rope", json!({"n": 1}), State::Committed);
    edge.check("lamp", json!({"n": 2}), State::Committed);
    assert_eq!(edge.replica().counts().stranded, 0);
}

/// What the core has taken and published, and lost with the restore before this edge heard that it was taken, is offered again.
#[test]
fn what_came_back_without_an_answer_is_offered_to_the_restored_core() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let mut restored = core.restored(7, false);
    edge.put("rope", json!({"n": 1}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    core.push(&push);
    edge.pull(&mut core);
    edge.replica().connection_lost();
    edge.come_back(&mut restored);
    assert_eq!(restored.view("rope"), Some(json!({"n": 1})));
    edge.check("rope", json!({"n": 1}), State::Committed);
}

/// Found by the simulation: what the core had taken and not published was not shown until the restored core's content came.
#[test]
fn acknowledged_work_is_shown_until_it_is_made_again() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let mut restored = core.restored(7, true);
    edge.put("rope", json!({"n": 1}));
    edge.push(&mut core);
    assert_eq!(edge.hello(&mut restored), Welcomed::Returning);
    edge.check("rope", json!({"n": 1}), State::Provisional);
    edge.crash();
    edge.check("rope", json!({"n": 1}), State::Provisional);
    edge.pull(&mut restored);
    edge.check("rope", json!({"n": 1}), State::Provisional);
    edge.sync(&mut restored);
    edge.check("rope", json!({"n": 1}), State::Committed);
    assert_eq!(restored.view("rope"), Some(json!({"n": 1})));
}

#[test]
fn the_way_back_goes_on_after_a_crash_at_every_step() {
    for crash_after in 0..6 {
        let (mut edge, backup) = lived(&mut Core::new(2));
        let mut restored = backup.restored(8, true);
        restored.copy_step = 1;
        edge.hello(&mut restored);
        for step in 0..6 {
            if step == crash_after {
                edge.crash();
                assert_eq!(edge.hello(&mut restored), Welcomed::Home);
            }
            edge.pull_once(&mut restored);
        }
        edge.put("later", json!({"n": 5}));
        edge.pull(&mut restored);
        edge.sync(&mut restored);
        assert_eq!(restored.view("before"), Some(json!({"n": 1, "more": 2})), "a crash after {crash_after}");
        assert_eq!(restored.view("after"), Some(json!({"n": 2, "unsent": 4})));
        assert_eq!(restored.view("later"), Some(json!({"n": 5})));
        edge.check("after", json!({"n": 2, "unsent": 4}), State::Committed);
        assert_eq!((edge.replica().counts().unsent, edge.replica().counts().stranded), (0, 0));
    }
}

/// What is written while the content comes is made again with the rest.
#[test]
fn writes_go_on_during_the_way_back() {
    let (mut edge, backup) = lived(&mut Core::new(1));
    let mut restored = backup.restored(8, true);
    restored.copy_step = 1;
    edge.hello(&mut restored);
    edge.patch("after", json!({"between": 1}));
    edge.pull_once(&mut restored);
    edge.patch("before", json!({"between": 2}));
    edge.pull(&mut restored);
    edge.sync(&mut restored);
    assert_eq!(restored.view("after"), Some(json!({"n": 2, "unsent": 4, "between": 1})));
    assert_eq!(restored.view("before"), Some(json!({"n": 1, "more": 2, "between": 2})));
    assert_eq!(edge.replica().counts().stranded, 0);
}

#[test]
fn a_line_that_was_left_is_not_followed_again() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let left = core.timeline;
    let mut restored = core.restored(7, false);
    edge.come_back(&mut restored);
    assert_eq!(edge.hello(&mut core), Welcomed::Left(left));
    edge.put("rope", json!({"n": 1}));
    edge.sync(&mut restored);
    let mut again = core.restored(9, true);
    edge.come_back(&mut again);
    assert_eq!(again.view("rope"), Some(json!({"n": 1})));
    assert_eq!(again.timeline, Timeline::from_bytes([9; 16]));
}

/// A collection made after the restored moment, and another one that the restored core has made in its place.
#[test]
fn what_waits_for_a_lost_collection_is_stranded() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let mut restored = core.restored(7, true);
    core.set_collection(3, "orders", Policy::Lww, None);
    edge.sync(&mut core);
    edge.write_in("orders", "one", json!({"n": 1}));
    edge.sync(&mut core);
    edge.write_in("orders", "two", json!({"n": 2}));
    restored.set_collection(3, "returns", Policy::Lww, None);
    edge.come_back(&mut restored);
    let stranded = edge.replica().stranded(None, 10).unwrap();
    let found: Vec<_> = stranded.iter().map(|work| (work.key.as_str(), work.refusal.kind.as_str())).collect();
    assert_eq!(found, [("one", "collection-gone"), ("two", "collection-gone")]);
    assert_eq!(edge.replica().counts().documents, 0);
}

#[test]
fn acknowledged_work_is_kept_for_a_day() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let backup = core.restored(7, false);
    edge.put("old", json!({"n": 1}));
    edge.sync(&mut core);
    core.now_ms += crate::limits::KEPT_MS / 2;
    edge.put("young", json!({"n": 1}));
    edge.sync(&mut core);
    core.now_ms += crate::limits::KEPT_MS / 2;
    edge.sync(&mut core);
    // What a clock says that was set wrong counts for nothing.
    edge.clock.set(1_000_000 + 1_000 * crate::limits::KEPT_MS);
    while edge.replica().upkeep().unwrap() {}
    edge.replica().commit().unwrap();
    let mut restored = backup.restored(8, false);
    edge.come_back(&mut restored);
    let stranded = edge.replica().stranded(None, 10).unwrap();
    assert_eq!(stranded.iter().map(|work| work.key.as_str()).collect::<Vec<_>>(), ["young"]);
    edge.check_gone("old");
}

/// Positions name work for good: what was acknowledged before a restart and what was after are not one another.
#[test]
fn work_of_several_runs_is_kept_apart() {
    for replay in [false, true] {
        let mut core = Core::new(1);
        let mut edge = enrolled("shop", &mut core);
        let mut restored = core.restored(7, replay);
        for run in 0..3 {
            edge.put(&format!("run{run}"), json!({"n": run}));
            edge.sync(&mut core);
            edge.restart();
        }
        edge.put("unsent", json!({"n": 9}));
        edge.come_back(&mut restored);
        let counts = edge.replica().counts();
        assert_eq!((counts.unsent, counts.stranded), (0, if replay { 0 } else { 3 }));
        assert_eq!(edge.replica().stranded(None, 10).unwrap().len() as u64, counts.stranded);
        assert_eq!(restored.view("unsent"), Some(json!({"n": 9})));
        for run in 0..3 {
            let expected = replay.then(|| json!({"n": run}));
            assert_eq!(restored.view(&format!("run{run}")), expected, "{replay}");
        }
    }
}

#[test]
fn a_refusal_whose_answer_was_lost_is_stranded() {
    let mut core = Core::new(1);
    core.refuses = Some("bad");
    let mut edge = enrolled("shop", &mut core);
    edge.put("good", json!({"n": 1}));
    edge.put("bad", json!({"n": 2}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    core.push(&push);
    edge.replica().connection_lost();
    let mut restored = core.restored(7, true);
    edge.come_back(&mut restored);
    let stranded = edge.replica().stranded(None, 10).unwrap();
    assert_eq!(stranded.iter().map(|work| work.key.as_str()).collect::<Vec<_>>(), ["bad"]);
    assert_eq!(restored.judged, 1, "nothing was judged again");
    edge.check("good", json!({"n": 1}), State::Committed);
}

/// The operator takes a copy that is too old first, and then a better one, before any content has come.
#[test]
fn a_better_copy_in_place_of_the_first_has_nothing_twice() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    let mut early = core.restored(7, true);
    edge.put("one", json!({"n": 1}));
    edge.sync(&mut core);
    edge.put("two", json!({"n": 2}));
    let shard = edge.replica().ready_shards()[0];
    let push = edge.replica().next_push(shard).unwrap().unwrap();
    core.push(&push);
    edge.replica().connection_lost();
    let mut late = core.restored(8, true);
    let judged = late.judged;
    assert_eq!(edge.hello(&mut early), Welcomed::Returning);
    edge.crash();
    edge.come_back(&mut late);
    assert_eq!(late.judged, judged, "the core has both already");
    assert_eq!((edge.replica().counts().unsent, edge.replica().counts().stranded), (0, 0));
    edge.check("two", json!({"n": 2}), State::Committed);
}

#[test]
fn what_was_acknowledged_under_another_name_is_shown_to_a_person() {
    let mut core = Core::new(1);
    let mut edge = enrolled("shop", &mut core);
    edge.put("rope", json!({"n": 1}));
    edge.sync(&mut core);
    edge.enrol_as("depot");
    edge.put("lamp", json!({"n": 2}));
    edge.sync(&mut core);
    let mut restored = core.restored(7, true);
    edge.come_back(&mut restored);
    let stranded = edge.replica().stranded(None, 10).unwrap();
    assert_eq!(stranded.len(), 1);
    assert!(stranded[0].refusal.detail.contains("under the name"), "{:?}", stranded[0].refusal);
    edge.check("lamp", json!({"n": 2}), State::Committed);
}
