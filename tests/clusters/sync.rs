//! What an edge's user sees of the channel: a subscription that changes, an edge that was away for long, events.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use skerry_tests::processes::{Cluster, Edge, PATIENCE, http, run, until};

use super::requests::{BINARIES, create, read, sync_status, write};

fn hold(edge: &Edge, arguments: &[&str]) -> Result<String, String> {
    run(BINARIES.edge, &edge.url(), &[&["subscription"], arguments].concat())
}

#[test]
fn a_subscription_changes_while_the_edge_runs() {
    let cluster = Cluster::start(BINARIES, 1, 2);
    let core = cluster.url(0);
    create(&core, "items", "lww");
    for number in 0..20 {
        for letter in ["a", "b"] {
            assert_eq!(write(&core, "PUT", "items", &format!("{letter}{number}"), &json!({})), 201);
        }
    }
    let mut edge = Edge::start(&cluster, "shop");
    assert_eq!(hold(&edge, &["show"]).unwrap(), "everything\n");
    assert!(hold(&edge, &["remove", "items"]).unwrap_err().contains("subscription set"));
    assert_eq!(hold(&edge, &["set", "items/a"]).unwrap(), "items/a\n");
    until("the rest to go", || (sync_status(&edge, "documents") == 20).then_some(()));
    assert_eq!(write(&edge.url(), "PUT", "items", "b1", &json!({})), 409);
    // The long poll that waits for news of `a` does not hold up what is new.
    assert_eq!(hold(&edge, &["add", "items/b1"]).unwrap(), "items/a\nitems/b1\n");
    until("what joins", || {
        (sync_status(&edge, "documents") == 31 && sync_status(&edge, "copied") == true).then_some(())
    });
    assert_eq!(write(&core, "PUT", "items", "b1", &json!({ "n": 2 })), 200);
    until("news of what has joined", || read(&edge.url(), "items", "b1").filter(|shown| *shown == json!({ "n": 2 })));
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    edge.synced();
    assert_eq!(hold(&edge, &["show"]).unwrap(), "items/a\nitems/b1\n");
    assert!(hold(&edge, &["remove", "orders"]).unwrap_err().contains("items/a, items/b1"));
    hold(&edge, &["remove", "items/a"]).unwrap();
    until("the rest to go", || (sync_status(&edge, "documents") == 11).then_some(()));
    hold(&edge, &["set", "--all"]).unwrap();
    until("everything", || (sync_status(&edge, "documents") == 40).then_some(()));
}

#[test]
fn an_edge_that_was_away_for_longer_than_the_window_finds_its_way() {
    let cluster = Cluster::start_with(BINARIES, 3, 2, &["--rejoin-window", "1"]);
    let core = cluster.url(0);
    create(&core, "items", "lww");
    for number in 0..20 {
        assert_eq!(write(&core, "PUT", "items", &format!("k{number}"), &json!({})), 201);
    }
    let mut edge = Edge::start(&cluster, "shop");
    edge.synced();
    until("the first copy", || (sync_status(&edge, "documents") == 20).then_some(()));
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    assert_eq!(write(&edge.url(), "PUT", "items", "own", &json!({ "n": 1 })), 201);
    assert_eq!(http(&format!("{core}/v1/collections/items/documents/k7"), "DELETE", None).unwrap().0, 200);
    let newest = |field: &str| -> u64 {
        let (_, page) = http(&format!("{core}/v1/cluster"), "GET", None).unwrap();
        page["shards"].as_array().unwrap().iter().map(|shard| shard[field].as_u64().unwrap()).max().unwrap()
    };
    let before = newest("scn");
    assert_eq!(write(&core, "PUT", "items", "k8", &json!({ "n": 8 })), 200);
    assert!(edge.process().stop(), "{}", edge.process().said());
    // Another edge that is there all the while only ever hears of changes.
    let other = Edge::start(&cluster, "depot");
    other.synced();
    until("the change to go from the feed", || (newest("feed_from") > before).then_some(()));
    edge.restart();
    edge.synced();
    assert_eq!(read(&edge.url(), "items", "k7"), None);
    assert_eq!(read(&edge.url(), "items", "k8"), Some(json!({ "n": 8 })));
    assert_eq!(sync_status(&edge, "documents"), 20);
    until("its own work at the core", || read(&core, "items", "own"));
    assert!(edge.process().said().contains("comparing what it holds"), "{}", edge.process().said());
}

#[test]
fn events_announce_news() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    let core = cluster.url(0);
    create(&core, "items", "lww");
    let mut stream = TcpStream::connect(core.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /v1/sync/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = || -> Value {
        let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).unwrap();
        serde_json::from_str(&data).unwrap()
    };
    let first = next();
    assert_eq!(first["shards"].as_array().unwrap().len(), 1);
    assert_eq!(write(&core, "PUT", "items", "one", &json!({})), 201);
    let second = next();
    assert_ne!(first["shards"][0]["scn"], second["shards"][0]["scn"]);
    assert_eq!(first["timeline"], second["timeline"]);
}
