//! A core that is put back to an older copy of its folder, and ten edges that find their way to it.

use serde_json::{Value, json};
use skerry_tests::processes::{Cluster, Edge, http, run, until};

use super::recover::{copy, recover};
use super::requests::{BINARIES, create, read, sync_status, write};

const EDGES: usize = 10;

fn increment(url: &str, by: usize) {
    let at = format!("{url}/v1/collections/sums/documents/sold/operations");
    let (status, answer) = http(&at, "POST", Some(&json!({ "inc": by }))).unwrap();
    assert!(status < 300, "{status}: {answer}");
}

fn sold(url: &str) -> u64 {
    read(url, "sums", "sold").map_or(0, |sum| sum["value"].as_u64().unwrap())
}

fn key(edge: usize, when: &str) -> String {
    format!("{when}-{edge}")
}

/// Each edge writes a document of its own and sells some.
fn work(edges: &[Edge], when: &str, by: usize) {
    for (number, edge) in edges.iter().enumerate() {
        assert_eq!(write(&edge.url(), "PUT", "items", &key(number, when), &json!({ "at": when })), 201);
        increment(&edge.url(), by);
    }
}

/// Puts an older copy of the core's folder in place of the folder, recovers it, and starts the core on it.
fn put_back(cluster: &mut Cluster, copied: &std::path::Path, options: &[&str]) {
    replace(cluster, copied);
    recover_copy(cluster, options);
}

/// Puts an older copy of the core's folder in place of the folder.
fn replace(cluster: &Cluster, copied: &std::path::Path) {
    let data = cluster.data(0);
    std::fs::remove_dir_all(&data).unwrap();
    copy(copied, &data);
}

/// Recovers the core on its folder, and starts it.
fn recover_copy(cluster: &mut Cluster, options: &[&str]) {
    let data = cluster.data(0);
    let shown: Value = serde_json::from_str(&recover(&data, &["--json"]).unwrap()).unwrap();
    let cluster_id = shown["cluster"].as_str().unwrap();
    let arguments = [&["--make-sole-member", "--older-copy", "--confirm", cluster_id], options].concat();
    recover(&data, &arguments).unwrap();
    cluster.start_node(0);
    cluster.ready();
}

fn stop(cluster: &mut Cluster) {
    assert!(cluster.node(0).stop(), "{}", cluster.node(0).said());
}

#[test]
fn ten_edges_find_their_way_to_a_core_that_was_put_back() {
    let mut cluster = Cluster::start(BINARIES, 1, 2);
    create(&cluster.url(0), "items", "lww");
    create(&cluster.url(0), "sums", "counter");
    let edges: Vec<_> = (0..EDGES).map(|number| Edge::start(&cluster, &format!("shop-{number}"))).collect();
    edges.iter().for_each(Edge::synced);
    work(&edges, "before", 1);
    edges.iter().for_each(Edge::synced);

    stop(&mut cluster);
    let copied = cluster.folder().join("copied");
    copy(&cluster.data(0), &copied);
    cluster.start_node(0);
    cluster.ready();
    work(&edges, "after", 100);
    edges.iter().for_each(Edge::synced);
    until("the core to have all", || (sold(&cluster.url(0)) == 1_010).then_some(()));
    stop(&mut cluster);
    work(&edges, "unsent", 10_000);

    put_back(&mut cluster, &copied, &[]);
    let core = cluster.url(0);
    for (number, edge) in edges.iter().enumerate() {
        until(format!("edge {number} to have sent all"), || (sync_status(edge, "unsent") == 0).then_some(()));
        assert_eq!(sync_status(edge, "stranded"), 2, "{number}");
        assert_eq!(read(&core, "items", &key(number, "after")), None);
        for when in ["before", "unsent"] {
            assert_eq!(read(&core, "items", &key(number, when)), Some(json!({ "at": when })), "{number} {when}");
        }
    }
    assert_eq!(sold(&core), 100_010, "what was never acknowledged counts once, what was stranded does not");
    edges.iter().for_each(Edge::synced);
    for edge in &edges {
        until("the sum at an edge", || (sold(&edge.url()) == 100_010).then_some(()));
    }
    for edge in &edges {
        run(BINARIES.edge, &edge.url(), &["stranded", "retry", "--all"]).unwrap();
    }
    until("what was stranded to come back", || (sold(&core) == 101_010).then_some(()));

    // Once more, and this time the operator has them offer it again themselves.
    stop(&mut cluster);
    put_back(&mut cluster, &copied, &["--replay-edges"]);
    for (number, edge) in edges.iter().enumerate() {
        until(format!("edge {number} to have sent all again"), || {
            let settled = sync_status(edge, "unsent") == 0 && sync_status(edge, "connected") == true;
            (settled && read(&core, "items", &key(number, "unsent")).is_some()).then_some(())
        });
        assert_eq!(sync_status(edge, "stranded"), 0, "{number}");
        for when in ["before", "after", "unsent"] {
            assert_eq!(read(&core, "items", &key(number, when)), Some(json!({ "at": when })), "{number} {when}");
        }
    }
    until("every sale, once", || (sold(&core) == 101_010).then_some(()));
}

