//! Clients of automerge-repo 2.5.6, in JavaScript, beside edges and HTTP.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, Cluster, Edge, http, metrics, until};

const BINARIES: Binaries =
    Binaries { skerry: env!("CARGO_BIN_EXE_skerry-under-test"), edge: env!("CARGO_BIN_EXE_skerry-edge-under-test") };

/// Release builds where `SKERRY_BINARY` names one, else those under test.
pub(super) fn binaries() -> Binaries {
    std::env::var("SKERRY_BINARY").map_or(BINARIES, |_| super::skerry::binaries())
}

/// A folder with the packages that clients run on.
pub(super) fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in ["package.json", "package-lock.json", "client.mjs"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/automerge_repo").join(file);
        std::fs::copy(from, folder.path().join(file)).unwrap();
    }
    // `npm ci` wants the packages for all platforms in the lock file.
    let command = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=optional"];
    let installed = Command::new("npm").args(command).current_dir(folder.path()).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    folder
}

/// A process with one repo.
pub(super) struct Client {
    process: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Client {
    pub(super) fn start(packages: &Path, core: &str, storage: Option<&Path>) -> Self {
        let url = format!("{}/v1/sync/automerge", core.replace("http://", "ws://"));
        let mut process = Command::new("node")
            .arg("client.mjs")
            .arg(url)
            .args(storage)
            .current_dir(packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, says) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, asks, says }
    }

    pub(super) fn try_ask(&mut self, command: &Value) -> Result<Value, String> {
        writeln!(self.asks, "{command}").unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        match &answer["error"] {
            Value::Null => Ok(answer["ok"].clone()),
            error => Err(error.to_string()),
        }
    }

    pub(super) fn ask(&mut self, command: &Value) -> Value {
        self.try_ask(command).unwrap()
    }

    /// Waits until the client's copy of a document reads like this.
    pub(super) fn reads(&mut self, url: &str, expected: &Value) {
        until(format!("a client to read {expected}"), || (self.ask(&json!(["read", url])) == *expected).then_some(()));
    }
}

fn documents(core: &str, collection: &str) -> String {
    format!("{core}/v1/collections/{collection}/documents")
}

fn create(core: &str, name: &str, spec: &Value) {
    let (status, said) = http(&format!("{core}/v1/collections/{name}"), "PUT", Some(spec)).unwrap();
    assert_eq!(status, 201, "{said}");
}

/// Writes a document, and gives what clients of Automerge open.
fn put(core: &str, collection: &str, key: &str, value: &Value) -> String {
    let (status, said) = http(&format!("{}/{key}", documents(core, collection)), "PUT", Some(value)).unwrap();
    assert!(status < 300, "{said}");
    said["automerge_url"].as_str().unwrap().to_owned()
}

fn read(core: &str, collection: &str, key: &str) -> Option<Value> {
    let (status, value) = http(&format!("{}/{key}", documents(core, collection)), "GET", None).ok()?;
    (status == 200).then_some(value)
}

/// Waits until a document reads like this at a core node or an edge.
fn reads(at: &str, collection: &str, key: &str, expected: &Value) {
    until(format!("{key} to read {expected}"), || (read(at, collection, key).as_ref() == Some(expected)).then_some(()));
}

#[test]
#[ignore = "needs npm"]
fn clients_edges_and_the_core_converge() {
    let packages = installed();
    let cluster = Cluster::start(BINARIES, 3, 2);
    let core = cluster.url(0);
    create(&core, "notes", &json!({ "policy": "json", "text": ["/body"] }));
    let url = put(&core, "notes", "one", &json!({ "body": "hello", "tags": { "a": 1 } }));
    let edge = Edge::start(&cluster, "shop");
    let [mut first, mut second] = [1, 2].map(|node| Client::start(packages.path(), &cluster.url(node), None));
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask(&json!(["find", url])), json!({ "body": "hello", "tags": { "a": 1 } }));
    }
    first.ask(&json!(["splice", url, ["body"], [[5, 0, " world"]]]));
    second.ask(&json!(["splice", url, ["body"], [[0, 0, "> "]]]));
    second.ask(&json!(["set", url, ["tags", "b"], [1, true, null]]));
    let expected = json!({ "body": "> hello world", "tags": { "a": 1, "b": [1, true, null] } });
    reads(&core, "notes", "one", &expected);
    reads(&edge.url(), "notes", "one", &expected);
    // What an edge and an HTTP client write comes to the clients.
    let at_edge = format!("{}/one", documents(&edge.url(), "notes"));
    assert_eq!(http(&at_edge, "PATCH", Some(&json!({ "tags": { "a": 2 } }))).unwrap().0, 200);
    let at_core = format!("{}/one", documents(&core, "notes"));
    assert_eq!(http(&at_core, "PATCH", Some(&json!({ "by": "http" }))).unwrap().0, 200);
    let expected = json!({ "body": "> hello world", "by": "http", "tags": { "a": 2, "b": [1, true, null] } });
    first.reads(&url, &expected);
    second.reads(&url, &expected);
    reads(&edge.url(), "notes", "one", &expected);
    // The URL is in the headers too, and the same at every node.
    for node in 0..3 {
        let found = cluster.cli_at(node, &["get", "notes", "one", "--automerge-url"]).unwrap();
        assert_eq!(found.trim_end(), url);
    }
    // What clients say to each other passes between those of one node.
    let mut third = Client::start(packages.path(), &cluster.url(1), None);
    third.ask(&json!(["find", url]));
    first.ask(&json!(["broadcast", url, { "cursor": 3 }]));
    until("what a client says to others", || (third.ask(&json!(["heard"])) == json!([{ "cursor": 3 }])).then_some(()));
    // Deleted: gone for whoever asks now, and back with the next change of one that has it.
    assert_eq!(http(&at_core, "DELETE", None).unwrap().0, 200);
    let mut late = Client::start(packages.path(), &core, None);
    assert!(late.try_ask(&json!(["find", url])).unwrap_err().contains("unavailable"));
    first.ask(&json!(["set", url, ["by"], "a client"]));
    let expected = json!({ "body": "> hello world", "by": "a client", "tags": { "a": 2, "b": [1, true, null] } });
    reads(&core, "notes", "one", &expected);
    until("a client that came too early", || {
        late.try_ask(&json!(["find", url])).ok().filter(|found| *found == expected)
    });
}

