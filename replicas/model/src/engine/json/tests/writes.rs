//! PUT and PATCH: what is read back, what is written, what stays.

use super::*;

#[track_caller]
fn check_put(before: Value, body: Value, operations: usize) {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    replica.put(before.clone());
    let delta = replica.put(body.clone());
    assert_eq!(replica.read(), body);
    let changes = delta.map(|delta| Changes::decode(&delta).unwrap());
    let written = changes.map_or(0, |changes| chunk::decode(&changes.chunks[0]).unwrap().len());
    assert_eq!(written, operations, "{before} to {body}");
}

#[test]
fn a_put_writes_what_differs() {
    check_put(json!({"a": 1}), json!({"a": 1}), 0);
    check_put(json!({"a": 1}), json!({"a": 2}), 1);
    check_put(json!({"a": 1}), json!({"a": 1, "b": {"c": [1, "x", null]}}), 5);
    check_put(json!({"a": 1, "b": 2}), json!({"b": 2}), 1);
    check_put(json!({"a": {"b": {"c": 1, "d": 2}}}), json!({"a": {"b": {"c": 1, "d": 3}}}), 1);
    check_put(json!({"a": {"b": 1}}), json!({"a": 7}), 1);
    check_put(json!({"a": 7}), json!({"a": {"b": 1}}), 2);
    check_put(json!({"a": [1, 2, 3]}), json!({"a": [1, 3]}), 1);
    check_put(json!({"a": [1, 2, 3]}), json!({"a": [0, 1, 2, 3, 4]}), 2);
    check_put(json!({"a": [{"n": 1}, {"n": 2}]}), json!({"a": [{"n": 1}, {"n": 3}]}), 1);
    check_put(json!({"a": [[1], [2]]}), json!({"a": [[1], [2, 3]]}), 1);
    check_put(json!({"a": [1, 2]}), json!({"a": [{"b": 1}, 2]}), 2);
    check_put(json!({"": {"~/": [[]]}}), json!({"": {"~/": [[], {}]}}), 1);
    check_put(json!({"a": 1.0, "b": [2.0]}), json!({"a": 1, "b": [2]}), 0);
    check_put(json!({"a": 0.5, "s": "x"}), json!({"a": 0.25, "s": "y"}), 2);
}

#[track_caller]
fn check_patch(before: Value, patch: Value, expected: Value) {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    replica.put(before);
    replica.patch(patch);
    assert_eq!(replica.read(), expected);
}

#[test]
fn a_patch_follows_rfc_7396() {
    check_patch(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}));
    check_patch(json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"}));
    check_patch(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}));
    check_patch(json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"}));
    check_patch(json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]}));
    check_patch(json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}}));
    check_patch(json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]}));
    check_patch(json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1}));
    check_patch(json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}}));
    check_patch(json!({"a": 1}), json!({"a": {"b": {"c": 2}}}), json!({"a": {"b": {"c": 2}}}));
    check_patch(json!({"a": 1}), json!({"gone": null}), json!({"a": 1}));
}

#[test]
fn a_patch_makes_a_document() {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    replica.patch(json!({"a": {"b": null, "c": 1}, "d": null}));
    assert_eq!(replica.read(), json!({"a": {"c": 1}}));
}

#[test]
fn a_patch_that_is_no_object_is_refused() {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    let refused = replica.try_write(&Write::Patch(json!([1])), Chooser::Lww).unwrap_err();
    assert_eq!(refused.to_string(), "a document must be a JSON object, this is an array");
    assert_eq!(replica.read(), Value::Null);
}

/// Two writers: one patches a field to the value that it has, the other to another one before that.
#[track_caller]
fn check_patch_counts_as_written(before: Value, other: Value, patch: Value, expected: Value) {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(before);
    two.pull(&one);
    two.put(other);
    let mut one = one.at(100);
    assert!(one.patch(patch).is_some());
    exchange(&mut one, &mut two);
    assert_eq!(one.read(), expected);
}

