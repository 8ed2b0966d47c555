//! What two people typed at once into one document (`friendsforever` of the public editing traces, 26,078 edits with their
//! parents), typed again by two writers who hear of each other where the edits demand it, while edges and nodes are killed.
//! Every edit is written as of exactly what its author saw: the text must come out as the file has it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{AutoCommit, ObjId, ObjType, ROOT, ReadDoc};
use serde::Deserialize;
use serde_bytes::ByteArray;
use serde_json::{Value, json};
use skerry_model::document::View;
use skerry_model::ids::hash_field;
use skerry_tests::processes::{Cluster, Edge, until};

use super::automerge_repo::{Client, binaries, installed};

/// Splices of one request at most.
const SPLICES_MAX: usize = 500;
/// Edits that are replayed, unless `SKERRY_EDITS` says how many: of a part, Automerge itself says what must come out.
const EDITS: usize = 3_000;
/// After so many requests something is killed.
const KILL_EVERY: usize = 97;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    end_content: String,
    txns: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    agent: usize,
    parents: Vec<usize>,
    patches: Vec<(usize, usize, String)>,
}

/// Edits of one writer in a row, between which it hears nothing new and nobody else has to hear from it.
struct Run {
    agent: usize,
    splices: Vec<(usize, usize, String)>,
    /// The other's run that its writer had heard of by then.
    heard: Option<usize>,
}

fn trace() -> Trace {
    let data = std::env::var("SKERRY_DATA").expect("SKERRY_DATA names the folder of the traces");
    let file = PathBuf::from(data).join("friendsforever.json.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(file).stdout(Stdio::piped()).output().unwrap();
    let mut trace: Trace = serde_json::from_slice(&unpacked.stdout).unwrap();
    let edits = std::env::var("SKERRY_EDITS").ok().and_then(|edits| edits.parse().ok()).unwrap_or(EDITS);
    if edits < trace.txns.len() {
        trace.txns.truncate(edits);
        trace.end_content.clear();
    }
    trace
}

/// The trace in runs, in its own order.
fn runs(trace: &Trace) -> Vec<Run> {
    // For each edit, the newest edit of each agent that it builds on, itself included.
    let mut knows: Vec<[Option<usize>; 2]> = Vec::with_capacity(trace.txns.len());
    for (at, edit) in trace.txns.iter().enumerate() {
        let mut known = [None, None];
        for parent in &edit.parents {
            for (agent, known) in known.iter_mut().enumerate() {
                *known = (*known).max(knows[*parent][agent]);
            }
        }
        known[edit.agent] = Some(at);
        knows.push(known);
    }
    let heard = |at: usize| knows[at][1 - trace.txns[at].agent];
    let demanded: BTreeSet<usize> = (0..knows.len()).filter_map(heard).collect();
    let (mut runs, mut run_of) = (Vec::<Run>::new(), vec![0; knows.len()]);
    let mut open: [Option<(usize, Option<usize>)>; 2] = [None, None];
    for (at, edit) in trace.txns.iter().enumerate() {
        let goes_on = open[edit.agent].filter(|(run, before)| {
            *before == heard(at) && runs[*run].splices.len() + edit.patches.len() <= SPLICES_MAX
        });
        let run = goes_on.map_or_else(
            || {
                runs.push(Run { agent: edit.agent, splices: Vec::new(), heard: heard(at).map(|at| run_of[at]) });
                runs.len() - 1
            },
            |(run, _)| run,
        );
        runs[run].splices.extend(edit.patches.iter().cloned());
        run_of[at] = run;
        open[edit.agent] = (!demanded.contains(&at)).then_some((run, heard(at)));
    }
    runs
}

/// What each writer saw, by Automerge itself: the text before each run.
struct Reference {
    documents: [AutoCommit; 2],
    text: ObjId,
    changes: Vec<Vec<automerge::Change>>,
    told: [usize; 2],
}

impl Reference {
    fn new() -> Self {
        let mut first = AutoCommit::new().with_actor([1; 16].into());
        let text = first.put_object(ROOT, "text", ObjType::Text).unwrap();
        let second = first.fork().with_actor([2; 16].into());
        Self { documents: [first, second], text, changes: Vec::new(), told: [0, 0] }
    }

    /// The text that the writer of a run has before it; then it is written here too.
    fn before(&mut self, at: usize, runs: &[Run]) -> String {
        let run = &runs[at];
        let news = run.heard.map_or(0, |heard| heard + 1);
        let told = self.told[run.agent];
        for (other, changes) in self.changes.iter().enumerate().take(news).skip(told) {
            if runs[other].agent != run.agent {
                self.documents[run.agent].apply_changes(changes.clone()).unwrap();
            }
        }
        self.told[run.agent] = self.told[run.agent].max(news);
        let document = &mut self.documents[run.agent];
        let text = document.text(&self.text).unwrap();
        let heads = document.get_heads();
        for (at, remove, insert) in &run.splices {
            document.splice_text(&self.text, *at, isize::try_from(*remove).unwrap(), insert).unwrap();
        }
        document.commit();
        self.changes.push(document.get_changes(&heads));
        text
    }

    /// The text once both have heard of everything.
    fn after(&mut self) -> String {
        let [first, second] = &mut self.documents;
        first.merge(second).unwrap();
        first.text(&self.text).unwrap()
    }
}

type Hash = ByteArray<32>;

/// The heads that a tag of an edge names.
fn heads_in(etag: &str) -> BTreeSet<[u8; 32]> {
    let seen = hex::decode(etag.rsplit('.').next().unwrap()).unwrap();
    let (_, _, heads, _, _): (u32, u8, Vec<Hash>, bool, Option<ByteArray<16>>) = ciborium::from_reader(&*seen).unwrap();
    heads.into_iter().map(ByteArray::into_array).collect()
}

/// The tag of an edge for a text at some heads (docs of `?base=`: it names what was seen and read).
fn tag(replica: &str, heads: &BTreeSet<[u8; 32]>, text: &str) -> String {
    let heads: Vec<Hash> = heads.iter().map(|head| ByteArray::new(*head)).collect();
    let mut seen = Vec::new();
    ciborium::into_writer(&(0_u32, 1_u8, heads, false, None::<ByteArray<16>>), &mut seen).unwrap();
    let view = View::of(json!({ "text": text }).as_object().unwrap()).unwrap();
    let mut hasher = blake3::Hasher::new();
    hash_field(&mut hasher, &seen);
    hash_field(&mut hasher, view.bytes());
    format!("edge.{replica}.{}.{}", hex::encode(&hasher.finalize().as_bytes()[..16]), hex::encode(seen))
}

/// Requests over connections that stay open.
struct Http {
    runtime: tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl Http {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, client: reqwest::Client::new() }
    }

    fn send(&self, method: reqwest::Method, url: &str, body: Option<&Value>) -> Option<(u16, Option<String>, Value)> {
        self.runtime.block_on(async {
            let mut request = self.client.request(method, url).timeout(std::time::Duration::from_secs(20));
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let answer = request.send().await.ok()?;
            let etag = answer.headers().get("etag").map(|etag| etag.to_str().unwrap().trim_matches('"').to_owned());
            let status = answer.status().as_u16();
            Some((status, etag, serde_json::from_str(&answer.text().await.ok()?).unwrap_or_default()))
        })
    }
}

