//! Against the dullest model, a plain map; what readers see meanwhile; and what a crash or a failure leaves.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::Durability;
use crate::fjall::FjallState;
use crate::simulated::{Disk, SimulatedState};
use crate::testing::{Gate, GatedState, Passed};

type Model = BTreeMap<Bytes, Bytes>;

const ALL_ROWS: Limit = Limit::rows(usize::MAX);

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, value);
    batch
}

fn apply(model: &mut Model, batch: &Batch) {
    for (key, value) in batch.clone().into_rows() {
        match value {
            Some(value) => model.insert(key, value),
            None => model.remove(&key),
        };
    }
}

fn model_scan(model: &Model, range: &KeyRange, limit: Limit, direction: Direction) -> Vec<Row> {
    let rows = model
        .iter()
        .filter(|(key, _)| !range.is_empty() && std::ops::RangeBounds::<[u8]>::contains(&range.bounds(), key.as_ref()));
    let mut rows: Vec<Row> = rows.map(|(key, value)| (key.clone(), value.clone())).collect();
    if direction == Direction::Backward {
        rows.reverse();
    }
    let mut left = limit;
    rows.into_iter()
        .take_while(|row| {
            let taken = !left.is_spent();
            left = left.less(row);
            taken
        })
        .collect()
}

#[derive(Debug, Clone)]
enum Step {
    Install(Batch),
    /// The thread's round, or half of one: what is handed over is being written.
    Write,
    HandOver,
    Flush,
    Crash,
    Scan {
        range: KeyRange,
        limit: Limit,
        direction: Direction,
    },
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(0..4_u8, 1..3).prop_map(Bytes::from)
}

fn batch() -> impl Strategy<Value = Batch> {
    prop::collection::vec((key(), prop::option::of(0..99_u8)), 0..6).prop_map(|rows| {
        let mut batch = Batch::new();
        rows.into_iter().for_each(|(key, value)| batch.push(key, value.map(|value| Bytes::from(vec![value]))));
        batch
    })
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        Just(KeyRange::all()),
        key().prop_map(KeyRange::prefix),
        (key(), key()).prop_map(|(start, end)| KeyRange::new(start..end)),
        (key(), key()).prop_map(|(start, end)| KeyRange::new(start..=end)),
        key().prop_map(|end| KeyRange::all().behind(end, Direction::Backward)),
        key().prop_map(|start| KeyRange::all().behind(start, Direction::Forward)),
    ]
}

fn scan_step() -> impl Strategy<Value = Step> {
    let limit = prop_oneof![
        Just(ALL_ROWS),
        (0..5_usize).prop_map(Limit::rows),
        (0..12_usize).prop_map(Limit::bytes),
        (0..5_usize, 0..12_usize).prop_map(|(rows, bytes)| Limit { rows, bytes }),
    ];
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    (range(), limit, direction).prop_map(|(range, limit, direction)| Step::Scan { range, limit, direction })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => batch().prop_map(Step::Install),
        2 => Just(Step::Write),
        2 => Just(Step::HandOver),
        1 => Just(Step::Flush),
        1 => Just(Step::Crash),
        4 => scan_step(),
    ]
}

