//! Deltas between replicas, and what came from outside.

use automerge::Change;
use automerge::transaction::Transactable;

use super::*;

#[test]
fn merging_is_idempotent_and_commutes() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    let first = one.put(json!({"a": 1})).unwrap();
    let second = two.put(json!({"b": 2})).unwrap();
    assert!(one.document.merge(&second).unwrap());
    assert!(!one.document.merge(&second).unwrap());
    assert!(two.document.merge(&first).unwrap());
    assert_eq!((one.document.version(), one.read()), (two.document.version(), two.read()));
}

#[test]
fn a_change_whose_ground_is_missing_is_refused_without_a_trace() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    let first = one.put(json!({"a": 1})).unwrap();
    let second = one.put(json!({"a": 2})).unwrap();
    let delete = one.delete().unwrap();
    for early in [&second, &delete] {
        assert!(matches!(two.document.merge(early), Err(Error::MissingDependency { .. })));
        assert_eq!((two.document.version(), two.read()), (Version::default(), Value::Null));
    }
    for delta in [first, second, delete] {
        assert!(two.document.merge(&delta).unwrap());
    }
    assert_eq!(two.document.version(), one.document.version());
}

#[test]
fn a_version_is_told_without_merging_where_names_say_it() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    let first = one.put(json!({"a": 1})).unwrap();
    let then = one.document.version();
    two.document.merge(&first).unwrap();
    let beside = two.put(json!({"a": 1, "b": 2})).unwrap();
    let second = one.put(json!({"a": 2})).unwrap();
    let now = one.document.version();
    let told = |before: Option<&Version>, deltas: &[&Delta]| {
        engine.version_of(before, &deltas.iter().map(|delta| (*delta).clone()).collect::<Vec<_>>())
    };
    assert_eq!(told(None, &[&first, &second]), Some(now.clone()));
    assert_eq!(told(Some(&then), &[&second]), Some(now.clone()));
    assert_eq!(told(Some(&then), &[&first, &second, &second]), Some(now.clone()), "repeats tell nothing new");
    assert_eq!(told(Some(&now), &[]), Some(now.clone()));
    assert_eq!(told(Some(&now), &[&beside]), None, "it builds on what lies behind");
    one.document.merge(&beside).unwrap();
    assert_eq!(told(Some(&then), &[&second, &beside]), Some(one.document.version()));
    let delete = one.delete().unwrap();
    assert_eq!(told(Some(&now), &[&beside, &delete]), None);
    assert_eq!(told(Some(&one.document.version()), &[&second]), None, "a delete may have seen it or not");
}

#[test]
fn a_delta_since_a_version_holds_what_came_later() {
    let engine = templated();
    let mut one = Replica::new(&engine, "one");
    one.put(json!({"title": "a"}));
    let then = one.document.version();
    one.put(json!({"title": "b"}));
    one.put(json!({"title": "c"}));
    let count = |since: &Version| Changes::decode(&one.document.delta(since).unwrap()).unwrap().chunks.len();
    assert_eq!((count(&then), count(&one.document.version()), count(&Version::default())), (2, 0, 4));
    let mut two = Replica::new(&engine, "two");
    assert_eq!(count(&two.document.version()), 3);
    two.document.merge(&one.document.delta(&Version::default()).unwrap()).unwrap();
    assert_eq!(two.document.version(), one.document.version());
}

#[test]
fn two_changes_under_one_number_are_refused() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut copy, mut two) =
        (Replica::new(&engine, "one"), Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"a": 1}));
    copy.put(json!({"a": 2}));
    two.pull(&one);
    let version = two.document.version();
    let refused = two.document.merge(&copy.document.delta(&Version::default()).unwrap()).unwrap_err();
    assert!(matches!(refused, Error::SequenceReused { sequence: 1, .. }), "{refused}");
    assert_eq!((two.document.version(), two.read()), (version, json!({"a": 1})));
}

