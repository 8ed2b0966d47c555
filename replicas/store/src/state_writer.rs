//! The one thread that writes the state of all shards, and the shards as their users see them: what is installed is
//! visible at once from memory and reaches the keyspace in sorted batches (DESIGN.md, Storage).
//! Invariants: a keyspace always holds a prefix of its shard's installs, also after a crash; no guard is held over I/O;
//! no tokio worker writes to a keyspace; after the first error nothing is written any more.
//! What a crash loses is not here: the log replays it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{Semaphore, oneshot};

use crate::failure::Failure;
use crate::limits::{
    COPIED_BYTES_MAX, OVERLAY_BYTES_MAX, OVERLAY_URGENT_BYTES, SCAN_STEP_ROWS, SYNC_INTERVAL, WRITE_INTERVAL,
};
use crate::log_writer::{count, nanos};
use crate::overlay::{Captured, Handover, Overlay, Rows};
use crate::{Batch, Direction, Error, KeyRange, Keyspace, Limit, Mode, OrderedStore, Row, StateDb};

#[cfg(test)]
mod tests;

const NAME: &str = "the state writer";

/// What has been written since the start. Plain counters, read at any time; they are not of one moment.
#[derive(Debug, Default)]
pub struct StateWriterCounters {
    /// Batches installed by all shards.
    pub installs: AtomicU64,
    /// Rows installed by all shards.
    pub rows_installed: AtomicU64,
    /// Batches written to keyspaces, each of all that one shard had installed.
    pub batches: AtomicU64,
    /// Rows written to keyspaces: fewer than installed, as a key written again before it left memory counts once.
    pub rows_written: AtomicU64,
    /// How long writing took, in nanoseconds.
    pub write_nanos_sum: AtomicU64,
    /// Syncs of the database.
    pub syncs: AtomicU64,
    /// How long all syncs took, in nanoseconds.
    pub sync_nanos_sum: AtomicU64,
}

/// Writes the state of all shards of a node.
///
/// Dropping it writes and syncs everything installed and joins the thread, so it blocks for the disk.
pub struct StateWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Arc<dyn StateDb>,
    mode: Mode,
    shards: Mutex<BTreeMap<String, Arc<Shard>>>,
    /// Bytes that may still be installed before something is written.
    room: Semaphore,
    /// Bytes installed since the last round began.
    dirty: AtomicUsize,
    control: Mutex<Control>,
    /// Tells the thread that `dirty` or `control` calls for a round earlier than it knew.
    wake: Condvar,
    /// Held through a round, by whoever writes one.
    round: Mutex<Round>,
    failure: Failure,
    counters: StateWriterCounters,
}

/// What the thread is asked for.
#[derive(Default)]
struct Control {
    flushes: Vec<oneshot::Sender<Result<(), Error>>>,
    closed: bool,
}

/// Where writing stands.
struct Round {
    written: Instant,
    synced: Instant,
    /// Whether something was written since the last sync.
    is_unsynced: bool,
}

struct Shard {
    name: String,
    keyspace: Arc<dyn Keyspace>,
    overlay: RwLock<Overlay>,
    /// Nothing is installed any more, and what was is not written.
    is_retired: AtomicBool,
}

