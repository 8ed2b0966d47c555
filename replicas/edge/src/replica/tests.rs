//! Whole edges against a small core, in one thread: the core judges pushes with the channel's own receiver and merges
//! with the same engine.

mod bases;
pub(crate) mod core;
mod durability;
mod forks;
mod plugins;
mod random;
mod stranded;
mod subscribe;
mod sync;
mod timeline;
mod typing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde_json::json;
use skerry_api::documents::{Address, Read, Scan, State, WriteRequest, Written};
use skerry_channel::subscription::Subscription;
use skerry_model::PluginDigest;
use skerry_model::engine::Write;
use skerry_model::env::{Clock, Random};
use skerry_model::policy::{MergePolicy, Resolver};
use skerry_store::simulated::Disk;

use self::core::Core;
use super::{Answer, Error, Installed, Options, Replica, Resolvers, Settled, Welcomed};

/// A clock that tests move.
#[derive(Clone)]
pub(super) struct TestClock(Arc<AtomicU64>);

impl TestClock {
    fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Numbers that differ from call to call and from edge to edge.
struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        let number = self.0.fetch_add(1, Ordering::Relaxed);
        let hash = blake3::hash(&number.to_le_bytes());
        bytes.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    }
}

/// No plugin anywhere.
struct NoResolvers;

