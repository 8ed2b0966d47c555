//! The run: clients and faults for a while, then everything heals and is checked.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use skerry_api::client::{Client, Error};
use skerry_api::documents::{Consistency, Listed};
use skerry_model::env::{Random, SystemRandom};
use skerry_tests::processes::{http, until};
use skerry_tests::simulation::history::{Heard, History};
use tokio::runtime::{Builder, Handle};

use super::clients::{COLLECTION, Clients, Shared};
use super::cluster::{Cluster, NODES, Reads};
use super::faults::Faults;
use super::{lists, registers};

const LENGTH: Duration = Duration::from_secs(30);
/// How long a healed cluster may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Writes and reads under every fault; then one order explains each register, each list has what was acknowledged, and
/// all nodes hold the same documents and the same log.
#[test]
fn nothing_acknowledged_is_lost_and_nothing_stale_is_read() {
    let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let length = variable("SKERRY_CHAOS_SECONDS").map_or(LENGTH, Duration::from_secs);
    let seed = variable("SKERRY_CHAOS_SEED").unwrap_or_else(|| {
        let [a, b, c, d, ..] = SystemRandom.id();
        u64::from(u32::from_le_bytes([a, b, c, d]))
    });
    println!("chaos: SKERRY_CHAOS_SEED={seed} SKERRY_CHAOS_SECONDS={} repeats this run's choices", length.as_secs());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be had");
    run(runtime.handle(), seed, length);
}

fn run(runtime: &Handle, seed: u64, length: Duration) {
    let reads = if seed.is_multiple_of(2) { Reads::Quorum } else { Reads::Lease };
    let mut cluster = Cluster::start(runtime, reads);
    let policy = serde_json::json!({ "policy": "strict" });
    let made = http(&format!("{}/v1/collections/{COLLECTION}", cluster.url(0)), "PUT", Some(&policy));
    let (status, answer) = made.expect("a healthy cluster makes a collection");
    assert!(status < 300, "{answer}");

    let shared = Shared::new(&(0..NODES).map(|node| cluster.url(node)).collect::<Vec<_>>());
    let clients = Clients::start(runtime, &shared, seed);
    let mut faults = Faults::new(seed, runtime, &cluster);
    let begun = Instant::now();
    while begun.elapsed() < length || !faults.all_done() {
        faults.strike(&mut cluster);
        shared.generation.fetch_add(1, Ordering::Relaxed);
    }
    clients.stop(runtime);
    cluster.ready();

    runtime.block_on(registers::read_all(&shared, PATIENCE));
    let violations = runtime.block_on(lists::violations(&shared, PATIENCE));
    report(&shared, &faults);
    assert!(violations.is_empty(), "seed {seed}:\n  {}", violations.join("\n  "));
    let history = shared.history.lock();
    history.check().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    let mut last = BTreeMap::new();
    until("all nodes to hold the same", || {
        last = shared.nodes.iter().map(|node| (node.nodes()[0].clone(), runtime.block_on(scan(node)))).collect();
        let mut scans = last.values();
        let first = scans.next().and_then(|scan| scan.as_ref().ok())?;
        scans.all(|scan| scan.as_ref().is_ok_and(|scan| scan == first)).then_some(())
    });
    assert!(last.values().all(|scan| scan.as_ref().is_ok_and(|scan| !scan.is_empty())), "nothing was written");
    let compared = cluster.stop_and_compare_logs().unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
    println!("chaos: reads by {reads:?}; {compared} log entries are the same on all nodes");
}

/// Everything that a node has applied.
async fn scan(node: &Client) -> Result<Vec<Listed>, Error> {
    let collection = COLLECTION.parse().expect("it is a valid name");
    node.scan_all(&collection, "", Consistency::Local).try_collect().await
}

fn report(shared: &Shared, faults: &Faults) {
    let lists = shared.lists.lock();
    let history = shared.history.lock();
    let unknown = count(&history, Heard::Unknown);
    println!(
        "chaos: registers: {} operations, {} answered, {unknown} unknown; lists: {} operations, {} answered, {} unknown",
        history.steps().len(),
        history.answered(),
        lists.operations,
        lists.answered,
        lists.unknown
    );
    let ended = faults.ended_by_full_disk;
    println!("chaos: faults: {:?}; {ended} nodes ended on a full disk", faults.counts);
    assert!(history.answered() > 0 && lists.answered > 0, "no client was ever answered");
}

fn count(history: &History, heard: Heard) -> usize {
    history.steps().iter().filter(|step| step.heard == heard).count()
}