/// A store with the model of it after each install since the last flush: a crash may go back to any of them.
struct World {
    disk: Disk,
    writer: StateWriter,
    store: ShardStore,
    since_flush: Vec<Model>,
    /// Handed over and not written: as when the thread is in the middle of a round.
    in_flight: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let disk = Disk::new(seed);
        let (writer, store) = Self::open(&disk);
        Self { disk, writer, store, since_flush: vec![Model::new()], in_flight: false }
    }

    fn open(disk: &Disk) -> (StateWriter, ShardStore) {
        let writer = StateWriter::start(Arc::new(disk.state()), Mode::Inline).unwrap();
        let store = writer.shard("shard").unwrap();
        (writer, store)
    }

    fn model(&self) -> &Model {
        self.since_flush.last().expect("there is always the present")
    }

    /// Puts what is in flight into the keyspace, as the thread does before it hands over again.
    fn land(&mut self) {
        if std::mem::take(&mut self.in_flight) {
            let rows = self.store.shard.overlay.write().written().expect("it was handed over");
            self.store.shard.keyspace.commit(to_batch(&rows)).unwrap();
        }
    }

    async fn carry_out(&mut self, step: Step) {
        match step {
            Step::Install(batch) => {
                let mut model = self.model().clone();
                apply(&mut model, &batch);
                self.since_flush.push(model);
                self.store.install(batch).await.unwrap();
            }
            Step::Write => {
                self.land();
                self.writer.tick().unwrap();
            }
            Step::HandOver => {
                self.land();
                self.in_flight = self.store.shard.overlay.write().hand_over().is_some();
            }
            Step::Flush => {
                self.land();
                self.store.flush().await.unwrap();
                self.since_flush = vec![self.model().clone()];
            }
            Step::Crash => {
                self.disk.crash();
                drop(self.store.shard.overlay.write().written());
                (self.writer, self.store) = Self::open(&self.disk);
                self.in_flight = false;
                let rows = self.store.scan(&KeyRange::all(), ALL_ROWS, Direction::Forward).unwrap();
                let left = Model::from_iter(rows);
                assert!(self.since_flush.contains(&left), "{left:?} is not a prefix of the installs");
                self.store.flush().await.unwrap();
                self.since_flush = vec![left];
            }
            Step::Scan { range, limit, direction } => {
                let expected = model_scan(self.model(), &range, limit, direction);
                assert_eq!(self.store.scan(&range, limit, direction).unwrap(), expected);
            }
        }
    }

    fn check(&self) {
        let (model, all) = (self.model(), KeyRange::all());
        let rows = self.store.scan(&all, ALL_ROWS, Direction::Forward).unwrap();
        assert_eq!(rows, model_scan(model, &all, ALL_ROWS, Direction::Forward));
        assert_eq!(self.store.last(&all).unwrap(), rows.last().cloned());
        for key in (0..4_u8).map(|key| [key]) {
            let expected = model.get(&key[..]).cloned();
            assert_eq!(self.store.get(&key).unwrap(), expected);
            assert_eq!(self.store.get_all([&key[..], &[9]]).unwrap(), [expected, None]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Reads see every install at once, wherever its rows are; a crash leaves a prefix of the installs that holds
    /// everything flushed.
    #[test]
    fn the_store_is_a_map(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed);
            for step in steps {
                world.carry_out(step).await;
                world.check();
            }
            world.land();
        });
    }
}

/// A scan that takes several steps finds every row once: deletes in memory hide rows below, and both sides run on.
#[tokio::test]
async fn long_scans_take_steps() {
    let folder = tempfile::tempdir().unwrap();
    let writer = StateWriter::start(Arc::new(FjallState::open(folder.path()).unwrap()), Mode::Inline).unwrap();
    let store = writer.shard("shard").unwrap();
    let count = 5 * u32::try_from(SCAN_STEP_ROWS).unwrap();
    let key = |number: u32| Bytes::copy_from_slice(&number.to_be_bytes());
    let mut model = Model::new();
    for layer in 0..3 {
        let mut batch = Batch::new();
        for number in (0..count).filter(|number| number % 7 >= layer) {
            // The last layer deletes whole stretches, longer than a step.
            let value = (layer < 2 || number % 3_000 > 1_500).then(|| key(layer));
            batch.push(key(number), value);
        }
        apply(&mut model, &batch);
        store.install(batch).await.unwrap();
        match layer {
            0 => writer.flush().await.unwrap(),
            1 => drop(store.shard.overlay.write().hand_over()),
            _ => {}
        }
    }
    for direction in [Direction::Forward, Direction::Backward] {
        for limit in [ALL_ROWS, Limit::rows(1), Limit::rows(3_000), Limit::bytes(20_000)] {
            let expected = model_scan(&model, &KeyRange::all(), limit, direction);
            assert_eq!(store.scan(&KeyRange::all(), limit, direction).unwrap(), expected, "{limit:?} {direction:?}");
        }
    }
    drop(store.shard.overlay.write().written());
}