#[test]
fn a_patch_writes_also_what_is_equal() {
    check_patch_counts_as_written(json!({"a": 1}), json!({"a": 2}), json!({"a": 1}), json!({"a": 1}));
    check_patch_counts_as_written(
        json!({"a": {"b": 1}}),
        json!({"a": {"b": 2}}),
        json!({"a": {"b": 1}}),
        json!({"a": {"b": 1}}),
    );
    check_patch_counts_as_written(json!({"a": [1]}), json!({"a": "x"}), json!({"a": [1]}), json!({"a": [1]}));
    check_patch_counts_as_written(
        json!({"a": null, "b": 1}),
        json!({"a": 2, "b": 1}),
        json!({"b": 1}),
        json!({"a": 2, "b": 1}),
    );
}

#[test]
fn an_empty_body_makes_an_empty_document() {
    for engine in [engine(JsonSettings::default()), engine(JsonSettings { template: Some(Map::new()), text: vec![] })] {
        let mut replica = Replica::new(&engine, "one");
        assert_eq!(replica.read(), Value::Null);
        assert!(replica.put(json!({})).is_some());
        assert_eq!(replica.read(), json!({}));
        assert!(replica.put(json!({})).is_none());
    }
}

#[test]
fn writes_of_a_version_of_the_past_merge() {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    replica.put(json!({"a": 1, "b": 1, "list": [1, 2, 3]}));
    let base = replica.document.version();
    replica.put(json!({"a": 2, "b": 1, "list": [0, 1, 2, 3]}));
    replica.put_at(&base, json!({"a": 1, "b": 2, "list": [1, 2, 3, 4]}));
    assert_eq!(replica.read(), json!({"a": 2, "b": 2, "list": [0, 1, 2, 3, 4]}));
    replica.put_at(&base, json!({"a": 3, "b": 3, "list": [1, 2, 3]}));
    let viewed = replica.view(Chooser::Lww);
    assert_eq!((json_of(&viewed), viewed.conflicts), (json!({"a": 3, "b": 3, "list": [0, 1, 2, 3, 4]}), 2));
    let changes = replica.document.document.get_changes_meta(&[]);
    let prefix = replica.author.actor;
    assert!(changes.iter().all(|change| change.actor.to_bytes().starts_with(&prefix)));
    assert_eq!(
        replica.document.actors.len(),
        3,
        "two writes at the base cannot follow the later ones of the same actor"
    );
    assert_eq!(
        replica.document.view_at(&base, Chooser::Lww).map(|viewed| json_of(&viewed)).unwrap(),
        json!({"a": 1, "b": 1, "list": [1, 2, 3]})
    );
}

#[test]
fn a_base_that_was_never_here_is_unknown() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"a": 1}));
    two.put(json!({"a": 1}));
    let base = two.document.version();
    assert!(matches!(one.document.view_at(&base, Chooser::Lww), Err(Error::UnknownBase)));
    assert!(matches!(one.document.delta(&base), Err(Error::UnknownBase)));
    let context = WriteContext { author: &one.author, time_ms: START_MS, number: None, base: Some(&base), seen: None };
    assert!(matches!(one.document.apply(&Write::Delete, &context), Err(Error::UnknownBase)));
}

#[track_caller]
fn check_refused(write: Write, expected: &str) {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    replica.put(json!({"a": 1}));
    let version = replica.document.version();
    assert_eq!(replica.try_write(&write, Chooser::Lww).unwrap_err().to_string(), expected);
    assert_eq!((replica.document.version(), replica.read()), (version, json!({"a": 1})));
    replica.put(json!({"a": 2}));
    replica.document = loaded(&replica.document);
    assert_eq!(replica.read(), json!({"a": 2}));
}

fn loaded(document: &JsonDocument) -> JsonDocument {
    let Saved { document: content, deleted, corrections } = Saved::decode(&document.save()).unwrap();
    let content = Automerge::load(&content).unwrap();
    JsonDocument::new(document.settings.clone(), content, deleted, corrections, 0)
}

#[test]
fn refused_writes_leave_the_document_as_it_was() {
    let large = "x".repeat(crate::limits::DOCUMENT_BYTES_MAX);
    let deep = (0..64).fold(json!(1), |inner, _| json!({"a": inner}));
    check_refused(Write::Put(object(json!({"large": large}))), "the document is 1048588 bytes, the limit is 1048576");
    check_refused(Write::Patch(json!({"large": large})), "the document is 1048594 bytes, the limit is 1048576");
    let path = "/a".repeat(65);
    check_refused(
        Write::Put(object(json!({"a": deep}))),
        &format!("the document nests deeper than 64 levels at {path}"),
    );
    check_refused(Write::Patch(json!({"a": deep})), &format!("the document nests deeper than 64 levels at {path}"));
    check_refused(
        Write::Put(object(json!({"n": 9_007_199_254_740_993_u64}))),
        "the integer 9007199254740993 at /n is beyond 2^53 - 1 and would lose digits: send it as a string",
    );
}