/// A core that runs on an older copy as if nothing had happened is no fork of the edge's folder: the edge says what is wrong
/// and sends nothing, and once the core is recovered nothing is lost.
#[test]
fn a_core_that_was_put_back_without_a_word_is_told_apart() {
    let mut cluster = Cluster::start(BINARIES, 1, 1);
    let core = cluster.url(0);
    create(&core, "items", "lww");
    let edge = Edge::start(&cluster, "shop");
    edge.synced();
    let put = |key: &str| assert_eq!(write(&edge.url(), "PUT", "items", key, &json!({ "at": key })), 201);
    put("before");
    edge.synced();
    stop(&mut cluster);
    let copied = cluster.folder().join("copied");
    copy(&cluster.data(0), &copied);
    cluster.start_node(0);
    cluster.ready();
    put("after");
    until("the core to have it", || read(&core, "items", "after"));
    edge.synced();
    stop(&mut cluster);

    replace(&cluster, &copied);
    cluster.start_node(0);
    cluster.ready();
    put("late");
    until("the edge to say so", || {
        sync_status(&edge, "error").as_str().filter(|said| said.contains("skerry recover")).map(|_| ())
    });
    assert_eq!(sync_status(&edge, "unsent"), 1);
    assert_eq!(read(&core, "items", "late"), None);

    stop(&mut cluster);
    recover_copy(&mut cluster, &[]);
    until("the rest at the core", || read(&core, "items", "late"));
    until("what it lost to be stranded", || (sync_status(&edge, "stranded") == 1).then_some(()));
    assert_eq!(read(&core, "items", "after"), None);
}

/// Two edges on copies of one folder: one is held and says so, and goes on under a name of its own.
#[test]
fn copies_of_a_folder_do_not_take_turns_for_ever() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    create(&cluster.url(0), "items", "lww");
    let mut one = Edge::start(&cluster, "shop");
    one.synced();
    assert!(one.process().stop(), "{}", one.process().said());
    copy(&cluster.folder().join("shop"), &cluster.folder().join("copy"));
    one.restart();
    let mut other = Edge::start_as(&cluster, "shop", "copy");
    let edges = [&one, &other];
    let held = |edge: &Edge| {
        let said = sync_status(edge, "error");
        said.as_str().is_some_and(|said| said.contains("skerry-edge enrol"))
    };
    let mut written = 0;
    let held = until("a copy to be held", || {
        for edge in edges {
            let key = format!("k{written}");
            assert_eq!(write(&edge.url(), "PUT", "items", &key, &json!({})), 201);
            written += 1;
        }
        std::iter::zip(edges, 0..).find(|(edge, _)| held(edge)).map(|(_, at)| at)
    });
    let (mut one, name) = if held == 0 { (one, "shop") } else { (std::mem::replace(&mut other, one), "copy") };
    assert!(one.process().stop(), "{}", one.process().said());
    let data = cluster.folder().join(name).display().to_string();
    let enrol = ["enrol", "--data", &data, "--replica", "shop-2", "--core", &cluster.url(0)];
    run(BINARIES.edge, &cluster.url(0), &enrol).unwrap();
    let one = Edge::start_as(&cluster, "shop-2", name);
    for edge in [&one, &other] {
        until("everything", || {
            edge.synced();
            (sync_status(edge, "documents") == written).then_some(())
        });
    }
    let missing: Vec<_> =
        (0..written).filter(|at| read(&cluster.url(0), "items", &format!("k{at}")).is_none()).collect();
    assert_eq!(missing, [] as [i32; 0]);
}
