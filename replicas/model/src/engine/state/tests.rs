//! Replicas of one document, their operations in every order, and what a core must not take.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ids::{Incarnation, Nonce, Origin};

const AT_MS: i64 = 1_700_000_000_000;

fn author(name: &str, incarnation: u32) -> Author {
    let incarnation = Incarnation { number: incarnation, nonce: Nonce::from_bytes([7; 16]) };
    Author::new(Origin::new(name).unwrap(), &incarnation)
}

fn engine(policy: impl MergePolicy + 'static) -> StateEngine {
    StateEngine::new(Arc::new(policy))
}

fn apply(document: &mut Box<dyn MergeDocument>, author: &Author, write: &Write) -> Result<Option<Delta>, Error> {
    // As an edge numbers its changes.
    let version = document.version();
    let seen = (version != Version::default()).then(|| delta::decode::<Seen>("the version", &version.0).unwrap());
    let previous = seen.and_then(|seen| seen.of(&author.origin));
    let number = Some(Dot::after(previous, author.incarnation).sequence);
    document.apply(write, &WriteContext { author, time_ms: AT_MS, number, base: None, seen: None })
}

fn operate(document: &mut Box<dyn MergeDocument>, author: &Author, operation: Value) -> Delta {
    apply(document, author, &Write::Operation(operation)).unwrap().unwrap()
}

fn view(document: &dyn MergeDocument) -> Option<Value> {
    document.view(Chooser::Lww).unwrap().view.map(|view| Value::Object(view.object().unwrap()))
}

#[track_caller]
fn check(document: &dyn MergeDocument, expected: &Value) {
    assert_eq!(view(document).as_ref(), Some(expected));
}

#[test]
fn every_increment_counts_once() {
    let engine = engine(Counter);
    let (mut a, mut b) = (engine.empty(), engine.empty());
    let first = operate(&mut a, &author("till-1", 1), json!({ "inc": 5 }));
    let second = operate(&mut b, &author("till-2", 1), json!({ "inc": -2 }));
    for delta in [&second, &first, &second] {
        a.merge(delta).unwrap();
        b.merge(delta).unwrap();
    }
    check(a.as_ref(), &json!({ "value": 3 }));
    assert_eq!((a.save(), a.version()), (b.save(), b.version()));
    assert!(!a.merge(&second).unwrap(), "it was there already");
    assert!(apply(&mut a, &author("till-1", 1), &Write::Operation(json!({ "inc": 0 }))).unwrap().is_none());
}

#[test]
fn a_higher_incarnation_goes_on_from_what_the_core_had() {
    let engine = engine(Counter);
    let mut core = engine.empty();
    let (first, second) = (author("till-1", 1), author("till-1", 2));
    let mut till = engine.empty();
    core.merge_from(&operate(&mut till, &first, json!({ "inc": 5 })), &first, AT_MS).unwrap();
    // This one is lost with the till's folder.
    operate(&mut till, &first, json!({ "inc": 7 }));
    let mut till = core.scratch();
    core.merge_from(&operate(&mut till, &second, json!({ "inc": 1 })), &second, AT_MS).unwrap();
    check(core.as_ref(), &json!({ "value": 6 }));
}

#[test]
fn an_addition_wins_over_a_concurrent_removal() {
    let engine = engine(Set);
    let (mut a, mut b) = (engine.empty(), engine.empty());
    let added = operate(&mut a, &author("till-1", 1), json!({ "add": { "z": 1, "a": 2 } }));
    b.merge(&added).unwrap();
    let removed = operate(&mut b, &author("till-2", 1), json!({ "remove": { "a": 2, "z": 1 } }));
    check(b.as_ref(), &json!({ "items": [] }));
    let again = operate(&mut a, &author("till-1", 1), json!({ "add": { "a": 2, "z": 1 } }));
    a.merge(&removed).unwrap();
    b.merge(&again).unwrap();
    check(a.as_ref(), &json!({ "items": [{ "a": 2, "z": 1 }] }));
    assert_eq!(a.save(), b.save());
    let gone = operate(&mut a, &author("till-1", 1), json!({ "remove": { "a": 2, "z": 1 } }));
    b.merge(&gone).unwrap();
    check(b.as_ref(), &json!({ "items": [] }));
}

