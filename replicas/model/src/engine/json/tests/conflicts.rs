//! Conflicts: who wins, what a resolver is handed, what its choices do.

use super::*;
use crate::engine::{Settled, Settlement};
use crate::limits::CONFLICTS_MAX;

/// Two replicas that wrote at the same time over `start`; the second one later by the clock.
#[track_caller]
fn diverged(start: Value, one_writes: &[Value], two_writes: &[Value]) -> Replica {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two").at(1_000));
    one.put(start);
    two.pull(&one);
    one_writes.iter().for_each(|body| drop(one.put(body.clone())));
    two_writes.iter().for_each(|body| drop(two.put(body.clone())));
    exchange(&mut one, &mut two);
    one
}

#[test]
fn the_latest_time_wins_unless_automerge_decides() {
    let merged = diverged(json!({"a": 0}), &[json!({"a": 1}), json!({"a": 2}), json!({"a": 3})], &[json!({"a": 9})]);
    assert_eq!(merged.read(), json!({"a": 9}), "the later clock");
    assert_eq!(merged.read_by(Chooser::Json), json!({"a": 3}), "the higher operation id");
    assert_eq!((merged.view(Chooser::Lww).conflicts, merged.view(Chooser::Json).conflicts), (1, 1));
}

#[test]
fn equal_values_are_one_for_the_built_in_orders() {
    let merged = diverged(json!({"a": 0}), &[json!({"a": {"x": [1]}})], &[json!({"a": {"x": [1]}})]);
    assert_eq!((merged.read(), merged.view(Chooser::Lww).conflicts), (json!({"a": {"x": [1]}}), 0));
    let resolver = Test { wants: Wants::default(), resolve: sum };
    assert_eq!(merged.view(Chooser::Resolver(&resolver)).conflicts, 1);
    assert_eq!(merged.document.conflicts().unwrap().conflicts[0].candidates.len(), 2);
}

#[track_caller]
fn check_ancestor(start: Value, one: &[Value], two: &[Value], path: &str, expected: Option<Value>) {
    let merged = diverged(start, one, two);
    let conflicts = merged.document.conflicts().unwrap().conflicts;
    let found = conflicts.iter().find(|conflict| conflict.path == path).expect("a conflict there");
    assert_eq!(found.ancestor, expected);
}

#[test]
fn the_ancestor_is_what_all_candidates_started_from() {
    let a = |value: i64| json!({"a": value});
    check_ancestor(a(10), &[a(9), a(8)], &[a(7)], "/a", Some(json!(10)));
    check_ancestor(a(10), &[a(9), a(8)], &[a(7), a(6), a(5)], "/a", Some(json!(10)));
    check_ancestor(json!({}), &[a(9)], &[a(7)], "/a", None);
    check_ancestor(json!({"a": {"b": [1]}}), &[a(9)], &[a(7)], "/a", Some(json!({"b": [1]})));
    let list = |first: &[&str], second: &str| json!({"l": first.iter().copied().chain([second]).collect::<Vec<_>>()});
    check_ancestor(
        list(&["x", "y"], "z"),
        &[list(&["x", "y"], "1")],
        &[list(&["x", "y"], "2")],
        "/l/2",
        Some(json!("z")),
    );
    check_ancestor(
        list(&["x", "y"], "z"),
        &[list(&["y"], "z"), list(&["y"], "1")],
        &[list(&["x", "y"], "2")],
        "/l/1",
        Some(json!("z")),
    );
    check_ancestor(
        list(&["x"], "z"),
        &[list(&["x", "w", "v"], "z"), list(&["x", "w", "v"], "1")],
        &[list(&["x"], "2")],
        "/l/3",
        Some(json!("z")),
    );
    check_ancestor(
        list(&["x"], "z"),
        &[list(&[], "z"), list(&[], "1")],
        &[list(&["x"], "2")],
        "/l/0",
        Some(json!("z")),
    );
    let one = [json!({"l": ["z"]}), json!({"l": ["1"]})];
    check_ancestor(json!({"l": ["z", "gone"]}), &one, &[json!({"l": ["2", "gone"]})], "/l/0", Some(json!("z")));
}