/// One of the two who type.
enum Writer {
    Edge(Edge, &'static str),
    /// A client of automerge-repo at a core node, and what it opens.
    Client(Client, String),
}

struct Replay<'a> {
    cluster: Cluster,
    http: Http,
    writers: [Writer; 2],
    runs: &'a [Run],
    reference: Reference,
    /// The change that each run has become.
    made: Vec<[u8; 32]>,
    all: BTreeSet<[u8; 32]>,
}

impl Replay<'_> {
    /// Has an edge push and pull; a client does so by itself.
    fn sync(&self, agent: usize) {
        if let Writer::Edge(edge, _) = &self.writers[agent] {
            let url = format!("{}/v1/sync", edge.url());
            until("an edge to sync", || {
                self.http.send(reqwest::Method::POST, &url, None).filter(|(status, ..)| *status == 200)
            });
        }
    }

    /// Writes a run as of what its writer saw, as soon as that is there.
    fn write(&mut self, at: usize) {
        let runs = self.runs;
        let run = &runs[at];
        let text = self.reference.before(at, runs);
        let own = (0..at).rev().find(|before| runs[*before].agent == run.agent);
        // The other's run stands among the heads where the writer's own last run had not heard of it.
        let heard = run.heard.filter(|heard| own.is_none_or(|own| runs[own].heard.is_none_or(|known| known < *heard)));
        let is_known_to_other =
            |own: &usize| heard.is_none_or(|heard| runs[heard].heard.is_none_or(|known| known < *own));
        let heads = own.filter(is_known_to_other).into_iter().chain(heard).map(|run| self.made[run]);
        let mut heads: BTreeSet<_> = heads.collect();
        if heads.is_empty() {
            heads.extend(self.all.first());
        }
        if heard.is_some() {
            self.sync(1 - run.agent);
        }
        let made = until("a run to be written", || {
            let written = self.try_write(at, &text, &heads);
            if written.is_none() {
                self.sync(1 - run.agent);
                self.sync(run.agent);
            }
            written
        });
        self.all.insert(made);
        self.made.push(made);
    }

    fn try_write(&mut self, at: usize, text: &str, heads: &BTreeSet<[u8; 32]>) -> Option<[u8; 32]> {
        let run = &self.runs[at];
        match &mut self.writers[run.agent] {
            Writer::Edge(edge, name) => {
                let splices = run.splices.iter().map(
                    |(at, remove, insert)| json!({ "path": "/text", "at": at, "remove": remove, "insert": insert }),
                );
                let operation = json!({ "splice": splices.collect::<Vec<_>>() });
                let base = tag(name, heads, text);
                let url = format!("{}/v1/collections/notes/documents/one/operations?base={base}", edge.url());
                let (status, etag, said) = self.http.send(reqwest::Method::POST, &url, Some(&operation))?;
                if status == 412 {
                    return None;
                }
                assert!(status < 300, "{status}: {said}");
                let new: Vec<_> = heads_in(&etag.unwrap()).difference(&self.all).copied().collect();
                assert_eq!(new.len(), 1, "the change of this run alone is new");
                Some(new[0])
            }
            Writer::Client(client, url) => {
                let heads: Vec<_> = heads.iter().map(hex::encode).collect();
                let made = client.try_ask(&json!(["splice_at", url, heads, ["text"], run.splices])).ok()?;
                let mut hash = [0; 32];
                hex::decode_to_slice(made.as_str().unwrap(), &mut hash).unwrap();
                Some(hash)
            }
        }
    }

    /// Kills an edge or a node, and starts it again.
    fn kill(&mut self, at: usize) {
        match (at / KILL_EVERY % 3, &mut self.writers[at % 2]) {
            (0, Writer::Edge(edge, _)) => {
                edge.process().kill();
                edge.restart();
            }
            (node, _) => {
                self.cluster.kill(node);
                self.cluster.start_node(node);
                self.cluster.ready();
            }
        }
    }

    /// What the document reads as once everybody has everything.
    fn check(&mut self, expected: &str) {
        (0..2).for_each(|agent| self.sync(agent));
        let mut places: Vec<_> = (0..3).map(|node| self.cluster.url(node)).collect();
        for writer in &mut self.writers {
            match writer {
                Writer::Edge(edge, _) => places.push(edge.url()),
                Writer::Client(client, url) => client.reads(url, &json!({ "text": expected })),
            }
        }
        for place in places {
            let url = format!("{place}/v1/collections/notes/documents/one");
            until(format!("{place} to have the text"), || {
                let (_, _, read) = self.http.send(reqwest::Method::GET, &url, None)?;
                (read["text"] == *expected).then_some(())
            });
        }
    }
}