#[test]
fn a_delete_holds_only_over_what_it_has_seen() {
    let engine = engine(Counter);
    let (mut a, mut b) = (engine.empty(), engine.empty());
    let (one, two) = (author("till-1", 1), author("till-2", 1));
    b.merge(&operate(&mut a, &one, json!({ "inc": 5 }))).unwrap();
    let deleted = apply(&mut a, &one, &Write::Delete).unwrap().unwrap();
    assert_eq!(view(a.as_ref()), None);
    assert!(apply(&mut a, &one, &Write::Delete).unwrap().is_none(), "it is gone already");
    let concurrent = operate(&mut b, &two, json!({ "inc": 1 }));
    b.merge(&deleted).unwrap();
    a.merge(&concurrent).unwrap();
    check(a.as_ref(), &json!({ "value": 6 }));
    assert_eq!(a.save(), b.save());
    // Two that know nothing of each other leave nothing.
    b.merge(&apply(&mut a, &one, &Write::Delete).unwrap().unwrap()).unwrap();
    operate(&mut a, &one, json!({ "inc": 1 }));
    b.merge(&a.delta(&Version::default()).unwrap()).unwrap();
    let (deleted, also) = (apply(&mut a, &one, &Write::Delete), apply(&mut b, &two, &Write::Delete));
    a.merge(&also.unwrap().unwrap()).unwrap();
    b.merge(&deleted.unwrap().unwrap()).unwrap();
    assert_eq!((view(a.as_ref()), a.save()), (None, b.save()));
    // A later operation revives it too.
    operate(&mut a, &one, json!({ "inc": 1 }));
    check(a.as_ref(), &json!({ "value": 8 }));
}

#[test]
fn a_push_that_does_not_fit_is_refused() {
    let engine = engine(Counter);
    let (one, two) = (author("till-1", 1), author("till-2", 1));
    let mut core = engine.empty();
    let mut till = engine.empty();
    let first = operate(&mut till, &one, json!({ "inc": 1 }));
    let second = operate(&mut till, &one, json!({ "inc": 1 }));
    let refused = |core: &mut Box<dyn MergeDocument>, delta: &Delta, author: &Author, expected: &str| {
        let before = core.save();
        let error = core.merge_from(delta, author, AT_MS).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(core.save(), before);
    };
    refused(&mut core, &second, &one, "builds on operation 1.1 of till-1");
    refused(&mut core, &first, &two, "does not say that its sender made it");
    refused(&mut core, &first, &author("till-1", 2), "does not follow");
    core.merge_from(&first, &one, AT_MS).unwrap();
    core.merge_from(&second, &one, AT_MS).unwrap();
    // Taken again it changes nothing.
    let version = core.version();
    core.merge_from(&first, &one, AT_MS).unwrap();
    assert_eq!(core.version(), version);
    // Another till claims to have seen what nobody has.
    let mut liar = core.scratch();
    operate(&mut liar, &one, json!({ "inc": 9 }));
    let lie = operate(&mut liar, &two, json!({ "inc": 1 }));
    refused(&mut core, &lie, &two, "has seen an operation of till-1 that is not here");
    // Or counts in another's name without saying so.
    let honest = StateDelta::decode(&operate(&mut core.scratch(), &two, json!({ "inc": 1 }))).unwrap();
    let state = StateDelta::decode(&lie).unwrap().held.state;
    let forged = StateDelta { held: Held { state, ..honest.held.clone() }, ..honest };
    refused(&mut core, &forged.encode(), &two, "till-2 counts in the name of till-1");
}

/// An edge that has forgotten what it had of a document must not be told that its next operation was there already.
#[test]
fn an_operation_of_an_author_who_has_forgotten_is_not_taken_for_another() {
    let engine = engine(Counter);
    let one = author("till-1", 1);
    let (mut core, mut till) = (engine.empty(), engine.empty());
    core.merge_from(&operate(&mut till, &one, json!({ "inc": 5 })), &one, AT_MS).unwrap();
    let mut forgetful = engine.empty();
    let context = WriteContext { author: &one, time_ms: AT_MS, number: Some(2), base: None, seen: None };
    let next = forgetful.apply(&Write::Operation(json!({ "inc": 3 })), &context).unwrap().unwrap();
    let error = core.merge_from(&next, &one, AT_MS).unwrap_err().to_string();
    assert!(error.contains("builds on no operation of till-1"), "{error}");
    check(core.as_ref(), &json!({ "value": 5 }));
}