/// On fjall, with the thread writing as fast as it can: no reader ever sees a part of an install, nor goes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_whole_installs() {
    let folder = tempfile::tempdir().unwrap();
    let state = Arc::new(FjallState::open(folder.path()).unwrap());
    let writer = Arc::new(StateWriter::start(state, Mode::Thread).unwrap());
    let store = writer.shard("shard").unwrap();
    let installs = 2_000_u64;
    let done = Arc::new(AtomicBool::new(false));
    let spawn_reader = |read: fn(&ShardStore) -> Vec<Bytes>| {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            let mut last = Bytes::new();
            let mut seen = 0;
            while seen == 0 || !done.load(Ordering::Acquire) {
                let values = read(&store);
                assert!(values.iter().all(|value| *value == values[0]), "{values:?} are of several installs");
                if let Some(value) = values.first() {
                    assert!(*value >= last, "{value:?} after {last:?}");
                    last = value.clone();
                    seen += 1;
                }
            }
            seen
        })
    };
    let scans = spawn_reader(|store| {
        let rows = store.scan(&KeyRange::prefix("pair/"), ALL_ROWS, Direction::Forward).unwrap();
        assert!(rows.is_empty() || rows.len() == 3, "{rows:?}");
        rows.into_iter().map(|(_, value)| value).collect()
    });
    let gets = spawn_reader(|store| {
        let values = store.get_all([b"pair/a", b"pair/b", b"pair/c"]).unwrap();
        values.into_iter().flatten().collect()
    });
    let rounds = std::thread::spawn({
        let (writer, done) = (writer.clone(), done.clone());
        move || {
            while !done.load(Ordering::Acquire) {
                writer.tick().unwrap();
            }
        }
    });
    for number in 1..=installs {
        let value = Bytes::copy_from_slice(&number.to_be_bytes());
        let mut batch = Batch::new();
        ["pair/a", "pair/b", "pair/c"].iter().for_each(|key| batch.put(*key, value.clone()));
        store.install(batch).await.unwrap();
        assert_eq!(store.get(b"pair/b").unwrap(), Some(value), "an install is visible when it returns");
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Release);
    rounds.join().unwrap();
    assert!(scans.join().unwrap() > 0 && gets.join().unwrap() > 0);
    store.flush().await.unwrap();
    let counters = writer.counters();
    assert_eq!(counters.installs.load(Ordering::Relaxed), installs);
    assert!(counters.rows_written.load(Ordering::Relaxed) <= counters.rows_installed.load(Ordering::Relaxed));
}

/// A database that lets something happen whenever a reader has just taken a snapshot, or is about to and holds no guard.
struct Meddled {
    state: SimulatedState,
    meddle: Arc<Meddle>,
}

type Meddle = Mutex<Option<Box<dyn Fn() + Send>>>;

struct MeddledKeyspace {
    keyspace: Arc<dyn Keyspace>,
    meddle: Arc<Meddle>,
}

struct MeddledSnapshot {
    snapshot: Box<dyn OrderedStore>,
    meddle: Arc<Meddle>,
}

/// At most once, so that what happens does not set itself off.
fn meddle(meddle: &Meddle) {
    let happens = meddle.lock().take();
    if let Some(happens) = happens {
        happens();
    }
}

impl StateDb for Meddled {
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error> {
        Ok(Arc::new(MeddledKeyspace { keyspace: self.state.keyspace(name)?, meddle: self.meddle.clone() }))
    }

    fn keyspaces(&self) -> Vec<String> {
        self.state.keyspaces()
    }

    fn delete_keyspace(&self, name: &str) -> Result<(), Error> {
        self.state.delete_keyspace(name)
    }

