//! `skerry dev`: three core nodes and two edges on loopback, with example data and the story of the last item, sold
//! twice while both shops were offline.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use skerry_api::bodies::CollectionSpec;
use skerry_api::cli::Output;
use skerry_api::client::{self, Client};
use skerry_api::documents::{Address, Conditions, Consistency, WriteRequest};
use skerry_api::problem::Problem;
use skerry_edge::{Edge, EdgeOptions};
use skerry_model::NodeId;
use skerry_model::engine::Write;
use skerry_model::policy::Policy;
use skerry_runtime::standard;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::consensus::types::NodeAddress;
use crate::limits::{NODE_PORT_OFFSET, REJOIN_WINDOW};
use crate::node::{AuditOptions, Reads};
use crate::server::{self, ServeOptions};

/// Core nodes listen on 7401 to 7403, their node ports on 8401 to 8403.
const CORE_PORTS: [u16; 3] = [7401, 7402, 7403];
/// Edges listen on 7501 and 7502.
const EDGE_PORTS: [u16; 2] = [7501, 7502];
/// How long everything may take to be there.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// What `skerry dev` is told.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// Where everything is kept; the next start goes on with it.
    pub data: PathBuf,
    /// How to print.
    pub output: Output,
}

/// Why `skerry dev` stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port that something else listens on; what answered there would be taken for this cluster.
    #[error(
        "port {port} is taken: stop what uses it, since skerry dev needs 7401 to 7403, 8401 to 8403, 7501 and 7502"
    )]
    PortTaken {
        /// Which.
        port: u16,
    },
    /// A core node.
    #[error("core node {node}: {source}")]
    Core {
        /// Which.
        node: NodeId,
        /// What is wrong.
        source: server::Error,
    },
    /// An edge.
    #[error("edge {edge}: {source}")]
    Edge {
        /// Which.
        edge: String,
        /// What is wrong.
        source: skerry_edge::OpenError,
    },
    /// An edge's HTTP.
    #[error("edge {edge}: {source}; is another process using the port?")]
    EdgeHttp {
        /// Which.
        edge: String,
        /// What is wrong.
        source: skerry_edge::http::Error,
    },
    /// An edge's sync.
    #[error("edge {edge} cannot sync: {source}")]
    Sync {
        /// Which.
        edge: String,
        /// What is wrong.
        source: skerry_edge::SyncError,
    },
    /// A request of the story.
    #[error("the example could not be set up: {0}")]
    Client(#[from] client::Error),
    /// A write or read of the story.
    #[error("the example could not be played: {0}")]
    Problem(#[from] Problem),
    /// Nothing serves in time.
    #[error("the cluster was not ready after {} seconds: {last}", START_TIMEOUT.as_secs())]
    NotReady {
        /// What was still missing.
        last: String,
    },
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs until `stop`.
///
/// # Errors
/// [`Error`] says what to do.
pub async fn run(options: DevOptions, stop: CancellationToken) -> Result<(), Error> {
    let mut tasks = JoinSet::new();
    // However this ends, everything it started stops in order.
    let nodes = stop.child_token();
    let played = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        failed = start_and_play(&options, &nodes, &mut tasks) => failed,
    };
    nodes.cancel();
    let mut outcome = played;
    while let Some(ended) = tasks.join_next().await {
        if let (Ok(Err(error)), true) = (ended, outcome.is_ok()) {
            outcome = Err(error);
        }
    }
    outcome
}

/// Starts everything, tells the story, and waits for something to fail.
async fn start_and_play(
    options: &DevOptions,
    nodes: &CancellationToken,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<(), Error> {
    let node_ports = CORE_PORTS.map(|port| port + NODE_PORT_OFFSET);
    for port in CORE_PORTS.into_iter().chain(node_ports).chain(EDGE_PORTS) {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|_taken| Error::PortTaken { port })?;
    }
    let output = options.output;
    output.note("Starting three core nodes and two edges …");
    for at in 0..CORE_PORTS.len() {
        tasks.spawn(core(options.clone(), at, nodes.clone()));
    }
    let client = Client::new(&CORE_PORTS.map(url), None)?.with_retries();
    ready(&client, tasks).await?;
    let mut edges = Vec::new();
    for (at, port) in EDGE_PORTS.into_iter().enumerate() {
        edges.push(edge(options, at, port, nodes, tasks).await?);
    }
    let story = Story { client, edges, output };
    story.tell().await?;
    match tasks.join_next().await {
        Some(Ok(Err(error))) => Err(error),
        _ => Ok(()),
    }
}

/// The folder of a core node in the data folder.
pub(crate) fn core_folder(node: NodeId) -> String {
    format!("core-{node}")
}

async fn core(options: DevOptions, at: usize, stop: CancellationToken) -> Result<(), Error> {
    let id = |at: usize| NodeId::new(at as u64 + 1);
    let members = CORE_PORTS.iter().enumerate().map(|(at, &port)| {
        let node = local(port + NODE_PORT_OFFSET).to_string();
        (id(at), NodeAddress { node, http: url(port) })
    });
    let node = id(at);
    let serve = ServeOptions {
        node,
        http: local(CORE_PORTS[at]),
        node_address: local(CORE_PORTS[at] + NODE_PORT_OFFSET),
        data: options.data.join(core_folder(node)),
        bootstrap: at == 0,
        members: members.collect(),
        shards: None,
        reads: Reads::default(),
        audit_one_in: AuditOptions::default().one_in,
        rejoin_window: REJOIN_WINDOW,
        origins: Vec::new(),
        tls: None,
    };
    server::run(serve, stop, || {}).await.map_err(|source| Error::Core { node, source })
}

async fn edge(
    options: &DevOptions,
    at: usize,
    port: u16,
    stop: &CancellationToken,
    tasks: &mut JoinSet<Result<(), Error>>,
) -> Result<Edge, Error> {
    let name = edge_name(at);
    let opening = EdgeOptions {
        replica: name.parse().map_err(Problem::from)?,
        cores: CORE_PORTS.map(url).to_vec(),
        data: options.data.join(&name),
        subscription: None,
    };
    let edge = Edge::open(opening).await.map_err(|source| Error::Edge { edge: name.clone(), source })?;
    let http = |source| Error::EdgeHttp { edge: name.clone(), source };
    let listener = skerry_edge::http::bind(local(port)).await.map_err(http)?;
    let (serving, stopped, task_name) = (edge.clone(), stop.clone(), name.clone());
    tasks.spawn(async move {
        let served =
            skerry_edge::http::serve(serving.clone(), listener, async move { stopped.cancelled().await }).await;
        // Whatever it answers, the edge stops here, and its folder says whether it was in order.
        let _ = serving.close().await;
        served.map_err(|source| Error::EdgeHttp { edge: task_name, source })
    });
    Ok(edge)
}

/// Waits until the cluster answers, or one of its nodes has given up.
async fn ready(client: &Client, tasks: &mut JoinSet<Result<(), Error>>) -> Result<(), Error> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let last = match client.collections().await {
            Ok(_) => return Ok(()),
            Err(error) => error.to_string(),
        };
        if let Some(Ok(Err(error))) = tasks.try_join_next() {
            return Err(error);
        }
        if Instant::now() >= deadline {
            return Err(Error::NotReady { last });
        }
        sleep(POLL).await;
    }
}

