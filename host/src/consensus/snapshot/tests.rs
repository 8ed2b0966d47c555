//! Snapshots from one simulated disk to another, over a wire that loses what the test says.

use std::cell::Cell;
use std::sync::Arc;

use openraft::raft::SnapshotResponse;
use openraft::storage::RaftStateMachine;
use parking_lot::Mutex;
use skerry_model::ids::NodeId;
use skerry_model::{CatalogVersion, Scn, ShardId};
use skerry_store::fjall::FjallState;
use skerry_store::simulated::Disk;
use skerry_store::{Batch, Direction, KeyRange, Limit, Mode, Row, StateDb, StateWriter};
use tokio::sync::watch;

use super::outgoing::{Next, stored};
use super::*;
use crate::consensus::state_machine::{Parts, ShardState, StateMachine};
use crate::documents::live::LiveDocuments;
use crate::env::executor::{Executor, Inline, Threads};

const SHARD: ShardId = ShardId::new(3);
const CHUNK_BYTES: usize = 300;

fn log_id(index: u64) -> LogId {
    openraft::testing::log_id::<TypeConfig>(2, NodeId::new(1), index)
}

fn vote(term: u64) -> Vote {
    Vote::new_committed(term, NodeId::new(1))
}

/// A node with one shard.
struct Node {
    disk: Disk,
    machine: Arc<Mutex<Option<StateMachine>>>,
    state: Arc<ShardState>,
    receiver: Receiver,
    writer: Arc<StateWriter>,
}

impl Node {
    fn open(disk: Disk) -> Self {
        let writer = StateWriter::start(Arc::new(disk.state()), Mode::Stepped).unwrap();
        Self::on(Arc::new(writer), Arc::new(Inline), disk)
    }

    fn on(writer: Arc<StateWriter>, executor: Arc<dyn Executor>, disk: Disk) -> Self {
        let generations = Generations::new(SHARD, Arc::clone(&writer), executor);
        let (machine, state) = StateMachine::open(Parts {
            generations: generations.clone(),
            durable_end: watch::Sender::new(u64::MAX).subscribe(),
            live: Arc::<LiveDocuments>::default(),
            chunk_bytes: CHUNK_BYTES,
            compare_every: u64::MAX,
        })
        .unwrap();
        let receiver = Receiver::new(generations, Arc::clone(&state));
        Self { disk, machine: Arc::new(Mutex::new(Some(machine))), state, receiver, writer }
    }

    fn crash(self) -> Self {
        self.disk.crash();
        Self::open(self.disk.clone())
    }

    /// A node that has applied up to `index`, with folds of its own.
    async fn with_rows(seed: u64, index: u64, folds: &[u8]) -> Self {
        let node = Self::open(Disk::new(seed));
        node.fill(index, folds).await;
        Self::open(node.disk)
    }

    async fn fill(&self, index: u64, folds: &[u8]) {
        let mut batch = Batch::new();
        for key in 0..40_u8 {
            batch.put(vec![0x11, key], vec![key; usize::from(key) * 3]);
        }
        folds.iter().for_each(|fold| batch.put(vec![0x13, *fold], vec![*fold; 500]));
        batch.put(vec![0x20, 1], index.to_be_bytes().to_vec());
        let header = header::Header {
            applied: Some(log_id(index)),
            scn: Scn::from_bits(index),
            catalog: CatalogVersion::default(),
            cluster: None,
            ..header::Header::default()
        };
        batch.put(header::key(), header::encode(&header));
        self.state.store().install(batch).await.unwrap();
        self.writer.flush().await.unwrap();
    }

    fn outgoing(&self) -> Outgoing {
        let snapshot = stored(self.state.store().snapshot(), CHUNK_BYTES).unwrap().unwrap();
        let SnapshotHandle::Outgoing(outgoing) = snapshot.snapshot else { panic!("it is this node's own") };
        outgoing
    }

    /// The rows that are the same on every node.
    fn rows(&self) -> Vec<Row> {
        let rows = self.state.store().scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).unwrap();
        rows.into_iter().filter(|(key, _)| !keys::is_local(key)).collect()
    }

    /// Takes a part as a follower whose openraft installs whatever it is given.
    async fn take(&self, own: Vote, part: Part) -> Result<Reply, Error> {
        let install = |vote: Vote, snapshot: Snapshot| async move {
            let mut machine = self.machine.lock().take().unwrap();
            machine.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
            *self.machine.lock() = Some(machine);
            Ok(SnapshotResponse::new(vote))
        };
        self.receiver.take(part, own, install).await
    }
}

/// Sends what `from` has; `lost` says of each part, by its place among all, whether it or its answer is lost.
async fn transfer(
    from: &Node,
    to: &Node,
    lost: impl Fn(u64) -> Option<Lost>,
) -> (Result<Vote, Failure<&'static str>>, u64) {
    let executor: Arc<dyn Executor> = Arc::new(Inline);
    let asked = Cell::new(0);
    let ask = |part: Part| async {
        let place = asked.replace(asked.get() + 1);
        match lost(place) {
            Some(Lost::Part) => return Err("lost"),
            Some(Lost::Answer) => drop(to.take(vote(1), part).await.unwrap()),
            None => return Ok(to.take(vote(1), part).await.unwrap()),
        }
        Err("lost")
    };
    let sent = send(vote(2), from.outgoing(), &executor, ask).await;
    (sent, asked.get())
}

