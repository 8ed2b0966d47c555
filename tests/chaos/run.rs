//! A run: clients and faults for a while, then everything heals and is checked.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use parking_lot::{Mutex, MutexGuard};
use skerry_api::client::{Client, Error};
use skerry_api::documents::{Consistency, Listed};
use skerry_model::env::{Random, SystemRandom};
use skerry_tests::processes::{http, until};
use skerry_tests::simulation::history::{Heard, History};
use tokio::runtime::{Builder, Handle, Runtime};

use super::clients::{COLLECTION, Clients, Shared};
use super::cluster::{Cluster, NODES};
use super::node::Reads;
use super::{lists, registers};

/// How long a healed cluster may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Two clusters under load would starve each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Does something to a cluster while clients use it.
pub(super) trait Nemesis {
    /// Does the next thing and undoes it; afterwards all nodes run and serve.
    fn strike(&mut self, cluster: &mut Cluster, shared: &Shared);

    /// Whether it did everything that it can at least once.
    fn all_done(&self) -> bool;

    /// What it did.
    fn told(&self) -> String;
}

/// What a run is made with.
pub(super) struct Run {
    pub(super) seed: u64,
    length: Duration,
    runtime: Runtime,
    _alone: MutexGuard<'static, ()>,
}

impl Run {
    /// As the environment says, once no other one is under way.
    pub(super) fn new(name: &str, length: Duration) -> Self {
        let variable = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
        let length = variable("SKERRY_CHAOS_SECONDS").map_or(length, Duration::from_secs);
        let seed = variable("SKERRY_CHAOS_SEED").unwrap_or_else(|| {
            let [a, b, c, d, ..] = SystemRandom.id();
            u64::from(u32::from_le_bytes([a, b, c, d]))
        });
        let alone = ALONE.lock();
        let seconds = length.as_secs();
        println!("chaos: {name}: SKERRY_CHAOS_SEED={seed} SKERRY_CHAOS_SECONDS={seconds} repeats this run's choices");
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime can be had");
        Self { seed, length, runtime, _alone: alone }
    }

    /// What leaders make sure of in this run.
    pub(super) fn reads(&self) -> Reads {
        if self.seed.is_multiple_of(2) { Reads::Quorum } else { Reads::Lease }
    }

    /// What the clients run on.
    pub(super) fn runtime(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Writes and reads under every fault; then one order explains each register, each list has what was acknowledged,
    /// and all nodes hold the same documents and the same log.
    pub(super) fn holds(&self, cluster: &mut Cluster, nemesis: &mut impl Nemesis) {
        let (seed, runtime) = (self.seed, self.runtime());
        let policy = serde_json::json!({ "policy": "strict" });
        let made = http(&format!("{}/v1/collections/{COLLECTION}", cluster.url(0)), "PUT", Some(&policy));
        let (status, answer) = made.expect("a healthy cluster makes a collection");
        assert!(status < 300, "{answer}");

        let shared = Shared::new((0..NODES).map(|node| cluster.client(&[node])).collect());
        let clients = Clients::start(runtime, &shared, seed);
        let begun = Instant::now();
        while begun.elapsed() < self.length || !nemesis.all_done() {
            nemesis.strike(cluster, &shared);
            shared.generation.fetch_add(1, Ordering::Relaxed);
        }
        clients.stop(runtime);
        cluster.ready();

        runtime.block_on(registers::read_all(&shared, PATIENCE));
        let violations = runtime.block_on(lists::violations(&shared, PATIENCE));
        report(&shared);
        println!("chaos: faults: {}", nemesis.told());
        assert!(violations.is_empty(), "seed {seed}:\n  {}", violations.join("\n  "));
        let history = shared.history.lock();
        history.check().unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let mut last = BTreeMap::new();
        until("all nodes to hold the same", || {
            let scanned = |node: Client| (node.nodes()[0].clone(), runtime.block_on(scan(&node)));
            last = shared.nodes().into_iter().map(scanned).collect();
            let mut scans = last.values();
            let first = scans.next().and_then(|scan| scan.as_ref().ok())?;
            scans.all(|scan| scan.as_ref().is_ok_and(|scan| scan == first)).then_some(())
        });
        assert!(last.values().all(|scan| scan.as_ref().is_ok_and(|scan| !scan.is_empty())), "nothing was written");
        let compared = cluster.stop_and_compare_logs().unwrap_or_else(|difference| panic!("seed {seed}: {difference}"));
        println!("chaos: reads by {:?}; {compared} log entries are the same on all nodes", self.reads());
    }
}

/// Everything that a node has applied.
async fn scan(node: &Client) -> Result<Vec<Listed>, Error> {
    let collection = COLLECTION.parse().expect("it is a valid name");
    node.scan_all(&collection, "", Consistency::Local).try_collect().await
}

fn report(shared: &Shared) {
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
    assert!(history.answered() > 0 && lists.answered > 0, "no client was ever answered");
}

fn count(history: &History, heard: Heard) -> usize {
    history.steps().iter().filter(|step| step.heard == heard).count()
}