struct Story {
    client: Client,
    edges: Vec<Edge>,
    output: Output,
}

impl Story {
    async fn tell(&self) -> Result<(), Error> {
        let at =
            |key: &str| -> Result<Address, Problem> { Ok(Address { collection: "items".parse()?, key: key.parse()? }) };
        let lantern = at("lantern")?;
        let known = self.client.collections().await?;
        let is_new = known.collections.iter().all(|collection| collection.name != lantern.collection);
        if is_new {
            self.load(&lantern).await?;
            self.sell_twice(&lantern).await?;
        } else {
            self.output.note("Going on with the data that was here.");
            self.sync_all().await?;
        }
        self.show(&lantern).await?;
        self.output.line(&what_next())?;
        Ok(())
    }

    async fn load(&self, lantern: &Address) -> Result<(), Error> {
        let name = standard::STOCK.name.parse().map_err(Problem::from)?;
        let deployed = self.client.deploy(&name, Bytes::from_static(standard::STOCK.component)).await?;
        self.output.note(&format!("Deployed the resolver {name}, digest {}.", deployed.digest));
        let policy = Policy::Plugin { name, pinned: None };
        let spec = CollectionSpec { policy, template: None, text: Vec::new(), settle: false, inbox: None };
        self.client.put_collection(&lantern.collection, &spec).await?;
        for (key, document) in examples() {
            let at = Address { collection: lantern.collection.clone(), key: key.parse().map_err(Problem::from)? };
            self.client.put(&at, &document, &Conditions::default()).await?;
        }
        Ok(())
    }