#[test]
#[ignore = "needs npm"]
fn a_random_id_makes_nothing_unless_there_is_an_inbox() {
    let packages = installed();
    let cluster = Cluster::start(BINARIES, 1, 2);
    let core = cluster.url(0);
    create(&core, "notes", &json!({ "policy": "lww" }));
    let mut client = Client::start(packages.path(), &core, None);
    client.ask(&json!(["create", { "made": "too early" }]));
    until("the refusal to be counted", || {
        (metrics(&core, "skerry_sync_refused_total{kind=\"no-inbox\"}") > 0.0).then_some(())
    });
    create(&core, "drafts", &json!({ "policy": "json", "inbox": "in/" }));
    let (status, said) =
        http(&format!("{core}/v1/collections/more"), "PUT", Some(&json!({ "policy": "json", "inbox": "x" }))).unwrap();
    assert_eq!((status, said["detail"].as_str().unwrap().contains("drafts")), (422, true), "{said}");
    let made = client.ask(&json!(["create", { "made": "by a client" }]));
    let made = made.as_str().unwrap();
    let key = format!("in/{}", made.trim_start_matches("automerge:"));
    let key = key.replace('/', "%2F");
    reads(&core, "drafts", &key, &json!({ "made": "by a client" }));
    assert_eq!(put(&core, "drafts", &key, &json!({ "made": "by a client", "seen": true })), made);
    client.reads(made, &json!({ "made": "by a client", "seen": true }));
    let mut other = Client::start(packages.path(), &core, None);
    assert_eq!(other.ask(&json!(["find", made])), json!({ "made": "by a client", "seen": true }));
    for collection in ["notes", "drafts"] {
        let (_, page) = http(&documents(&core, collection), "GET", None).unwrap();
        assert_eq!(page["documents"].as_array().unwrap().len(), usize::from(collection == "drafts"), "{page}");
    }
}

#[test]
#[ignore = "needs npm"]
fn nothing_is_lost_when_the_node_of_a_client_is_killed() {
    let packages = installed();
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    create(&cluster.url(0), "notes", &json!({ "policy": "json" }));
    let url = put(&cluster.url(0), "notes", "one", &json!({ "first": true }));
    let storage = tempfile::tempdir().unwrap();
    let node = cluster.leader();
    let mut client = Client::start(packages.path(), &cluster.url(node), Some(storage.path()));
    client.ask(&json!(["find", url]));
    let mut expected = json!({ "first": true });
    for round in 0..5 {
        for number in 0..20 {
            let field = format!("round {round} number {number}");
            client.ask(&json!(["set", url, [field], number]));
            expected[&field] = json!(number);
        }
        // Somewhere between the client's messages and their commits.
        cluster.kill(node);
        client.ask(&json!(["set", url, [format!("while {round}")], true]));
        expected[&format!("while {round}")] = json!(true);
        let other = cluster.url((node + 1) % 3);
        until("another leader", || {
            let written =
                http(&format!("{}/other", documents(&other, "notes")), "PUT", Some(&json!({ "round": round })));
            written.is_ok_and(|(status, _)| status < 300).then_some(())
        });
        cluster.start_node(node);
        cluster.ready();
    }
    reads(&cluster.url((node + 1) % 3), "notes", "one", &expected);
    client.reads(&url, &expected);
}

#[test]
#[ignore = "needs npm"]
fn a_page_needs_an_origin_that_is_allowed_and_a_ticket() {
    let packages = installed();
    let cluster = Cluster::start_with(BINARIES, 1, 1, &["--origin", "https://notes.example"]);
    let core = cluster.url(0);
    let mut client = Client::start(packages.path(), &core, None);
    let mut knock = |parameters: &str, headers: Value| client.ask(&json!(["knock", parameters, headers]));
    let page = || json!({ "Origin": "https://notes.example" });
    assert_eq!(knock("", json!({})), 101);
    assert_eq!(knock("", json!({ "Host": "evil.example" })), 403);
    assert_eq!(knock("", json!({ "Origin": "https://evil.example" })), 403);
    assert_eq!(knock("", page()), 403);
    assert_eq!(knock("?ticket=00", page()), 403);
    let (status, given) = http(&format!("{core}/v1/sync/ticket"), "POST", None).unwrap();
    assert_eq!(status, 201, "{given}");
    let with = format!("?ticket={}", given["ticket"].as_str().unwrap());
    assert_eq!(knock(&with, page()), 101);
    assert_eq!(knock(&with, page()), 403);
}
