//! One machine: a disk that outlives its process, a clock, and a node that runs on a runtime of its own, so that it can
//! be stopped at any point like a process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::consensus::types::NodeAddress;
use skerry_host::env::executor::Inline;
use skerry_host::env::runtime::{seed_of_this_thread, seed_this_thread};
use skerry_host::limits::REJOIN_WINDOW;
use skerry_host::node::{AuditOptions, Node, Options, Reads, Running, start};
use skerry_model::NodeId;
use skerry_model::env::{Clock, Random};
use skerry_store::simulated::Disk;
use skerry_store::{LogDb, LogWriter, Mode, StateDb, StateWriter};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::faults::Flaw;
use super::flawed::{ForgetfulVotes, NeverSynced};
use super::network::Wires;

/// Where time starts: some day in 2023, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// A machine.
pub struct Machine {
    /// Its node's id.
    pub id: NodeId,
    /// Its disk.
    pub disk: Disk,
    /// How far its clock is off, in milliseconds.
    pub skew_ms: Arc<AtomicI64>,
    /// How long its disk takes for what it was asked, in microseconds.
    pub disk_us: u64,
    now_us: Arc<AtomicU64>,
    seed: u64,
    process: Option<Process>,
    /// Since when the process stands still, in microseconds.
    paused_at: Option<u64>,
    disk_due_us: u64,
}

struct Process {
    runtime: Runtime,
    log: Arc<LogWriter>,
    state: Arc<StateWriter>,
    started: Arc<Mutex<Started>>,
    /// Whether its clock is still to jump over the wait after a restart.
    jumps: bool,
}

/// Longer than the wait after a restart.
const JUMP: Duration = Duration::from_millis(1_100);

#[derive(Default)]
struct Started {
    node: Option<Node>,
    ended: Option<String>,
}

/// What the cluster is made of.
#[derive(Clone)]
pub struct Plan {
    /// The nodes that found it.
    pub founders: Vec<(NodeId, NodeAddress)>,
    /// Nodes that may come later.
    pub spares: Vec<(NodeId, NodeAddress)>,
    /// Its shards.
    pub shards: u16,
    /// When its logs are purged.
    pub thresholds: Thresholds,
    /// What linearizable reads rely on.
    pub reads: Reads,
    /// What is wrong with its nodes.
    pub flaw: Flaw,
}

/// The time of a world as one machine's clock has it.
pub(super) struct SimulatedClock {
    now_us: Arc<AtomicU64>,
    skew_ms: Arc<AtomicI64>,
}

impl SimulatedClock {
    pub(super) fn new(now_us: &Arc<AtomicU64>, skew_ms: &Arc<AtomicI64>) -> Self {
        Self { now_us: Arc::clone(now_us), skew_ms: Arc::clone(skew_ms) }
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> u64 {
        let now = EPOCH_MS + self.now_us.load(Ordering::Relaxed) / 1_000;
        now.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }
}

/// Random bytes that follow from a seed.
pub(super) struct SimulatedRandom(Mutex<StdRng>);

impl SimulatedRandom {
    pub(super) fn new(random: StdRng) -> Self {
        Self(Mutex::new(random))
    }
}

impl Random for SimulatedRandom {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().fill_bytes(bytes);
    }
}

