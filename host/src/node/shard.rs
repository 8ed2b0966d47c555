//! One shard on this node: its Raft group, its replica, and the requests that wait for its documents.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use openraft::async_runtime::WatchReceiver;
use parking_lot::Mutex;
use skerry_api::documents::{WriteRequest, Written};
use skerry_api::problem::{Kind, Problem};
use skerry_model::{NodeId, ShardId, Term};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::group::Submission;
use super::leadership::Service;
use super::slots::Place;
use crate::consensus::log_store::LogReader;
use crate::consensus::quorum;
use crate::consensus::snapshot::{Fetches, Receiver};
use crate::consensus::state_machine::{ShardState, StateMachine};
use crate::consensus::types::Raft;
use crate::limits::{DOCUMENT_QUEUE_BYTES_MAX, DOCUMENT_QUEUE_MAX, GROUP_QUEUE_MAX, IN_FLIGHT_BYTES_MAX};

/// A shard.
pub struct Shard {
    /// Its id.
    pub id: ShardId,
    /// Its Raft group.
    pub raft: Raft<StateMachine>,
    /// Its replica on this node.
    pub state: Arc<ShardState>,
    /// Its log on this node.
    pub(super) log: LogReader,
    /// Entries up to this one are to go, whoever still needs them.
    pub(super) cut: Arc<AtomicU64>,
    /// Whether this node's clients are served.
    pub(super) service: Service,
    /// Takes what its leader sends of a snapshot.
    pub(super) snapshots: Receiver,
    /// Gives snapshots to nodes that cannot start without.
    pub(super) fetches: Fetches,
    pub(super) queues: Mutex<BTreeMap<Place, Queue>>,
    /// Bytes of records that may still be proposed before others have been applied.
    pub(super) room: Arc<Semaphore>,
    /// Evaluated changes on their way into a record.
    pub(super) submissions: mpsc::Sender<Submission>,
    /// The last SCN proposed, so that the proposals of one leader rise.
    pub(super) last_proposed: AtomicU64,
    /// The term in which this node, as leader, is known to have applied its first entry; 0 for none.
    pub(super) ready_term: AtomicU64,
}

/// Why a request was not taken here.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    /// Another node leads; nothing was done.
    NotLeader(Option<NodeId>),
    /// The answer to the client.
    Problem(Box<Problem>),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

/// What a client's write is answered.
pub(crate) type WriteAnswer = Result<Written, Refused>;

/// Writes that wait for one document.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

/// One that waits.
pub(super) struct Waiting {
    pub(super) request: WriteRequest,
    pub(super) answer: oneshot::Sender<WriteAnswer>,
    /// What it takes of the queue.
    pub(super) bytes: usize,
}

impl Shard {
    /// A shard, and what is submitted to it.
    pub(super) fn new(
        raft: Raft<StateMachine>,
        state: Arc<ShardState>,
        log: LogReader,
        cut: Arc<AtomicU64>,
        snapshots: Receiver,
        fetches: Fetches,
    ) -> (Self, mpsc::Receiver<Submission>) {
        let (submissions, submitted) = mpsc::channel(GROUP_QUEUE_MAX);
        let shard = Self {
            id: state.id,
            raft,
            state,
            log,
            cut,
            service: Service::default(),
            snapshots,
            fetches,
            queues: Mutex::default(),
            room: Arc::new(Semaphore::new(IN_FLIGHT_BYTES_MAX)),
            last_proposed: AtomicU64::new(0),
            ready_term: AtomicU64::new(0),
            submissions,
        };
        (shard, submitted)
    }

    /// The leader that this node knows of.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.metrics().borrow_watched().current_leader
    }

    /// Whether these nodes are a quorum of the group, as far as this node knows its membership.
    #[must_use]
    pub fn is_quorum(&self, nodes: &BTreeSet<NodeId>) -> bool {
        quorum::is_quorum(self.membership().get_joint_config(), nodes)
    }

    /// The term this node is in.
    #[must_use]
    pub fn term(&self) -> Term {
        Term::new(self.raft.metrics().borrow_watched().current_term)
    }

    /// Queues a write. `true` when nobody works on the queue yet, so the caller must see to it.
    pub(super) fn enqueue(
        &self,
        place: Place,
        request: WriteRequest,
        bytes: usize,
    ) -> Result<(oneshot::Receiver<WriteAnswer>, bool), Problem> {
        let mut queues = self.queues.lock();
        let (idle, queue) = match queues.entry(place) {
            std::collections::btree_map::Entry::Vacant(vacant) => (true, vacant.insert(Queue::default())),
            std::collections::btree_map::Entry::Occupied(occupied) => (false, occupied.into_mut()),
        };
        if queue.waiting.len() >= DOCUMENT_QUEUE_MAX {
            let detail = format!("{DOCUMENT_QUEUE_MAX} writes wait for this document, which is the limit: try again");
            return Err(Problem::new(Kind::Overloaded, detail));
        }
        // One alone may be as large as a document can be.
        if !queue.waiting.is_empty() && queue.bytes + bytes > DOCUMENT_QUEUE_BYTES_MAX {
            let max = DOCUMENT_QUEUE_BYTES_MAX;
            let detail =
                format!("writes of {} bytes wait for this document, the limit is {max}: try again", queue.bytes);
            return Err(Problem::new(Kind::Overloaded, detail));
        }
        let (sender, answer) = oneshot::channel();
        queue.bytes += bytes;
        queue.waiting.push_back(Waiting { request, answer: sender, bytes });
        Ok((answer, idle))
    }

    /// Takes all that waits for a document; when nothing does the queue goes, and the next write begins a new one.
    pub(super) fn dequeue(&self, place: &Place) -> Option<Vec<Waiting>> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(place)?;
        if queue.waiting.is_empty() {
            queues.remove(place);
            return None;
        }
        queue.bytes = 0;
        Some(std::mem::take(&mut queue.waiting).into())
    }

    /// Puts back, before all others, what an evaluation did not come to.
    pub(super) fn requeue(&self, place: &Place, rest: Vec<Waiting>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(place.clone()).or_default();
        for waiting in rest.into_iter().rev() {
            queue.bytes += waiting.bytes;
            queue.waiting.push_front(waiting);
        }
    }
}
