//! Load by wrk.

use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

/// What to send where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load<'a> {
    /// `skerry` or `etcd`.
    pub(super) system: &'a str,
    pub(super) url: &'a str,
    /// `put`, `get` or `patch`.
    pub(super) operation: &'a str,
    /// How many keys there are; 0 for a new one each time.
    pub(super) keys: u32,
    pub(super) connections: u32,
    pub(super) time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Report {
    requests: u64,
    micros: u64,
    failed: u64,
    pub(super) p50_micros: u64,
    pub(super) p99_micros: u64,
}

impl Report {
    pub(super) fn requests(&self) -> u64 {
        self.requests
    }

    pub(super) fn per_second(&self) -> f64 {
        self.requests as f64 * 1e6 / self.micros as f64
    }
}

/// Runs the load with one thread of wrk.
pub(super) fn run(load: Load<'_>) -> Report {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/load/load.lua");
    let (connections, time) = (load.connections.to_string(), format!("{}s", load.time.as_secs()));
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c", &connections, "-d", &time, "--timeout", "10s", "-s", script, load.url, "--"]);
    wrk.args([load.system, load.operation, &load.keys.to_string(), &format!("of-{}-", load.keys)]);
    let out = wrk.output().expect("wrk is installed (Debian: apt-get install wrk)");
    let out = String::from_utf8_lossy(&out.stdout);
    let line = out.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("wrk: {out}"));
    let report: Report = serde_json::from_str(line).expect("the script prints it");
    if report.failed > 0 {
        println!("{} of {} requests failed: {load:?}", report.failed, report.requests);
    }
    report
}
