//! One text, many hands: splices at the version that each of them saw, at the core and at an edge without it.

use serde_json::{Value, json};
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::requests::{BINARIES, create, read, write};

const AT: &str = "v1/collections/notes/documents";

/// The ETag of the note.
fn etag(url: &str) -> String {
    let (_, page) = http(&format!("{url}/{AT}?prefix=n1"), "GET", None).unwrap();
    page["documents"][0]["etag"].as_str().unwrap().to_owned()
}

fn splice(url: &str, base: &str, at: usize, remove: usize, insert: &str) -> (u16, Value) {
    let operation = json!({ "splice": [{ "path": "/body", "at": at, "remove": remove, "insert": insert }] });
    let base = if base.is_empty() { String::new() } else { format!("?base={base}") };
    http(&format!("{url}/{AT}/n1/operations{base}"), "POST", Some(&operation)).unwrap()
}

#[track_caller]
fn check(url: &str, body: &str) {
    until(format!("{url} to read {body:?}"), || read(url, "notes", "n1").filter(|note| note["body"] == body));
}

#[test]
fn text_merges_by_character_at_core_and_edge() {
    let cluster = Cluster::start(BINARIES, 3, 1);
    let core = cluster.url(0);
    let spec = json!({ "policy": "json", "text": ["/body"] });
    assert_eq!(http(&format!("{core}/v1/collections/notes"), "PUT", Some(&spec)).unwrap().0, 201);
    assert_eq!(write(&core, "PUT", "notes", "n1", &json!({ "body": "hello world" })), 201);
    let base = etag(&core);
    assert_eq!(splice(&core, &base, 0, 5, "good morning").0, 200);
    assert_eq!(splice(&cluster.url(1), &base, 11, 0, "!").0, 200);
    check(&core, "good morning world!");

    let mut edge = Edge::start(&cluster, "desk");
    check(&edge.url(), "good morning world!");
    edge.synced();
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    let base = etag(&edge.url());
    assert_eq!(splice(&edge.url(), &base, 0, 0, "> ").0, 200);
    assert_eq!(splice(&edge.url(), &base, 19, 0, "?").0, 200);
    check(&edge.url(), "> good morning world!?");
    assert_eq!(splice(&core, "", 4, 8, "").0, 200);
    check(&core, "good world!");
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    for url in cluster.urls().iter().chain([&edge.url()]) {
        check(url, "> good world!?");
    }

    let (status, problem) = splice(&core, &base, 0, 0, "x");
    assert_eq!((status, problem["type"].as_str().unwrap().ends_with("unknown-base")), (412, true), "{problem}");
    let (status, problem) = splice(&edge.url(), "1.5.0.0.0", 0, 0, "x");
    assert_eq!(status, 412, "{problem}");
    let (status, problem) = splice(&core, "", 99, 0, "x");
    assert_eq!((status, problem["detail"].as_str().unwrap().contains("/body has 14 characters")), (422, true));
    create(&core, "ledger", "strict");
    let (status, problem) =
        http(&format!("{core}/v1/collections/ledger/documents/l1?base=1.5.0.0.0"), "PUT", Some(&json!({}))).unwrap();
    assert_eq!(status, 422, "{problem}");
}

/// What came since the base stays: the write changes what its writer changed.
#[test]
fn a_document_written_at_a_base_merges_with_what_came_since() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    let core = cluster.url(0);
    create(&core, "notes", "json");
    assert_eq!(write(&core, "PUT", "notes", "n1", &json!({ "title": "a", "price": 1 })), 201);
    let base = etag(&core);
    assert_eq!(write(&core, "PATCH", "notes", "n1", &json!({ "price": 2, "seen": true })), 200);
    let body = json!({ "title": "b", "price": 1 });
    let (status, answer) = http(&format!("{core}/{AT}/n1?base={base}"), "PUT", Some(&body)).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(read(&core, "notes", "n1").unwrap(), json!({ "title": "b", "price": 2, "seen": true }));
}
