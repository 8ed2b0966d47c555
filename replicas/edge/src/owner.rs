//! The one thread that owns the replica, or task in a simulation: it takes what is queued, evaluates each piece in turn, commits all of it with one
//! fsync, and only then answers. What a failed database leaves unknown it never answers: it stops the edge.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use skerry_api::documents::Address;
use skerry_api::problem::{Kind, Outcome, Problem};
use tokio::runtime;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::replica::{self, Answer, Counts, Replica};

/// The edge takes no more steps: it was closed, or its database failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the edge has stopped: {reason}")]
pub struct Stopped {
    reason: String,
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Self {
        Self::unavailable(Outcome::Unknown, stopped.to_string())
    }
}

/// Where the owner of a replica runs. It blocks on its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runs {
    /// On a thread of its own.
    InThread,
    /// In a task, for simulations: their databases do not block.
    InTask,
}

/// Tells the caller, once the group is committed; dropped instead when it is not.
type Finish = Box<dyn FnOnce() + Send>;
type Work = Box<dyn FnOnce(&mut Replica) -> Result<Finish, replica::Error> + Send>;

enum Message {
    Work(Work),
    Close,
}

/// A handle to the owner. Clones are the same owner.
#[derive(Clone)]
pub(crate) struct Owner {
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    counts: watch::Sender<Counts>,
    changes: broadcast::Sender<Address>,
    stopped: CancellationToken,
    /// Why it stopped, unless it was closed.
    failure: OnceLock<Stopped>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    /// Hands the replica to its owner. Within a tokio runtime.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn start(replica: Replica, runs: Runs) -> std::io::Result<Self> {
        let (queue, queued) = mpsc::channel(limits::QUEUE_COMMANDS_MAX);
        let shared = Arc::new(Shared {
            counts: watch::Sender::new(replica.counts()),
            changes: broadcast::Sender::new(limits::CHANGES_MAX),
            stopped: CancellationToken::new(),
            failure: OnceLock::new(),
            thread: Mutex::new(None),
        });
        let work = work(replica, queued, Arc::clone(&shared));
        match runs {
            Runs::InThread => {
                let runtime = runtime::Builder::new_current_thread().build()?;
                let named = std::thread::Builder::new().name("skerry-edge".to_owned());
                *shared.thread.lock() = Some(named.spawn(move || runtime.block_on(work))?);
            }
            Runs::InTask => drop(tokio::spawn(work)),
        }
        Ok(Self { queue, shared })
    }

    /// Runs a piece of work and returns once what it staged is on the disk. Waits for room in the queue.
    ///
    /// # Errors
    /// [`Stopped`]; what the work staged may then be on the disk or not.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica) -> Result<T, replica::Error> + Send + 'static,
    ) -> Result<T, Stopped> {
        let (message, answered) = message(work);
        self.queue.send(message).await.map_err(|_| self.stopped_error())?;
        answered.await.map_err(|_| self.stopped_error())
    }

    /// As [`Owner::run`] for a request, which is refused rather than made to wait when the queue is full.
    pub(crate) async fn answer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Replica) -> Result<Answer<T>, replica::Error> + Send + 'static,
    ) -> Answer<T> {
        let (message, answered) = message(work);
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let max = limits::QUEUE_COMMANDS_MAX;
                Problem::new(Kind::Overloaded, format!("{max} requests wait already, the limit of this edge"))
            }
            mpsc::error::TrySendError::Closed(_) => {
                Problem::unavailable(Outcome::NotProposed, self.stopped_error().to_string())
            }
        })?;
        answered.await.map_err(|_| self.stopped_error())?
    }

    /// Counts as of the last commit, and word of new ones.
    pub(crate) fn counts(&self) -> watch::Receiver<Counts> {
        self.shared.counts.subscribe()
    }

    /// Documents that change from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Address> {
        self.shared.changes.subscribe()
    }

    /// Done when the edge has stopped.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.shared.stopped
    }

    pub(crate) fn stopped_error(&self) -> Stopped {
        let closed = || Stopped { reason: "it was closed".to_owned() };
        self.shared.failure.get().cloned().unwrap_or_else(closed)
    }

    /// Commits what is queued, marks a clean stop, and waits for the owner.
    ///
    /// # Errors
    /// [`Stopped`] when the database failed before.
    pub(crate) async fn close(&self) -> Result<(), Stopped> {
        // A closed queue means that the thread has ended or is about to.
        drop(self.queue.send(Message::Close).await);
        self.shared.stopped.cancelled().await;
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Stopped { reason: "its owner panicked".to_owned() });
            }
        }
        self.shared.failure.get().cloned().map_or(Ok(()), Err)
    }
}

fn message<T: Send + 'static>(
    work: impl FnOnce(&mut Replica) -> Result<T, replica::Error> + Send + 'static,
) -> (Message, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    let work = move |replica: &mut Replica| {
        let outcome = work(replica)?;
        // A caller that has gone away needs no answer.
        let finish: Finish = Box::new(move || drop(answer.send(outcome)));
        Ok(finish)
    };
    (Message::Work(Box::new(work)), answered)
}

/// The owner's work, until the edge stops.
async fn work(replica: Replica, queued: mpsc::Receiver<Message>, shared: Arc<Shared>) {
    // Also on a panic.
    let _stopped = shared.stopped.clone().drop_guard();
    if let Err(error) = own(replica, queued, &shared).await {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let reason = format!("{error}{cause}");
        tracing::error!(reason, "the edge stops");
        shared.failure.get_or_init(|| Stopped { reason });
    }
}

async fn own(mut replica: Replica, mut queue: mpsc::Receiver<Message>, shared: &Shared) -> Result<(), replica::Error> {
    let mut upkeep = true;
    loop {
        let next = match queue.try_recv() {
            Ok(message) => Some(message),
            Err(mpsc::error::TryRecvError::Empty) if upkeep => {
                upkeep = replica.upkeep()?;
                replica.commit()?;
                publish(&mut replica, shared);
                continue;
            }
            Err(mpsc::error::TryRecvError::Empty | mpsc::error::TryRecvError::Disconnected) => queue.recv().await,
        };
        let closing = match next {
            Some(Message::Work(work)) => take_group(&mut replica, work, &mut queue, shared)?,
            Some(Message::Close) | None => true,
        };
        if closing {
            queue.close();
            return replica.close();
        }
        upkeep = true;
    }
}

/// Evaluates a piece of work and what is queued behind it, commits, and answers. `true` when the edge is to close.
fn take_group(
    replica: &mut Replica,
    first: Work,
    queue: &mut mpsc::Receiver<Message>,
    shared: &Shared,
) -> Result<bool, replica::Error> {
    let mut finishes = vec![first(replica)?];
    let mut closing = false;
    while finishes.len() < limits::GROUP_COMMANDS_MAX && replica.staged_bytes() < limits::GROUP_BYTES_TARGET {
        match queue.try_recv() {
            Ok(Message::Work(work)) => finishes.push(work(replica)?),
            Ok(Message::Close) => {
                closing = true;
                break;
            }
            Err(_) => break,
        }
    }
    replica.commit()?;
    publish(replica, shared);
    finishes.into_iter().for_each(|finish| finish());
    Ok(closing)
}

fn publish(replica: &mut Replica, shared: &Shared) {
    // Where nobody listens there is nobody to tell.
    replica.take_changed().into_iter().for_each(|changed| drop(shared.changes.send(changed)));
    let counts = replica.counts();
    shared.counts.send_if_modified(|published| {
        let changed = *published != counts;
        *published = counts;
        changed
    });
}
