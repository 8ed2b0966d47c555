//! The same steps as the peers', with an edge and a core node.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, Cluster, Edge, http, run, until};

use super::counted::Counted;

/// One step, as peers report it too.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) seconds: f64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

impl Step {
    fn new(step: &str, took: Duration, (bytes_up, bytes_down): (u64, u64)) -> Self {
        Self { step: step.to_owned(), seconds: took.as_secs_f64(), bytes_up, bytes_down }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_up + self.bytes_down
    }
}

/// Release builds: `SKERRY_BINARY`, and `skerry-edge` beside it.
fn binaries() -> Binaries {
    let skerry = std::env::var("SKERRY_BINARY").expect("SKERRY_BINARY names a release build of skerry");
    let edge = Path::new(&skerry).with_file_name("skerry-edge").display().to_string();
    Binaries { skerry: skerry.leak(), edge: edge.leak() }
}

/// Documents of about 200 bytes, a line for each.
fn documents(folder: &Path, name: &str, count: usize) -> PathBuf {
    let mut lines = String::new();
    for number in 0..count {
        let value = json!({
            "name": format!("{name} {number}"), "price": number % 997, "remaining": number % 89,
            "place": format!("shelf {} of hall {}", number % 331, number % 17),
            "note": format!("{:016x}{:016x}{:016x}", number * 7919, number * 104_729, number * 1_299_709),
        });
        writeln!(lines, "{}", json!({ "key": format!("{name}-{number:07}"), "value": value })).unwrap();
    }
    let file = folder.join(format!("{name}.ndjson"));
    std::fs::write(&file, lines).unwrap();
    file
}

fn status(edge: &Edge) -> Option<Value> {
    http(&format!("{}/v1/sync/status", edge.url()), "GET", None).ok().map(|(_, status)| status)
}

/// Until the edge says so.
fn waits(edge: &Edge, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    until(what, || status(edge).filter(&holds));
    began.elapsed()
}

/// How long a sync takes that finds nothing: the middle of five.
fn in_sync(edge: &Edge, proxy: &Counted, step: &str) -> Step {
    proxy.take();
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let began = Instant::now();
            let (status, _) = http(&format!("{}/v1/sync", edge.url()), "POST", None).unwrap();
            assert_eq!(status, 200);
            began.elapsed()
        })
        .collect();
    let (up, down) = proxy.take();
    times.sort_unstable();
    Step::new(step, times[2], (up / 5, down / 5))
}

#[expect(clippy::disallowed_methods, reason = "an idle process is one that was left alone for a while")]
fn settle_down() {
    std::thread::sleep(Duration::from_secs(5));
}

/// Memory that a process has, in bytes.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The steps, and the memory of an edge that holds so many documents and does nothing, in bytes.
pub(super) fn measure(count: usize) -> (Vec<Step>, u64) {
    let cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    let (status_code, answer) =
        http(&format!("{core}/v1/collections/items"), "PUT", Some(&json!({ "policy": "lww" }))).unwrap();
    assert!(status_code < 300, "{answer}");
    let file = documents(cluster.folder(), "first", count);
    run(binaries().skerry, &core, &["import", "items", file.to_str().unwrap()]).unwrap();
    let proxy = Counted::before(core.trim_start_matches("http://").parse().unwrap());
    let mut steps = Vec::new();

    let began = Instant::now();
    let mut edge = Edge::start_to(&cluster, "first", &proxy.url());
    waits(&edge, "the first copy", |status| status["copied"] == true && status["documents"] == count);
    steps.push(Step::new("first-copy", began.elapsed(), proxy.take()));
    steps.push(in_sync(&edge, &proxy, "already-in-sync"));
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    waits(&edge, "the core", |status| status["connected"] == true);
    settle_down();
    let idle = resident(edge.process().id());
    assert!(edge.process().stop(), "{}", edge.process().said());

    // Another edge, which holds nothing of what is there and writes as much offline.
    let mut edge = Edge::start_to(&cluster, "second", &proxy.url());
    let nothing = json!({ "subscription": ["items/second"] });
    http(&format!("{}/v1/sync/subscription", edge.url()), "PUT", Some(&nothing)).unwrap();
    waits(&edge, "nothing but its own", |status| status["copied"] == true && status["documents"] == 0);
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    let file = documents(cluster.folder(), "second", count);
    run(binaries().skerry, &edge.url(), &["import", "items", file.to_str().unwrap()]).unwrap();
    assert!(edge.process().stop(), "{}", edge.process().said());
    proxy.take();
    let began = Instant::now();
    edge.restart();
    waits(&edge, "the push", |status| status["connected"] == true && status["unsent"] == 0);
    steps.push(Step::new("push", began.elapsed(), proxy.take()));
    waits(&edge, "what comes back", |status| status["documents"] == count);
    steps.push(in_sync(&edge, &proxy, "already-in-sync-push"));
    (steps, idle)
}