#[test]
fn a_conflict_that_started_from_a_conflict_has_no_ancestor() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two) = (Replica::new(&engine, "one"), Replica::new(&engine, "two"));
    one.put(json!({"a": 1}));
    two.put(json!({"a": 2}));
    exchange(&mut one, &mut two);
    one.put(json!({"a": 3}));
    two.put(json!({"a": 4}));
    exchange(&mut one, &mut two);
    let conflict = &one.document.conflicts().unwrap().conflicts[0];
    assert_eq!((conflict.ancestor.as_ref(), conflict.candidates.len()), (None, 2));
}

#[test]
fn candidates_come_in_the_order_of_their_operations() {
    let merged = diverged(json!({"a": 0}), &[json!({"a": 1}), json!({"a": 2})], &[json!({"a": 9})]);
    let conflicts = merged.document.conflicts().unwrap();
    let expected = json!({"conflicts": [{"path": "/a", "ancestor": 0, "candidates": [
        {"value": 9, "origin": "two", "sequence": 1, "time": START_MS + 1_001_000},
        {"value": 2, "origin": "one", "sequence": 3, "time": START_MS + 3_000},
    ]}]});
    assert_eq!(serde_json::to_value(conflicts).unwrap(), expected);
}

#[test]
fn nothing_is_reported_inside_a_candidate() {
    let engine = engine(JsonSettings::default());
    let (mut one, mut two, mut three) =
        (Replica::new(&engine, "one"), Replica::new(&engine, "two").at(100), Replica::new(&engine, "three").at(200));
    one.put(json!({"a": {"x": 0}, "b": {"y": 0}}));
    two.pull(&one);
    three.pull(&one);
    one.patch(json!({"a": {"x": 1}, "b": {"y": 1}}));
    two.patch(json!({"a": {"x": 2}, "b": {"y": 2}}));
    three.put(json!({"a": 3, "b": {"y": 0}}));
    exchange(&mut one, &mut two);
    exchange(&mut one, &mut three);
    let paths: Vec<_> = one.document.conflicts().unwrap().conflicts.into_iter().map(|conflict| conflict.path).collect();
    assert_eq!(paths, ["/b/y"], "a put over a map removes it, with what is open in it");
    let merged = diverged(json!({}), &[json!({"m": {"x": 1}}), json!({"m": {"x": 2}})], &[json!({"m": {"x": 3}})]);
    let conflicts = merged.document.conflicts().unwrap().conflicts;
    assert_eq!((conflicts.len(), conflicts[0].path.as_str()), (1, "/m"));
    assert_eq!(
        conflicts[0].candidates.iter().map(|c| &c.value).collect::<Vec<_>>(),
        [&json!({"x": 3}), &json!({"x": 2})]
    );
}

#[test]
fn a_put_beside_a_conflict_leaves_it_open() {
    let mut merged = diverged(json!({"a": 0, "b": 0}), &[json!({"a": 1, "b": 0})], &[json!({"a": 2, "b": 0})]);
    merged.put(json!({"a": 2, "b": 7}));
    assert_eq!((merged.read(), merged.view(Chooser::Lww).conflicts), (json!({"a": 2, "b": 7}), 1));
    merged.put(json!({"a": 1, "b": 7}));
    assert_eq!((merged.read(), merged.view(Chooser::Lww).conflicts), (json!({"a": 1, "b": 7}), 0));
}

