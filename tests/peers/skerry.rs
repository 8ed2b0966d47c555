//! The same steps as the peers', with an edge and a core node.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use skerry_tests::processes::{Binaries, Cluster, Edge, http, run, until};

use super::counted::Counted;

/// One step, as peers report it too.
#[derive(Debug, Clone, serde::Deserialize)]
pub(super) struct Step {
    pub(super) step: String,
    pub(super) seconds: f64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

impl Step {
    fn new(step: &str, took: Duration, (bytes_up, bytes_down): (u64, u64)) -> Self {
        Self { step: step.to_owned(), seconds: took.as_secs_f64(), bytes_up, bytes_down }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_up + self.bytes_down
    }
}

/// Release builds: `SKERRY_BINARY`, and `skerry-edge` beside it.
pub(super) fn binaries() -> Binaries {
    let skerry = std::env::var("SKERRY_BINARY").expect("SKERRY_BINARY names a release build of skerry");
    let edge = Path::new(&skerry).with_file_name("skerry-edge").display().to_string();
    Binaries { skerry: skerry.leak(), edge: edge.leak() }
}

const WORDS: &str = "amber basin candle delta ember fallow garnet harbor island juniper kettle lantern meadow nectar orchard \
                     pebble quarry ripple saddle timber upland velvet willow yonder zephyr anchor breeze copper drift \
                     engine forest granite hollow ivory jasmine kernel ledger marble notion oyster parcel quiver ribbon \
                     signal tunnel umber valley wander yellow zenith";

/// The bytes of a document with its key, as JSON.
const DOCUMENT_BYTES: usize = 200;

/// A document like those of `pouchdb/pouchdb.mjs`: notes of words, with its key 200 bytes as JSON.
fn document(words: &[&str], name: &str, number: usize) -> (String, Value) {
    let number = u32::try_from(number).unwrap();
    let letter = u32::from(name.as_bytes()[0]);
    let mut state = ((number + 1).wrapping_mul(0x9e37_79b1) ^ letter.wrapping_mul(0x85eb_ca6b)).max(1);
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    (0..4).for_each(|_| {
        random();
    });
    let key = format!("{name}-{number:09}");
    let word = words[random() as usize % words.len()];
    let created = 1_700_000_000_000 + u64::from(number) * 1_000 + u64::from(random() % 1_000);
    let done = random().is_multiple_of(2);
    let token = format!("{:08x}{:08x}", random(), random());
    let of = |text: &str| json!({ "type": "note", "owner": word, "created": created, "done": done, "token": token, "text": text });
    let room = DOCUMENT_BYTES - of("").to_string().len() - format!("\"_id\":\"{key}\",").len();
    let mut text = String::new();
    while text.len() < room {
        text.push_str(if text.is_empty() { "" } else { " " });
        text.push_str(words[random() as usize % words.len()]);
    }
    (key, of(&text[..room]))
}

/// Documents in a file, a line for each.
fn documents(folder: &Path, name: &str, count: usize) -> PathBuf {
    let words: Vec<_> = WORDS.split_whitespace().collect();
    let mut lines = String::new();
    for number in 0..count {
        let (key, value) = document(&words, name, number);
        writeln!(lines, "{}", json!({ "key": key, "value": value })).unwrap();
    }
    let file = folder.join(format!("{name}.ndjson"));
    std::fs::write(&file, lines).unwrap();
    file
}

fn status(edge: &Edge) -> Option<Value> {
    http(&format!("{}/v1/sync/status", edge.url()), "GET", None).ok().map(|(_, status)| status)
}

/// Until the edge says so.
fn waits(edge: &Edge, what: &str, holds: impl Fn(&Value) -> bool) -> Duration {
    let began = Instant::now();
    until(what, || status(edge).filter(&holds));
    began.elapsed()
}

/// How long a sync takes that finds nothing: the middle of some, asked for on one connection.
fn in_sync(edge: &Edge, proxy: &Counted, step: &str) -> Step {
    const TIMES: u64 = 25;
    proxy.take();
    let mut connection = TcpStream::connect(edge.url().trim_start_matches("http://")).unwrap();
    connection.set_nodelay(true).unwrap();
    let request = b"POST /v1/sync HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n";
    let mut times: Vec<_> = (0..TIMES)
        .map(|_| {
            let began = Instant::now();
            connection.write_all(request).unwrap();
            let mut answer = [0; 4_096];
            let length = connection.read(&mut answer).unwrap();
            assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..length]));
            began.elapsed()
        })
        .collect();
    let (up, down) = proxy.take();
    times.sort_unstable();
    Step::new(step, times[times.len() / 2], (up / TIMES, down / TIMES))
}

#[expect(clippy::disallowed_methods, reason = "an idle process is one that was left alone for a while")]
pub(super) fn settle_down() {
    std::thread::sleep(Duration::from_secs(5));
}

/// Memory that a process has, in bytes.
pub(super) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// The steps, and the memory of an edge that holds so many documents and does nothing, in bytes.
pub(super) fn measure(count: usize) -> (Vec<Step>, u64) {
    let cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    let (status_code, answer) =
        http(&format!("{core}/v1/collections/items"), "PUT", Some(&json!({ "policy": "lww" }))).unwrap();
    assert!(status_code < 300, "{answer}");
    let file = documents(cluster.folder(), "first", count);
    run(binaries().skerry, &core, &["import", "items", file.to_str().unwrap()]).unwrap();
    let proxy = Counted::before(core.trim_start_matches("http://").parse().unwrap());
    let mut steps = Vec::new();

    let began = Instant::now();
    let mut edge = Edge::start_to(&cluster, "first", &proxy.url());
    waits(&edge, "the first copy", |status| status["copied"] == true && status["documents"] == count);
    steps.push(Step::new("first-copy", began.elapsed(), proxy.take()));
    steps.push(in_sync(&edge, &proxy, "already-in-sync"));
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    waits(&edge, "the core", |status| status["connected"] == true);
    settle_down();
    let idle = resident(edge.process().id());
    assert!(edge.process().stop(), "{}", edge.process().said());

    // Another edge, which holds nothing of what is there and writes as much offline.
    let mut edge = Edge::start_to(&cluster, "second", &proxy.url());
    let nothing = json!({ "subscription": ["items/second"] });
    http(&format!("{}/v1/sync/subscription", edge.url()), "PUT", Some(&nothing)).unwrap();
    waits(&edge, "nothing but its own", |status| status["copied"] == true && status["documents"] == 0);
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    let file = documents(cluster.folder(), "second", count);
    run(binaries().skerry, &edge.url(), &["import", "items", file.to_str().unwrap()]).unwrap();
    assert!(edge.process().stop(), "{}", edge.process().said());
    proxy.take();
    let began = Instant::now();
    edge.restart();
    waits(&edge, "the push", |status| status["connected"] == true && status["unsent"] == 0);
    steps.push(Step::new("push", began.elapsed(), proxy.take()));
    waits(&edge, "what comes back", |status| status["documents"] == count);
    steps.push(in_sync(&edge, &proxy, "already-in-sync-push"));
    (steps, idle)
}