#[track_caller]
fn check_from(delta: &Delta, sender: &str, expected: &str) {
    let mut core = Replica::new(&engine(JsonSettings::default()), "core");
    let refused = core.document.merge_from(delta, &author(sender), i64::MAX).unwrap_err();
    assert!(refused.to_string().contains(expected), "{refused}");
    assert_eq!(core.document.version(), Version::default());
}

#[test]
fn changes_of_others_are_refused() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    let own = one.put(json!({"a": 1})).unwrap();
    two.pull(&one);
    two.put(json!({"a": 2}));
    let both = two.document.delta(&Version::default()).unwrap();
    check_from(&own, "two", "but two writes as");
    check_from(&both, "two", "but two writes as");
    check_from(&both, "one", "but one writes as");
    let mut disguised = Replica::new(&engine, "two");
    disguised.author.actor = author("one").actor;
    check_from(&disguised.put(json!({})).unwrap(), "one", "it says that \"two\" wrote it, but one sent it");
    let mut core = Replica::new(&engine, "core");
    core.document.merge_from(&own, &author("one"), i64::MAX).unwrap();
    core.document.merge_from(&both, &author("two"), i64::MAX).unwrap();
    assert_eq!(core.read(), json!({"a": 2}), "what is known already may be sent along");
}

#[test]
fn a_clock_that_runs_ahead_is_corrected_everywhere() {
    let engine = engine(JsonSettings::default());
    let (mut fast, mut slow, mut core) = (
        Replica::new(&engine, "fast").at(1_000_000),
        Replica::new(&engine, "slow").at(500),
        Replica::new(&engine, "core"),
    );
    let latest = START_MS + 60_000;
    let fast_delta = fast.put(json!({"a": "fast"})).unwrap();
    let slow_delta = slow.put(json!({"a": "slow"})).unwrap();
    let corrected = core.document.merge_from(&fast_delta, &fast.author, latest).unwrap();
    core.document.merge_from(&slow_delta, &slow.author, START_MS + 900_000).unwrap();
    assert_eq!(core.read(), json!({"a": "slow"}), "the corrected time counts");
    fast.pull(&slow);
    assert_eq!(fast.read(), json!({"a": "fast"}), "not corrected yet");
    assert_ne!(fast.document.version(), core.document.version());
    assert!(fast.document.merge(&corrected).unwrap());
    assert!(!fast.document.merge(&corrected).unwrap());
    assert_eq!((fast.read(), fast.document.version()), (core.read(), core.document.version()));
    assert_eq!(
        fast.document.conflicts().unwrap().conflicts[0].candidates.iter().filter(|c| c.time == latest).count(),
        1
    );
    let again = core.document.merge_from(&fast_delta, &fast.author, latest + 5).unwrap();
    assert!(Changes::decode(&again).unwrap().is_empty(), "a repeat corrects nothing");
    let (saved, version) = (core.document.save(), core.document.version());
    assert_eq!(engine.load(&saved).unwrap().version(), version);
}

#[test]
fn of_two_corrections_the_earlier_counts() {
    let engine = engine(JsonSettings::default());
    let mut writer = Replica::new(&engine, "one").at(1_000);
    let delta = writer.put(json!({"a": 1})).unwrap();
    let (mut core, mut other) = (Replica::new(&engine, "core"), Replica::new(&engine, "core"));
    let early = core.document.merge_from(&delta, &writer.author, START_MS).unwrap();
    let late = other.document.merge_from(&delta, &writer.author, START_MS + 10).unwrap();
    core.document.merge(&late).unwrap();
    other.document.merge(&early).unwrap();
    assert_eq!(core.document.version(), other.document.version());
    assert!(core.document.corrections.values().all(|time| *time == START_MS));
}

