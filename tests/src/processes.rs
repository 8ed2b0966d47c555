//! Real processes on free ports of the loopback, in temporary folders. Whatever a test leaves running is killed with it.

use std::fmt::{self, Display};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before the test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Where tests listen: below every range from which the kernel serves outgoing connections by default.
const TEST_PORTS: Range<u16> = 12_000..32_000;
const PORTS_OF_A_PROCESS: u32 = 997;

/// Where the binaries under test are. Cargo tells tests alone, so they hand it over.
#[derive(Debug, Clone, Copy)]
pub struct Binaries {
    /// `skerry`.
    pub skerry: &'static str,
    /// `skerry-edge`.
    pub edge: &'static str,
}

/// A process, with what it says on stderr.
pub struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
    /// Takes down what it says, until it has ended.
    listener: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(program: &str, arguments: &[String]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env("SKERRY_LOG", "info,openraft=error");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary under test was built");
        let said = Arc::<Mutex<String>>::default();
        let (heard, stderr) = (Arc::clone(&said), child.stderr.take().expect("it is piped"));
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut said = heard.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said, listener: Some(listener) }
    }

    /// The operating system's number for it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ran");
    }

    /// SIGTERM, and waits for the end. Answers whether it ended well.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> bool {
        self.signal("TERM");
        self.ended()
    }

    /// Sends a signal by its name, such as `STOP` or `CONT`.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill is there");
        assert!(sent.success(), "it runs");
    }

    /// Whether it has ended, well or not.
    ///
    /// # Panics
    /// When it was never there.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it ran").is_some()
    }

    /// Waits for the end. Answers whether it ended well.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ended(&mut self) -> bool {
        let status = until("a process to end", || self.child.try_wait().expect("it ran"));
        // Its last words may still be in the pipe.
        if let Some(listener) = self.listener.take() {
            listener.join().expect("the listener does not panic");
        }
        status.success()
    }

    /// What it has said on stderr.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is there.
///
/// # Panics
/// When it is not in time.
#[expect(clippy::disallowed_methods, reason = "a process outside is asked again and again until it is ready")]
pub fn until<T>(what: impl Display, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(POLL);
    }
}

/// A free port that no other test of this process is given, and no outgoing connection: those get theirs from the
/// range above (`ip_local_port_range`), where a port that was free a moment ago is soon somebody else's.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let ports = u32::from(TEST_PORTS.end - TEST_PORTS.start);
    // Two processes begin at different places.
    let first = std::process::id().wrapping_mul(PORTS_OF_A_PROCESS);
    let next = || first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % ports;
    let candidates = (0..ports).map(|_| TEST_PORTS.start + u16::try_from(next()).expect("it is below a port"));
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("the loopback has ports")
}

/// A cluster of core nodes.
pub struct Cluster {
    binaries: Binaries,
    folder: tempfile::TempDir,
    ports: Vec<(u16, u16)>,
    shards: u16,
    founders: usize,
    options: Vec<String>,
    nodes: Vec<Option<Process>>,
}

