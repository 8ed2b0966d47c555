//! V08: concurrent increments all count, under every interleaving that is tried, and what comes from outside never takes a
//! count back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::json;
use skerry_api::documents::{Address, WriteRequest};
use skerry_channel::change::{Change, Mark};
use skerry_channel::frame;
use skerry_channel::message::{Answer, Push, Pushed, Request, Verdict};
use skerry_edge::replica::{Options, Replica};
use skerry_edge::wire::Wire;
use skerry_edge::{CoreError, Edge, Parts, Runs};
use skerry_host::catalog::Step;
use skerry_model::engine::Write;
use skerry_model::env::{SystemClock, SystemRandom};
use skerry_model::policy::{MergePolicy, Policy, Resolver};
use skerry_model::{PluginDigest, PluginName};
use skerry_store::room::Headroom;
use skerry_store::simulated::Disk;
use skerry_tests::core::Core;

const TASKS: u64 = 64;
/// Of each task; SKERRY_INCREMENTS says another, and 10,000 is what the requirement names.
const INCREMENTS: u64 = 200;
/// Interleavings that are tried.
const INTERLEAVINGS: usize = 200;
const THREADS: u64 = 3;
const OF_A_THREAD: u64 = 2;

struct NoPlugins;

impl skerry_edge::replica::Resolvers for NoPlugins {
    fn resolver(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        Err("none".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn MergePolicy>, String> {
        Err("none".to_owned())
    }
}

impl skerry_host::documents::evaluate::Resolvers for NoPlugins {
    fn resolver(&self, _: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
        Err("none".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
        Err("none".to_owned())
    }
}

/// A core in this process, and the pushes that it was sent.
struct InProcess {
    core: Mutex<Core>,
    pushes: Mutex<Vec<Push>>,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl Wire for InProcess {
    fn exchange<'a>(&'a self, _: &'a str, frame: Bytes, _: Duration) -> BoxFuture<'a, Result<Answer, CoreError>> {
        let answer = match frame::decode(&frame).unwrap() {
            Request::Hello(_) => Answer::Welcome(self.core.lock().welcome()),
            Request::Pull(pull) => Answer::Pulled(self.core.lock().pull(&pull)),
            Request::Push(push) => {
                self.pushes.lock().push(push.clone());
                Answer::Pushed(self.core.lock().push(&push))
            }
        };
        // A core that waits for nothing is asked less often.
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(answer)
        })
    }

    fn component<'a>(
        &'a self,
        url: &'a str,
        _: &'a PluginName,
        _: &'a PluginDigest,
    ) -> BoxFuture<'a, Result<Bytes, CoreError>> {
        let (url, detail) = (url.to_owned(), "there is none".to_owned());
        Box::pin(async move { Err(CoreError::Status { url, status: 404, detail }) })
    }
}

fn options(disk: &Disk) -> Options {
    Options {
        replica: "shop".parse().unwrap(),
        core: "http://core".to_owned(),
        subscription: None,
        database: Arc::new(disk.log()),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        resolvers: Arc::new(NoPlugins),
    }
}

fn core() -> Core {
    let mut core = Core::new(1, Arc::new(NoPlugins));
    let name = "sums".parse().unwrap();
    core.step(&Step::CreateCollection {
        name,
        policy: Policy::Counter,
        template: None,
        text: Vec::new(),
        settle: false,
        inbox: None,
    });
    core
}

fn at() -> Address {
    Address { collection: "sums".parse().unwrap(), key: "sold".parse().unwrap() }
}

fn increment() -> WriteRequest {
    WriteRequest::new(Write::Operation(json!({ "inc": 1 })))
}

