//! `skerry serve`: a core node until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use skerry_api::cli::Output;
use skerry_model::NodeId;
use tokio_util::sync::CancellationToken;

use crate::consensus::types::NodeAddress;
use crate::env::tls::TlsFiles;
use crate::limits::{CLUSTER_SIZES, NODE_PORT_OFFSET, REJOIN_WINDOW, SHARDS_MAX};
use crate::node::{AuditOptions, Reads};
use crate::server::{self, ServeOptions};
use crate::telemetry::logs;

/// Run a core node
#[derive(Debug, Clone, Args)]
pub(super) struct Serve {
    /// The node's id, which no other node ever had
    #[arg(long, default_value_t = 1, value_name = "N")]
    node_id: u64,
    /// Where the HTTP API listens
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDRESS")]
    http: SocketAddr,
    /// Where other nodes connect [default: the HTTP address, 1000 ports up]
    #[arg(long, value_name = "ADDRESS")]
    node_addr: Option<SocketAddr>,
    /// The data folder
    #[arg(long, default_value = "./skerry-data", value_name = "FOLDER")]
    data: PathBuf,
    /// Found a new cluster; one node of it does
    #[arg(long)]
    bootstrap: bool,
    /// A node of the cluster, this one among them; for each of those it is founded with, never for a cluster of one. A node
    /// that is added later names itself and at least one that is there
    #[arg(long = "member", value_name = "ID=HTTP_ADDRESS[,NODE_ADDRESS]")]
    members: Vec<Member>,
    /// How many shards a new cluster has [default: one per four processor cores, 1 to 8]
    #[arg(long, value_name = "N", requires = "bootstrap", value_parser = clap::value_parser!(u16).range(1..=i64::from(SHARDS_MAX)))]
    shards: Option<u16>,
    /// What a leader makes sure of before it answers a linearizable read: that a quorum still follows it, or that one did
    /// less than a lease ago, which takes no message but trusts clocks to run alike
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    reads: ReadsArgument,
    /// Of the versions that plugins have decided, followers compute one of so many again; a difference is logged and
    /// counted as skerry_plugin_divergence_total
    #[arg(long, default_value_t = AuditOptions::default().one_in, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    audit_one_in: u32,
    /// How long an edge may be silent and then go on from the changes since; one that was silent for longer compares what
    /// it holds with what is there
    #[arg(long, default_value_t = REJOIN_WINDOW.as_secs(), value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    rejoin_window: u64,
    /// An origin whose pages may talk to this node from a browser, as in `https://notes.example:8443`
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// Write the log as JSON
    #[arg(long)]
    log_json: bool,
}

/// The certificates of the node port.
#[derive(Debug, Clone, Args)]
#[group(requires_all = ["node_ca", "node_cert", "node_key"], multiple = true)]
struct TlsArguments {
    /// PEM file of the authority that signs the certificates of all nodes: the node port then takes mutual TLS and
    /// nothing else; outside loopback it must
    #[arg(long, value_name = "FILE")]
    node_ca: Option<PathBuf>,
    /// PEM file of this node's certificate, which names the host by which the others reach it
    #[arg(long, value_name = "FILE")]
    node_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, value_name = "FILE")]
    node_key: Option<PathBuf>,
}

impl TlsArguments {
    fn files(&self) -> Option<TlsFiles> {
        let (authority, certificate, key) = (self.node_ca.clone()?, self.node_cert.clone()?, self.node_key.clone()?);
        Some(TlsFiles { authority, certificate, key })
    }
}

/// [`Reads`] on the command line.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum ReadsArgument {
    #[default]
    Quorum,
    Lease,
}

impl From<ReadsArgument> for Reads {
    fn from(reads: ReadsArgument) -> Self {
        match reads {
            ReadsArgument::Quorum => Self::Quorum,
            ReadsArgument::Lease => Self::Lease,
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    id: u64,
    http: SocketAddr,
    node: SocketAddr,
}

impl FromStr for Member {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::Member { found: text.to_owned() };
        let (id, addresses) = text.split_once('=').ok_or_else(malformed)?;
        let (http, node) = addresses.split_once(',').map_or((addresses, None), |(http, node)| (http, Some(node)));
        let http = http.parse().map_err(|_| malformed())?;
        let node = match node {
            Some(node) => node.parse().map_err(|_| malformed())?,
            None => node_address(http)?,
        };
        Ok(Self { id: id.parse().map_err(|_| malformed())?, http, node })
    }
}

/// Why a node was not started, or had to stop.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{found:?} is not of the form ID=HTTP_ADDRESS[,NODE_ADDRESS], as in 2=127.0.0.1:7402")]
    Member { found: String },
    #[error("the node port of {http} would be past 65535: name it with --node-addr or in --member")]
    NodePort { http: SocketAddr },
    #[error("--member names {count} nodes, a cluster is founded with 1, 3, 5 or 7")]
    ClusterSize { count: usize },
    #[error("--member names node {id} twice")]
    MemberTwice { id: u64 },
    #[error("--member does not name this node, {id} at {http} with node port {node}")]
    NotAMember { id: u64, http: SocketAddr, node: SocketAddr },
    #[error("the process cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Server(#[from] server::Error),
}