impl Cluster {
    /// Starts a cluster and waits until every node serves.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(binaries: Binaries, nodes: usize, shards: u16) -> Self {
        Self::start_with(binaries, nodes, shards, &[])
    }

    /// The same, with more options for each node, in which `{id}` stands for its id.
    ///
    /// # Panics
    /// When a node does not serve in time.
    #[must_use]
    pub fn start_with(binaries: Binaries, nodes: usize, shards: u16, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        Self::start_in(folder, binaries, nodes, shards, options)
    }

    /// The same, with everything in a folder that may hold some of the data folders already.
    ///
    /// # Panics
    /// When a node does not serve in time.
    #[must_use]
    pub fn start_in(
        folder: tempfile::TempDir,
        binaries: Binaries,
        nodes: usize,
        shards: u16,
        options: &[&str],
    ) -> Self {
        let ports = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let processes = (0..nodes).map(|_| None).collect();
        let mut cluster = Self { binaries, folder, ports, shards, founders: nodes, options, nodes: processes };
        for node in 0..nodes {
            cluster.start_node(node);
        }
        cluster.ready();
        cluster
    }

    /// Makes place for one more node, and starts it; it waits until the cluster takes it.
    pub fn add_node(&mut self) -> usize {
        self.ports.push((free_port(), free_port()));
        self.nodes.push(None);
        let node = self.nodes.len() - 1;
        self.start_node(node);
        node
    }

    /// Where a node is reached, as options of `skerry cluster`.
    #[must_use]
    pub fn address(&self, node: usize) -> [String; 4] {
        let (http, port) = self.ports[node];
        let (http, port) = (format!("http://127.0.0.1:{http}"), format!("127.0.0.1:{port}"));
        ["--http".to_owned(), http, "--node".to_owned(), port]
    }

    /// Starts a node that is not running.
    pub fn start_node(&mut self, node: usize) {
        let is_known = |at: &usize| *at < self.founders || *at == node;
        let members = self.ports.iter().enumerate().filter(|(at, _)| is_known(at)).flat_map(|(at, (http, port))| {
            ["--member".to_owned(), format!("{}=127.0.0.1:{http},127.0.0.1:{port}", at + 1)]
        });
        let (http, port) = self.ports[node];
        let mut arguments = vec![
            "serve".to_owned(),
            "--node-id".to_owned(),
            (node + 1).to_string(),
            "--http".to_owned(),
            format!("127.0.0.1:{http}"),
            "--node-addr".to_owned(),
            format!("127.0.0.1:{port}"),
            "--data".to_owned(),
            self.data(node).display().to_string(),
        ];
        arguments.extend(members);
        let id = (node + 1).to_string();
        arguments.extend(self.options.iter().map(|option| option.replace("{id}", &id)));
        if node == 0 {
            arguments.extend(["--bootstrap".to_owned(), "--shards".to_owned(), self.shards.to_string()]);
        }
        self.nodes[node] = Some(Process::start(self.binaries.skerry, &arguments));
    }

    /// A node's process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn node(&mut self, node: usize) -> &mut Process {
        self.nodes[node].as_mut().expect("it was started")
    }

    /// Waits until every node that runs serves linearizable reads.
    ///
    /// # Panics
    /// When one does not.
    pub fn ready(&self) {
        let running = self.nodes.iter().enumerate().filter_map(|(node, process)| Some((node, process.as_ref()?)));
        for (node, process) in running {
            until(
                fmt::from_fn(|f| write!(f, "node {} to be ready, which says:\n{}", node + 1, process.said())),
                || {
                    let answer = http(&format!("{}/readyz", self.url(node)), "GET", None);
                    answer.ok().filter(|(status, _)| *status == 204)
                },
            );
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, node: usize) {
        self.node(node).kill();
        self.nodes[node] = None;
    }

    /// A node's data folder.
    #[must_use]
    pub fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("core-{}", node + 1))
    }

    /// The address of a node's port for nodes.
    #[must_use]
    pub fn node_port(&self, node: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[node].1))
    }

    /// A folder for edges.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A node's base URL.
    #[must_use]
    pub fn url(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node].0)
    }

    /// Every node's base URL.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        (0..self.ports.len()).map(|node| self.url(node)).collect()
    }

    /// The node that leads shard 0, as a node that runs sees it.
    ///
    /// # Panics
    /// When there is none in time.
    #[must_use]
    pub fn leader(&self) -> usize {
        let asked = (0..self.nodes.len()).find(|node| self.nodes[*node].is_some()).expect("a node runs");
        until("a leader", || {
            let (_, body) = http(&format!("{}/v1/cluster", self.url(asked)), "GET", None).ok()?;
            let leader = body.pointer("/shards/0/leader")?.as_u64()?;
            Some(usize::try_from(leader).expect("ids are small") - 1)
        })
    }

    /// Runs a command of the CLI against the first node; answers stdout, or stderr when it failed.
    ///
    /// # Errors
    /// What it said on stderr.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, String> {
        self.cli_at(0, arguments)
    }

    /// Runs a command of the CLI against a node.
    ///
    /// # Errors
    /// What it said on stderr.
    pub fn cli_at(&self, node: usize, arguments: &[&str]) -> Result<String, String> {
        run(self.binaries.skerry, &self.url(node), arguments)
    }
}

/// An edge.
pub struct Edge {
    binaries: Binaries,
    name: String,
    port: u16,
    data: PathBuf,
    cores: Vec<String>,
    process: Option<Process>,
}

impl Edge {
    /// Starts an edge of a cluster.
    #[must_use]
    pub fn start(cluster: &Cluster, name: &str) -> Self {
        Self::start_as(cluster, name, name)
    }

    /// Starts an edge on a folder that may be there already.
    #[must_use]
    pub fn start_as(cluster: &Cluster, name: &str, folder: &str) -> Self {
        let data = cluster.folder().join(folder);
        let (binaries, cores) = (cluster.binaries, cluster.urls());
        let mut edge = Self { binaries, name: name.to_owned(), port: free_port(), data, cores, process: None };
        edge.restart();
        edge
    }

    /// Starts an edge that reaches the core at one URL.
    #[must_use]
    pub fn start_to(cluster: &Cluster, name: &str, core: &str) -> Self {
        let data = cluster.folder().join(name);
        let (binaries, cores) = (cluster.binaries, vec![core.to_owned()]);
        let mut edge = Self { binaries, name: name.to_owned(), port: free_port(), data, cores, process: None };
        edge.restart();
        edge
    }