/// Replays the trace; one writer is a client of automerge-repo where `packages` says where these are.
fn replay(packages: Option<&std::path::Path>) {
    let trace = trace();
    let runs = runs(&trace);
    let cluster = Cluster::start(binaries(), 3, 1);
    let http = Http::new();
    let spec = json!({ "policy": "json", "template": { "text": "" }, "text": ["/text"] });
    let core = cluster.url(0);
    let put = |url: &str, body: &Value| http.send(reqwest::Method::PUT, url, Some(body)).unwrap();
    assert_eq!(put(&format!("{core}/v1/collections/notes"), &spec).0, 201);
    let (status, _, said) = put(&format!("{core}/v1/collections/notes/documents/one"), &json!({ "text": "" }));
    assert_eq!(status, 201, "{said}");
    let url = said["automerge_url"].as_str().unwrap().to_owned();
    let edge = |name: &'static str| {
        let edge = Edge::start(&cluster, name);
        edge.synced();
        Writer::Edge(edge, name)
    };
    let second = match packages {
        None => edge("second"),
        Some(packages) => {
            let mut client = Client::start(packages, &cluster.url(0), None);
            client.ask(&json!(["find", url]));
            Writer::Client(client, url)
        }
    };
    let first = edge("first");
    let Writer::Edge(at, _) = &first else { unreachable!("it was just made") };
    let document = format!("{}/v1/collections/notes/documents/one", at.url());
    let (_, etag, _) = until("the document", || {
        http.send(reqwest::Method::GET, &document, None).filter(|(status, ..)| *status == 200)
    });
    let all = heads_in(&etag.unwrap());
    let began = Instant::now();
    let reference = Reference::new();
    let mut replay = Replay { cluster, http, writers: [first, second], runs: &runs, reference, made: Vec::new(), all };
    for at in 0..runs.len() {
        if at % KILL_EVERY == KILL_EVERY - 1 {
            replay.kill(at);
        }
        replay.write(at);
    }
    let text = replay.reference.after();
    assert!(trace.end_content.is_empty() || trace.end_content == text);
    replay.check(&text);
    println!("{} edits in {} requests: {:.1} s", trace.txns.len(), runs.len(), began.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs SKERRY_DATA"]
fn what_two_people_typed_at_once_comes_out_as_it_was() {
    replay(None);
}

#[test]
#[ignore = "needs SKERRY_DATA and npm"]
fn what_an_edge_and_a_client_typed_at_once_comes_out_as_it_was() {
    replay(Some(installed().path()));
}
