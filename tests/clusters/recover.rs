//! A cluster that has lost most of its nodes for good goes on from the one that is left.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use skerry_host::identity::{Identities, Identity};
use skerry_model::Timeline;
use skerry_store::fjall::FjallLog;
use skerry_store::{LogDb, LogWriter, Mode};
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::requests::{BINARIES, create, read, write};

const KEYS: usize = 40;

/// `skerry recover` on a folder; stdout, or stderr when it failed.
pub(super) fn recover(folder: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(BINARIES.skerry);
    let ran = command.arg("recover").arg("--data").arg(folder).args(arguments).output().unwrap();
    let said = if ran.status.success() { &ran.stdout } else { &ran.stderr };
    let said = String::from_utf8(said.clone()).unwrap();
    if ran.status.success() { Ok(said) } else { Err(said) }
}

fn shown(folder: &Path) -> Value {
    serde_json::from_str(&recover(folder, &["--json"]).unwrap()).unwrap()
}

pub(super) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

fn key(number: usize) -> String {
    format!("key-{number}")
}

/// Every document is there, and can be written.
#[track_caller]
fn check_serves(cluster: &Cluster, node: usize, round: usize) {
    for number in 0..KEYS {
        let value = json!({ "number": number });
        assert_eq!(read(&cluster.url(node), "items", &key(number)), Some(value), "{number} on node {}", node + 1);
    }
    for number in 0..4 {
        let at = format!("round-{round}-{node}-{number}");
        assert_eq!(write(&cluster.url(node), "PUT", "items", &at, &json!({ "round": round })), 201);
    }
}

fn timeline(cluster: &Cluster) -> String {
    let (_, body) = http(&format!("{}/v1/cluster", cluster.url(0)), "GET", None).unwrap();
    body["timeline"].as_str().unwrap().to_owned()
}

#[test]
fn the_survivor_of_a_lost_quorum_goes_on_alone_and_grows_again() {
    let mut cluster = Cluster::start(BINARIES, 3, 2);
    create(&cluster.url(0), "items", "strict");
    for number in 0..KEYS {
        let url = cluster.url(number % 3);
        assert_eq!(write(&url, "PUT", "items", &key(number), &json!({ "number": number })), 201);
    }
    let before = timeline(&cluster);
    let edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    // What node 1 has is what it must serve afterwards; only then the others are lost, but for a copy of one folder.
    until("node 1 to have every document", || {
        let has = |number| {
            let at = format!("{}/v1/collections/items/documents/{}?consistency=local", cluster.url(0), key(number));
            http(&at, "GET", None).is_ok_and(|(status, _)| status == 200)
        };
        (0..KEYS).all(has).then_some(())
    });
    let kept = cluster.folder().join("kept");
    cluster.kill(1);
    cluster.kill(2);
    copy(&cluster.data(2), &kept);
    for lost in [1, 2] {
        std::fs::remove_dir_all(cluster.data(lost)).unwrap();
    }
    let refused = |cluster: &Cluster| {
        let (status, _) =
            http(&format!("{}/v1/collections/items/documents/key-1", cluster.url(0)), "GET", None).ok()?;
        (status == 503).then_some(())
    };
    until("the survivor to serve nothing", || refused(&cluster));
    assert_eq!(write(&cluster.url(0), "PUT", "items", "late", &json!({})), 503);

    let in_use = recover(&cluster.data(0), &[]).unwrap_err();
    assert!(in_use.contains("is in use by another process: stop that process"), "{in_use}");
    cluster.kill(0);
    let id = shown(&cluster.data(0))["cluster"].as_str().unwrap().to_owned();
    let wrong = recover(&cluster.data(0), &["--make-sole-member", "--confirm", &"0".repeat(32)]).unwrap_err();
    assert!(wrong.contains("confirm the cluster that you mean"), "{wrong}");
    let said = recover(&cluster.data(0), &["--make-sole-member", "--confirm", &id]).unwrap();
    assert!(said.contains("the only member") && said.contains("nodes 2, 3"), "{said}");
    let again = recover(&cluster.data(0), &["--make-sole-member", "--confirm", &id]).unwrap();
    assert!(again.contains("nothing was changed"), "{again}");

    cluster.start_node(0);
    cluster.ready();
    check_serves(&cluster, 0, 1);
    let now = timeline(&cluster);
    assert_ne!(now, before);
    // The edge finds its way to the new line of history.
    edge.synced();
    assert_eq!(read(&edge.url(), "items", &key(1)), Some(json!({ "number": 1 })));
    // An old node neither comes back with its folder nor with an empty one.
    std::fs::rename(&kept, cluster.data(2)).unwrap();
    cluster.start_node(2);
    until("the old node to be refused", || cluster.node(2).said().contains("any longer").then_some(()));
    cluster.kill(2);
    cluster.start_node(1);
    assert!(!cluster.node(1).ended());
    assert!(cluster.node(1).said().contains("any longer"), "{}", cluster.node(1).said());
    cluster.kill(1);

    for _ in 0..2 {
        let new = cluster.add_node();
        let (id, address) = ((new + 1).to_string(), cluster.address(new));
        let address = address.iter().map(String::as_str);
        let added = cluster.cli(&["cluster", "add", &id].into_iter().chain(address).collect::<Vec<_>>()).unwrap();
        assert!(added.contains("has its vote in every shard"), "{added}");
    }
    cluster.ready();
    for node in [0, 3, 4] {
        check_serves(&cluster, node, 2);
    }
    // The three are a quorum of their own: any one of them may fail.
    cluster.kill(0);
    until("the new nodes to go on without the survivor", || {
        (write(&cluster.url(3), "PUT", "items", "after", &json!({})) == 201).then_some(())
    });
    assert_eq!(read(&cluster.url(4), "items", "after"), Some(json!({})));
}