    /// Two edges that have each patched the same documents, out of touch with anybody, and then synced: all of them are in
    /// conflict now.
    ///
    /// # Panics
    /// When a patch is refused, or an edge does not end or sync in time.
    #[must_use]
    pub fn conflicting(cluster: &Cluster, collection: &str, keys: &[String], bodies: &[Value; 2]) -> Vec<Self> {
        let mut edges: Vec<_> = ["shop-1", "shop-2"].map(|name| Self::start(cluster, name)).into();
        for (edge, body) in edges.iter_mut().zip(bodies) {
            edge.synced();
            assert!(edge.process().stop(), "{}", edge.process().said());
            edge.restart_offline();
            for key in keys {
                let at = format!("{}/v1/collections/{collection}/documents/{key}", edge.url());
                let (status, answer) = http(&at, "PATCH", Some(body)).expect("the edge answers");
                assert!(status < 300, "{status}: {answer}");
            }
        }
        for edge in &mut edges {
            assert!(edge.process().stop(), "{}", edge.process().said());
            edge.restart();
            edge.synced();
        }
        edges
    }

    /// Starts it again, towards the core.
    pub fn restart(&mut self) {
        let cores = self.cores.clone();
        self.run(&cores);
    }

    /// Starts it again where no core can be reached.
    pub fn restart_offline(&mut self) {
        self.run(&[format!("http://127.0.0.1:{}", free_port())]);
    }

    fn run(&mut self, cores: &[String]) {
        self.process = None;
        let mut arguments = vec!["serve".to_owned(), "--replica".to_owned(), self.name.clone()];
        arguments.extend(["--data".to_owned(), self.data.display().to_string()]);
        arguments.extend(["--http".to_owned(), format!("127.0.0.1:{}", self.port)]);
        arguments.extend(cores.iter().flat_map(|core| ["--core".to_owned(), core.clone()]));
        self.process = Some(Process::start(self.binaries.edge, &arguments));
        until(format!("edge {} to answer", self.name), || http(&format!("{}/healthz", self.url()), "GET", None).ok());
    }

    /// The process.
    ///
    /// # Panics
    /// When it is not running.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until it has everything and nothing is unsent.
    pub fn synced(&self) {
        until(format!("edge {} to be in sync", self.name), || {
            let (_, status) = http(&format!("{}/v1/sync/status", self.url()), "GET", None).ok()?;
            let done = status.get("copied") == Some(&Value::Bool(true)) && status.get("unsent") == Some(&0.into());
            done.then_some(())
        });
    }
}

/// Runs a command of a CLI against a node.
///
/// # Errors
/// What it said on stderr.
///
/// # Panics
/// When it cannot be started.
pub fn run(program: &str, url: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(arguments).args(["--url", url]).output().expect("it was built");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints text");
    if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
}

/// One request; answers status and body, which is null when it is not JSON.
///
/// # Errors
/// When no answer comes.
///
/// # Panics
/// When the client cannot be made.
pub fn http(url: &str, method: &str, body: Option<&Value>) -> Result<(u16, Value), reqwest::Error> {
    let (status, text) = text(url, method, body)?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// A plugin's component, or none.
///
/// # Panics
/// When the client cannot be made.
#[must_use]
pub fn component(url: &str) -> Option<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build().ok()?;
        let answer = client.get(url).header("accept", "application/wasm").send().await.ok()?;
        let bytes = answer.status().is_success().then(|| answer.bytes())?;
        bytes.await.ok().map(|bytes| bytes.to_vec())
    })
}

/// A page that is no JSON.
fn page(url: &str) -> Result<String, reqwest::Error> {
    text(url, "GET", None).map(|(_, text)| text)
}

/// A metric, by its name with its labels as the page at `/metrics` has them.
///
/// # Panics
/// When the page does not come or has no such line.
#[must_use]
pub fn metric(url: &str, name: &str) -> f64 {
    let page = page(&format!("{url}/metrics")).expect("a node answers");
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.expect("the page has the metric")
}

/// The sum of all metrics that begin like this, 0 where there are none yet.
///
/// # Panics
/// When the page does not come.
#[must_use]
pub fn metrics(url: &str, beginning: &str) -> f64 {
    let page = page(&format!("{url}/metrics")).expect("a node answers");
    let lines = page.lines().filter(|line| line.starts_with(beginning));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn text(url: &str, method: &str, body: Option<&Value>) -> Result<(u16, String), reqwest::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be had");
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let method = method.parse().expect("a method");
        let mut request = client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await?))
    })
}
