//! Nodes of one process, each on one tokio worker, over disks that get stuck: nothing that a node does on its worker waits
//! for a write, so that heartbeats go on.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use serde_json::json;
use skerry_api::documents::{Address, Consistency, Documents, WriteRequest};
use skerry_host::catalog::Step;
use skerry_host::consensus::snapshot::Thresholds;
use skerry_host::consensus::types::NodeAddress;
use skerry_host::env::executor::Threads;
use skerry_host::env::network::Tcp;
use skerry_host::node::{AuditOptions, Node, Options, Reads, start};
use skerry_model::engine::Write;
use skerry_model::env::{SystemClock, SystemRandom};
use skerry_model::policy::Policy;
use skerry_model::{NodeId, ShardId};
use skerry_store::simulated::Disk;
use skerry_store::{LogDb, LogWriter, Mode, StateWriter};
use skerry_tests::processes::{free_port, until};
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// Three times what a follower waits for its leader at the most.
const STUCK: Duration = Duration::from_secs(3);

/// A node on a thread of its own.
struct OneWorker {
    node: Node,
    disk: Disk,
    worker: Handle,
    stop: CancellationToken,
}

impl OneWorker {
    /// Runs something on the node's worker.
    fn call<T: Send + 'static, F>(&self, call: impl FnOnce(Node) -> F) -> mpsc::Receiver<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let (answer, answered) = mpsc::channel();
        let work = call(self.node.clone());
        self.worker.spawn(async move {
            let done = work.await;
            // A test that has failed does not listen.
            let _ = answer.send(done);
        });
        answered
    }

    fn term_and_leader(&self) -> (u64, Option<NodeId>) {
        let metrics = self.node.shards()[0].raft.metrics().borrow_watched().clone();
        (metrics.current_term, metrics.current_leader)
    }
}

impl Drop for OneWorker {
    fn drop(&mut self) {
        self.disk.set_stuck(false);
        self.stop.cancel();
    }
}

fn options(node: NodeId, members: &[(NodeId, NodeAddress)], disk: &Disk) -> Options {
    let log: Arc<dyn LogDb> = Arc::new(disk.log());
    let listen = members.iter().find(|(id, _)| *id == node).unwrap().1.node.clone();
    Options {
        node,
        members: members.to_vec(),
        listen,
        bootstrap: node == members[0].0,
        shards: 1,
        thresholds: Thresholds::default(),
        audit: AuditOptions::default(),
        rejoin_window: skerry_host::limits::REJOIN_WINDOW,
        reads: Reads::Quorum,
        log_writer: Arc::new(LogWriter::start(Arc::clone(&log), Mode::Thread).unwrap()),
        log,
        state: Arc::new(StateWriter::start(Arc::new(disk.state()), Mode::Thread).unwrap()),
        space: Arc::new(disk.clone()),
        network: Arc::new(Tcp),
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        executor: Arc::new(Threads::new(2)),
    }
}

fn cluster() -> Vec<OneWorker> {
    let address = |_| NodeAddress { node: format!("127.0.0.1:{}", free_port()), http: String::new() };
    let members: Vec<_> = (1..=3).map(|id| (NodeId::new(id), address(id))).collect();
    let starting = members.iter().map(|(id, _)| {
        let disk = Disk::new(id.get());
        let (options, stop) = (options(*id, &members, &disk), CancellationToken::new());
        let (started, ready) = mpsc::channel();
        let stopped = stop.clone();
        std::thread::spawn(move || {
            let worker = Builder::new_current_thread().enable_all().build().unwrap();
            worker.block_on(async move {
                let running = start(options, &stopped).await.unwrap();
                started.send((running.node.clone(), Handle::current())).unwrap();
                stopped.cancelled().await;
                running.stop().await;
            });
        });
        (disk, stop, ready)
    });
    let starting: Vec<_> = starting.collect();
    let nodes = starting.into_iter().map(|(disk, stop, ready)| {
        let (node, worker) = ready.recv().unwrap();
        OneWorker { node, disk, worker, stop }
    });
    nodes.collect()
}

fn address() -> Address {
    Address { collection: "ledger".parse().unwrap(), key: "rope".parse().unwrap() }
}

fn write(node: &OneWorker, number: u64) -> mpsc::Receiver<bool> {
    let fields = json!({ "n": number }).as_object().cloned().unwrap();
    let request = WriteRequest::new(Write::Put(fields));
    node.call(move |node| async move { node.write(address(), request).await.is_ok() })
}

/// The leader's disk takes nothing for three seconds. Its worker answers reads of what it has, and its heartbeats keep it
/// leading in the same term; the write that waits is answered when the disk moves.
#[test]
fn a_leader_with_a_stuck_disk_goes_on_leading() {
    let nodes = cluster();
    let step = Step::CreateCollection {
        name: "ledger".parse().unwrap(),
        policy: Policy::Strict,
        template: None,
        text: Vec::new(),
        settle: false,
        inbox: None,
    };
    until("the collection", || {
        let step = step.clone();
        let made = nodes[0].call(move |node| async move { node.change_catalog(step).await.is_ok() });
        made.recv().unwrap().then_some(())
    });
    let leads = |node: &&OneWorker| node.node.shard(ShardId::new(0)).unwrap().raft.is_leader();
    let leader = until("a leader", || nodes.iter().find(leads));
    assert!(write(leader, 1).recv().unwrap());
    let seen = || nodes.iter().map(OneWorker::term_and_leader).collect::<Vec<_>>();
    // A quorum is enough for the write: the third may hear of the leader a moment later.
    let before = until("everybody to follow", || Some(seen()).filter(|seen| seen.iter().all(|of| of.1.is_some())));
    leader.disk.set_stuck(true);
    let waiting = write(leader, 2);
    let began = std::time::Instant::now();
    let mut reads = 0;
    while began.elapsed() < STUCK {
        let read = leader.call(|node| async move { node.get(address(), Consistency::Local).await.is_ok() });
        assert!(read.recv_timeout(STUCK).unwrap());
        reads += 1;
    }
    assert_eq!(seen(), before);
    assert!(reads > 30, "{reads} reads");
    assert!(waiting.try_recv().is_err(), "nothing is answered before it is on the leader's own disk");
    leader.disk.set_stuck(false);
    assert!(waiting.recv_timeout(STUCK).unwrap());
}
