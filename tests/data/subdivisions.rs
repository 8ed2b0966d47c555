//! Real data, in and out: the country subdivisions of Debian's iso-codes, imported into a strict collection, held by an
//! edge, exported from both, and compared byte for byte.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use skerry_tests::processes::{Binaries, Cluster, Edge, run, until};

const BINARIES: Binaries =
    Binaries { skerry: env!("CARGO_BIN_EXE_skerry-under-test"), edge: env!("CARGO_BIN_EXE_skerry-edge-under-test") };
const SUBDIVISIONS: &str = "/usr/share/iso-codes/json/iso_3166-2.json";

#[test]
#[ignore = "needs iso-codes"]
fn subdivisions_come_back_byte_for_byte() {
    let file: Value = serde_json::from_slice(&fs::read(SUBDIVISIONS).unwrap()).unwrap();
    let subdivisions = file["3166-2"].as_array().unwrap();
    assert!(subdivisions.len() > 4_000, "{} subdivisions", subdivisions.len());
    let line = |value: &Value| {
        let value = serde_json::to_string(value).unwrap();
        format!(r#"{{"key":{},"value":{value}}}"#, serde_json::from_str::<Value>(&value).unwrap()["code"])
    };
    let lines: BTreeSet<String> = subdivisions.iter().map(line).collect();
    let cluster = Cluster::start(BINARIES, 3, 4);
    let path = cluster.folder().join("subdivisions.ndjson");
    fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();

    cluster.cli(&["collection", "create", "subdivisions", "--policy", "strict"]).unwrap();
    cluster.cli(&["import", "subdivisions", path.to_str().unwrap()]).unwrap();
    let exported = cluster.cli(&["export", "subdivisions"]).unwrap();
    assert_eq!(exported.lines().map(ToOwned::to_owned).collect::<BTreeSet<_>>(), lines);

    let edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    let held = until("the edge to hold them all", || {
        let held = scan(&edge.url())?;
        (held.len() == lines.len()).then_some(held)
    });
    assert_eq!(held, lines);
}

/// Every document of an edge, as lines.
fn scan(url: &str) -> Option<BTreeSet<String>> {
    let scanned = run(BINARIES.edge, url, &["scan", "subdivisions", "--all", "--json"]).ok()?;
    let line = |listed: &str| {
        let listed: Value = serde_json::from_str(listed).unwrap();
        format!(r#"{{"key":{},"value":{}}}"#, listed["key"], listed["value"])
    };
    Some(scanned.lines().map(line).collect())
}