impl Machine {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            disk: Disk::new(seed),
            skew_ms: Arc::default(),
            disk_us: 200,
            now_us: Arc::default(),
            seed,
            process: None,
            paused_at: None,
            disk_due_us: 0,
        }
    }

    /// Its clock.
    pub(super) fn clock(&self) -> SimulatedClock {
        SimulatedClock::new(&self.now_us, &self.skew_ms)
    }

    /// Whether a process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it runs and stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    /// The node, once it has started.
    #[must_use]
    pub fn node(&self) -> Option<Node> {
        self.process.as_ref().and_then(|process| process.started.lock().node.clone())
    }

    /// Why the process ended by itself, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<String> {
        self.process.as_ref().and_then(|process| process.started.lock().ended.clone())
    }

    /// Starts the process.
    ///
    /// # Panics
    /// When the simulated disk fails, or the operating system gives no runtime.
    pub fn start(&mut self, plan: &Plan, wires: &Wires) {
        assert!(self.process.is_none(), "node {} runs already", self.id);
        let log: Arc<dyn LogDb> = match plan.flaw {
            Flaw::VoteNotDurable => Arc::new(ForgetfulVotes::new(self.disk.log())),
            _ => Arc::new(self.disk.log()),
        };
        let log_writer = Arc::new(LogWriter::start(Arc::clone(&log), Mode::Stepped).expect("it takes no thread"));
        let state: Arc<dyn StateDb> = match plan.flaw {
            Flaw::StateNotSynced => Arc::new(NeverSynced(self.disk.state())),
            _ => Arc::new(self.disk.state()),
        };
        let state = StateWriter::start(state, Mode::Stepped).expect("it takes no thread");
        let state = Arc::new(state);
        let own = plan.founders.iter().chain(&plan.spares).find(|(id, _)| *id == self.id).expect("it is in the plan");
        let mut members = plan.founders.clone();
        if !members.contains(own) {
            // Of the founders none may be left, so whoever comes later is told of the others that may be there.
            members.extend(plan.spares.iter().cloned());
        }
        let mut random = StdRng::seed_from_u64(self.seed);
        self.seed = random.next_u64();
        let options = Options {
            node: self.id,
            members,
            listen: own.1.node.clone(),
            bootstrap: self.id == plan.founders[0].0,
            shards: plan.shards,
            thresholds: plan.thresholds,
            reads: plan.reads,
            audit: AuditOptions { one_in: 1, inputs: None },
            rejoin_window: REJOIN_WINDOW,
            log,
            log_writer: Arc::clone(&log_writer),
            state: Arc::clone(&state),
            space: Arc::new(self.disk.clone()),
            network: wires.plug(self.id),
            clock: Arc::new(self.clock()),
            random: Arc::new(SimulatedRandom::new(random)),
            executor: Arc::new(Inline),
        };
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_le_bytes()));
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without I/O needs nothing");
        let started = Arc::<Mutex<Started>>::default();
        runtime.spawn(run(options, Arc::clone(&started)));
        self.process =
            Some(Process { runtime, log: log_writer, state, started, jumps: plan.flaw == Flaw::NoWaitAfterRestart });
        self.paused_at = None;
    }

    /// Ends the process where it is. What the disk was not yet asked is gone; what it was asked and did not sync, mostly.
    pub fn kill(&mut self) {
        self.disk.crash();
        self.process = None;
        self.paused_at = None;
    }

    /// The process stands still, or goes on.
    pub fn set_paused(&mut self, paused: bool) {
        let now = self.now_us.load(Ordering::Relaxed);
        match (paused, self.paused_at) {
            (true, None) => self.paused_at = Some(now),
            (false, Some(since)) => {
                self.paused_at = None;
                // Its timers find out at once how much time has gone by.
                if let Some(process) = &self.process {
                    let stood_still = Duration::from_micros(now - since);
                    process.runtime.block_on(async move { tokio::time::advance(stood_still).await });
                }
            }
            _ => {}
        }
    }

    /// Runs something on the node's runtime.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(process) = &self.process {
            process.runtime.spawn(work);
        }
    }

    /// Lets the process run from `now_us` for one tick.
    pub fn tick(&mut self, now_us: u64, tick: Duration) {
        self.now_us.store(now_us, Ordering::Relaxed);
        let Some(process) = self.process.as_mut().filter(|_| self.paused_at.is_none()) else { return };
        seed_this_thread(self.seed);
        if process.jumps && process.started.lock().node.is_some() {
            process.jumps = false;
            process.runtime.block_on(async { tokio::time::advance(JUMP).await });
        }
        if now_us >= self.disk_due_us {
            process.log.step();
            // An error reaches whoever watches the process.
            let _ = process.state.tick();
            self.disk_due_us = now_us + self.disk_us;
        }
        process.runtime.block_on(async move { tokio::time::sleep(tick).await });
        self.seed = seed_of_this_thread().expect("it was set above");
    }
}

async fn run(options: Options, started: Arc<Mutex<Started>>) {
    let mut running: Running = match start(options, &CancellationToken::new()).await {
        Ok(running) => running,
        Err(error) => {
            started.lock().ended = Some(error.to_string());
            return;
        }
    };
    started.lock().node = Some(running.node.clone());
    let reason = running.failed().await;
    started.lock().ended = Some(reason);
}
