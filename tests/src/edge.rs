//! An edge without sockets: the real replica over simulated storage that loses what was not synced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use skerry_api::documents::{Address, WriteRequest};
use skerry_api::problem::Problem;
use skerry_channel::message::{Push, Pushed};
use skerry_edge::replica::{Installed, Options, Replica, Resolvers};
use skerry_model::ShardId;
use skerry_model::document::View;
use skerry_model::engine::Write;
use skerry_model::env::{Clock, Random};
use skerry_store::simulated::Disk;

use crate::core::Core;

/// An edge's machine: its disk outlives the replica.
pub struct Edge {
    name: String,
    disk: Disk,
    clock: Arc<TestClock>,
    random: Arc<Counting>,
    plugins: Arc<dyn Resolvers>,
    replica: Option<Replica>,
    /// The batches on their way, for a network that repeats them.
    sent: Option<Push>,
    /// Documents that pulls have brought.
    pub received: usize,
}

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that differ from call to call and from edge to edge.
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        bytes.iter_mut().zip(number.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
}

impl Edge {
    /// A new edge, with its clock off by so much from the core's.
    #[must_use]
    pub fn new(name: &str, seed: u64, now_ms: u64, plugins: Arc<dyn Resolvers>) -> Self {
        let mut edge = Self {
            name: name.to_owned(),
            disk: Disk::new(seed),
            clock: Arc::new(TestClock(AtomicU64::new(now_ms))),
            random: Arc::new(Counting(AtomicU64::new(seed << 32 | 1))),
            plugins,
            replica: None,
            sent: None,
            received: 0,
        };
        edge.start();
        edge
    }

    fn start(&mut self) {
        let options = Options {
            replica: self.name.parse().expect("test names are valid"),
            core: "http://core".to_owned(),
            subscription: None,
            database: Arc::new(self.disk.log()),
            clock: Arc::clone(&self.clock) as _,
            random: Arc::clone(&self.random) as _,
            resolvers: Arc::clone(&self.plugins),
        };
        self.replica = Some(Replica::open(options).expect("simulated storage works"));
    }

    fn replica(&mut self) -> &mut Replica {
        self.replica.as_mut().expect("it was started")
    }

    fn commit(&mut self) {
        self.replica().commit().expect("simulated storage works");
    }

    /// Stops without notice, loses what was not synced, and starts again.
    pub fn crash(&mut self) {
        self.replica = None;
        self.sent = None;
        self.disk.crash();
        self.start();
    }

    /// Stops in order, and starts again.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn restart(&mut self) {
        self.replica.take().expect("it was started").close().expect("simulated storage works");
        self.sent = None;
        self.start();
    }

    /// A local write; it is stored when this returns.
    ///
    /// # Errors
    /// What the client would hear.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn write(&mut self, at: &Address, write: Write) -> Result<(), Problem> {
        self.clock.0.fetch_add(1, Ordering::Relaxed);
        let request = WriteRequest::new(write);
        let written = self.replica().write(at, &request).expect("simulated storage works");
        self.commit();
        written.map(|_| ())
    }

    /// Sets its clock, in milliseconds since 1970.
    pub fn set_clock(&self, now_ms: u64) {
        self.clock.0.store(now_ms, Ordering::Relaxed);
    }

    /// Says hello.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn hello(&mut self, core: &Core) {
        let sent_ms = self.clock.now_ms();
        self.replica().welcomed(core.welcome(), sent_ms).expect("simulated storage works");
        self.commit();
    }

    /// Pushes one batch of each shard that has something. With `lose` the answers do not arrive; with `repeat` the
    /// batch before is delivered once more behind them.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn push(&mut self, core: &mut Core, lose: bool, repeat: bool) {
        for shard in self.replica().ready_shards() {
            self.push_shard(core, shard, lose);
        }
        if let (true, Some(sent)) = (repeat, self.sent.clone()) {
            let _late_and_unheard = core.push(&sent);
        }
    }

    fn push_shard(&mut self, core: &mut Core, shard: ShardId, lose: bool) {
        let Some(push) = self.replica().next_push(shard).expect("simulated storage works") else { return };
        let answer: Pushed = core.push(&push);
        self.sent = Some(push);
        if lose {
            self.replica().push_lost(shard);
            return;
        }
        self.replica().pushed(shard, answer).expect("simulated storage works");
        self.upkeep();
    }

    /// Pulls once; with `repeat` the same batches are installed twice. Answers whether anything came.
    ///
    /// # Panics
    /// When simulated storage fails, or the edge ends up with another version than the core's.
    pub fn pull(&mut self, core: &Core, lose: bool, repeat: bool) -> bool {
        let Some(request) = self.replica().pull_request(0).expect("simulated storage works") else { return false };
        let pulled = core.pull(&request);
        if lose {
            return true;
        }
        self.received += pulled.batches.iter().map(|batch| batch.documents.len()).sum::<usize>();
        let came = !pulled.batches.is_empty() || !pulled.too_old.is_empty() || pulled.catalog.is_some();
        self.replica().pulled(pulled.timeline, pulled.catalog, &pulled.too_old).expect("simulated storage works");
        let rounds = if repeat { 2 } else { 1 };
        for _ in 0..rounds {
            for batch in pulled.batches.clone() {
                let installed = self.replica().install(batch).expect("simulated storage works");
                assert!(!matches!(installed, Installed::Diverged), "an edge's version differs from the core's");
            }
            self.commit();
        }
        self.upkeep();
        came
    }

    /// Pushes and pulls until nothing moves any more.
    pub fn settle(&mut self, core: &mut Core) {
        self.hello(core);
        loop {
            self.push(core, false, false);
            let came = self.pull(core, false, false);
            if !came && self.replica().ready_shards().is_empty() {
                return;
            }
        }
    }

    /// What a reader sees, and how many conflicts are open in it.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn view(&mut self, at: &Address) -> Option<(View, u32)> {
        let read = self.replica().reader().get(at).expect("simulated storage works");
        read.ok().map(|read| (read.view, read.conflicts))
    }

    /// Changes that the core refused.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn stranded(&mut self) -> usize {
        self.replica().stranded(None, usize::MAX).expect("simulated storage works").len()
    }

    fn upkeep(&mut self) {
        while self.replica().upkeep().expect("simulated storage works") {
            self.commit();
        }
        self.commit();
    }
}
