//! What user-written conflict code costs: writes to documents that are all in conflict, so that each runs the resolver,
//! beside the same writes under the built-in `lww`.

use std::time::Duration;

use serde_json::json;
use skerry_runtime::standard::STOCK;
use skerry_tests::processes::{Binaries, Cluster, Edge, http};

use super::clients::{Load, Report, run};
use super::table::binaries;

const DOCUMENTS: u32 = 200;
const TIME: Duration = Duration::from_secs(10);

fn ask(url: &str, method: &str, at: &str, body: &serde_json::Value) {
    let (status, answer) = http(&format!("{url}/v1/collections/{at}"), method, Some(body)).unwrap();
    assert!(status < 300, "{status}: {answer}");
}

/// Writes a second to documents whose `remaining` two edges have written at once.
fn measure(policy: &str) -> Report {
    let edge = env!("CARGO_BIN_EXE_skerry-edge-under-test");
    let cluster = Cluster::start(Binaries { edge, ..binaries() }, 3, 1);
    let core = cluster.url(cluster.leader());
    let component = cluster.folder().join("stock.wasm");
    std::fs::write(&component, STOCK.component).unwrap();
    cluster.cli(&["plugin", "deploy", "stock", component.to_str().unwrap()]).unwrap();
    ask(&core, "PUT", "load", &json!({ "policy": policy }));
    let keys: Vec<_> = (1..=DOCUMENTS).map(|number| format!("of-{DOCUMENTS}-{number}")).collect();
    keys.iter().for_each(|key| ask(&core, "PUT", &format!("load/documents/{key}"), &json!({ "remaining": 100 })));
    drop(Edge::conflicting(&cluster, "load", &keys, &[91, 92].map(|remaining| json!({ "remaining": remaining }))));
    let conflicts = cluster.cli(&["conflicts", "show", "load", "of-200-1", "--json"]).unwrap();
    assert!(conflicts.contains("/remaining"), "{conflicts}");
    run(Load { system: "skerry", url: &core, operation: "patch", keys: DOCUMENTS, connections: 64, time: TIME })
}

#[test]
#[ignore = "needs wrk, a release build and an idle machine: cargo xtask load"]
fn measure_merges_against_lww() {
    let (lww, stock) = (measure("lww"), measure("plugin:stock"));
    for (policy, report) in [("lww", lww), ("plugin:stock", stock)] {
        let (each, p50, p99) = (report.per_second(), report.p50_micros, report.p99_micros);
        println!("{policy}: {each:.0} writes/s, p50 {p50} us, p99 {p99} us");
    }
    println!("plugin:stock has {:.2} of the throughput of lww", stock.per_second() / lww.per_second());
}