#[test]
fn seconds_are_read_as_seconds_and_our_small_times_as_they_are() {
    let engine = engine(JsonSettings::default());
    let mut ours = Replica::new(&engine, "one");
    ours.now_ms = 4_000;
    let delta = ours.put(json!({"a": 1})).unwrap();
    let mut theirs = Automerge::new();
    let mut transaction = theirs.transaction();
    transaction.put(ROOT, "a", "theirs").unwrap();
    transaction.commit_with(CommitOptions::default().with_time(1_700_000_000));
    let mut core = Replica::new(&engine, "core");
    core.document.merge_from(&delta, &ours.author, i64::MAX).unwrap();
    core.document.merge(&outside(&theirs.get_changes(&[]))).unwrap();
    let times: Vec<_> =
        core.document.conflicts().unwrap().conflicts[0].candidates.iter().map(|c| (c.time, c.origin.clone())).collect();
    assert!(
        times.contains(&(5_000, "one".to_owned())) && times.contains(&(START_MS, theirs.get_actor().to_hex_string())),
        "{times:?}"
    );
}

/// Changes of an Automerge client, as a delta.
pub(super) fn outside(changes: &[Change]) -> Delta {
    let chunks = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
    Changes { chunks, ..Changes::default() }.encode()
}

#[test]
fn what_other_clients_write_is_read() {
    use automerge::{ObjType, ScalarValue};
    let mut theirs = Automerge::new();
    let mut transaction = theirs.transaction();
    transaction.put(ROOT, "counter", ScalarValue::counter(5)).unwrap();
    transaction.increment(ROOT, "counter", 2).unwrap();
    transaction.put(ROOT, "large", u64::MAX).unwrap();
    transaction.put(ROOT, "date", ScalarValue::Timestamp(1_700_000_000_000)).unwrap();
    transaction.put(ROOT, "bytes", vec![1_u8, 2]).unwrap();
    let text = transaction.put_object(ROOT, "text", ObjType::Text).unwrap();
    transaction.splice_text(&text, 0, 0, "héllo").unwrap();
    transaction.split_block(&text, 1).unwrap();
    let list = transaction.put_object(ROOT, "list", ObjType::List).unwrap();
    transaction.insert_object(&list, 0, ObjType::Map).unwrap();
    transaction.commit();
    let mut ours = Replica::new(&engine(JsonSettings::default()), "one");
    ours.document.merge(&outside(&theirs.get_changes(&[]))).unwrap();
    let expected = json!({"counter": 7, "large": "18446744073709551615", "date": 1_700_000_000_000_i64, "bytes": "0102",
        "text": "h\u{fffc}éllo", "list": [{}]});
    assert_eq!(ours.read(), expected);
    ours.put(json!({"text": "replaced whole, as no text field", "list": [{"a": 1}]}));
    assert_eq!(ours.read(), json!({"text": "replaced whole, as no text field", "list": [{"a": 1}]}));
}

#[test]
fn a_full_history_refuses_more() {
    let engine = engine(JsonSettings::default());
    let mut one = Replica::new(&engine, "one");
    let delta = one.put(json!({"a": 1})).unwrap();
    one.document.history.measured = HISTORY_BYTES_MAX - 50;
    let version = one.document.version();
    let refused = one.try_write(&Write::Put(object(json!({"a": 2}))), Chooser::Lww).unwrap_err();
    assert!(refused.to_string().starts_with("the bytes of a document's history would be 16777"), "{refused}");
    assert_eq!((one.document.version(), one.read()), (version, json!({"a": 1})));
    one.document.history.measured -= 500;
    assert!(one.put(json!({"a": 2})).is_some(), "what fits is taken, however close");
    let mut full = Replica::new(&engine, "two");
    full.document.history.measured = HISTORY_BYTES_MAX;
    assert!(matches!(full.document.merge_from(&delta, &one.author, i64::MAX), Err(Error::Limit { .. })));
    assert!(full.document.merge(&delta).unwrap(), "what others accepted has some slack");
}

#[test]
fn the_history_is_measured_when_the_estimate_runs_out() {
    let mut one = Replica::new(&engine(JsonSettings::default()), "one");
    one.put(json!({"a": 1}));
    one.document.history.added = HISTORY_BYTES_MAX;
    assert!(one.put(json!({"a": 2})).is_some());
    assert!(one.document.history.measured + one.document.history.added < 1_000);
}