    fn sync(&self) -> Result<(), Error> {
        self.state.sync()
    }
}

impl OrderedStore for MeddledKeyspace {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.keyspace.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.keyspace.scan(range, limit, direction)
    }
}

impl Keyspace for MeddledKeyspace {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.keyspace.commit(batch)
    }

    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error> {
        self.keyspace.ingest(rows)
    }

    fn snapshot(&self) -> Box<dyn OrderedStore> {
        meddle(&self.meddle);
        Box::new(MeddledSnapshot { snapshot: self.keyspace.snapshot(), meddle: self.meddle.clone() })
    }
}

impl OrderedStore for MeddledSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        meddle(&self.meddle);
        self.snapshot.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        meddle(&self.meddle);
        self.snapshot.scan(range, limit, direction)
    }
}

/// What is installed and written while a reader is between memory and keyspace is seen wholly or not at all.
#[tokio::test]
async fn a_reader_keeps_to_one_moment() {
    let reads: [fn(&ShardStore) -> Vec<Bytes>; 2] = [
        |store| {
            let rows = store.scan(&KeyRange::all(), ALL_ROWS, Direction::Forward).unwrap();
            rows.into_iter().map(|(_, value)| value).collect()
        },
        |store| store.get_all([b"a", b"b", b"c"]).unwrap().into_iter().flatten().collect(),
    ];
    for read in reads {
        let meddle: Arc<Meddle> = Arc::default();
        let database = Arc::new(Meddled { state: Disk::new(0).state(), meddle: meddle.clone() });
        let writer = Arc::new(StateWriter::start(database, Mode::Inline).unwrap());
        let store = writer.shard("shard").unwrap();
        let batch = |keys: &[&'static str], value: &'static str| {
            let mut batch = Batch::new();
            keys.iter().for_each(|key| batch.put(*key, value));
            batch
        };
        store.install(batch(&["a", "b"], "1")).await.unwrap();
        writer.tick().unwrap();
        store.install(batch(&["a", "c"], "2")).await.unwrap();
        let (at, of_writer, third) = (store.clone(), writer.clone(), batch(&["a", "b", "c"], "3"));
        let slot = meddle.clone();
        let happens = move || {
            // With the guard held nobody can install: then it happens after the snapshot.
            if at.shard.overlay.try_write().is_none() {
                let (at, of_writer, third) = (at.clone(), of_writer.clone(), third.clone());
                *slot.lock() = Some(Box::new(move || install_and_write(&at, &of_writer, &third)));
            } else {
                install_and_write(&at, &of_writer, &third);
            }
        };
        *meddle.lock() = Some(Box::new(happens));
        assert_eq!(read(&store), ["2", "1", "2"]);
        assert!(meddle.lock().is_none(), "it happened");
        assert_eq!(read(&store), ["3", "3", "3"]);
    }
}

fn install_and_write(store: &ShardStore, writer: &StateWriter, batch: &Batch) {
    store.shard.overlay.write().install(batch.clone(), 0);
    writer.tick().unwrap();
}

fn gated(disk: &Disk) -> (Arc<Gate>, StateWriter, ShardStore) {
    let state = GatedState::new(disk);
    let gate = state.gate.clone();
    let writer = StateWriter::start(Arc::new(state), Mode::Thread).unwrap();
    let store = writer.shard("shard").unwrap();
    (gate, writer, store)
}

/// What is installed while a round is written goes into the next as one batch, a key once.
#[tokio::test]
async fn installs_of_one_key_are_written_once() {
    let (gate, writer, store) = gated(&Disk::new(0));
    gate.set_shut(true);
    store.install(put("key", "0")).await.unwrap();
    gate.await_waiting();
    for number in 1..100 {
        store.install(put("key", format!("{number}"))).await.unwrap();
        assert_eq!(store.get(b"key").unwrap(), Some(Bytes::from(format!("{number}"))));
    }
    gate.set_shut(false);
    store.flush().await.unwrap();
    let buffered = Passed { rows: 1, durability: Some(Durability::Buffered) };
    assert_eq!(gate.passed(), [buffered.clone(), buffered, Passed { rows: 0, durability: None }]);
    assert_eq!(writer.overlay_bytes(), 0);
    assert_eq!(store.shard.keyspace.get(b"key").unwrap().as_deref(), Some(&b"99"[..]));
}

/// Without a flush, what is installed is written and synced by itself, soon.
#[tokio::test]
async fn what_is_installed_is_synced_each_second() {
    let disk = Disk::new(0);
    let (gate, _writer, store) = gated(&disk);
    store.install(put("key", "value")).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while gate.passed().last().is_none_or(|last| last.durability.is_some()) {
        assert!(Instant::now() < deadline, "no sync came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    disk.crash();
    assert_eq!(disk.state().keyspace("shard").unwrap().get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// Installs wait while the overlay is full, and go on when it is written. Reads do not wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_overlay_makes_installs_wait() {
    let (gate, writer, store) = gated(&Disk::new(0));
    gate.set_shut(true);
    store.install(put("large", vec![0; OVERLAY_BYTES_MAX / 2])).await.unwrap();
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.install(put("larger", vec![0; OVERLAY_BYTES_MAX + 1])).await }
    });
    gate.await_waiting();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waits.is_finished());
    assert_eq!(store.get(b"large").unwrap().map(|value| value.len()), Some(OVERLAY_BYTES_MAX / 2));
    assert_eq!(store.get(b"larger").unwrap(), None);
    gate.set_shut(false);
    waits.await.unwrap().unwrap();
    store.flush().await.unwrap();
    assert_eq!(store.get(b"larger").unwrap().map(|value| value.len()), Some(OVERLAY_BYTES_MAX + 1));
    assert_eq!(writer.overlay_bytes(), 0);
}

