//! Damaged folders: a state that does not open is rebuilt, from the log or from a peer; a log that does not open, or lacks
//! what the state has applied, never comes back.

use std::path::Path;

use serde_json::json;
use skerry_tests::processes::{Cluster, Process, until};

use super::requests::{BINARIES, create, read, write};

fn fill(cluster: &Cluster, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(write(&cluster.url(0), "PUT", "items", &format!("key-{number}"), &json!({ "n": number })), 201);
    }
}

#[track_caller]
fn check(cluster: &Cluster, node: usize, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let key = format!("key-{number}?consistency=local");
        until(format!("{key} on node {}", node + 1), || {
            (read(&cluster.url(node), "items", &key) == Some(json!({ "n": number }))).then_some(())
        });
    }
}

/// Overwrites what says which files the database has.
fn corrupt(database: &Path) {
    std::fs::write(database.join("version"), b"nothing that was ever written").unwrap();
}

/// The state is damaged while its log is whole.
#[test]
fn a_damaged_state_is_rebuilt_from_the_log() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    create(&cluster.url(0), "items", "strict");
    fill(&cluster, 0..50);
    assert!(cluster.node(2).stop(), "{}", cluster.node(2).said());
    corrupt(&cluster.data(2).join("state"));
    cluster.start_node(2);
    cluster.ready();
    check(&cluster, 2, 0..50);
    assert!(cluster.data(2).join("state.damaged-1").exists());
    let said = cluster.node(2).said();
    assert!(said.contains("the state database is damaged: it was moved aside and is rebuilt"), "{said}");
    // It votes: without one of the others it is needed.
    cluster.kill(0);
    until("a write", || (write(&cluster.url(2), "PUT", "items", "after", &json!({})) == 201).then_some(()));
}

#[test]
fn a_damaged_log_never_comes_back() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    create(&cluster.url(0), "items", "strict");
    fill(&cluster, 0..10);
    assert!(cluster.node(2).stop());
    corrupt(&cluster.data(2).join("log"));
    cluster.start_node(2);
    assert!(!cluster.node(2).ended());
    let said = cluster.node(2).said();
    assert!(said.contains("a log that is damaged is never repaired"), "{said}");
    assert!(said.contains("replace the node"), "{said}");
    fill(&cluster, 10..20);
}

/// Copies a folder.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A log put back from an older copy, beside the state that it has led to.
#[test]
fn a_log_that_was_rolled_back_never_comes_back() {
    let mut cluster = Cluster::start(BINARIES, 1, 1);
    create(&cluster.url(0), "items", "strict");
    fill(&cluster, 0..5);
    assert!(cluster.node(0).stop());
    let (log, old) = (cluster.data(0).join("log"), cluster.folder().join("old"));
    copy(&log, &old);
    cluster.start_node(0);
    cluster.ready();
    fill(&cluster, 5..10);
    assert!(cluster.node(0).stop());
    std::fs::remove_dir_all(&log).unwrap();
    copy(&old, &log);
    cluster.start_node(0);
    assert!(!cluster.node(0).ended());
    let said = cluster.node(0).said();
    assert!(said.contains("the log was rolled back or damaged"), "{said}");
    assert!(said.contains("skerry cluster replace"), "{said}");
}

#[test]
fn a_folder_of_many_nodes_is_no_nodes_own() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    let folder = cluster.folder().to_str().unwrap();
    let arguments = ["serve", "--bootstrap", "--http", "127.0.0.1:0", "--data", folder];
    let mut serving = Process::start(BINARIES.skerry, &arguments.map(str::to_owned));
    assert!(!serving.ended());
    assert!(serving.said().contains("is one of skerry dev's"), "{}", serving.said());
}
