//! Many clients that want the same thing at once.

use serde_json::json;
use skerry_tests::processes::Cluster;

use super::requests::{BINARIES, create, read, write};

/// Patches that wait for each other, each of which rewrites most of a large document: together they are more than a record
/// takes, and each is written all the same.
#[test]
fn writes_of_one_large_document_do_not_refuse_each_other() {
    const WRITERS: usize = 32;
    let cluster = Cluster::start(BINARIES, 3, 1);
    let url = cluster.url(cluster.leader());
    create(&url, "items", "strict");
    let large = json!({ "a": 0, "middle": "x".repeat(1_000_000), "z": 0 });
    assert_eq!(write(&url, "PUT", "items", "large", &large), 201);
    let statuses = std::thread::scope(|scope| {
        let patch = |writer: usize| {
            let patch = json!({ "a": writer + 1, "z": writer + 1, (format!("w{writer}")): true });
            write(&url, "PATCH", "items", "large", &patch)
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || patch(writer))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses, [200; WRITERS]);
    let found = read(&url, "items", "large").unwrap();
    assert!((0..WRITERS).all(|writer| found[format!("w{writer}")] == true), "a write was acknowledged and is missing");
    assert_eq!(found["a"], found["z"]);
}