#[test]
fn a_folder_that_is_shown_stays_as_it_is() {
    let mut cluster = Cluster::start(BINARIES, 3, 2);
    create(&cluster.url(0), "items", "strict");
    for number in 0..KEYS {
        assert_eq!(write(&cluster.url(0), "PUT", "items", &key(number), &json!({ "number": number })), 201);
    }
    let in_use = recover(&cluster.data(1), &["--json"]).unwrap_err();
    assert!(in_use.contains("is in use by another process"), "{in_use}");
    for node in 0..3 {
        assert!(cluster.node(node).stop(), "{}", cluster.node(node).said());
    }
    let first = shown(&cluster.data(0));
    assert_eq!(shown(&cluster.data(0)), first);
    assert_eq!((&first["node"], &first["half_recovered"]), (&json!(1), &json!(false)));
    let shards = first["shards"].as_array().unwrap();
    assert_eq!(shards.len(), 2);
    for shard in shards {
        assert_eq!(shard["voters"], json!([1, 2, 3]));
        assert!(shard["last"]["index"].as_u64() >= shard["applied"]["index"].as_u64(), "{shard}");
        assert!(shard["time_ms"].as_u64().unwrap() > 1_500_000_000_000, "{shard}");
    }
    let text = recover(&cluster.data(0), &[]).unwrap();
    assert!(text.contains("recover the one that holds most") && text.contains(" in term "), "{text}");
    let unconfirmed = recover(&cluster.data(0), &["--make-sole-member"]).unwrap_err();
    assert!(unconfirmed.contains("--confirm"), "{unconfirmed}");
    for node in 0..3 {
        cluster.start_node(node);
    }
    cluster.ready();
    for node in 0..3 {
        check_serves(&cluster, node, 1);
    }
}

/// Leaves a folder as a recovery does that is killed once it has begun.
fn cut_short(folder: &Path, timeline: Timeline) {
    let log: Arc<dyn LogDb> = Arc::new(FjallLog::open(&folder.join("log")).unwrap());
    let identities = Identities::new(Arc::clone(&log), Arc::new(LogWriter::start(log, Mode::Thread).unwrap()));
    let identity = identities.own().unwrap().unwrap();
    let begun = Identity { recovering: Some(timeline), ..identity };
    tokio::runtime::Runtime::new().unwrap().block_on(identities.set_own(&begun)).unwrap();
}

#[test]
fn a_node_does_not_start_on_half_a_recovery() {
    let mut cluster = Cluster::start(BINARIES, 1, 2);
    create(&cluster.url(0), "items", "strict");
    for number in 0..KEYS {
        assert_eq!(write(&cluster.url(0), "PUT", "items", &key(number), &json!({ "number": number })), 201);
    }
    assert!(cluster.node(0).stop(), "{}", cluster.node(0).said());
    let begun = Timeline::from_bytes([7; 16]);
    cut_short(&cluster.data(0), begun);
    cluster.start_node(0);
    assert!(!cluster.node(0).ended());
    assert!(cluster.node(0).said().contains("recovery of the data folder was cut short"), "{}", cluster.node(0).said());
    let held = shown(&cluster.data(0));
    assert_eq!(held["half_recovered"], json!(true));
    recover(&cluster.data(0), &["--make-sole-member", "--confirm", held["cluster"].as_str().unwrap()]).unwrap();
    cluster.start_node(0);
    cluster.ready();
    check_serves(&cluster, 0, 1);
    assert_eq!(timeline(&cluster), begun.to_string());
}