impl StateWriter {
    /// Starts writing to `database`.
    ///
    /// Without a thread nothing is written until [`Self::tick`] or a flush is called, or the overlay is full.
    ///
    /// # Errors
    /// [`Error::Thread`] when the operating system gives no thread.
    pub fn start(database: Arc<dyn StateDb>, mode: Mode) -> Result<Self, Error> {
        let now = Instant::now();
        let shared = Arc::new(Shared {
            database,
            mode,
            shards: Mutex::default(),
            room: Semaphore::new(OVERLAY_BYTES_MAX),
            dirty: AtomicUsize::new(0),
            control: Mutex::default(),
            wake: Condvar::new(),
            round: Mutex::new(Round { written: now, synced: now, is_unsynced: false }),
            failure: Failure::new(),
            counters: StateWriterCounters::default(),
        });
        let thread = match mode {
            Mode::Inline | Mode::Stepped => None,
            Mode::Thread => {
                let of_thread = shared.clone();
                let thread = std::thread::Builder::new().name("skerry-state".to_owned()).spawn(move || of_thread.run());
                Some(thread.map_err(|source| Error::Thread { writer: NAME, source: Arc::new(source) })?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// The store of the shard whose rows are in this keyspace, which is made if there is none. The same name gives the
    /// same store.
    ///
    /// # Errors
    /// What [`StateDb::keyspace`] returns.
    pub fn shard(&self, keyspace: &str) -> Result<ShardStore, Error> {
        let mut shards = self.shared.shards.lock();
        let shard = match shards.get(keyspace) {
            Some(shard) => shard.clone(),
            None => {
                let shard = Arc::new(Shard {
                    name: keyspace.to_owned(),
                    keyspace: self.shared.database.keyspace(keyspace)?,
                    overlay: RwLock::default(),
                    is_retired: AtomicBool::new(false),
                });
                shards.insert(keyspace.to_owned(), shard.clone());
                shard
            }
        };
        Ok(ShardStore { shared: self.shared.clone(), shard })
    }

    /// The database that is written to: for keyspaces that no shard is open on.
    #[must_use]
    pub fn database(&self) -> &dyn StateDb {
        &*self.shared.database
    }

    /// Lets go of a shard whose keyspace is going to be deleted: nothing of it is written any more and its stores refuse
    /// installs. Whoever still holds one goes on reading what was installed. Blocks while a round of writing is under way: not for a tokio worker.
    pub fn retire(&self, keyspace: &str) {
        let Some(shard) = self.shared.shards.lock().remove(keyspace) else { return };
        shard.is_retired.store(true, Ordering::Release);
        // After the round under way nobody writes to the keyspace.
        let _no_round = self.shared.round.lock();
        let room = shard.overlay.write().abandon();
        self.shared.room.add_permits(room);
    }

    /// Writes what all shards have installed, without a sync, on the caller's thread. It is what the thread does every
    /// [`WRITE_INTERVAL`]; a simulation calls it instead.
    ///
    /// # Errors
    /// The first error this writer met.
    pub fn tick(&self) -> Result<(), Error> {
        self.shared.write_round(&mut self.shared.round.lock())
    }

    /// Returns when everything that any shard has installed so far is written and synced.
    ///
    /// # Errors
    /// The first error this writer met.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.flush().await
    }

    /// What has been written since the start.
    #[must_use]
    pub fn counters(&self) -> &StateWriterCounters {
        &self.shared.counters
    }

    /// Bytes installed and not yet written, at most [`OVERLAY_BYTES_MAX`].
    #[must_use]
    pub fn overlay_bytes(&self) -> usize {
        OVERLAY_BYTES_MAX - self.shared.room.available_permits().min(OVERLAY_BYTES_MAX)
    }

    /// Returns with the first error once there is one: the process must then stop.
    pub async fn failed(&self) -> Error {
        self.shared.failure.wait().await
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        self.shared.room.close();
        self.shared.control.lock().closed = true;
        self.shared.wake.notify_one();
        let written = match self.thread.take() {
            Some(thread) => thread.join().is_ok(),
            None => self.shared.finish().is_ok(),
        };
        if !written {
            tracing::error!("{NAME} could not write everything: the log replays it at the next start");
        }
    }
}

/// A shard's rows: its keyspace with what was installed since laid over it. Clones are the same store.
#[derive(Clone)]
pub struct ShardStore {
    shared: Arc<Shared>,
    shard: Arc<Shard>,
}

impl ShardStore {
    /// The keyspace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shard.name
    }

    /// Makes the whole batch visible, to each reader all of it or nothing, and returns; it is written soon. Waits while
    /// [`OVERLAY_BYTES_MAX`] bytes of all shards wait to be written, first come, first served; a larger batch waits for
    /// all of them. One task installs: what is installed after a call has returned is on top of it.
    ///
    /// After a crash the shard holds a prefix of the installs, with everything before the last flush.
    ///
    /// # Errors
    /// The first error this writer met; [`Error::Closed`] when the writer is dropped or the shard retired. The batch is
    /// then not visible.
    pub async fn install(&self, batch: Batch) -> Result<(), Error> {
        let bytes = batch.memory_bytes().min(OVERLAY_BYTES_MAX);
        let room = u32::try_from(bytes).expect("limits.rs checks that it fits");
        if self.shared.mode != Mode::Thread && self.shared.room.available_permits() < bytes {
            self.shared.write_round(&mut self.shared.round.lock())?;
        }
        let refusal = |_closed| self.shared.failure.get().unwrap_or_else(|| closed(NAME));
        self.shared.room.acquire_many(room).await.map_err(refusal)?.forget();
        count(&self.shared.counters.installs, 1);
        count(&self.shared.counters.rows_installed, batch.len());
        {
            let mut overlay = self.shard.overlay.write();
            if self.shard.is_retired.load(Ordering::Acquire) {
                self.shared.room.add_permits(bytes);
                return Err(closed(&self.shard.name));
            }
            overlay.install(batch, bytes);
        }
        self.shared.note_dirty(bytes);
        Ok(())
    }

    /// The value of `key`, with everything installed so far. May read from the disk.
    ///
    /// # Errors
    /// [`Error::Read`] when the keyspace cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        if let Some(value) = self.shard.overlay.read().get(key) {
            return Ok(value.clone());
        }
        // A row leaves the overlay only when the keyspace has it, so a miss above and here is a miss.
        self.shard.keyspace.get(key)
    }

