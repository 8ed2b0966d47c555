//! Three core nodes, and at times one more that takes the place of one of them.

use std::path::PathBuf;
use std::time::Duration;

use skerry_api::client::Client;
use skerry_host::consensus::log_store::{Held, Line, inspect};
use skerry_model::ShardId;
use skerry_store::fjall::FjallLog;
use skerry_tests::processes::Process;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::command::command;
use super::disk::Disk;
use super::node::{Launch, Node};
use super::places::{Place, slot};

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
/// Shards of the cluster.
pub(super) const SHARDS: u16 = 2;
/// How long a question to a node may take while the cluster is whole.
const GLANCE: Duration = Duration::from_secs(2);

/// The cluster. Its nodes end before the folder goes.
pub(super) struct Cluster {
    nodes: [Node; NODES],
    /// Who is to take the place of the node in the same slot.
    successor: Option<Node>,
    launch: Launch,
    folder: TempDir,
}

impl Cluster {
    /// Founds a cluster of which nothing runs afterwards.
    ///
    /// The founder's list of members is what every node calls its peers by, and a node listens where its own list says.
    /// So the founder listens where it is called until the cluster is founded.
    pub(super) fn found(launch: Launch, places: [Place; NODES]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut nodes = places.map(|place| Node::new(place, folder.path()));
        nodes[0].start_at(places[0].called, &launch, &places);
        nodes[0].answers("/v1/cluster", 200);
        nodes[0].stop();
        Self { nodes, successor: None, launch, folder }
    }

    /// Starts all nodes and waits until they serve.
    pub(super) fn start(&mut self) {
        (0..NODES).for_each(|node| self.start_node(node));
        self.ready();
    }

    /// Starts a node that is not running.
    pub(super) fn start_node(&mut self, node: usize) {
        self.start_by_id(self.nodes[node].place.id);
    }

    /// A node's process.
    pub(super) fn node(&mut self, node: usize) -> &mut Process {
        self.nodes[node].process()
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// SIGTERM and a new start.
    pub(super) fn restart(&mut self, node: usize) {
        self.nodes[node].stop();
        self.start_node(node);
    }

    /// Waits until every node serves linearizable reads.
    pub(super) fn ready(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.answers("/readyz", 204));
    }

    /// The id of the node that leads a shard, as the first node that knows one sees it.
    pub(super) fn leader_id(&self, runtime: &Handle, shard: u16) -> Option<u64> {
        (0..NODES).find_map(|node| {
            let client = self.client(&[node]);
            let asked = runtime.block_on(async { tokio::time::timeout(GLANCE, client.cluster()).await });
            let leader = asked.ok()?.ok()?.shards.get(usize::from(shard % SHARDS))?.leader?;
            Some(leader.get())
        })
    }

    /// The same node's slot.
    pub(super) fn leader(&self, runtime: &Handle, shard: u16) -> Option<usize> {
        self.leader_id(runtime, shard).map(slot)
    }

    /// A node's base URL.
    pub(super) fn url(&self, node: usize) -> String {
        self.nodes[node].url()
    }

    /// A client of these nodes, which asks the first one first.
    pub(super) fn client(&self, nodes: &[usize]) -> Client {
        let urls: Vec<_> = nodes.iter().map(|node| self.url(*node)).collect();
        Client::new(&urls, None).expect("they are nodes' URLs")
    }

    /// A client of the successor.
    pub(super) fn client_of_successor(&self) -> Client {
        let url = self.successor.as_ref().expect("it was started").url();
        Client::new(&[url], None).expect("it is a node's URL")
    }

    /// The node's disk, where it has one of its own.
    pub(super) fn disk(&self, node: usize) -> Option<&Disk> {
        self.nodes[node].disk()
    }

    /// Where each node is.
    pub(super) fn places(&self) -> [Place; NODES] {
        self.nodes.each_ref().map(|node| node.place)
    }

    /// Starts a node with an empty folder, which knows the nodes of the other slots and waits to be taken in.
    pub(super) fn start_successor(&mut self, place: Place) {
        self.successor = Some(Node::new(place, self.folder.path()));
        self.start_by_id(place.id);
    }

    /// Starts a node that is not running, the successor too.
    pub(super) fn start_by_id(&mut self, id: u64) {
        let (launch, mut places) = (self.launch.clone(), self.places());
        let node = self.by_id(id);
        places[slot(id)] = node.place;
        node.start(&launch, &places);
    }

    /// SIGKILL of a node, the successor too.
    pub(super) fn kill_by_id(&mut self, id: u64) {
        self.by_id(id).kill();
    }

    fn by_id(&mut self, id: u64) -> &mut Node {
        let mut nodes = self.nodes.iter_mut().chain(&mut self.successor);
        nodes.find(|node| node.place.id == id).expect("it is one of them")
    }

    /// The successor has its slot now; the node before it ends and its folder goes.
    pub(super) fn succeed(&mut self) {
        let successor = self.successor.take().expect("it was started");
        let mut gone = std::mem::replace(&mut self.nodes[slot(successor.place.id)], successor);
        gone.stop();
        gone.forget();
    }

    /// Stops every node and compares their logs, as far as all of them hold it and know it to be committed: answers how
    /// many entries that is, or the first that two nodes hold differently.
    pub(super) fn stop_and_compare_logs(&mut self) -> Result<usize, String> {
        self.nodes.iter_mut().for_each(Node::stop);
        let logs = self.nodes.iter().map(|node| FjallLog::open(&node.log()));
        let logs = logs.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let mut compared = 0;
        for shard in (0..SHARDS).map(ShardId::new) {
            let held = logs.iter().map(|log| inspect(log, shard, 0)).collect::<Result<Vec<_>, _>>();
            let held = held.map_err(|error| error.to_string())?;
            let committed = held.iter().map(|held| held.committed.map_or(0, |id| id.index)).min().unwrap_or_default();
            // What one node has purged, the others may still hold.
            let purged = held.iter().filter_map(|held| held.purged).map(|id| id.index).max();
            let is_common = |line: &Line| Some(line.id.index) > purged && line.id.index <= committed;
            let known = |held: &Held| held.entries.iter().copied().filter(is_common).collect();
            let [first, others @ ..]: [Vec<Line>; NODES] = std::array::from_fn(|node| known(&held[node]));
            for other in others {
                let pair = first.iter().zip(&other).find(|(one, other)| one != other);
                if pair.is_some() || first.len() != other.len() {
                    return Err(format!("shard {shard}: {} and {} entries, {pair:?}", first.len(), other.len()));
                }
            }
            compared += first.len();
        }
        Ok(compared)
    }
}

impl Drop for Cluster {
    /// What a run that failed leaves for whoever looks into it: what the nodes said last, and their data where
    /// `SKERRY_CHAOS_KEEP` names a folder for it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let nodes = || self.nodes.iter().chain(&self.successor);
        nodes().for_each(Node::tell);
        self.nodes.iter_mut().chain(&mut self.successor).for_each(Node::end);
        if let Some(keep) = std::env::var_os("SKERRY_CHAOS_KEEP") {
            let (from, to) = (format!("{}/.", self.folder.path().display()), PathBuf::from(keep));
            let copied = command("cp", &["-a", &from, &to.display().to_string()]);
            println!("chaos: the nodes' data is in {}: {copied:?}", to.display());
        }
    }
}
