//! Deletes: what they cover, what revives a document.

use super::*;

fn two() -> (Replica, Replica) {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"a": 1, "old": {"x": 1}}));
    two.pull(&one);
    (one, two)
}

#[test]
fn a_delete_holds_and_repeats_are_nothing() {
    let (mut one, mut two) = two();
    assert!(one.delete().is_some());
    assert!(one.delete().is_none());
    assert_eq!(one.read(), Value::Null);
    assert!(two.pull(&one));
    assert!(!two.pull(&one));
    assert_eq!((two.read(), two.document.version()), (Value::Null, one.document.version()));
    assert!(two.delete().is_none());
    assert_eq!(two.document.conflicts().unwrap(), ConflictSet::default());
}

#[test]
fn there_is_nothing_to_delete_before_the_first_write() {
    for engine in [engine(JsonSettings::default()), templated()] {
        assert!(Replica::new(&engine, "one").delete().is_none());
    }
}

#[test]
fn a_concurrent_write_revives() {
    let (mut one, mut two) = two();
    one.delete();
    two.patch(json!({"a": 2}));
    exchange(&mut one, &mut two);
    assert_eq!(one.read(), json!({"a": 2, "old": {"x": 1}}));
    let (mut three, mut four) = self::two();
    three.delete();
    four.patch(json!({"a": 2}));
    three.pull(&four);
    assert_eq!(three.read(), json!({"a": 2, "old": {"x": 1}}), "whichever comes first");
    four.delete();
    three.pull(&four);
    assert_eq!(three.read(), Value::Null, "a delete that saw both holds");
}

#[test]
fn a_put_after_a_delete_reads_as_its_body() {
    let (mut one, _) = two();
    one.delete();
    assert!(one.put(json!({"a": 1})).is_some());
    assert_eq!(one.read(), json!({"a": 1}));
    one.delete();
    assert!(one.put(json!({"a": 1})).is_some(), "also when nothing differs");
    assert_eq!(one.read(), json!({"a": 1}));
    one.delete();
    one.patch(json!({"b": {"c": 2}}));
    assert_eq!(one.read(), json!({"b": {"c": 2}}));
    one.delete();
    one.put(json!({}));
    assert_eq!(one.read(), json!({}));
    one.delete();
    one.put(json!({}));
    assert_eq!(one.read(), json!({}), "an empty document over an empty one");
}

#[test]
fn a_delete_of_a_version_that_is_past_covers_nothing() {
    let (mut one, _) = two();
    let base = one.document.version();
    one.patch(json!({"a": 2}));
    assert!(one.try_write_at(&base, &Write::Delete).unwrap().is_none());
    let now = one.document.version();
    assert!(one.try_write_at(&now, &Write::Delete).unwrap().is_some());
    assert_eq!(one.read(), Value::Null);
    assert_eq!(json_of(&one.document.view_at(&now, Chooser::Lww).unwrap()), json!({"a": 2, "old": {"x": 1}}));
    assert_eq!(json_of(&one.document.view_at(&one.document.version(), Chooser::Lww).unwrap()), Value::Null);
}

#[test]
fn a_write_at_a_version_before_the_delete_revives() {
    let (mut one, _) = two();
    let base = one.document.version();
    one.delete();
    one.put_at(&base, json!({"a": 5, "old": {"x": 1}}));
    assert_eq!(one.read(), json!({"a": 5, "old": {"x": 1}}));
}

#[test]
fn a_delete_is_carried_by_its_own_delta() {
    let (mut one, mut two) = two();
    let before = one.document.version();
    let delta = one.delete().unwrap();
    assert_eq!(one.document.delta(&before).unwrap(), delta);
    assert!(two.document.merge(&delta).unwrap());
    assert!(!two.document.merge(&delta).unwrap());
    assert_eq!(two.document.version(), one.document.version());
    let nothing = one.document.delta(&one.document.version()).unwrap();
    assert!(Changes::decode(&nothing).unwrap().is_empty());
}