impl Serve {
    pub(super) async fn run(&self, output: Output) -> Result<(), Error> {
        let options = self.options()?;
        logs::begin("info,openraft=error,fjall=warn,lsm_tree=warn", self.log_json);
        let stop = stop_at_signal().map_err(Error::Signals)?;
        let http = options.http;
        let ready = || output.note(&format!("node {} serves http://{http}", self.node_id));
        Ok(Box::pin(server::run(options, stop, ready)).await?)
    }

    fn options(&self) -> Result<ServeOptions, Error> {
        let node_addr = self.node_addr.map_or_else(|| node_address(self.http), Ok)?;
        let own = Member { id: self.node_id, http: self.http, node: node_addr };
        let mut members = self.members.clone();
        if members.is_empty() {
            members.push(own);
        }
        members.sort_unstable_by_key(|member| member.id);
        if let Some(pair) = members.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(Error::MemberTwice { id: pair[0].id });
        }
        if self.bootstrap && !CLUSTER_SIZES.contains(&members.len()) {
            return Err(Error::ClusterSize { count: members.len() });
        }
        if !members.contains(&own) {
            return Err(Error::NotAMember { id: own.id, http: own.http, node: own.node });
        }
        let address = |member: Member| {
            let Member { id, http, node } = member;
            (NodeId::new(id), NodeAddress { node: node.to_string(), http: format!("http://{http}") })
        };
        Ok(ServeOptions {
            node: NodeId::new(own.id),
            http: own.http,
            node_address: own.node,
            data: self.data.clone(),
            bootstrap: self.bootstrap,
            members: members.into_iter().map(address).collect(),
            shards: self.shards,
            reads: self.reads.into(),
            audit_one_in: self.audit_one_in,
            rejoin_window: Duration::from_secs(self.rejoin_window),
            origins: self.origins.clone(),
            tls: self.tls.files(),
        })
    }
}

fn node_address(http: SocketAddr) -> Result<SocketAddr, Error> {
    let port = http.port().checked_add(NODE_PORT_OFFSET).ok_or(Error::NodePort { http })?;
    Ok(SocketAddr::new(http.ip(), port))
}

/// Cancelled by the first SIGINT or SIGTERM.
pub(super) fn stop_at_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        serve: Serve,
    }

    fn options(line: &str) -> Result<ServeOptions, Error> {
        Only::try_parse_from(format!("serve {line}").split_whitespace()).unwrap().serve.options()
    }

    #[test]
    fn a_cluster_of_one_needs_no_members() {
        let options = options("").unwrap();
        assert_eq!((options.node.get(), options.node_address.port(), options.shards), (1, 8400, None));
        assert_eq!(options.members.len(), 1);
        assert_eq!(options.members[0].1.http, "http://127.0.0.1:7400");
    }

    const THREE: &str = "--member 1=127.0.0.1:7401 --member 3=127.0.0.1:7403 --member 2=127.0.0.1:7402,127.0.0.1:9000";

    #[test]
    fn members_name_their_addresses() {
        let line =
            format!("--node-id 2 --http 127.0.0.1:7402 --node-addr 127.0.0.1:9000 --bootstrap --shards 4 {THREE}");
        let options = options(&line).unwrap();
        let ports: Vec<_> = options.members.iter().map(|(id, at)| (id.get(), at.node.as_str())).collect();
        assert_eq!(ports, [(1, "127.0.0.1:8401"), (2, "127.0.0.1:9000"), (3, "127.0.0.1:8403")]);
        assert_eq!(options.shards, Some(4));
    }

    #[track_caller]
    fn check_refused(line: &str, expected: &str) {
        let error = options(line).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn the_node_port_takes_all_three_files_or_none() {
        let tls = options("--node-ca ca.pem --node-cert c.pem --node-key k.pem").unwrap().tls.unwrap();
        assert_eq!(tls.key.to_str(), Some("k.pem"));
        let half = Only::try_parse_from(["serve", "--node-ca", "ca.pem"]).unwrap_err().to_string();
        assert!(half.contains("--node-cert") && half.contains("--node-key"), "{half}");
    }

    #[test]
    fn members_that_make_no_cluster_are_refused() {
        check_refused("--http 127.0.0.1:65000", "past 65535");
        check_refused("--bootstrap --member 1=127.0.0.1:7400 --member 2=127.0.0.1:7401", "names 2 nodes");
        check_refused(THREE, "does not name this node, 1 at 127.0.0.1:7400");
        check_refused(&format!("{THREE} --member 2=127.0.0.1:7405"), "names node 2 twice");
    }
}
