//! Text changed by splices, at the version that the writer saw.

use super::*;

fn splice(path: &str, at: usize, remove: usize, insert: &str) -> Write {
    Write::Operation(json!({"splice": [{"path": path, "at": at, "remove": remove, "insert": insert}]}))
}

fn begun(body: &str) -> (Replica, Replica) {
    let engine = templated();
    let (mut one, mut other) = (Replica::new(&engine, "one"), Replica::new(&engine, "other"));
    one.put(json!({"body": body, "items": {}, "tags": [], "title": "t"}));
    exchange(&mut one, &mut other);
    (one, other)
}

#[track_caller]
fn write(replica: &mut Replica, write: &Write) {
    assert!(replica.try_write(write, Chooser::Lww).unwrap().is_some());
}

#[track_caller]
fn check_refused(replica: &mut Replica, operation: Value, reason: &str) {
    let refused = replica.try_write(&Write::Operation(operation), Chooser::Lww).unwrap_err();
    assert!(refused.to_string().contains(reason), "{refused}");
}

#[test]
fn concurrent_splices_are_both_there() {
    let (mut one, mut other) = begun("hello world");
    write(&mut one, &splice("/body", 5, 0, ", dear"));
    write(&mut other, &splice("/body", 6, 5, "moon"));
    exchange(&mut one, &mut other);
    assert_eq!(one.read()["body"], "hello, dear moon");
    assert_eq!(other.read()["body"], "hello, dear moon");
    assert_eq!(one.view(Chooser::Lww).conflicts, 0);
}

/// A difference of texts could not tell which of the equal letters is new.
#[test]
fn a_letter_comes_where_the_writer_put_it() {
    let (mut one, mut other) = begun("aaa");
    write(&mut one, &splice("/body", 1, 0, "a"));
    write(&mut other, &splice("/body", 0, 1, ""));
    write(&mut other, &splice("/body", 0, 0, "b"));
    exchange(&mut one, &mut other);
    assert_eq!(one.read()["body"], "baaa");
}

#[test]
fn places_are_those_of_the_version_that_was_seen() {
    let (mut one, _) = begun("hello world");
    let base = one.document.version();
    write(&mut one, &splice("/body", 0, 5, "good morning"));
    one.try_write_at(&base, &splice("/body", 11, 0, "!")).unwrap().unwrap();
    assert_eq!(one.read()["body"], "good morning world!");
}

#[test]
fn places_are_counted_in_code_points() {
    let (mut one, _) = begun("a\u{1F980}e\u{301}z");
    write(&mut one, &splice("/body", 2, 2, "-"));
    assert_eq!(one.read()["body"], "a\u{1F980}-z");
}

#[test]
fn several_splices_count_on_from_each_other() {
    let (mut one, _) = begun("abc");
    let splices = json!({"splice": [
        {"path": "/body", "at": 0, "insert": "xy"},
        {"path": "/body", "at": 2, "remove": 1},
        {"path": "/body", "at": 4, "insert": "!"},
    ]});
    write(&mut one, &Write::Operation(splices));
    assert_eq!(one.read()["body"], "xybc!");
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (mut one, _) = begun("abc");
    check_refused(&mut one, json!({"inc": 1}), "take operations like");
    check_refused(&mut one, json!({"splice": []}), "1 to");
    check_refused(
        &mut one,
        json!({"splice": [{"path": "/title", "at": 0}]}),
        "/title is none of the collection's text",
    );
    check_refused(&mut one, json!({"splice": [{"path": "/notes/text", "at": 0}]}), "no text at /notes/text");
    check_refused(&mut one, json!({"splice": [{"path": "/body", "at": 2, "remove": 2}]}), "/body has 3 characters");
    check_refused(&mut one, json!({"splice": [{"path": "/body", "at": 1, "remove": usize::MAX}]}), "/body has 3");
    check_refused(&mut one, json!({"splice": [{"path": "/body", "at": -1}]}), "take operations like");
    let many = vec![json!({"path": "/body", "at": 0}); crate::limits::TEXT_SPLICES_MAX + 1];
    check_refused(&mut one, json!({"splice": many}), "this one 1001");
    let text = "x".repeat(100_000);
    one.patch(json!({"body": text}));
    let many = vec![json!({"path": "/body", "at": 0}); crate::limits::TEXT_SPLICES_MAX];
    let many = one.try_write(&Write::Operation(json!({"splice": many})), Chooser::Lww);
    assert!(matches!(many, Err(Error::Limit { .. })), "{many:?}");
    one.patch(json!({"body": "abc"}));
    let long = "x".repeat(crate::limits::DOCUMENT_BYTES_MAX);
    let write = splice("/body", 0, 0, &long);
    assert!(matches!(one.try_write(&write, Chooser::Lww), Err(Error::Document(_))));
    assert_eq!(one.read()["body"], "abc");
}

/// What readers see of two Texts in one place is written whole: there is no one Text to splice.
#[test]
fn a_splice_where_texts_are_in_conflict_settles_it() {
    let engine = templated();
    let (mut one, mut other) = (Replica::new(&engine, "one"), Replica::new(&engine, "other").at(10));
    one.put(json!({"notes": {"text": "first"}}));
    other.put(json!({"notes": {"text": "second"}}));
    exchange(&mut one, &mut other);
    let shown = one.read()["notes"]["text"].as_str().unwrap().to_owned();
    write(&mut one, &splice("/notes/text", 0, 0, "> "));
    assert_eq!(one.read()["notes"]["text"], format!("> {shown}"));
}

#[test]
fn a_text_in_a_list_is_none() {
    let settings = JsonSettings { template: None, text: vec!["/a/0".to_owned()] };
    let mut one = Replica::new(&engine(settings), "one");
    one.put(json!({"a": ["x"]}));
    check_refused(&mut one, json!({"splice": [{"path": "/a/0", "at": 0, "insert": "y"}]}), "no text at /a/0");
}

/// Whoever goes on writing at a version of long ago is told, before the history has branched beyond all bounds.
#[test]
fn branches_are_bounded_and_a_write_of_now_joins_them() {
    let (mut one, _) = begun("abc");
    let base = one.document.version();
    let mut write = || one.try_write_at(&base, &splice("/body", 0, 0, "x"));
    let made = (0..1_000).take_while(|_| write().is_ok()).count();
    assert_eq!(made, crate::limits::BRANCHES_MAX + 1);
    one.patch(json!({"title": "joined"}));
    one.try_write_at(&base, &splice("/body", 0, 0, "y")).unwrap().unwrap();
    assert!(one.read()["body"].as_str().unwrap().starts_with(['x', 'y']));
}

#[test]
fn texts_are_told_apart_by_what_they_read() {
    let operation = json!({"splice": [{"path": "/body", "at": 1, "insert": "y"}]});
    let of = |fields: Value| texts(&operation, Some(&object(fields)));
    assert_eq!(of(json!({"body": "abc", "n": 1})), of(json!({"body": "abc", "n": 2})));
    assert_ne!(of(json!({"body": "abc"})), of(json!({"body": "ab"})));
    assert_eq!(texts(&json!({"inc": 1}), Some(&Map::new())), None);
}
