//! Requests of the tests.

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, http};

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

/// Writes a document; answers the status.
pub(super) fn write(url: &str, method: &str, collection: &str, key: &str, body: &Value) -> u16 {
    let at = format!("{url}/v1/collections/{collection}/documents/{key}");
    http(&at, method, Some(body)).map_or(0, |(status, _)| status)
}