fn counted(core: &Core) -> u64 {
    core.view(&at()).unwrap().0.object().unwrap()["value"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_of_many_tasks_all_count() {
    let increments = std::env::var("SKERRY_INCREMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(INCREMENTS);
    let wire = Arc::new(InProcess { core: Mutex::new(core()), pushes: Mutex::default() });
    let disk = Disk::new(1);
    let parts = Parts {
        replica: options(&disk),
        cores: vec!["http://core".to_owned()],
        wire: Arc::clone(&wire) as _,
        runs: Runs::InThread,
        headroom: Arc::new(Headroom::new(Arc::new(disk.clone()))),
    };
    let edge = Edge::assemble(parts).unwrap();
    edge.sync_now().await.unwrap();
    let tasks = (0..TASKS).map(|_| {
        let edge = edge.clone();
        tokio::spawn(async move {
            for _ in 0..increments {
                edge.write(at(), increment()).await.unwrap();
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    edge.sync_now().await.unwrap();
    let read = edge.get(at()).await.unwrap();
    assert_eq!(read.view.object().unwrap()["value"], TASKS * increments);
    assert_eq!(counted(&wire.core.lock()), TASKS * increments);
    edge.close().await.unwrap();

    // An older count that comes once more, as a change of its own, takes nothing back.
    let first = wire.pushes.lock().first().unwrap().clone();
    let last = wire.pushes.lock().last().unwrap().clone();
    let before = Mark { sequence: last.first - 1, chain: last.before };
    let mark = last.changes.iter().fold(before, |mark, change| mark.then(change));
    let old = Change { sequence: mark.sequence + 1, ..Change::decode(&first.changes[0]).unwrap() };
    let stale = Push { first: old.sequence, before: mark.chain, changes: vec![old.encode().unwrap()], ..last };
    let answer = wire.core.lock().push(&stale);
    assert!(matches!(answer, Pushed::Judged { verdicts, .. } if verdicts == [Verdict::Repeated]));
    assert_eq!(counted(&wire.core.lock()), TASKS * increments);
}

/// Something that counts what several threads add.
trait Counts: Send + Sync + 'static {
    fn new() -> Self;
    fn increment(&self);
    fn value(&self) -> u64;
}

/// Tries interleavings of threads that increment; whether every increment was counted in each.
fn loses_nothing<C: Counts>() -> bool {
    let interleaving = || {
        let counts = Arc::new(C::new());
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let counts = Arc::clone(&counts);
                shuttle::thread::spawn(move || (0..OF_A_THREAD).for_each(|_| counts.increment()))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(counts.value(), THREADS * OF_A_THREAD);
    };
    catch_unwind(AssertUnwindSafe(|| shuttle::check_random(interleaving, INTERLEAVINGS))).is_ok()
}

type Work = Box<dyn FnOnce(&mut Replica) + Send>;

/// The edge's own replica behind its one owner, with shuttle's channels in the place of tokio's.
struct Owned(shuttle::sync::Mutex<shuttle::sync::mpsc::Sender<Work>>);

impl Owned {
    fn run<T: Send + 'static>(&self, work: impl FnOnce(&mut Replica) -> T + Send + 'static) -> T {
        let (answer, answered) = shuttle::sync::mpsc::channel();
        let queue = self.0.lock().unwrap().clone();
        queue.send(Box::new(move |replica| answer.send(work(replica)).unwrap())).unwrap();
        answered.recv().unwrap()
    }
}

impl Counts for Owned {
    fn new() -> Self {
        let mut replica = Replica::open(options(&Disk::new(1))).unwrap();
        replica.welcomed(core().welcome(), 0).unwrap();
        let (queue, queued) = shuttle::sync::mpsc::channel::<Work>();
        shuttle::thread::spawn(move || {
            while let Ok(work) = queued.recv() {
                work(&mut replica);
            }
        });
        Self(shuttle::sync::Mutex::new(queue))
    }

    fn increment(&self) {
        self.run(|replica| {
            replica.write(&at(), &increment()).unwrap().unwrap();
            replica.commit().unwrap();
        });
    }

    fn value(&self) -> u64 {
        self.run(|replica| {
            let read = replica.reader().get(&at()).unwrap().unwrap();
            read.view.object().unwrap()["value"].as_u64().unwrap()
        })
    }
}

/// The flaw: the clock is read under one lock and written under another.
struct Racing(shuttle::sync::RwLock<u64>);

impl Counts for Racing {
    fn new() -> Self {
        Self(shuttle::sync::RwLock::new(0))
    }

    fn increment(&self) {
        let before = *self.0.read().unwrap();
        *self.0.write().unwrap() = before + 1;
    }

    fn value(&self) -> u64 {
        *self.0.read().unwrap()
    }
}

#[test]
fn no_interleaving_loses_an_increment() {
    assert!(loses_nothing::<Owned>());
    assert!(!loses_nothing::<Racing>(), "the check does not see the flaw");
}