    /// The values of several keys as of one moment between two installs. May read from the disk.
    ///
    /// # Errors
    /// [`Error::Read`] when the keyspace cannot be read.
    pub fn get_all<const N: usize>(&self, keys: [&[u8]; N]) -> Result<[Option<Bytes>; N], Error> {
        let (found, stored) = {
            let overlay = self.shard.overlay.read();
            (keys.map(|key| overlay.get(key).cloned()), self.shard.keyspace.snapshot())
        };
        let mut values = [const { None }; N];
        for ((value, key), found) in values.iter_mut().zip(keys).zip(found) {
            *value = match found {
                Some(found) => found,
                None => stored.get(key)?,
            };
        }
        Ok(values)
    }

    /// The rows of `range` in order of `direction` until `limit` is reached: the row that reaches it is the last. Every
    /// [`SCAN_STEP_ROWS`] rows are as of one moment between two installs, the first ones the oldest. May read from the
    /// disk.
    ///
    /// # Errors
    /// [`Error::Read`] when the keyspace cannot be read.
    pub fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut range = range.clone();
        let mut left = limit;
        // A short scan looks at few rows of the overlay, and at more when it meets deletes only.
        let mut captured_max = limit.rows.min(SCAN_STEP_ROWS);
        while !left.is_spent() {
            let step = Limit { rows: left.rows.min(SCAN_STEP_ROWS), bytes: left.bytes };
            // The snapshot costs no I/O, and with the guard held nothing moves between overlay and keyspace.
            let (captured, stored): (Captured, _) = {
                let overlay = self.shard.overlay.read();
                (overlay.capture(&range, captured_max, direction), self.shard.keyspace.snapshot())
            };
            let stored = stored.scan(&captured.window(&range, direction), step, direction)?;
            let merged = captured.over(stored, step, direction);
            for row in merged.rows {
                if left.is_spent() {
                    break;
                }
                left = left.less(&row);
                rows.push(row);
            }
            captured_max = (2 * captured_max).min(SCAN_STEP_ROWS);
            match merged.end {
                Some(end) => range = range.behind(end, direction),
                None => break,
            }
        }
        Ok(rows)
    }

    /// The row with the highest key in `range`, with everything installed so far. May read from the disk.
    ///
    /// # Errors
    /// [`Error::Read`] when the keyspace cannot be read.
    pub fn last(&self, range: &KeyRange) -> Result<Option<Row>, Error> {
        Ok(self.scan(range, Limit::rows(1), Direction::Backward)?.pop())
    }

    /// What the keyspace holds now, a prefix of the installs: after a flush at least everything installed before it.
    /// The store keeps what the snapshot sees until it is dropped.
    #[must_use]
    pub fn snapshot(&self) -> Box<dyn OrderedStore> {
        self.shard.keyspace.snapshot()
    }

    /// Returns when everything installed so far is written and synced.
    ///
    /// # Errors
    /// The first error this writer met.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.flush().await
    }
}

impl OrderedStore for ShardStore {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Self::get(self, key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        Self::scan(self, range, limit, direction)
    }
}

impl Shared {
    /// Wakes the thread when it may be waiting without end, or when it must not wait any longer. In between it looks by
    /// itself, so that an install costs no system call.
    fn note_dirty(&self, bytes: usize) {
        let before = self.dirty.fetch_add(bytes, Ordering::AcqRel);
        let wakes = before == 0 || (before < OVERLAY_URGENT_BYTES && before + bytes >= OVERLAY_URGENT_BYTES);
        if wakes && self.mode == Mode::Thread {
            // The thread looks at `dirty` and begins to wait under this lock, so it cannot miss the call.
            drop(self.control.lock());
            self.wake.notify_one();
        }
    }

    async fn flush(&self) -> Result<(), Error> {
        if self.mode != Mode::Thread {
            return self.finish();
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut control = self.control.lock();
            if let Some(error) = self.failure.get() {
                return Err(error);
            }
            if control.closed {
                return Err(closed(NAME));
            }
            control.flushes.push(answer);
        }
        self.wake.notify_one();
        match answered.await {
            Ok(result) => result,
            // Only a panic drops the answer, and it is recorded next.
            Err(_dropped) => Err(self.failure.wait().await),
        }
    }

    /// Writes and syncs everything.
    fn finish(&self) -> Result<(), Error> {
        let mut round = self.round.lock();
        self.write_round(&mut round)?;
        self.sync(&mut round)
    }