#[derive(Clone, Copy)]
enum Lost {
    Part,
    Answer,
}

/// How many parts a whole transfer has.
async fn parts() -> u64 {
    let (from, to) = (Node::with_rows(1, 9, &[]).await, Node::open(Disk::new(2)));
    transfer(&from, &to, |_| None).await.1
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_takes_the_place_of_what_was_there() {
    let (from, to) = (Node::with_rows(1, 9, &[1, 2]).await, Node::with_rows(2, 4, &[7]).await);
    let old = to.state.store();
    let (sent, asked) = transfer(&from, &to, |_| None).await;
    assert_eq!(sent.unwrap(), vote(2));
    assert!(asked > 5, "several chunks: {asked}");
    assert_eq!(to.rows(), from.rows());
    assert_eq!((to.state.generation(), to.state.progress().index), (1, 9));
    assert_eq!(to.disk.state().keyspaces(), ["shard-00003-1"]);
    assert_eq!(
        old.get(&[0x20, 1]).unwrap().as_deref(),
        Some(&4_u64.to_be_bytes()[..]),
        "readers under way see the old"
    );
    let to = to.crash();
    assert_eq!(to.rows(), from.rows());
    // The next one takes the next generation.
    let newer = Node::with_rows(3, 12, &[]).await;
    transfer(&newer, &to, |_| None).await.0.unwrap();
    assert_eq!((to.rows(), to.state.generation()), (newer.rows(), 2));
}

/// Whichever part or answer is lost, the transfer goes on there: it costs a new beginning and that part again. Only a
/// receiver that was never heard is given up at once.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_repeats_one_part() {
    let parts = parts().await;
    let from = Node::with_rows(1, 9, &[]).await;
    for what in [Lost::Part, Lost::Answer] {
        let to = Node::open(Disk::new(2));
        let (sent, asked) = transfer(&from, &to, |asked| (asked == 0).then_some(what)).await;
        assert!(matches!(sent, Err(Failure::Peer("lost"))) && asked == 1);
        for place in 1..parts {
            let to = Node::open(Disk::new(2));
            let (sent, asked) = transfer(&from, &to, |asked| (asked == place).then_some(what)).await;
            assert_eq!(sent.unwrap(), vote(if place + 1 == parts && matches!(what, Lost::Answer) { 1 } else { 2 }));
            assert!(asked <= parts + 2, "{asked} parts instead of {parts}");
            assert_eq!(to.rows(), from.rows());
        }
    }
}

/// A node that stops at any point of a transfer has what it had before, or all of the new; and nothing else is left.
#[tokio::test(start_paused = true)]
async fn a_crash_at_any_part_leaves_one_whole_generation() {
    let parts = parts().await;
    let from = Node::with_rows(1, 9, &[]).await;
    for seed in 0..10 {
        for stop_at in 1..=parts {
            let to = Node::with_rows(100 + seed, 4, &[]).await;
            let before = to.rows();
            let (sent, _) = transfer(&from, &to, |asked| (asked >= stop_at).then_some(Lost::Part)).await;
            assert_eq!(sent.is_ok(), stop_at == parts);
            // Also what waits to be written may have been.
            to.writer.tick().unwrap();
            let to = to.crash();
            assert_eq!(to.rows(), if stop_at == parts { from.rows() } else { before });
            assert_eq!(to.disk.state().keyspaces().len(), 1);
        }
    }
}

/// A crash between the header and the end of the old generation: what is on the disk decides, the other one goes.
#[tokio::test(start_paused = true)]
async fn a_crash_while_changing_over_leaves_one_whole_generation() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let to = Node::with_rows(seed, 4, &[]).await;
        let generations = Generations::new(SHARD, Arc::clone(&to.writer), Arc::new(Inline));
        let keyspace = generations.make(1).await.unwrap();
        for key in 0..3 {
            generations.fill(Arc::clone(&keyspace), vec![(vec![0x11, key].into(), vec![key].into())]).await.unwrap();
        }
        let header = header::Header { applied: Some(log_id(9)), ..header::Header::default() };
        let store = to.writer.shard("shard-00003-1").unwrap();
        let mut batch = Batch::new();
        batch.put(header::key(), header::encode(&header));
        store.install(batch).await.unwrap();
        to.writer.tick().unwrap();
        let to = to.crash();
        let rows = to.rows().len();
        assert_eq!(rows, if to.state.generation() == 1 { 4 } else { 42 });
        assert_eq!(to.disk.state().keyspaces().len(), 1);
        seen.insert(to.state.generation());
        // Once the header is synced there is no way back.
        generations_after_flush(seed).await;
    }
    assert_eq!(Vec::from_iter(seen), [0, 1]);
}