    async fn sell_twice(&self, lantern: &Address) -> Result<(), Error> {
        self.wait_for(lantern).await?;
        self.output.line("Both edges have the data. Now they go offline, and each sells the last lantern:")?;
        for edge in &self.edges {
            edge.set_online(false);
        }
        for (at, edge) in self.edges.iter().enumerate() {
            let request = WriteRequest::new(Write::Patch(json!({ "remaining": 0, "sold_by": edge_name(at) })));
            edge.write(lantern.clone(), request).await?;
            let read = edge.get(lantern.clone()).await?;
            self.output.line(&line(&edge_name(at), &read.view))?;
        }
        self.output.line("They come back online and sync. One resolver decides, the same everywhere:")?;
        for edge in &self.edges {
            edge.set_online(true);
        }
        self.sync_all().await
    }

    /// Waits until every edge has a document.
    async fn wait_for(&self, at: &Address) -> Result<(), Error> {
        let deadline = Instant::now() + START_TIMEOUT;
        for edge in &self.edges {
            while let Err(problem) = edge.get(at.clone()).await {
                if Instant::now() >= deadline {
                    return Err(Error::NotReady { last: problem.detail });
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Each edge pushes and pulls; twice, so that what the last one pushed reaches the first.
    async fn sync_all(&self) -> Result<(), Error> {
        for _ in 0..2 {
            for (at, edge) in self.edges.iter().enumerate() {
                edge.sync_now().await.map_err(|source| Error::Sync { edge: edge_name(at), source })?;
            }
        }
        Ok(())
    }

    /// The document as every node and edge shows it.
    async fn show(&self, at: &Address) -> Result<(), Error> {
        for (node, port) in (1..).zip(CORE_PORTS) {
            let read = Client::new(&[url(port)], None)?.with_retries().get(at, Consistency::Linearizable).await?;
            self.output.line(&line(&format!("core {node}"), &read.view))?;
        }
        for (number, edge) in self.edges.iter().enumerate() {
            let read = edge.get(at.clone()).await?;
            self.output.line(&line(&edge_name(number), &read.view))?;
        }
        Ok(())
    }
}

fn examples() -> Vec<(&'static str, Map<String, Value>)> {
    let item = |name: &str, price: f64, remaining: u32| {
        let mut item = Map::new();
        item.insert("name".to_owned(), name.into());
        item.insert("price".to_owned(), price.into());
        item.insert("remaining".to_owned(), remaining.into());
        item
    };
    vec![
        ("lantern", item("Storm lantern", 39.5, 1)),
        ("rope", item("Mooring rope, 10 m", 24.0, 40)),
        ("tide-table", item("Tide table", 6.9, 120)),
    ]
}

fn line(who: &str, view: &skerry_model::document::View) -> String {
    format!("  {who:<8} {}", String::from_utf8_lossy(view.bytes()))
}

fn what_next() -> String {
    let mut text = String::from("\nEverything is up. Try, in another terminal:\n\n");
    let core = url(CORE_PORTS[0]);
    let edge = url(EDGE_PORTS[0]);
    let skerry = program();
    let commands = [
        ("what met where, and who decided", format!("{skerry} conflicts show items lantern --url {core}")),
        ("every item, from the core", format!("{skerry} scan items --url {core}")),
        ("sell a rope at an edge", format!(r#"{skerry} put items rope '{{"remaining": 39}}' --patch --url {edge}"#)),
        ("and read it from the core", format!("curl {core}/v1/collections/items/documents/rope")),
        ("how the edge syncs", format!("curl {edge}/v1/sync/status")),
        ("the cluster", format!("{skerry} cluster status --url {core}")),
    ];
    for (what, command) in commands {
        writeln!(text, "  # {what}\n  {command}").expect("memory takes every write");
    }
    text.push_str("\nCtrl-C stops it; the next start goes on with the same data.");
    text
}

/// How this program is called from the folder it was started in, so that the commands work when pasted.
fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "skerry".into());
    let relative = program.strip_prefix(&here).map_or_else(|_| program.clone(), |below| PathBuf::from(".").join(below));
    relative.display().to_string()
}

fn edge_name(at: usize) -> String {
    format!("shop-{}", at + 1)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

fn url(port: u16) -> String {
    format!("http://{}", local(port))
}
