//! Small deliberate re-creations of the flaws, for the checks that must fail on them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use skerry_api::documents::{
    Address, Change, Conflicts, Consistency, Documents, ETag, Page, Read, Scan, Stamp, State, WriteRequest, Written,
};
use skerry_api::problem::{Kind, Problem};
use skerry_api::routes;
use skerry_model::CollectionName;
use skerry_model::document::View;
use skerry_model::engine::Write;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use super::v03_fencing::Nodes;

const NODES: usize = 3;

/// V03: three nodes whose leader answers from its own state and asks no quorum, and whose peers take whatever a leader
/// sends them. Held still and let go, it still believes that it leads.
pub(super) struct Unfenced {
    nodes: Vec<Node>,
    addresses: Vec<SocketAddr>,
    /// Serves the nodes until the whole is dropped.
    _runtime: Runtime,
}

/// A node; clones are the same one.
#[derive(Clone)]
struct Node {
    number: usize,
    cluster: Arc<Vec<Own>>,
}

/// A document and its version.
type Versioned = (Map<String, Value>, u64);

/// What a node has for itself.
struct Own {
    documents: Mutex<BTreeMap<Address, Versioned>>,
    /// Whom it believes to lead.
    leader: Mutex<usize>,
    paused: watch::Sender<bool>,
}

impl Unfenced {
    pub(super) fn start() -> Self {
        let own = |_| Own { documents: Mutex::default(), leader: Mutex::new(0), paused: watch::channel(false).0 };
        let cluster = Arc::new((0..NODES).map(own).collect::<Vec<_>>());
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime can be had");
        let nodes: Vec<_> = (0..NODES).map(|number| Node { number, cluster: Arc::clone(&cluster) }).collect();
        let addresses = nodes.iter().map(|node| {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("the loopback has ports");
            let address = listener.local_addr().expect("it is bound");
            let router = routes::documents(node.clone());
            runtime.spawn(async move { axum::serve(listener, router).await });
            address
        });
        let addresses = addresses.collect();
        Self { nodes, addresses, _runtime: runtime }
    }
}

impl Nodes for Unfenced {
    fn count(&self) -> usize {
        NODES
    }

    fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    fn leader_seen_by(&self, node: usize) -> Option<usize> {
        Some(*self.nodes[node].own().leader.lock())
    }

    /// The others agree on a new leader, which it does not hear of.
    fn pause(&mut self, node: usize) {
        self.nodes[node].own().paused.send_replace(true);
        for other in self.nodes.iter().filter(|other| other.number != node) {
            *other.own().leader.lock() = (node + 1) % NODES;
        }
    }

    fn resume(&mut self, node: usize) {
        self.nodes[node].own().paused.send_replace(false);
    }
}

impl Node {
    fn own(&self) -> &Own {
        &self.cluster[self.number]
    }

    /// Waits while the node is held still; then the one that it believes to lead.
    async fn leader(&self) -> &Own {
        self.own().paused.subscribe().wait_for(|paused| !paused).await.expect("the node keeps the sender");
        let leader = *self.own().leader.lock();
        &self.cluster[leader]
    }
}

impl Documents for Node {
    async fn get(&self, at: Address, _consistency: Consistency) -> Result<Read, Problem> {
        // The flaw: a leader's own state is taken for everybody's.
        let found = self.leader().await.documents.lock().get(&at).cloned();
        let (document, version) = found.ok_or_else(|| Problem::new(Kind::DocumentNotFound, "no such document"))?;
        Ok(Read { view: View::of(&document)?, stamp: stamp(version), conflicts: 0, fallback: None })
    }

    async fn write(&self, at: Address, request: WriteRequest) -> Result<Written, Problem> {
        let leader = self.leader().await;
        let version = leader.documents.lock().get(&at).map(|(_, version)| *version);
        if !request.conditions.hold(version.map(etag).as_ref()) {
            return Err(Problem::new(Kind::PreconditionFailed, "it is at another version"));
        }
        let Write::Put(document) = request.write else {
            return Err(Problem::new(Kind::Refused, "the re-creation takes PUT alone"));
        };
        let (change, next) =
            (if version.is_some() { Change::Updated } else { Change::Created }, version.unwrap_or(0) + 1);
        leader.documents.lock().insert(at.clone(), (document.clone(), next));
        // The flaw: it is acknowledged whoever takes it, and a peer that knows of a newer leader is not asked.
        let leads = *leader.leader.lock();
        for peer in self.cluster.iter().filter(|peer| *peer.leader.lock() == leads) {
            peer.documents.lock().insert(at.clone(), (document.clone(), next));
        }
        Ok(Written { change, stamp: Some(stamp(next)) })
    }

    async fn scan(&self, _collection: CollectionName, _scan: Scan) -> Result<Page, Problem> {
        Err(Problem::new(Kind::Refused, "the re-creation has no scans"))
    }

    async fn conflicts(&self, _at: Address, _consistency: Consistency) -> Result<Conflicts, Problem> {
        Err(Problem::new(Kind::Refused, "the re-creation has no conflicts"))
    }
}

fn etag(version: u64) -> ETag {
    ETag(version.to_string())
}

fn stamp(version: u64) -> Stamp {
    Stamp { etag: etag(version), scn: None, policy: "strict".to_owned(), state: State::Committed, automerge: None }
}
