//! Three core nodes behind the links, each on a small disk of its own where the system lets one be mounted.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use skerry_host::consensus::log_store::{Held, Line, inspect};
use skerry_model::ShardId;
use skerry_store::fjall::FjallLog;
use skerry_tests::processes::{Process, http, until};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::links::Links;

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;
const SHARDS: u16 = 2;
const SKERRY: &str = env!("CARGO_BIN_EXE_skerry-under-test");
const DISK_KIB: u64 = 2 << 20;
/// How long a question to a node may take while the cluster is whole.
const GLANCE: Duration = Duration::from_secs(2);

/// Where a node is.
#[derive(Debug, Clone, Copy)]
struct Place {
    http: SocketAddr,
    /// Where its node port listens.
    listens: SocketAddr,
    /// Where its peers call it: the proxy before it.
    called: SocketAddr,
}

/// What leaders make sure of before they answer a read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reads {
    Quorum,
    Lease,
}

/// The cluster. Processes end before their disks are unmounted, and those before the folder goes.
pub(super) struct Cluster {
    nodes: [Option<Process>; NODES],
    disks: Vec<Disk>,
    places: [Place; NODES],
    folder: TempDir,
    reads: Reads,
    pub(super) links: Links,
}

impl Cluster {
    /// Founds a cluster and waits until every node serves.
    ///
    /// The founder's list of members is what every node calls its peers by, so it must name the proxies; and a node
    /// listens where its own list says. So the founder listens at its proxy's address until the cluster is founded.
    pub(super) fn start(runtime: &Handle, reads: Reads) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut ports = quiet_ports();
        let mut address = || SocketAddr::from(([127, 0, 0, 1], ports.next().expect("there are free ports")));
        let places = [(); NODES].map(|()| Place { http: address(), listens: address(), called: address() });
        let data = |node: usize| data(folder.path(), node);
        let disks = (0..NODES).map(|node| Disk::mount(&data(node))).collect::<Result<Vec<_>, _>>();
        let disks = disks.unwrap_or_else(|reason| {
            println!("chaos: no full disks: {reason}");
            Vec::new()
        });
        let mut founder = Process::start(SKERRY, &arguments(&places, 0, places[0].called, &data(0), reads));
        until("the cluster to be founded", || {
            assert!(!founder.has_ended(), "{}", founder.said());
            http(&format!("http://{}/v1/cluster", places[0].http), "GET", None)
                .ok()
                .filter(|(status, _)| *status == 200)
        });
        assert!(founder.stop(), "{}", founder.said());
        let links = Links::start(runtime, places.map(|place| (place.called, place.listens)));
        let links = links.expect("the founder has left its port");
        let mut cluster = Self { nodes: [const { None }; NODES], disks, places, folder, reads, links };
        (0..NODES).for_each(|node| cluster.start_node(node));
        cluster.ready();
        cluster
    }

    /// Starts a node that is not running.
    pub(super) fn start_node(&mut self, node: usize) {
        let data = data(self.folder.path(), node);
        let arguments = arguments(&self.places, node, self.places[node].listens, &data, self.reads);
        self.nodes[node] = Some(Process::start(SKERRY, &arguments));
    }

    /// A node's process.
    pub(super) fn node(&mut self, node: usize) -> &mut Process {
        self.nodes[node].as_mut().expect("it was started")
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self, node: usize) {
        self.node(node).kill();
        self.nodes[node] = None;
    }

    /// Waits until every node serves linearizable reads.
    pub(super) fn ready(&mut self) {
        for node in 0..NODES {
            let url = format!("{}/readyz", self.url(node));
            let process = self.nodes[node].as_mut().expect("it was started");
            until(&format!("node {} to be ready", node + 1), || {
                assert!(!process.has_ended(), "node {} ended by itself:\n{}", node + 1, process.said());
                http(&url, "GET", None).ok().filter(|(status, _)| *status == 204)
            });
        }
    }

    /// The node that leads a shard, as the first node that knows one sees it.
    pub(super) fn leader(&self, runtime: &Handle, shard: usize) -> Option<usize> {
        (0..NODES).find_map(|node| {
            let url = self.url(node);
            let asked = runtime.block_on(async {
                let client = skerry_api::client::Client::new(&[url], None).expect("it is a URL");
                tokio::time::timeout(GLANCE, client.cluster()).await
            });
            let leader = asked.ok()?.ok()?.shards.get(shard % usize::from(SHARDS))?.leader?;
            usize::try_from(leader.get()).ok()?.checked_sub(1)
        })
    }

    /// A node's base URL.
    pub(super) fn url(&self, node: usize) -> String {
        format!("http://{}", self.places[node].http)
    }

    /// Stops every node and compares their logs, as far as all of them hold it and know it to be committed: answers how
    /// many entries that is, or the first that two nodes hold differently.
    pub(super) fn stop_and_compare_logs(&mut self) -> Result<usize, String> {
        for node in 0..NODES {
            assert!(self.node(node).stop(), "{}", self.node(node).said());
        }
        let logs = (0..NODES).map(|node| FjallLog::open(&data(self.folder.path(), node).join("log")));
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

    /// The node's disk, where it has one of its own.
    pub(super) fn disk(&self, node: usize) -> Option<&Disk> {
        self.disks.get(node)
    }
}