#[test]
fn a_pushed_set_holds_only_what_a_document_can() {
    let engine = engine(Set);
    let one = author("till-1", 1);
    let deep = (0..80).fold(json!(1), |inner, _| json!([inner]));
    let pushed = operate(&mut engine.empty(), &one, json!({ "add": deep }));
    let mut core = engine.empty();
    let error = core.merge_from(&pushed, &one, AT_MS).unwrap_err().to_string();
    assert!(error.contains("an item cannot be in a set"), "{error}");
    assert_eq!(view(core.as_ref()), None);
}

#[test]
fn operations_and_documents_are_not_confused() {
    let one = author("till-1", 1);
    let mut counter = engine(Counter).empty();
    let put = apply(&mut counter, &one, &Write::Put(serde_json::Map::new())).unwrap_err().to_string();
    assert!(put.contains("take operations"), "{put}");
    for malformed in
        [json!({}), json!({ "inc": 1.5 }), json!({ "inc": 1, "by": 2 }), json!(5), json!({ "inc": 1_i64 << 60 })]
    {
        let error = apply(&mut counter, &one, &Write::Operation(malformed.clone())).unwrap_err().to_string();
        assert!(error.contains(r#"{"inc": N}"#), "{malformed}: {error}");
    }
    let mut set = engine(Set).empty();
    let error = apply(&mut set, &one, &Write::Operation(json!({ "push": 1 }))).unwrap_err().to_string();
    assert!(error.contains(r#"{"add": VALUE}"#), "{error}");
    operate(&mut counter, &one, json!({ "inc": (1_i64 << 53) - 1 }));
    let error = apply(&mut counter, &one, &Write::Operation(json!({ "inc": 1 }))).unwrap_err().to_string();
    assert!(error.contains("beyond 2^53 - 1"), "{error}");
}

fn counting() -> impl Strategy<Value = Value> {
    (-5_i64..=5).prop_map(|inc| json!({ "inc": inc }))
}

fn collecting() -> impl Strategy<Value = Value> {
    (any::<bool>(), 0..3_u8)
        .prop_map(|(adds, item)| if adds { json!({ "add": item }) } else { json!({ "remove": item }) })
}

/// Replicas operate and hear of each other in a random order; in the end all have heard everything, in different orders.
fn converge(engine: &StateEngine, steps: &[(usize, Option<usize>, Value)]) {
    let authors = ["a", "b", "c"].map(|name| author(name, 1));
    let mut replicas = [engine.empty(), engine.empty(), engine.empty()];
    for (at, from, operation) in steps {
        match from {
            Some(from) => {
                let delta = replicas[*from].delta(&Version::default()).unwrap();
                if delta != Delta::default() {
                    replicas[*at].merge(&delta).unwrap();
                }
            }
            None => drop(apply(&mut replicas[*at], &authors[*at], &Write::Operation(operation.clone())).unwrap()),
        }
    }
    let everything = replicas.each_ref().map(|replica| replica.delta(&Version::default()).unwrap());
    let mut saved = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]] {
        let mut whole = engine.empty();
        for at in order.into_iter().chain([0, 0]).filter(|at| everything[*at] != Delta::default()) {
            whole.merge(&everything[at]).unwrap();
        }
        saved.push((whole.save(), whole.version()));
    }
    assert!(saved.windows(2).all(|pair| pair[0] == pair[1]));
}

proptest! {
    #[test]
    fn counters_converge(steps in prop::collection::vec((0..3_usize, prop::option::of(0..3_usize), counting()), 1..40)) {
        converge(&engine(Counter), &steps);
    }

    #[test]
    fn sets_converge(steps in prop::collection::vec((0..3_usize, prop::option::of(0..3_usize), collecting()), 1..40)) {
        converge(&engine(Set), &steps);
    }
}