async fn generations_after_flush(seed: u64) {
    let to = Node::with_rows(seed, 4, &[]).await;
    let generations = Generations::new(SHARD, Arc::clone(&to.writer), Arc::new(Inline));
    generations.make(1).await.unwrap();
    let header = header::Header { applied: Some(log_id(9)), ..header::Header::default() };
    generations.complete(1, header::encode(&header)).await.unwrap();
    let to = to.crash();
    assert_eq!((to.state.generation(), to.state.progress().index), (1, 9));
    assert_eq!(to.disk.state().keyspaces(), ["shard-00003-1"]);
}

/// What is local to a node does not move the cuts, so another leader can go on with a transfer.
#[tokio::test(start_paused = true)]
async fn chunks_are_the_same_on_every_node() {
    let nodes = [Node::with_rows(1, 9, &[]).await, Node::with_rows(2, 9, &[1, 2, 3]).await];
    let mut outgoing = nodes.each_ref().map(Node::outgoing);
    for number in 0.. {
        let [one, other] = outgoing.each_mut().map(|outgoing| outgoing.chunk(number).unwrap());
        assert_eq!(one, other);
        if matches!(one, Next::End { .. }) {
            assert!(number > 5);
            // Read again from anywhere, they are the same once more.
            let again = outgoing[0].chunk(2).unwrap();
            assert_eq!(again, nodes[0].outgoing().chunk(2).unwrap());
            assert_eq!(outgoing[0].chunk(number).unwrap(), one);
            return;
        }
    }
}

/// Another snapshot, a stale leader, a damaged chunk, a foreign header: none of it gets in.
#[tokio::test(start_paused = true)]
async fn what_does_not_belong_is_not_taken() {
    let (from, to) = (Node::with_rows(1, 9, &[]).await, Node::with_rows(2, 4, &[]).await);
    let before = to.rows();
    let id = log_id(9);
    let own = vote(3);
    assert_eq!(to.take(own, Part::Begin { vote: vote(2), id }).await.unwrap(), Reply::Installed(own));
    let mut outgoing = from.outgoing();
    let Next::Chunk(chunk) = outgoing.chunk(0).unwrap() else { panic!("there are chunks") };
    let part = |number, digest| Part::Chunk { id, number, digest, rows: chunk.rows.clone() };
    assert_eq!(to.take(own, part(0, chunk.digest)).await.unwrap(), Reply::Unknown);
    assert_eq!(to.take(own, Part::Begin { vote: own, id }).await.unwrap(), Reply::Wanted(0));
    assert_eq!(to.take(own, part(0, [0; 32])).await.unwrap(), Reply::Wanted(0));
    assert_eq!(to.take(own, part(1, chunk.digest)).await.unwrap(), Reply::Wanted(0));
    assert_eq!(to.take(own, part(0, chunk.digest)).await.unwrap(), Reply::Wanted(1));
    assert_eq!(to.take(own, part(0, chunk.digest)).await.unwrap(), Reply::Wanted(1), "once is enough");
    let header = header::encode(&header::Header::default());
    let end = Part::End { vote: own, id, digest: [0; 32], header };
    assert_eq!(to.take(own, end).await.unwrap(), Reply::Unknown);
    assert_eq!(to.disk.state().keyspaces(), ["shard-00003-0"], "what came of it is gone");
    assert_eq!(to.take(own, Part::Begin { vote: own, id }).await.unwrap(), Reply::Wanted(0));
    let other = Part::Begin { vote: own, id: log_id(10) };
    assert_eq!(to.take(own, other).await.unwrap(), Reply::Wanted(0));
    assert_eq!(to.take(own, part(0, chunk.digest)).await.unwrap(), Reply::Unknown, "the one begun last counts");
    assert_eq!((to.rows(), to.state.generation()), (before, 0));
}

/// The same on the real database, with its threads: the old keyspace goes, and a restart opens the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_takes_the_place_of_what_was_there_on_fjall() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let state = FjallState::open(folder.path()).unwrap();
        let writer = Arc::new(StateWriter::start(Arc::new(state), Mode::Thread).unwrap());
        Node::on(writer, Arc::new(Threads::new(2)), Disk::new(0))
    };
    let (from, to) = (Node::with_rows(1, 9, &[1]).await, open());
    to.fill(4, &[7]).await;
    let old = to.state.store();
    let (sent, _) = transfer(&from, &to, |asked| (asked == 3).then_some(Lost::Answer)).await;
    assert_eq!(sent.unwrap(), vote(2));
    assert_eq!(to.rows(), from.rows());
    assert_eq!(to.writer.database().keyspaces(), ["shard-00003-1"]);
    assert_eq!(old.get(&[0x20, 1]).unwrap().as_deref(), Some(&4_u64.to_be_bytes()[..]));
    drop((old, to));
    let to = open();
    assert_eq!(to.rows(), from.rows());
    assert_eq!((to.state.generation(), to.state.progress().index), (1, 9));
}
