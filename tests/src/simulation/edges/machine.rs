//! An edge's machine: a disk that outlives its process, a clock that nobody sets, and the real edge on a runtime of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use skerry_edge::replica::{Options, Resolvers};
use skerry_edge::{Edge, Parts, Runs};
use skerry_model::policy::{MergePolicy, Resolver};
use skerry_model::{Origin, PluginDigest};
use skerry_store::room::Headroom;
use skerry_store::simulated::{Disk, SimulatedLog};
use skerry_store::{Batch, Direction, Durability, Error, KeyRange, Limit, LogDb, OrderedStore, Row};
use tokio::runtime::Runtime;

use super::super::machine::{SimulatedClock, SimulatedRandom};
use super::wire::EdgeWire;

/// A machine with an edge.
pub(crate) struct EdgeMachine {
    pub(crate) replica: Origin,
    pub(crate) wire: EdgeWire,
    /// How far its clock is off, in milliseconds.
    pub(crate) skew_ms: Arc<AtomicI64>,
    now_us: Arc<AtomicU64>,
    disk: Disk,
    fuse: Fuse,
    cores: Vec<String>,
    seed: u64,
    process: Option<(Runtime, Edge)>,
}

/// A commit at which the machine stops; shared with whoever set it.
#[derive(Clone, Default)]
struct Fuse(Arc<Mutex<Option<Stop>>>);

#[derive(Clone, Copy)]
struct Stop {
    /// Commits until then.
    left: u32,
    /// Whether that commit is still on the disk.
    kept: bool,
}

impl EdgeMachine {
    /// A machine with an empty disk.
    pub(crate) fn new(number: usize, seed: u64, cores: Vec<String>) -> Self {
        Self {
            replica: format!("edge-{number}").parse().expect("it is a valid name"),
            wire: EdgeWire::new(seed ^ 0xed6e),
            skew_ms: Arc::default(),
            now_us: Arc::default(),
            disk: Disk::new(seed),
            fuse: Fuse::default(),
            cores,
            seed,
            process: None,
        }
    }

    /// The edge, while it runs.
    pub(crate) fn edge(&self) -> Option<&Edge> {
        self.process.as_ref().map(|(_, edge)| edge)
    }

    /// Starts the process, unless the disk stops it at once.
    pub(crate) fn start(&mut self) {
        let mut random = StdRng::seed_from_u64(self.seed);
        self.seed = random.next_u64();
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&self.seed.to_le_bytes()));
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime without I/O needs nothing");
        let parts = Parts {
            replica: Options {
                replica: self.replica.clone(),
                core: self.cores[0].clone(),
                subscription: None,
                database: Arc::new(Fused { log: self.disk.log(), disk: self.disk.clone(), fuse: self.fuse.clone() }),
                clock: Arc::new(SimulatedClock::new(&self.now_us, &self.skew_ms)),
                random: Arc::new(SimulatedRandom::new(random)),
                resolvers: Arc::new(NoPlugins),
            },
            cores: self.cores.clone(),
            wire: Arc::new(self.wire.clone()),
            runs: Runs::InTask,
            headroom: Arc::new(Headroom::new(Arc::new(self.disk.clone()))),
        };
        let within = runtime.enter();
        let edge = Edge::assemble(parts);
        drop(within);
        self.process = edge.ok().map(|edge| (runtime, edge));
    }

    /// Ends the process where it is.
    pub(crate) fn kill(&mut self) {
        self.disk.crash();
        self.process = None;
        self.spare();
    }

    /// The machine stops at one of its next commits.
    pub(crate) fn kill_at_commit(&self, left: u32, kept: bool) {
        *self.fuse.0.lock() = Some(Stop { left, kept });
    }

    /// Takes back [`Self::kill_at_commit`].
    pub(crate) fn spare(&self) {
        *self.fuse.0.lock() = None;
    }

    /// Whether the process has stopped by itself, as it does when its disk fails.
    pub(crate) fn has_stopped(&self) -> bool {
        let Some(edge) = self.edge() else { return true };
        edge.has_stopped()
    }

    /// Runs something beside the edge.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some((runtime, _)) = &self.process {
            runtime.spawn(work);
        }
    }

    /// Lets the process run from `now_us` for one tick.
    pub(crate) fn tick(&mut self, now_us: u64, tick: Duration) {
        self.now_us.store(now_us, Ordering::Relaxed);
        if let Some((runtime, _)) = &self.process {
            runtime.block_on(async move { tokio::time::sleep(tick).await });
        }
    }
}

/// A log that stops its machine at a commit.
struct Fused {
    log: SimulatedLog,
    disk: Disk,
    fuse: Fuse,
}

impl OrderedStore for Fused {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.log.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.log.scan(range, limit, direction)
    }
}

impl LogDb for Fused {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let stop = {
            let fuse = &mut *self.fuse.0.lock();
            match fuse {
                Some(stop) if stop.left > 0 => {
                    stop.left -= 1;
                    None
                }
                _ => fuse.take(),
            }
        };
        let Some(stop) = stop else { return self.log.commit(batch, durability) };
        if stop.kept {
            self.log.commit(batch, durability)?;
        }
        self.disk.crash();
        Err(Error::Crashed { keyspace: "log".to_owned() })
    }
}

struct NoPlugins;

impl Resolvers for NoPlugins {
    fn resolver(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        Err("is not part of a simulation".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn MergePolicy>, String> {
        Err("is no merge policy".to_owned())
    }
}