#[test]
fn a_patch_settles_what_it_names() {
    let start = [json!({"a": 1, "m": {"x": 1}})];
    let mut merged = diverged(json!({"a": 0, "m": 0}), &start, &[json!({"a": 2, "m": {"x": 2, "y": 2}})]);
    assert_eq!(merged.view(Chooser::Lww).conflicts, 2);
    merged.patch(json!({"a": 2}));
    assert_eq!((merged.read(), merged.view(Chooser::Lww).conflicts), (json!({"a": 2, "m": {"x": 2, "y": 2}}), 1));
    merged.patch(json!({"m": {"z": 3}}));
    let expected = json!({"a": 2, "m": {"x": 2, "y": 2, "z": 3}});
    assert_eq!((merged.read(), merged.view(Chooser::Lww).conflicts), (expected, 0));
}

fn two_conflicts() -> Replica {
    let start = json!({"a": 10, "l": [1, 2], "n": 0});
    diverged(start, &[json!({"a": 8, "l": [1, 3], "n": 0})], &[json!({"a": 7, "l": [1, 4], "n": 0})])
}

#[track_caller]
fn check_choices(wanted: Wants, choices: Vec<Choice>, expected: Value, fallback: Option<&str>) {
    let notes = vec![("n".to_owned(), json!("the document has this itself")), ("why".to_owned(), json!("test"))];
    let resolution = Resolution { choices, notes };
    let resolver = Test { wants: wanted, resolve: |_: &ConflictSet| Ok(resolution.clone()) };
    let viewed = two_conflicts().view(Chooser::Resolver(&resolver));
    assert_eq!(json_of(&viewed), expected);
    assert_eq!(viewed.fallback, fallback.map(|reason| format!("plugin {}: {reason}", resolver.digest())));
    assert_eq!(viewed.conflicts, 2);
}

#[test]
fn a_resolver_chooses() {
    use Choice::{Candidate, Remove, Value as Made};
    let lww = json!({"a": 7, "l": [1, 4], "n": 0});
    check_choices(
        wants(true, &[]),
        vec![Candidate(1), Candidate(0)],
        json!({"a": 8, "l": [1, 4], "n": 0, "why": "test"}),
        None,
    );
    check_choices(
        wants(true, &[]),
        vec![Made(json!({"x": 1})), Remove],
        json!({"a": {"x": 1}, "l": [1], "n": 0, "why": "test"}),
        None,
    );
    check_choices(wants(true, &[]), vec![Remove, Made(json!([]))], json!({"l": [1, []], "n": 0, "why": "test"}), None);
    check_choices(wants(false, &["/l"]), vec![Candidate(1)], json!({"a": 7, "l": [1, 3], "n": 0, "why": "test"}), None);
    check_choices(wants(true, &[]), vec![Remove], lww.clone(), Some("it made 1 choices for 2 conflicts"));
    check_choices(wants(true, &[]), vec![Remove, Candidate(2)], lww.clone(), Some("it chose candidate 2 of 2 at /l/1"));
    let integer = "the integer 9007199254740992 at /a is beyond 2^53 - 1 and would lose digits: send it as a string";
    check_choices(wants(true, &[]), vec![Made(json!(9_007_199_254_740_992_u64)), Remove], lww, Some(integer));
}

#[test]
fn a_resolver_that_wants_nothing_here_is_not_asked() {
    let resolver = Test { wants: wants(true, &["/x"]), resolve: |_: &ConflictSet| panic!("it was asked") };
    let viewed = two_conflicts().view(Chooser::Resolver(&resolver));
    assert_eq!((viewed.conflicts, viewed.fallback), (2, None));
}

#[test]
fn a_resolver_is_handed_ancestors_when_it_asks() {
    for (ancestor, expected) in [(true, [Some(json!(10)), Some(json!(2))]), (false, [None, None])] {
        let check = |conflicts: &ConflictSet| {
            let found = conflicts.conflicts.iter().map(|conflict| conflict.ancestor.clone());
            assert_eq!(found.collect::<Vec<_>>(), expected);
            sum(conflicts)
        };
        let resolver = Test { wants: wants(ancestor, &[]), resolve: check };
        two_conflicts().view(Chooser::Resolver(&resolver));
    }
}