#[test]
fn text_merges_by_character() {
    let engine = templated();
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"title": "a", "body": "hello", "items": {}, "tags": [], "notes": {"text": "n"}}));
    two.pull(&one);
    one.put(json!({"title": "a", "body": "hello world", "items": {}, "tags": [], "notes": {"text": "n1"}}));
    two.patch(json!({"body": "oh, hello", "notes": {"text": "2n"}}));
    exchange(&mut one, &mut two);
    let expected = json!({"title": "a", "body": "oh, hello world", "items": {}, "tags": [], "notes": {"text": "2n1"}});
    assert_eq!((one.read(), one.view(Chooser::Lww).conflicts), (expected, 0));
}

#[test]
fn large_texts_are_replaced_in_bounded_time() {
    let engine = templated();
    let mut replica = Replica::new(&engine, "one");
    let text = |letters: &str, times| json!({"title": "a", "body": letters.repeat(times), "items": {}, "tags": []});
    for body in [text("abcdefg", 20_000), text("gfedcba", 20_000), text("é", 300), text("", 0)] {
        replica.put(body.clone());
        assert_eq!(replica.read(), body);
    }
}

#[test]
fn long_lists_are_replaced_in_bounded_time() {
    let mut replica = Replica::new(&engine(JsonSettings::default()), "one");
    let list = |from: u32, to: u32| json!({"list": (from..to).map(|at| at * 7 % 1_000).collect::<Vec<_>>()});
    for body in [list(0, 80_000), list(3, 80_000), list(70_001, 80_000), list(0, 0), list(0, 5)] {
        replica.put(body.clone());
        assert_eq!(replica.read(), body);
    }
}

#[test]
fn two_who_create_offline_share_the_template() {
    let engine = templated();
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    assert_eq!(one.read(), Value::Null, "the template alone is no document");
    one.put(json!({"title": "shop", "items": {"tea": 1}, "tags": ["a"]}));
    two.put(json!({"title": "shop", "items": {"milk": 2}, "body": "text"}));
    assert_eq!(one.read(), json!({"title": "shop", "items": {"tea": 1}, "tags": ["a"], "body": ""}));
    exchange(&mut one, &mut two);
    assert_eq!(one.read(), json!({"title": "shop", "items": {"tea": 1, "milk": 2}, "tags": ["a"], "body": "text"}));
    one.put(json!({"title": "shop"}));
    assert_eq!(one.read(), json!({"title": "shop"}), "a later PUT removes what it does not name");
}

#[test]
fn a_value_that_a_resolver_made_up_is_written_only_when_changed() {
    let engine = engine(JsonSettings::default());
    let resolver = Test { wants: wants(true, &[]), resolve: sum };
    let chooser = Chooser::Resolver(&resolver);
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"stock": 10, "name": "tea"}));
    two.pull(&one);
    one.put(json!({"stock": 7, "name": "tea"}));
    two.put(json!({"stock": 9, "name": "tea"}));
    exchange(&mut one, &mut two);
    assert_eq!(one.read_by(chooser), json!({"stock": 6, "name": "tea", "summed": 1}));
    let renamed = Write::Put(object(json!({"stock": 6, "name": "mint", "summed": 1})));
    one.try_write(&renamed, chooser).unwrap().unwrap();
    assert_eq!(one.read_by(chooser), json!({"stock": 6, "name": "mint", "summed": 1}));
    assert_eq!(one.read(), json!({"stock": 7, "name": "mint"}), "the conflict is open, the note no field");
    let settled = Write::Put(object(json!({"stock": 5, "name": "mint"})));
    one.try_write(&settled, chooser).unwrap().unwrap();
    assert_eq!((one.read_by(chooser), one.view(chooser).conflicts), (json!({"stock": 5, "name": "mint"}), 0));
}
