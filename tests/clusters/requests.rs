//! Requests of the tests.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, Cluster, Edge, http};

pub(super) const BINARIES: Binaries =
    Binaries { skerry: env!("CARGO_BIN_EXE_skerry-under-test"), edge: env!("CARGO_BIN_EXE_skerry-edge-under-test") };

/// Makes a collection.
pub(super) fn create(url: &str, collection: &str, policy: &str) {
    let made = http(&format!("{url}/v1/collections/{collection}"), "PUT", Some(&json!({ "policy": policy }))).unwrap();
    assert!(made.0 < 300, "{made:?}");
}

/// A document, or none.
pub(super) fn read(url: &str, collection: &str, key: &str) -> Option<Value> {
    let (status, body) = http(&format!("{url}/v1/collections/{collection}/documents/{key}"), "GET", None).unwrap();
    match status {
        200 => Some(body),
        404 => None,
        _ => panic!("{status}: {body}"),
    }
}

/// Writes a document; answers the status, 0 where no answer came.
pub(super) fn write(url: &str, method: &str, collection: &str, key: &str, body: &Value) -> u16 {
    ask(url, method, collection, key, body).map_or(0, |(status, _)| status)
}

fn ask(url: &str, method: &str, collection: &str, key: &str, body: &Value) -> Result<(u16, Value), reqwest::Error> {
    http(&format!("{url}/v1/collections/{collection}/documents/{key}"), method, Some(body))
}

/// A field of what an edge says of its sync.
pub(super) fn sync_status(edge: &Edge, field: &str) -> Value {
    http(&format!("{}/v1/sync/status", edge.url()), "GET", None).unwrap().1[field].clone()
}

/// Writers that never stop, and what they were told is written.
#[derive(Default)]
pub(super) struct Load {
    acknowledged: Mutex<BTreeMap<String, usize>>,
    failed: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// Ends the writers also when the test fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Does something while so many writers put documents of their own into `items`, at these nodes in turn.
    pub(super) fn during(&self, writers: usize, urls: &[String], act: impl FnOnce()) {
        std::thread::scope(|scope| {
            let _stops = Stops(&self.stop);
            for writer in 0..writers {
                scope.spawn(move || self.write(writer, urls));
            }
            act();
        });
    }

    fn write(&self, writer: usize, urls: &[String]) {
        for number in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("{writer}-{number}");
            let url = &urls[(writer + number) % urls.len()];
            match ask(url, "PUT", "items", &key, &json!({ "number": number })) {
                Ok((201, _)) => drop(self.acknowledged.lock().unwrap().insert(key, number)),
                other => self.failed.lock().unwrap().push(format!("{other:?}")),
            }
        }
    }

    /// How many documents were acknowledged so far.
    pub(super) fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// What the others were answered, or why they were not.
    pub(super) fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }

    /// Everything that was acknowledged is on each of these nodes.
    #[track_caller]
    pub(super) fn check(&self, cluster: &Cluster, nodes: std::ops::Range<usize>) {
        for node in nodes {
            for (key, number) in &*self.acknowledged.lock().unwrap() {
                let found = read(&cluster.url(node), "items", key);
                assert_eq!(found, Some(json!({ "number": number })), "{key} on node {}", node + 1);
            }
        }
    }
}
