//! One document under much work: a counter of ten edges, and a paper that was typed edit by edit.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjType, ROOT};
use futures::StreamExt as _;
use serde_json::{Value, json};
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::counted::Counted;
use super::skerry::{binaries, resident};

const EDGES: usize = 10;
const INCREMENTS: usize = 100_000;
/// Requests that each edge has at once.
const AT_ONCE: usize = 32;

pub(super) fn create(core: &str, name: &str, spec: &Value) {
    let (status, said) = http(&format!("{core}/v1/collections/{name}"), "PUT", Some(spec)).unwrap();
    assert_eq!(status, 201, "{said}");
}

/// What a folder takes on the disk, in bytes.
fn stored(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(data) if data.is_dir() => stored(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[test]
#[ignore = "needs a release build as SKERRY_BINARY and an idle machine"]
fn measure_increments_of_one_counter() {
    let cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    create(&core, "votes", &json!({ "policy": "counter" }));
    let proxy = Counted::before(core.trim_start_matches("http://").parse().unwrap());
    let edges: Vec<_> = (0..EDGES).map(|at| Edge::start_to(&cluster, &format!("edge-{at}"), &proxy.url())).collect();
    edges.iter().for_each(Edge::synced);
    proxy.take();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = reqwest::Client::new();
    let began = Instant::now();
    runtime.block_on(async {
        let urls = edges.iter().map(|edge| format!("{}/v1/collections/votes/documents/one/operations", edge.url()));
        let all = urls.map(|url| {
            let client = &client;
            let increments = futures::stream::iter(0..INCREMENTS / EDGES).map(move |_| {
                let request = client.post(&url).header("content-type", "application/json").body("{\"inc\":1}");
                async { assert!(request.send().await.unwrap().status().is_success()) }
            });
            increments.buffer_unordered(AT_ONCE).collect::<Vec<()>>()
        });
        futures::future::join_all(all).await;
    });
    let written = began.elapsed();
    let at = |url: &str| format!("{url}/v1/collections/votes/documents/one");
    for url in edges.iter().map(Edge::url).chain([core.clone()]) {
        until("the sum", || {
            let (_, read) = http(&at(&url), "GET", None).ok()?;
            (read["value"] == INCREMENTS || read["count"] == INCREMENTS).then_some(())
        });
    }
    let (up, down) = proxy.take();
    println!(
        "{INCREMENTS} increments by {EDGES} edges: {:.1} s until written, {:.1} s until all have the sum; {up} bytes up and \
         {down} down; {} MiB stored at the core",
        written.as_secs_f64(),
        began.elapsed().as_secs_f64(),
        stored(&cluster.data(0)) >> 20,
    );
}

#[test]
#[ignore = "needs SKERRY_DATA, a release build as SKERRY_BINARY and an idle machine"]
fn measure_a_paper_through_one_edge() {
    const SPLICES: usize = 100;
    let data = PathBuf::from(std::env::var("SKERRY_DATA").expect("SKERRY_DATA names the folder of the traces"));
    let file = data.join("automerge-paper.json.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(file).stdout(Stdio::piped()).output().unwrap();
    let trace: Value = serde_json::from_slice(&unpacked.stdout).unwrap();
    let patches: Vec<(usize, usize, String)> = trace["txns"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|edit| serde_json::from_value::<Vec<_>>(edit["patches"].clone()).unwrap())
        .collect();

    let began = Instant::now();
    let mut reference = AutoCommit::new();
    let text = reference.put_object(ROOT, "text", ObjType::Text).unwrap();
    for (at, remove, insert) in &patches {
        reference.splice_text(&text, *at, isize::try_from(*remove).unwrap(), insert).unwrap();
    }
    let saved = reference.save().len();
    println!("Automerge alone, all in one change: {:.1} s, {saved} bytes saved", began.elapsed().as_secs_f64());

    let mut cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    create(&core, "papers", &json!({ "policy": "json", "template": { "text": "" }, "text": ["/text"] }));
    assert_eq!(
        http(&format!("{core}/v1/collections/papers/documents/one"), "PUT", Some(&json!({ "text": "" }))).unwrap().0,
        201
    );
    let mut edge = Edge::start(&cluster, "writer");
    edge.synced();
    let document = format!("{}/v1/collections/papers/documents/one", edge.url());
    until("the document", || http(&document, "GET", None).ok().filter(|(status, _)| *status == 200));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = reqwest::Client::new();
    let began = Instant::now();
    for splices in patches.chunks(SPLICES) {
        let splices = splices
            .iter()
            .map(|(at, remove, insert)| json!({ "path": "/text", "at": at, "remove": remove, "insert": insert }));
        let body = json!({ "splice": splices.collect::<Vec<_>>() }).to_string();
        let request =
            client.post(format!("{document}/operations")).header("content-type", "application/json").body(body);
        let status = runtime.block_on(async { request.send().await.unwrap().status() });
        assert!(status.is_success(), "{status}");
    }
    let written = began.elapsed();
    until("the text at the core", || {
        let (_, read) = http(&format!("{core}/v1/collections/papers/documents/one"), "GET", None).ok()?;
        (read["text"] == trace["endContent"]).then_some(())
    });
    let synced = began.elapsed();
    edge.synced();
    println!(
        "{} edits through one edge, {SPLICES} a request: {:.1} s until written, {:.1} s until the core has all; the edge has \
         {} KiB stored and {} MiB of memory, the core {} KiB and {} MiB; Automerge saves {} KiB",
        patches.len(),
        written.as_secs_f64(),
        synced.as_secs_f64(),
        stored(&cluster.folder().join("writer")) >> 10,
        resident(edge.process().id()) >> 20,
        stored(&cluster.data(0)) >> 10,
        resident(cluster.node(0).id()) >> 20,
        saved >> 10,
    );
}