impl Drop for Cluster {
    /// What a run that failed leaves for whoever looks into it: what the nodes said last, and their data where
    /// `SKERRY_CHAOS_KEEP` names a folder for it.
    fn drop(&mut self) {
        const LINES: usize = 40;
        let failed = std::thread::panicking();
        for (node, process) in self.nodes.iter().enumerate().filter(|_| failed) {
            let said = process.as_ref().map(Process::said).unwrap_or_default();
            let lines: Vec<_> = said.lines().rev().take(LINES).collect();
            println!("node {} said at last:", node + 1);
            lines.iter().rev().for_each(|line| println!("  {line}"));
        }
        self.nodes = [const { None }; NODES];
        if let Some(keep) = std::env::var_os("SKERRY_CHAOS_KEEP").filter(|_| failed) {
            let (from, to) = (format!("{}/.", self.folder.path().display()), PathBuf::from(keep));
            let copied = run("cp", &["-a", &from, &to.display().to_string()]);
            println!("chaos: the nodes' data is in {}: {copied:?}", to.display());
        }
    }
}

fn data(folder: &Path, node: usize) -> PathBuf {
    folder.join(format!("core-{}", node + 1))
}

fn arguments(places: &[Place; NODES], node: usize, listens: SocketAddr, data: &Path, reads: Reads) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned()];
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    option("--node-id", (node + 1).to_string());
    option("--http", places[node].http.to_string());
    option("--node-addr", listens.to_string());
    option("--data", data.display().to_string());
    option("--reads", format!("{reads:?}").to_lowercase());
    for (at, place) in places.iter().enumerate() {
        let called = if at == node { listens } else { place.called };
        option("--member", format!("{}={},{called}", at + 1, place.http));
    }
    if node == 0 {
        option("--shards", SHARDS.to_string());
        arguments.push("--bootstrap".to_owned());
    }
    arguments
}

/// Free ports below those that the system gives to outgoing connections: a node that is down for a while must find its
/// own port free when it comes back.
fn quiet_ports() -> impl Iterator<Item = u16> {
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 20_000;
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).expect("the remainder is small");
    (0..COUNT)
        .map(move |step| {
            FIRST + u16::try_from((u32::from(begin) + u32::from(step)) % u32::from(COUNT)).expect("as above")
        })
        .filter(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
}

/// A file system in memory, mounted where a node keeps its data.
pub(super) struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let size = format!("size={DISK_KIB}k");
        run("mount", &["-t", "tmpfs", "-o", &size, "skerry-chaos", &at.display().to_string()])?;
        Ok(Self { at: at.to_owned() })
    }

    /// Nothing more fits than is there, within one page or so.
    pub(super) fn fill(&self) {
        until("the disk to be full", || {
            // More may have been written since the look, and then the system refuses the size.
            let used = run("df", &["--output=used", "-k", &self.at.display().to_string()]).expect("df is there");
            let used = used.lines().nth(1).expect("df answers two lines").trim().to_owned();
            self.resize(&used).ok()
        });
    }

    /// As large as it was.
    pub(super) fn free(&self) {
        self.resize(&DISK_KIB.to_string()).expect("it was that large before");
    }

    fn resize(&self, kib: &str) -> Result<(), String> {
        run("mount", &["-o", &format!("remount,size={kib}k"), &self.at.display().to_string()]).map(|_| ())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(reason) = run("umount", &[&self.at.display().to_string()]) {
            println!("chaos: a disk stays mounted: {reason}");
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(format!("{program}: {}", text(&ran.stderr))) }
}
