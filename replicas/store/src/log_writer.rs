//! The one thread that writes the log of all shards: what they submit while it syncs goes into the next batch, under
//! one sync (DESIGN.md, Storage).
//! Invariants: batches reach the database in the order they were submitted; each submitter is called back exactly once,
//! in that order, after its rows are as durable as it asked; after the first error nothing is written any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::{AcquireError, Semaphore, oneshot};

use crate::failure::Failure;
use crate::limits::{LOG_BUFFERED_INTERVAL, LOG_QUEUE_BYTES_MAX};
use crate::{Batch, Durability, Error, LogDb, Mode};

#[cfg(test)]
mod tests;

const NAME: &str = "the log writer";

/// Called once with what became of a submission, on the writer's thread: it must be short.
type Callback = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What has been written since the start. Plain counters, read at any time; they are not of one moment.
#[derive(Debug, Default)]
pub struct LogWriterCounters {
    /// Commits that waited for the disk.
    pub syncs: AtomicU64,
    /// Commits.
    pub batches: AtomicU64,
    /// Submissions written. Divided by `batches` it is how many shared one commit.
    pub submissions: AtomicU64,
    /// Rows written.
    pub entries: AtomicU64,
    /// Keys and values written, in bytes.
    pub bytes: AtomicU64,
    /// How long the last synced commit took, in nanoseconds.
    pub sync_nanos_last: AtomicU64,
    /// How long all synced commits took, in nanoseconds.
    pub sync_nanos_sum: AtomicU64,
}

/// Writes batches to a [`LogDb`] for all shards of a node. Share it in an [`Arc`].
///
/// Dropping it writes what was submitted, calls everybody back and joins the thread, so it may block for a sync.
pub struct LogWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    database: Arc<dyn LogDb>,
    mode: Mode,
    queue: Mutex<Queue>,
    /// Tells the thread that the queue has something to sync, or is closed.
    wake: Condvar,
    /// Bytes that may still be queued.
    room: Semaphore,
    failure: Failure,
    counters: LogWriterCounters,
}

#[derive(Default)]
struct Queue {
    submissions: Vec<Submission>,
    /// Whether they are to be written now: one must be synced, or somebody waits for room.
    is_due: bool,
    closed: bool,
}

struct Submission {
    batch: Batch,
    durability: Durability,
    /// What it took of the room.
    room: u32,
    callback: Callback,
}

impl LogWriter {
    /// Starts writing to `database`.
    ///
    /// # Errors
    /// [`Error::Thread`] when the operating system gives no thread.
    pub fn start(database: Arc<dyn LogDb>, mode: Mode) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            database,
            mode,
            queue: Mutex::default(),
            wake: Condvar::new(),
            room: Semaphore::new(LOG_QUEUE_BYTES_MAX),
            failure: Failure::new(),
            counters: LogWriterCounters::default(),
        });
        let thread = match mode {
            Mode::Inline | Mode::Stepped => None,
            Mode::Thread => {
                let of_thread = shared.clone();
                let thread = std::thread::Builder::new().name("skerry-log".to_owned()).spawn(move || of_thread.run());
                Some(thread.map_err(|source| Error::Thread { writer: NAME, source: Arc::new(source) })?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// Hands over a batch and returns before it is written; `callback` hears when it is as durable as asked, or why not.
    /// Waits while [`LOG_QUEUE_BYTES_MAX`] bytes are queued, first come, first served; a larger batch waits for all of
    /// them. Whoever submits a second batch after the first call returned has them written in that order.
    ///
    /// A `Buffered` batch waits for the next one that is `Synced` and is durable with it, or after
    /// [`LOG_BUFFERED_INTERVAL`] without one is written by itself. After the first error every callback hears that error.
    pub async fn submit(
        &self,
        batch: Batch,
        durability: Durability,
        callback: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) {
        let room = u32::try_from(batch.memory_bytes().min(LOG_QUEUE_BYTES_MAX)).expect("limits.rs checks that it fits");
        if self.shared.take_room(room).await.is_err() {
            return callback(Err(self.shared.refusal()));
        }
        self.shared.push(Submission { batch, durability, room, callback: Box::new(callback) });
    }

    /// Writes a batch and returns when it and everything submitted before is on the disk.
    ///
    /// # Errors
    /// The first error this writer met; whether the batch is on the disk is then unknown.
    pub async fn write(&self, batch: Batch) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        // A caller that has gone away needs no answer.
        self.submit(batch, Durability::Synced, move |result| drop(answer.send(result))).await;
        match answered.await {
            Ok(result) => result,
            // Only a panic drops a callback, and it is recorded next.
            Err(_dropped) => Err(self.failed().await),
        }
    }

    /// In [`Mode::Stepped`], writes what was submitted since the last call, on the caller's thread.
    pub fn step(&self) {
        let submissions = std::mem::take(&mut self.shared.queue.lock().submissions);
        if !submissions.is_empty() {
            self.shared.write(submissions);
        }
    }

    /// What has been written since the start.
    #[must_use]
    pub fn counters(&self) -> &LogWriterCounters {
        &self.shared.counters
    }

    /// Returns with the first error once there is one: the process must then stop.
    pub async fn failed(&self) -> Error {
        self.shared.failure.wait().await
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.shared.room.close();
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("{NAME} panicked");
        }
    }
}

