//! What was answered is there: after the leader was killed, after everything was restarted, after an edge was killed
//! between storing and pushing. And a folder that was lost does not come back under its node's id.

use serde_json::json;
use skerry_tests::processes::{Cluster, Edge, until};

use super::requests::{BINARIES, Load, create, read, write};

#[test]
fn acknowledged_writes_survive_the_leader() {
    let mut cluster = Cluster::start(BINARIES, 3, 4);
    create(&cluster.url(0), "items", "strict");
    let urls = cluster.urls();
    let leader = cluster.leader();
    let load = Load::default();
    load.during(4, &urls, || {
        until("writes before the kill", || (load.count() >= 50).then_some(()));
        cluster.kill(leader);
        let at_kill = load.count();
        until("writes after the kill", || (load.count() >= at_kill + 50).then_some(()));
    });
    cluster.start_node(leader);
    cluster.ready();
    load.check(&cluster, 0..3);
}

#[test]
fn everything_is_there_after_a_restart() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    create(&cluster.url(1), "items", "lww");
    let mut edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    until("the collection", || {
        (write(&edge.url(), "PUT", "items", "edge", &json!({ "at": "edge" })) == 201).then_some(())
    });
    assert_eq!(write(&cluster.url(2), "PUT", "items", "core", &json!({ "at": "core" })), 201);
    edge.synced();
    for node in 0..3 {
        assert!(cluster.node(node).stop(), "{}", cluster.node(node).said());
    }
    edge.process().kill();
    for node in 0..3 {
        cluster.start_node(node);
    }
    cluster.ready();
    edge.restart();
    edge.synced();
    for url in cluster.urls().into_iter().chain([edge.url()]) {
        for at in ["core", "edge"] {
            until(format!("{at} at {url}"), || read(&url, "items", at).filter(|shown| *shown == json!({ "at": at })));
        }
    }
}

#[test]
fn an_edge_killed_before_it_pushed_loses_and_repeats_nothing() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    create(&cluster.url(0), "items", "lww");
    let mut edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    until("the collection", || (write(&edge.url(), "PUT", "items", "first", &json!({ "n": 0 })) == 201).then_some(()));
    edge.synced();
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    for number in 1..=20 {
        let key = format!("key-{number}");
        assert_eq!(write(&edge.url(), "PUT", "items", &key, &json!({ "n": number })), 201);
    }
    edge.process().kill();
    edge.restart();
    edge.synced();
    for number in 1..=20 {
        let key = format!("key-{number}");
        assert_eq!(read(&cluster.url(0), "items", &key), Some(json!({ "n": number })));
    }
}

#[test]
fn an_emptied_folder_does_not_come_back() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    create(&cluster.url(0), "items", "strict");
    for _ in 0..3 {
        assert!(cluster.node(2).stop(), "{}", cluster.node(2).said());
        cluster.start_node(2);
        cluster.ready();
    }
    assert!(cluster.node(2).stop());
    std::fs::remove_dir_all(cluster.data(2)).unwrap();
    cluster.start_node(2);
    assert!(!cluster.node(2).ended());
    let said = cluster.node(2).said();
    assert!(said.contains("the data folder is empty, but the cluster already knows node 3"), "{said}");
    assert_eq!(write(&cluster.url(0), "PUT", "items", "rope", &json!({ "remaining": 40 })), 201);
}