#[test]
fn a_plugins_fault_falls_back_and_a_hosts_is_no_result() {
    let digest = PluginDigest::of(b"test");
    let trap = Test {
        wants: Wants::default(),
        resolve: |_: &ConflictSet| Err(PluginError::Plugin { digest, reason: "out of fuel".to_owned() }),
    };
    let viewed = two_conflicts().view(Chooser::Resolver(&trap));
    assert_eq!(
        (json_of(&viewed), viewed.fallback),
        (json!({"a": 7, "l": [1, 4], "n": 0}), Some(format!("plugin {digest}: out of fuel")))
    );
    let host = Test {
        wants: Wants::default(),
        resolve: |_: &ConflictSet| Err(PluginError::Host { digest, reason: "no memory".to_owned() }),
    };
    let failed = two_conflicts().document.view(Chooser::Resolver(&host)).unwrap_err();
    assert!(matches!(failed, Error::Unavailable { .. }), "{failed}");
}

#[test]
fn too_many_conflicts_take_the_built_in_order() {
    let body = |value: i64| Value::Object((0..=CONFLICTS_MAX).map(|at| (format!("f{at:04}"), json!(value))).collect());
    let merged = diverged(json!({}), &[body(1)], &[body(2)]);
    let resolver = Test { wants: Wants::default(), resolve: |_: &ConflictSet| panic!("it was asked") };
    let viewed = merged.view(Chooser::Resolver(&resolver));
    assert_eq!(viewed.fallback.as_deref(), Some("1001 conflicts; a resolver is handed at most 1000"));
    assert_eq!((viewed.conflicts, json_of(&viewed)), (1_001, body(2)));
    let refused = merged.document.conflicts().unwrap_err();
    assert_eq!(refused.to_string(), "the open conflicts of a document would be 1001, the limit is 1000");
}

#[test]
fn a_view_that_merging_made_too_large_is_refused_and_can_be_repaired() {
    let half = "x".repeat(600_000);
    let mut merged = diverged(json!({}), &[json!({"a": half})], &[json!({"b": half})]);
    let refused = merged.document.view(Chooser::Lww).unwrap_err();
    assert!(matches!(refused, Error::Document(document::Error::TooLarge { .. })), "{refused}");
    let context = WriteContext { author: &merged.author, time_ms: START_MS, number: None, base: None, seen: None };
    merged.document.apply(&Write::Put(object(json!({"b": "small"}))), &context).unwrap();
    assert_eq!(merged.read(), json!({"b": "small"}));
}

fn settled(replica: &mut Replica, conflicts: &[(&str, Option<Value>)], notes: &[(&str, Value)]) -> Result<(), String> {
    let ends = |value: &Option<Value>| value.clone().map_or(Settled::Removed, Settled::Value);
    let conflicts = conflicts.iter().map(|(path, value)| ((*path).to_owned(), ends(value))).collect();
    let notes = notes.iter().map(|(name, note)| ((*name).to_owned(), note.clone())).collect();
    let write = Write::Settle(Settlement { conflicts, notes });
    replica.try_write(&write, Chooser::Lww).map(|_| ()).map_err(|error| error.to_string())
}

