//! Puts and gets of both in turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use skerry_tests::processes::{Binaries, Cluster, http, metric, metrics};

use super::clients::{Load, Report, run};
use super::etcd::Etcd;
use super::processor::{pause, used_by};

/// Keys that are written again and again.
const KEYS: u32 = 1_000;
const CONNECTIONS: u32 = 64;
/// How long each shape runs, and new keys.
const TIME: Duration = Duration::from_secs(10);
const TIME_UNIQUE: Duration = Duration::from_secs(60);

/// The binary that is measured: built for release, where the caller says.
pub(super) fn binaries() -> Binaries {
    let skerry = std::env::var("SKERRY_BINARY").expect("SKERRY_BINARY names a release build: cargo xtask load does it");
    Binaries { skerry: Box::leak(skerry.into_boxed_str()), edge: "" }
}

/// Each shape's figures.
struct Figures {
    puts: Report,
    cpu_per_put: Duration,
    syncs_per_put: Option<f64>,
    gets: Report,
    single_puts: Report,
    single_gets: Report,
    unique: Report,
    /// Puts in the slowest second, as a part of the mean.
    slowest: f64,
}

/// One system under load.
struct Subject<'a> {
    system: &'a str,
    url: String,
    processes: Vec<u32>,
    /// Puts that it has committed.
    committed: Box<dyn Fn() -> f64 + Sync + 'a>,
    /// Commits that waited for the disk, of all nodes, where it says so.
    syncs: Box<dyn Fn() -> Option<f64> + Sync + 'a>,
}

impl Subject<'_> {
    fn load(&self, operation: &str, keys: u32, connections: u32, time: Duration) -> Report {
        run(Load { system: self.system, url: &self.url, operation, keys, connections, time })
    }

    fn measure(&self) -> Figures {
        self.load("put", KEYS, CONNECTIONS, Duration::from_secs(3));
        let (used, synced) = (used_by(&self.processes), (self.syncs)());
        let puts = self.load("put", KEYS, CONNECTIONS, TIME);
        let requests = puts.requests();
        let cpu_per_put = (used_by(&self.processes) - used) / u32::try_from(requests).unwrap();
        let syncs_per_put = (self.syncs)().zip(synced).map(|(after, before)| (after - before) / requests as f64);
        let gets = self.load("get", KEYS, CONNECTIONS, TIME);
        let single_puts = self.load("put", KEYS, 1, TIME);
        let single_gets = self.load("get", KEYS, 1, TIME);
        let (unique, slowest) = self.unique();
        Figures { puts, cpu_per_put, syncs_per_put, gets, single_puts, single_gets, unique, slowest }
    }

    /// New keys for long, with how many were committed in each second.
    fn unique(&self) -> (Report, f64) {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let (mut seconds, mut last, mut at) = (Vec::new(), (self.committed)(), Instant::now());
                while !done.load(Ordering::Relaxed) {
                    pause(Duration::from_secs(1));
                    let now = (self.committed)();
                    seconds.push((now - last) / at.elapsed().as_secs_f64());
                    (last, at) = (now, Instant::now());
                }
                seconds
            });
            let report = self.load("put", 0, CONNECTIONS, TIME_UNIQUE);
            done.store(true, Ordering::Relaxed);
            let seconds = watching.join().unwrap();
            // The load begins and ends within a second.
            let whole = &seconds[1..seconds.len() - 2];
            let mean = whole.iter().sum::<f64>() / whole.len() as f64;
            (report, whole.iter().copied().fold(f64::MAX, f64::min) / mean)
        })
    }
}

fn skerry(shards: u16) -> Figures {
    let mut cluster = Cluster::start(binaries(), 3, shards);
    let made = http(&format!("{}/v1/collections/load", cluster.url(0)), "PUT", Some(&json!({ "policy": "strict" })));
    assert!(made.unwrap().0 < 300);
    let (url, urls) = (cluster.url(cluster.leader()), cluster.urls());
    let processes = (0..3).map(|node| cluster.node(node).id()).collect();
    let at = url.clone();
    // One record carries many puts.
    let committed = Box::new(move || metrics(&at, "skerry_http_requests_total{method=\"PUT\""));
    let syncs = Box::new(move || Some(urls.iter().map(|url| metric(url, "skerry_log_syncs")).sum()));
    Subject { system: "skerry", url, processes, committed, syncs }.measure()
}

fn etcd() -> Figures {
    let etcd = Etcd::start();
    let url = etcd.leader();
    let at = url.clone();
    let committed = Box::new(move || metric(&at, "etcd_server_proposals_committed_total"));
    Subject { system: "etcd", url, processes: etcd.processes(), committed, syncs: Box::new(|| None) }.measure()
}

#[test]
#[ignore = "needs etcd, wrk and an idle machine: cargo xtask load"]
fn measure_against_etcd() {
    const HEADINGS: [&str; 15] = [
        "puts/s",
        "ratio",
        "p50 ms",
        "p99 ms",
        "gets/s",
        "ratio",
        "p50 ms",
        "p99 ms",
        "1c put/s",
        "ratio",
        "1c get/s",
        "unique/s",
        "ratio",
        "slowest",
        "cpu us/put",
    ];
    let cells = |name: &str, cells: &[String]| {
        println!("{name:<14}{}", cells.iter().map(|cell| format!("{cell:>11}")).collect::<String>());
    };
    cells("", &HEADINGS.map(str::to_owned));
    let peer = etcd();
    let row = |name: &str, figures: &Figures| {
        let ratio = |of: fn(&Figures) -> &Report| format!("{:.2}", of(figures).per_second() / of(&peer).per_second());
        let rate = |report: &Report| format!("{:.0}", report.per_second());
        let millis = |micros: u64| format!("{:.2}", micros as f64 / 1_000.0);
        cells(
            name,
            &[
                rate(&figures.puts),
                ratio(|f| &f.puts),
                millis(figures.puts.p50_micros),
                millis(figures.puts.p99_micros),
                rate(&figures.gets),
                ratio(|f| &f.gets),
                millis(figures.gets.p50_micros),
                millis(figures.gets.p99_micros),
                rate(&figures.single_puts),
                ratio(|f| &f.single_puts),
                rate(&figures.single_gets),
                rate(&figures.unique),
                ratio(|f| &f.unique),
                format!("{:.2}", figures.slowest),
                figures.cpu_per_put.as_micros().to_string(),
            ],
        );
        if let Some(syncs) = figures.syncs_per_put {
            println!("{:<14}{syncs:.3} fsyncs of all nodes for each put at {CONNECTIONS} connections", "");
        }
    };
    row("etcd", &peer);
    row("1 shard", &skerry(1));
    row("4 shards", &skerry(4));
}