/// The first error stops the writer: installs, flushes and the process hear it; reads still answer.
#[tokio::test]
async fn the_first_error_is_for_good() {
    let disk = Disk::new(0);
    let (gate, writer, store) = gated(&disk);
    store.install(put("key", "1")).await.unwrap();
    store.flush().await.unwrap();
    disk.set_full(true);
    store.install(put("key", "2")).await.unwrap();
    let expected = "the simulated disk is full: cannot write 1 rows of 4 bytes to shard";
    assert_eq!(writer.failed().await.to_string(), expected);
    disk.set_full(false);
    assert_eq!(store.install(put("key", "3")).await.unwrap_err().to_string(), expected);
    assert_eq!(store.flush().await.unwrap_err().to_string(), expected);
    assert_eq!(writer.tick().unwrap_err().to_string(), expected);
    assert_eq!(store.get(b"key").unwrap().as_deref(), Some(&b"2"[..]), "what was installed is still seen");
    let passed = gate.passed().len();
    drop(writer);
    assert_eq!(gate.passed().len(), passed, "nothing is written after the error");
    assert_eq!(disk.state().keyspace("shard").unwrap().get(b"key").unwrap().as_deref(), Some(&b"1"[..]));
}

/// Installs that wait for room when the writer fails hear of it, and do not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_installs_hear_of_the_error() {
    let disk = Disk::new(0);
    let (gate, _writer, store) = gated(&disk);
    gate.set_shut(true);
    store.install(put("a", vec![0; OVERLAY_BYTES_MAX])).await.unwrap();
    let waits = tokio::spawn({
        let store = store.clone();
        async move { store.install(put("b", "")).await }
    });
    let flushes = tokio::spawn({
        let store = store.clone();
        async move { store.flush().await }
    });
    gate.await_waiting();
    disk.set_full(true);
    gate.set_shut(false);
    assert!(matches!(waits.await.unwrap(), Err(Error::Full { .. })));
    assert!(matches!(flushes.await.unwrap(), Err(Error::Full { .. })));
}