#[test]
fn a_long_history_merges_at_once_though_its_changes_are_larger_than_its_limit() {
    let engine = engine(JsonSettings::default());
    let mut one = Replica::new(&engine, "one");
    let text = "the same again, which compresses well ".repeat(1_000);
    for at in 0..500 {
        let seen = one.document.exists().then(|| object(json!({"text": format!("{text}{}", at - 1)})));
        let body = Write::Put(object(json!({"text": format!("{text}{at}")})));
        let context =
            WriteContext { author: &one.author, time_ms: START_MS, number: None, base: None, seen: seen.as_ref() };
        one.document.apply(&body, &context).unwrap();
    }
    let delta = one.document.delta(&Version::default()).unwrap();
    assert!(delta.0.len() > HISTORY_BYTES_MAX);
    let mut two = Replica::new(&engine, "two");
    two.document.merge(&delta).unwrap();
    assert_eq!((two.document.version(), two.read()), (one.document.version(), one.read()));
}

/// Many changes of one author in one step come to what they come to one after the other, or to nothing at all.
#[test]
fn changes_of_one_author_are_taken_in_one_step() {
    let mut one = Replica::new(&templated(), "one");
    let mut deltas: Vec<_> = (0..20).map(|n| one.patch(json!({ "n": n })).unwrap()).collect();
    let core = || Replica::new(&templated(), "core");
    let all = |core: &mut Replica, deltas: &[Delta], now_ms: i64| {
        let sent: Vec<_> = deltas.iter().collect();
        core.document.merge_all_from(&sent, &author("one"), now_ms)
    };
    // With a clock that finds the last of them in the future, too.
    for now_ms in [one.now_ms, START_MS - 50_000] {
        let (mut together, mut each) = (core(), core());
        let given = all(&mut together, &deltas, now_ms).unwrap();
        deltas.iter().for_each(|delta| drop(each.document.merge_from(delta, &author("one"), now_ms).unwrap()));
        assert_eq!(together.document.version(), each.document.version());
        assert_eq!(given == deltas, now_ms == one.now_ms);
        let mut other = core();
        given.iter().for_each(|delta| assert!(other.document.merge(delta).unwrap()));
        assert_eq!(other.document.version(), each.document.version());
        assert_eq!(all(&mut together, &deltas, now_ms), Some(Vec::new()));
    }
    let mut core = core();
    let empty = core.document.version();
    let gap = [&deltas[..4], &deltas[5..]].concat();
    assert_eq!(all(&mut core, &gap, one.now_ms), None);
    deltas.push(one.delete().unwrap());
    assert_eq!(all(&mut core, &deltas, one.now_ms), None);
    assert_eq!(core.document.version(), empty);
}

/// The same of what comes from the core, deletes and times included.
#[test]
fn deltas_are_taken_in_one_step() {
    let (mut one, mut two) = (Replica::new(&templated(), "one"), Replica::new(&templated(), "two").at(500));
    let mut core = Replica::new(&templated(), "core");
    let mut deltas = Vec::new();
    for round in 0..6 {
        let written = [
            one.patch(json!({ "n": round })),
            two.patch(json!({ "m": round, "body": "text" })),
            if round % 2 == 0 { one.delete() } else { None },
        ];
        for delta in written.into_iter().flatten() {
            let author = if delta_is_of(&delta, &one) { &one.author } else { &two.author };
            deltas.push(core.document.merge_from(&delta, author, START_MS).unwrap());
        }
        one.pull(&core);
        two.pull(&core);
        for length in 0..=deltas.len() {
            let (mut together, mut each) = (Replica::new(&templated(), "core"), Replica::new(&templated(), "core"));
            together.document.merge_all(&deltas[..length]).unwrap();
            for delta in &deltas[..length] {
                each.document.merge(delta).unwrap();
            }
            assert_eq!(together.document.version(), each.document.version(), "{length} of round {round}");
            assert_eq!(together.read(), each.read());
        }
    }
}

/// A replica has what it wrote; what another one wrote it may lack.
fn delta_is_of(delta: &Delta, replica: &Replica) -> bool {
    let mut copy = replica.document.clone();
    matches!(copy.merge(delta), Ok(false))
}