#[test]
fn a_settled_conflict_is_over_for_everybody() {
    let start = json!({"a": 0, "b": 0, "list": [0, 1, 2], "deep": {"x": 0}});
    let one = json!({"a": 1, "b": 1, "list": [5, 1, 7], "deep": {"x": 1}});
    let two = json!({"a": 2, "b": 1, "list": [6, 1, 8], "deep": {"x": 2}});
    let mut merged = diverged(start, &[one], &[two]);
    let open: Vec<_> = merged.document.conflicts().unwrap().conflicts.into_iter().map(|open| open.path).collect();
    assert_eq!(open, ["/a", "/b", "/deep/x", "/list/0", "/list/2"]);
    let fields = [
        // What the order chooses already is written all the same.
        ("/a", Some(json!(2))),
        ("/b", Some(json!(1))),
        ("/deep/x", None),
        ("/list/0", None),
        ("/list/2", Some(json!({"made": "up"}))),
    ];
    settled(&mut merged, &fields, &[("note", json!("settled"))]).unwrap();
    let expected = json!({"a": 2, "b": 1, "deep": {}, "list": [1, {"made": "up"}], "note": "settled"});
    assert_eq!((merged.read(), merged.read_by(Chooser::Json)), (expected.clone(), expected.clone()));
    assert!(merged.document.conflicts().unwrap().conflicts.is_empty());
    let engine = engine(JsonSettings::default());
    let mut other = Replica::new(&engine, "three");
    other.pull(&merged);
    assert_eq!(other.read(), expected);
}

#[test]
fn what_is_no_open_conflict_is_not_settled() {
    let mut merged = diverged(json!({"a": {"x": 0}}), &[json!({"a": {"x": 1}})], &[json!({"a": {"x": 2}})]);
    let refused = settled(&mut merged, &[("/a/y", Some(json!(1)))], &[]).unwrap_err();
    assert_eq!(refused, "there is no open conflict at /a/y");
    assert!(settled(&mut merged, &[("/a/x", Some(json!(9_007_199_254_740_993_u64)))], &[]).is_err());
    assert_eq!(merged.document.conflicts().unwrap().conflicts.len(), 1, "it is as it was");
}

/// A list item that is left out moves the others in the view, and not what is said of each conflict.
#[test]
fn what_is_shown_of_a_conflict_is_its_own() {
    let start = json!({"list": [0, "b", 2]});
    let merged = diverged(start, &[json!({"list": [1, "b", 3]})], &[json!({"list": [5, "b", 7]})]);
    let first_goes = |conflicts: &ConflictSet| {
        let choices = conflicts.conflicts.iter().enumerate();
        let choices = choices.map(|(at, _)| if at == 0 { Choice::Remove } else { Choice::Value(json!("kept")) });
        Ok(Resolution { choices: choices.collect(), notes: vec![("gone".to_owned(), json!(1))] })
    };
    let resolver = Test { wants: Wants::default(), resolve: first_goes };
    assert_eq!(merged.read_by(Chooser::Resolver(&resolver)), json!({"list": ["b", "kept"], "gone": 1}));
    let open = merged.document.open(Chooser::Resolver(&resolver)).unwrap();
    let shown: Vec<_> = open.conflicts.iter().map(|open| (open.conflict.path.as_str(), open.shown.clone())).collect();
    assert_eq!(shown, [("/list/0", None), ("/list/2", Some(json!("kept")))]);
    assert_eq!(open.notes["gone"], json!(1));
    let shown: Vec<_> =
        merged.document.open(Chooser::Lww).unwrap().conflicts.into_iter().map(|open| open.shown).collect();
    assert_eq!(shown, [Some(json!(5)), Some(json!(7))]);
}

/// Writes go from node to node, where a null must not become a removal.
#[test]
fn a_settlement_keeps_its_nulls_on_its_way() {
    let conflicts = [("/a", Settled::Value(Value::Null)), ("/b", Settled::Removed)];
    let conflicts = conflicts.map(|(path, settled)| (path.to_owned(), settled)).into();
    let write = Write::Settle(Settlement { conflicts, ..Settlement::default() });
    let mut bytes = Vec::new();
    ciborium::into_writer(&write, &mut bytes).unwrap();
    assert_eq!(ciborium::from_reader::<Write, _>(&bytes[..]).unwrap(), write);
    assert_eq!(serde_json::from_str::<Write>(&serde_json::to_string(&write).unwrap()).unwrap(), write);
}