/// Closing writes and syncs everything, in either mode; stores then refuse installs and still answer reads.
#[tokio::test]
async fn closing_loses_nothing() {
    for mode in [Mode::Thread, Mode::Inline] {
        let disk = Disk::new(0);
        let writer = StateWriter::start(Arc::new(disk.state()), mode).unwrap();
        let stores = ["a", "b"].map(|name| writer.shard(name).unwrap());
        for number in 0..100 {
            stores[number % 2].install(put(format!("{number}"), "")).await.unwrap();
        }
        drop(writer);
        let error = stores[0].install(put("late", "")).await.unwrap_err().to_string();
        assert_eq!(error, "the state writer is closed");
        assert_eq!(stores[0].get(b"98").unwrap().as_deref(), Some(&b""[..]));
        disk.crash();
        for name in ["a", "b"] {
            let keyspace = disk.state().keyspace(name).unwrap();
            assert_eq!(keyspace.scan(&KeyRange::all(), ALL_ROWS, Direction::Forward).unwrap().len(), 50);
        }
    }
}

/// A retired shard is written no more; its keyspace can be deleted, and made again as another.
#[tokio::test]
async fn a_retired_shard_lets_go_of_its_keyspace() {
    let disk = Disk::new(0);
    let writer = StateWriter::start(Arc::new(disk.state()), Mode::Inline).unwrap();
    let (old, other) = (writer.shard("generation-1").unwrap(), writer.shard("generation-2").unwrap());
    old.install(put("key", "old")).await.unwrap();
    other.install(put("key", "other")).await.unwrap();
    writer.retire("generation-1");
    assert_eq!(old.install(put("key", "late")).await.unwrap_err().to_string(), "generation-1 is closed");
    assert_eq!(old.get(b"key").unwrap().as_deref(), Some(&b"old"[..]), "who holds it reads what was installed");
    writer.flush().await.unwrap();
    assert_eq!(writer.overlay_bytes(), 0);
    let keyspace = |name: &str| disk.state().keyspace(name).unwrap();
    assert_eq!(keyspace("generation-1").get(b"key").unwrap(), None);
    assert_eq!(keyspace("generation-2").get(b"key").unwrap().as_deref(), Some(&b"other"[..]));
    disk.state().delete_keyspace("generation-1").unwrap();
    let again = writer.shard("generation-1").unwrap();
    again.install(put("key", "again")).await.unwrap();
    writer.flush().await.unwrap();
    assert_eq!(keyspace("generation-1").get(b"key").unwrap().as_deref(), Some(&b"again"[..]));
}

/// A snapshot is a prefix of the installs, with everything flushed, and stays as it is.
#[tokio::test]
async fn snapshots_hold_what_was_flushed() {
    let disk = Disk::new(0);
    let writer = StateWriter::start(Arc::new(disk.state()), Mode::Inline).unwrap();
    let store = writer.shard("shard").unwrap();
    store.install(put("a", "1")).await.unwrap();
    store.flush().await.unwrap();
    store.install(put("b", "2")).await.unwrap();
    let snapshot = store.snapshot();
    writer.flush().await.unwrap();
    let rows = snapshot.scan(&KeyRange::all(), ALL_ROWS, Direction::Forward).unwrap();
    assert_eq!(rows, [(Bytes::from("a"), Bytes::from("1"))]);
    assert_eq!(store.name(), "shard");
}

/// A database that panics takes the thread with it; whoever waits or comes later hears so.
#[tokio::test]
async fn a_panic_is_heard() {
    let (gate, writer, store) = gated(&Disk::new(0));
    gate.panic_at_next();
    store.install(put("key", "1")).await.unwrap();
    assert_eq!(store.flush().await.unwrap_err().to_string(), "the state writer has panicked");
    assert!(matches!(writer.failed().await, Error::Panicked { .. }));
    store.install(put("key", "2")).await.unwrap_err();
    store.flush().await.unwrap_err();
    assert_eq!(store.get(b"key").unwrap().as_deref(), Some(&b"1"[..]));
}