    fn run(&self) {
        let _guard = PanicGuard(self);
        loop {
            let control = self.await_work();
            let mut round = self.round.lock();
            let mut result = self.write_round(&mut round);
            let sync_is_due = round.is_unsynced && round.synced.elapsed() >= SYNC_INTERVAL;
            if result.is_ok() && (sync_is_due || control.closed || !control.flushes.is_empty()) {
                result = self.sync(&mut round);
            }
            drop(round);
            for flush in control.flushes {
                // Whoever asked and has gone away needs no answer.
                drop(flush.send(result.clone()));
            }
            if control.closed || result.is_err() {
                return self.refuse_flushes();
            }
        }
    }

    /// Waits until a round is due and takes what it was asked for.
    fn await_work(&self) -> Control {
        let (write_at, sync_at) = {
            let round = self.round.lock();
            (round.written + WRITE_INTERVAL, round.is_unsynced.then(|| round.synced + SYNC_INTERVAL))
        };
        let mut control = self.control.lock();
        loop {
            let dirty = self.dirty.load(Ordering::Acquire);
            let asked = control.closed || !control.flushes.is_empty() || dirty >= OVERLAY_URGENT_BYTES;
            let deadline = (dirty > 0).then_some(write_at).into_iter().chain(sync_at).min();
            if asked || deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                let flushes = std::mem::take(&mut control.flushes);
                return Control { flushes, closed: control.closed };
            }
            match deadline {
                Some(deadline) => drop(self.wake.wait_until(&mut control, deadline)),
                None => self.wake.wait(&mut control),
            }
        }
    }

    /// Answers who asked after the thread took its last work.
    fn refuse_flushes(&self) {
        let mut control = self.control.lock();
        control.closed = true;
        for flush in control.flushes.drain(..) {
            drop(flush.send(Err(self.failure.get().unwrap_or_else(|| closed(NAME)))));
        }
    }

    /// Writes what every shard has installed, one batch for each.
    fn write_round(&self, round: &mut Round) -> Result<(), Error> {
        if let Some(error) = self.failure.get() {
            return Err(error);
        }
        round.written = Instant::now();
        // What is installed from here on is for the next round, even if this one takes it along.
        self.dirty.store(0, Ordering::Release);
        let shards: Vec<_> = self.shards.lock().values().cloned().collect();
        for shard in shards {
            let Some(Handover { rows, room }) = shard.overlay.write().hand_over() else { continue };
            if let Err(error) = shard.keyspace.commit(to_batch(&rows)) {
                self.fail(&error);
                return Err(error);
            }
            round.is_unsynced = true;
            count(&self.counters.batches, 1);
            count(&self.counters.rows_written, rows.len());
            let written = shard.overlay.write().written();
            self.room.add_permits(room);
            // Thousands of rows: not under the guard.
            drop((rows, written));
        }
        self.counters.write_nanos_sum.fetch_add(nanos(round.written.elapsed()), Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self, round: &mut Round) -> Result<(), Error> {
        let started = Instant::now();
        if let Err(error) = self.database.sync() {
            self.fail(&error);
            return Err(error);
        }
        round.synced = Instant::now();
        round.is_unsynced = false;
        count(&self.counters.syncs, 1);
        self.counters.sync_nanos_sum.fetch_add(nanos(started.elapsed()), Ordering::Relaxed);
        Ok(())
    }

    /// Nothing is written after this.
    fn fail(&self, error: &Error) {
        self.failure.record(error, &self.room);
    }
}

/// When the thread panics, whoever waits for it hears so instead of waiting for ever.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(&Error::Panicked { writer: NAME });
            self.0.refuse_flushes();
        }
    }
}

/// The rows, small ones copied side by side in their order: the memtable compares keys that lie together, and keeps no
/// whole record in memory for a few bytes of it.
fn to_batch(rows: &Rows) -> Batch {
    let is_small = |value: &Bytes| value.len() < COPIED_BYTES_MAX;
    let small_bytes = |value: &Option<Bytes>| value.as_ref().filter(|value| is_small(value)).map_or(0, Bytes::len);
    let mut arena = BytesMut::with_capacity(rows.iter().map(|(key, value)| key.len() + small_bytes(value)).sum());
    let mut copy = |bytes: &Bytes| {
        arena.extend_from_slice(bytes);
        arena.split().freeze()
    };
    let mut batch = Batch::with_capacity(rows.len());
    for (key, value) in rows {
        let value = value.as_ref().map(|value| if is_small(value) { copy(value) } else { value.clone() });
        batch.push(copy(key), value);
    }
    batch
}

fn closed(writer: &str) -> Error {
    Error::Closed { writer: writer.to_owned() }
}