impl Shared {
    async fn take_room(&self, room: u32) -> Result<(), AcquireError> {
        let permit = match self.room.try_acquire_many(room) {
            Ok(permit) => permit,
            // What fills the queue may wait for a sync that nobody else is going to ask for.
            Err(_none_left) => {
                self.queue.lock().is_due = true;
                self.wake.notify_one();
                self.room.acquire_many(room).await?
            }
        };
        permit.forget();
        Ok(())
    }

    fn push(&self, submission: Submission) {
        if self.mode == Mode::Inline {
            return self.write(vec![submission]);
        }
        let mut queue = self.queue.lock();
        let refused = queue.closed || self.room.is_closed();
        if refused {
            drop(queue);
            return (submission.callback)(Err(self.refusal()));
        }
        let wakes = submission.durability == Durability::Synced && !queue.is_due;
        queue.is_due |= wakes;
        queue.submissions.push(submission);
        drop(queue);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Why nothing is taken any more.
    fn refusal(&self) -> Error {
        self.failure.get().unwrap_or_else(|| Error::Closed { writer: NAME.to_owned() })
    }

    fn run(&self) {
        let _guard = PanicGuard(self);
        loop {
            let mut queue = self.queue.lock();
            while !queue.is_due && !queue.closed {
                let timed_out = self.wake.wait_for(&mut queue, LOG_BUFFERED_INTERVAL).timed_out();
                queue.is_due |= timed_out && !queue.submissions.is_empty();
            }
            let submissions = std::mem::take(&mut queue.submissions);
            queue.is_due = false;
            let closed = queue.closed;
            drop(queue);
            if !submissions.is_empty() {
                self.write(submissions);
            } else if closed {
                return;
            }
        }
    }

    /// Commits all of it as one batch, then calls everybody back in order.
    fn write(&self, submissions: Vec<Submission>) {
        let mut batch = Batch::with_capacity(submissions.iter().map(|submission| submission.batch.len()).sum());
        let mut durability = Durability::Buffered;
        let mut room = 0;
        let mut callbacks = Vec::with_capacity(submissions.len());
        for submission in submissions {
            batch.append(submission.batch);
            durability = durability.max(submission.durability);
            room += submission.room as usize;
            callbacks.push(submission.callback);
        }
        let result = match self.failure.get() {
            Some(error) => Err(error),
            None => self.commit(batch, durability, callbacks.len()),
        };
        if let Err(error) = &result {
            self.failure.record(error, &self.room);
        }
        self.room.add_permits(room);
        for callback in callbacks {
            callback(result.clone());
        }
    }

    fn commit(&self, batch: Batch, durability: Durability, submissions: usize) -> Result<(), Error> {
        let (entries, bytes) = (batch.len(), batch.bytes());
        let started = Instant::now();
        self.database.commit(batch, durability)?;
        let counters = &self.counters;
        count(&counters.batches, 1);
        count(&counters.submissions, submissions);
        count(&counters.entries, entries);
        count(&counters.bytes, bytes);
        if durability == Durability::Synced {
            let nanos = nanos(started.elapsed());
            count(&counters.syncs, 1);
            counters.sync_nanos_last.store(nanos, Ordering::Relaxed);
            counters.sync_nanos_sum.fetch_add(nanos, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// When the thread panics, whoever waits for it hears so instead of waiting for ever.
struct PanicGuard<'a>(&'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failure.record(&Error::Panicked { writer: NAME }, &self.0.room);
            let queued = std::mem::take(&mut self.0.queue.lock().submissions);
            queued.into_iter().for_each(|submission| (submission.callback)(Err(self.0.refusal())));
        }
    }
}

/// Adds to a counter that orders nothing.
pub(crate) fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// Whole nanoseconds; 584 years do not fit and are not waited for.
pub(crate) fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
