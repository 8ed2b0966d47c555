//! The node port: mutual TLS, and who is refused there: counted each time, logged once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use serde_json::json;
use skerry_host::consensus::network::hello::{Hello, PROTOCOL, Purpose, Welcome};
use skerry_host::consensus::network::message::Lane;
use skerry_model::{ClusterId, NodeId, Nonce, Timeline};
use skerry_tests::processes::{Cluster, Process, metric, until};

use super::requests::{BINARIES, create, read, write};

/// Certificates for nodes on loopback.
fn certificates(folder: &Path, nodes: &[&str]) {
    let mut cert = Command::new(BINARIES.skerry);
    cert.args(["cluster", "cert", "--out"]).arg(folder).args(nodes.iter().map(|node| format!("{node}=127.0.0.1")));
    let made = cert.output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The options of a node that uses them.
fn tls(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("node-{id}.pem"), file("node-{id}-key.pem"));
    ["--node-ca", &ca, "--node-cert", &cert, "--node-key", &key].map(str::to_owned).to_vec()
}

/// How often a node refused a connection for a reason.
fn refused(cluster: &Cluster, node: usize, reason: &str) -> f64 {
    metric(&cluster.url(node), &format!("skerry_node_refusals{{reason=\"{reason}\"}}"))
}

/// Sends a frame and waits for the node to end the connection.
fn send(to: SocketAddr, length: u32, body: &[u8]) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&length.to_be_bytes()).unwrap();
    // The node may have closed it at the length already.
    let _ = stream.write_all(body);
    let _ = stream.read_to_end(&mut Vec::new());
}

/// Sends a Hello and reads what the node says to it.
fn welcomed(to: SocketAddr, hello: &[u8]) -> Welcome {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.write_all(&u32::try_from(hello.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(hello).unwrap();
    stream.read_exact(&mut [0; 4]).unwrap();
    ciborium::from_reader(&stream).unwrap()
}

#[test]
fn nodes_speak_mutual_tls_with_their_own_authority_alone() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(folder.path(), &["1", "2", "3"]);
    certificates(other.path(), &["4"]);
    let options = tls(folder.path());
    let mut cluster = Cluster::start_with(BINARIES, 3, 1, &options.iter().map(String::as_str).collect::<Vec<_>>());
    create(&cluster.url(0), "items", "strict");
    assert_eq!(write(&cluster.url(1), "PUT", "items", "a", &json!({ "over": "tls" })), 201);
    assert_eq!(read(&cluster.url(2), "items", "a").unwrap(), json!({ "over": "tls" }));
    let before = refused(&cluster, 0, "certificate");
    send(cluster.node_port(0), 5, b"hello");
    until("plain TCP to be refused", || (refused(&cluster, 0, "certificate") > before).then_some(()));
    // A node that another authority vouches for.
    let before = refused(&cluster, 0, "certificate");
    let arguments = ["serve", "--node-id", "4", "--http", "127.0.0.1:0", "--node-addr", "127.0.0.1:1", "--data"];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(other.path().join("data").display().to_string());
    let port = cluster.node_port(0);
    arguments.extend(["--member", "4=127.0.0.1:0,127.0.0.1:1", "--member"].map(str::to_owned));
    arguments.push(format!("1={},{port}", cluster.url(0).trim_start_matches("http://")));
    arguments.extend(tls(other.path()).iter().map(|option| option.replace("{id}", "4")));
    let mut stranger = Process::start(BINARIES.skerry, &arguments);
    until("the stranger to be refused again and again", || {
        (refused(&cluster, 0, "certificate") > before + 1.0).then_some(())
    });
    stranger.kill();
    let said = cluster.node(0).said();
    assert_eq!(said.matches("reason=\"certificate\"").count(), 1, "logged once:\n{said}");
}

#[test]
fn a_node_port_for_others_needs_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let arguments = ["serve", "--http", "127.0.0.1:0", "--node-addr", "0.0.0.0:0", "--data", &data];
    let mut alone = Process::start(BINARIES.skerry, &arguments.map(str::to_owned));
    assert!(!alone.ended());
    assert!(alone.said().contains("skerry cluster cert"), "{}", alone.said());
}

#[test]
fn strangers_are_refused_and_counted() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    let port = cluster.node_port(0);
    let before = refused(&cluster, 0, "frame");
    send(port, u32::MAX, b"");
    until("an oversized frame to be refused", || (refused(&cluster, 0, "frame") > before).then_some(()));
    send(port, 3, b"\xff\xff\xff");
    until("what is no Hello to be refused", || (refused(&cluster, 0, "malformed") > 0.0).then_some(()));
    let status: serde_json::Value =
        serde_json::from_str(&cluster.cli(&["cluster", "status", "--json"]).unwrap()).unwrap();
    let own: ClusterId = serde_json::from_value(status["cluster"].clone()).unwrap();
    cluster.kill(2);
    cluster.cli(&["cluster", "remove", "3"]).unwrap();
    let timeline: Timeline = serde_json::from_value(status["timeline"].clone()).unwrap();
    let purpose = |cluster, timeline| Purpose::Traffic { cluster, timeline, lane: Lane::Control };
    let hello = |node, folder, purpose| {
        let folder = Nonce::from_bytes([folder; 16]);
        let hello = Hello { protocol: PROTOCOL, node, to: NodeId::new(1), folder, clock_ms: 0, purpose };
        let mut body = Vec::new();
        ciborium::into_writer(&hello, &mut body).unwrap();
        body
    };
    // Who is not known yet may be one that was added a moment ago, but under its id no second folder comes.
    let unknown = NodeId::new(9);
    assert_eq!(welcomed(port, &hello(unknown, 8, purpose(own, timeline))), Welcome::Come);
    let other = Timeline::from_bytes([9; 16]);
    let strangers = [
        ("cluster", NodeId::new(2), purpose(ClusterId::from_bytes([9; 16]), timeline)),
        ("timeline", NodeId::new(2), purpose(own, other)),
        ("member", NodeId::new(3), purpose(own, timeline)),
        ("folder", unknown, purpose(own, timeline)),
    ];
    for (reason, node, purpose) in strangers {
        let body = hello(node, 9, purpose);
        for _ in 0..3 {
            send(port, u32::try_from(body.len()).unwrap(), &body);
        }
        until(reason, || (refused(&cluster, 0, reason) >= 3.0).then_some(()));
        let said = cluster.node(0).said();
        assert_eq!(said.matches(&format!("reason=\"{reason}\"")).count(), 1, "logged once:\n{said}");
    }
}
