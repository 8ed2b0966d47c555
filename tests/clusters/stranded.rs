//! Work that the core refused, from the refusal to a person's decision, as its user sees it.

use serde_json::{Value, json};
use skerry_tests::processes::{Cluster, Edge, metric, run, until};

use super::requests::{BINARIES, create, read, sync_status, write};

/// Two of these are more than a document holds.
const HALF_BYTES: usize = 600_000;

fn command(edge: &Edge, arguments: &[&str]) -> Result<String, String> {
    run(BINARIES.edge, &edge.url(), &[&["stranded"], arguments].concat())
}

#[test]
fn refused_work_is_shown_exported_made_again_and_given_up() {
    let cluster = Cluster::start(BINARIES, 1, 2);
    let core = cluster.url(0);
    create(&core, "items", "json");
    let mut edge = Edge::start(&cluster, "shop-1");
    for key in ["d1", "d2"] {
        assert_eq!(write(&core, "PUT", "items", key, &json!({})), 201);
    }
    until("the documents", || read(&edge.url(), "items", "d2"));
    edge.synced();
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    let half = "x".repeat(HALF_BYTES);
    for key in ["d1", "d2"] {
        assert_eq!(write(&edge.url(), "PATCH", "items", key, &json!({ "edge": half })), 200);
        assert_eq!(write(&core, "PATCH", "items", key, &json!({ "core": half })), 200);
    }
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    until("the refusals", || (sync_status(&edge, "stranded") == 2).then_some(()));
    assert!((metric(&edge.url(), "skerry_edge_stranded") - 2.0).abs() < 0.5);

    let listed = command(&edge, &["list", "--json"]).unwrap();
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |key: &str| listed.iter().find(|work| work["key"] == key).unwrap();
    assert_eq!(of("d1")["wanted"]["patch"]["edge"].as_str().unwrap().len(), HALF_BYTES);
    let (one, two) = (of("d1")["id"].as_str().unwrap(), of("d2")["id"].as_str().unwrap());
    assert!(command(&edge, &["list"]).unwrap().contains("items/d1"));
    assert!(command(&edge, &["show", one]).unwrap().contains("patch {\"edge\":"));
    let file = cluster.folder().join("stranded.ndjson");
    command(&edge, &["export", "--out", file.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    let twice = command(&edge, &["export", "--out", file.to_str().unwrap()]).unwrap_err();
    assert!(twice.contains("stranded.ndjson"), "{twice}");

    // As long as the document has no room for it, it stays.
    let refused = command(&edge, &["retry", one]).unwrap_err();
    assert!(refused.contains("stay as they were"), "{refused}");
    assert_eq!(write(&core, "PATCH", "items", "d1", &json!({ "core": null })), 200);
    until("the room", || read(&edge.url(), "items", "d1").filter(|shown| shown["core"].is_null()));
    command(&edge, &["retry", one]).unwrap();
    until("the write", || read(&core, "items", "d1").filter(|shown| shown["edge"].is_string()));
    command(&edge, &["discard", two]).unwrap();
    let unknown = command(&edge, &["show", two]).unwrap_err();
    assert!(unknown.contains("no refused work is called"), "{unknown}");
    assert_eq!(sync_status(&edge, "stranded"), 0);
}