impl Resolvers for NoResolvers {
    fn resolver(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        Err("is not here yet".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn MergePolicy>, String> {
        Err("is no merge policy".to_owned())
    }
}

/// An edge's machine: its disk outlives the replica.
pub(super) struct Machine {
    name: &'static str,
    disk: Disk,
    clock: TestClock,
    random: Arc<Counting>,
    resolvers: Arc<dyn Resolvers>,
    subscription: Option<Subscription>,
    replica: Option<Replica>,
}

impl Machine {
    fn new(name: &'static str) -> Self {
        Self::with_resolvers(name, Arc::new(NoResolvers))
    }

    fn with_resolvers(name: &'static str, resolvers: Arc<dyn Resolvers>) -> Self {
        let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let clock = TestClock(Arc::new(AtomicU64::new(1_000_000)));
        let random = Arc::new(Counting(AtomicU64::new(seed << 20)));
        let (disk, subscription) = (Disk::new(seed), None);
        let mut machine = Self { name, disk, clock, random, resolvers, subscription, replica: None };
        machine.start();
        machine
    }

    fn options(&self) -> Options {
        Options {
            replica: self.name.parse().unwrap(),
            core: "http://core".to_owned(),
            subscription: self.subscription.clone(),
            database: Arc::new(self.disk.log()),
            clock: Arc::new(self.clock.clone()),
            random: self.random.clone(),
            resolvers: self.resolvers.clone(),
        }
    }

    fn start(&mut self) {
        self.replica = Some(Replica::open(self.options()).unwrap());
    }

    /// Stops, and starts as a replica of its own.
    fn enrol_as(&mut self, name: &'static str) {
        self.replica.take().unwrap().close().unwrap();
        self.name = name;
        self.replica = Some(Replica::enrol(self.options()).unwrap());
    }

    fn replica(&mut self) -> &mut Replica {
        self.replica.as_mut().unwrap()
    }

    /// Loses what was not synced, and starts again.
    fn crash(&mut self) {
        self.replica = None;
        self.disk.crash();
        self.start();
    }

    fn restart(&mut self) {
        self.replica.take().unwrap().close().unwrap();
        self.start();
    }

    fn try_write(&mut self, key: &str, write: Write) -> Answer<Written> {
        let request = WriteRequest::new(write);
        let written = self.replica().write(&at(key), &request).unwrap();
        self.replica().commit().unwrap();
        written
    }

    fn put(&mut self, key: &str, document: serde_json::Value) {
        self.try_write(key, put(document)).unwrap();
    }

    fn write_in(&mut self, collection: &str, key: &str, document: serde_json::Value) {
        let at = Address { collection: collection.parse().unwrap(), ..at(key) };
        self.replica().write(&at, &WriteRequest::new(put(document))).unwrap().unwrap();
        self.replica().commit().unwrap();
    }

    fn patch(&mut self, key: &str, patch: serde_json::Value) {
        self.try_write(key, Write::Patch(patch)).unwrap();
    }

    fn read(&mut self, key: &str) -> Answer<Read> {
        self.replica().reader().get(&at(key)).unwrap()
    }

    #[track_caller]
    fn check(&mut self, key: &str, expected: serde_json::Value, state: State) {
        let read = self.read(key).unwrap();
        assert_eq!(serde_json::Value::Object(read.view.object().unwrap()), expected);
        assert_eq!(read.stamp.state, state);
    }

    #[track_caller]
    fn check_gone(&mut self, key: &str) {
        assert_eq!(self.read(key).unwrap_err().kind, skerry_api::problem::Kind::DocumentNotFound);
    }

    fn keys(&mut self, limit: u32) -> Vec<String> {
        let (mut keys, mut cursor) = (Vec::new(), None);
        loop {
            let scan = Scan { prefix: String::new(), limit, cursor, consistency: Default::default() };
            let page = self.replica().reader().scan(&"items".parse().unwrap(), &scan).unwrap().unwrap();
            keys.extend(page.documents.into_iter().map(|listed| listed.key.to_string()));
            cursor = page.cursor;
            if cursor.is_none() {
                return keys;
            }
        }
    }

    fn hello(&mut self, core: &mut Core) -> Welcomed {
        let sent = self.clock.now_ms();
        let hello = self.replica().hello();
        let welcomed = self.replica().welcomed(core.welcome(&hello), sent).unwrap();
        self.replica().commit().unwrap();
        welcomed
    }

    /// Pushes until nothing waits.
    fn push(&mut self, core: &mut Core) -> Vec<Settled> {
        let mut settled = Vec::new();
        while let Some(shard) = self.replica().ready_shards().first().copied() {
            let push = self.replica().next_push(shard).unwrap().unwrap();
            self.replica().commit().unwrap();
            let answer = core.push(&push);
            settled.push(self.replica().pushed(shard, answer).unwrap());
            self.replica().commit().unwrap();
        }
        settled
    }

    /// Pulls until nothing is new.
    fn pull(&mut self, core: &mut Core) -> Vec<Installed> {
        let mut installed = Vec::new();
        while let Some(news) = self.pull_once(core) {
            installed.extend(news);
        }
        installed
    }

    /// `None` when nothing is new.
    fn pull_once(&mut self, core: &mut Core) -> Option<Vec<Installed>> {
        let joining = self.replica().counts().joining;
        let pulled = core.pull(&self.replica().pull_request(0).unwrap().unwrap());
        let is_news = self.replica().pulled(pulled.timeline, pulled.catalog, &pulled.too_old).unwrap();
        let is_news = is_news && (!pulled.batches.is_empty() || !pulled.too_old.is_empty() || joining);
        let batches = if is_news { pulled.batches } else { Vec::new() };
        let installed: Vec<_> = batches.into_iter().map(|batch| self.replica().install(batch).unwrap()).collect();
        self.replica().commit().unwrap();
        is_news.then_some(installed)
    }

    fn sync(&mut self, core: &mut Core) {
        assert_eq!(self.hello(core), Welcomed::Home);
        self.push(core);
        self.pull(core);
    }
}

fn at(key: &str) -> Address {
    Address { collection: "items".parse().unwrap(), key: key.parse().unwrap() }
}

fn put(document: serde_json::Value) -> Write {
    match document {
        serde_json::Value::Object(document) => Write::Put(document),
        other => panic!("not an object: {other}"),
    }
}

/// An edge that has been welcomed.
fn enrolled(name: &'static str, core: &mut Core) -> Machine {
    let mut machine = Machine::new(name);
    machine.sync(core);
    machine
}

#[test]
fn the_first_start_needs_the_core_once() {
    let mut machine = Machine::new("shop");
    let problem = machine.try_write("rope", put(json!({"n": 1}))).unwrap_err();
    assert_eq!(problem.kind.status(), 503);
    assert!(problem.detail.starts_with("this edge has not reached its core at http://core yet"));
    assert_eq!(machine.read("rope").unwrap_err().kind.status(), 503);
    machine.sync(&mut Core::new(4));
    machine.put("rope", json!({"n": 1}));
    machine.check("rope", json!({"n": 1}), State::Provisional);
}

#[test]
fn another_replicas_folder_is_refused() {
    let mut machine = enrolled("shop", &mut Core::new(1));
    machine.replica.take().unwrap().close().unwrap();
    let options = Options { replica: "depot".parse().unwrap(), ..machine.options() };
    assert!(matches!(Replica::open(options), Err(Error::OtherReplica { .. })));
}
