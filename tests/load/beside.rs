//! What a plugin that takes all the fuel it may does to the other collections: nothing, if all is well.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use skerry_tests::processes::{Binaries, Cluster, Edge, http, until};

use super::clients::{Load, run};
use super::guest::Guest;
use super::table::binaries;

const TIME: Duration = Duration::from_secs(10);
const WRITERS: usize = 8;

fn measure(policy: &str) {
    let edge = env!("CARGO_BIN_EXE_skerry-edge-under-test");
    let cluster = Cluster::start(Binaries { edge, ..binaries() }, 3, 1);
    let core = cluster.url(cluster.leader());
    let component = cluster.folder().join("slow.wasm");
    std::fs::write(&component, Guest::on_two_conflicts("(loop $ever br $ever)").bytes()).unwrap();
    cluster.cli(&["plugin", "deploy", "slow", component.to_str().unwrap()]).unwrap();
    let ask = |url: &str, method: &str, at: &str, body: serde_json::Value| {
        let (status, answer) = http(&format!("{url}/v1/collections/{at}"), method, Some(&body)).unwrap();
        assert!(status < 300, "{status}: {answer}");
    };
    ask(&core, "PUT", "slow", json!({ "policy": "plugin:slow" }));
    let key = |number: usize| format!("slow/documents/d{number}");
    (0..WRITERS).for_each(|number| ask(&core, "PUT", &key(number), json!({ "a": { "one": "", "two": "" } })));
    let keys: Vec<_> = (0..WRITERS).map(|number| format!("d{number}")).collect();
    drop(Edge::conflicting(
        &cluster,
        "slow",
        &keys,
        &["x", "y"].map(|text| json!({ "a": { "one": text, "two": text } })),
    ));
    ask(&core, "PUT", "load", json!({ "policy": policy }));
    let load = Load { system: "skerry", url: &core, operation: "put", keys: 1_000, connections: 64, time: TIME };
    run(Load { time: Duration::from_secs(3), ..load });
    let alone = run(load);
    let (stop, burnt) = (AtomicBool::new(false), AtomicUsize::new(0));
    let beside = std::thread::scope(|scope| {
        for number in 0..WRITERS {
            let (at, core, stop, burnt) = (key(number), &core, &stop, &burnt);
            scope.spawn(move || {
                for seen in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let body = json!({ "seen": seen });
                    let written = http(&format!("{core}/v1/collections/{at}"), "PATCH", Some(&body));
                    burnt.fetch_add(usize::from(written.is_ok_and(|(status, _)| status == 200)), Ordering::Relaxed);
                }
            });
        }
        until("all of them to burn", || (burnt.load(Ordering::Relaxed) >= WRITERS).then_some(()));
        burnt.store(0, Ordering::Relaxed);
        let beside = run(load);
        stop.store(true, Ordering::Relaxed);
        beside
    });
    let (one, other, burnt) = (alone.per_second(), beside.per_second(), burnt.load(Ordering::Relaxed));
    println!(
        "{policy}: {one:.0} puts/s alone, p99 {} us; beside {burnt} slow writes {other:.0}, p99 {} us, {:.2}",
        alone.p99_micros,
        beside.p99_micros,
        other / one
    );
}

#[test]
#[ignore = "needs wrk, a release build and an idle machine: cargo xtask load"]
fn measure_beside_a_slow_plugin() {
    ["strict", "lww"].into_iter().for_each(measure);
}
