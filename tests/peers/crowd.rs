//! A thousand edges of one node, of which ten are processes and the others hold their long polls open as edges do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use skerry_channel::frame;
use skerry_channel::message::{Answer, Hello, PROTOCOL, Pull, Request};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::Subscription;
use skerry_model::{Incarnation, Nonce, ShardId};
use skerry_tests::processes::{Cluster, Edge};

use super::figures::create;
use super::skerry::{binaries, resident, settle_down};

const EDGES: usize = 1_000;
const PROCESSES: usize = 10;
const SAMPLES: usize = 300;
const DOCUMENTS: usize = 100;

async fn ask(client: &reqwest::Client, core: &str, request: &Request) -> Answer {
    let frame = frame::encode(request).unwrap();
    let sent = client.post(format!("{core}/v1/sync")).header("content-type", frame::MEDIA_TYPE).body(frame).send();
    frame::decode(&sent.await.unwrap().bytes().await.unwrap()).unwrap()
}

/// An edge as the core sees it: it copies, and then waits for news for ever.
async fn wait_for_news(core: String, number: usize, at_the_feed: Arc<AtomicUsize>) {
    let client = reqwest::Client::new();
    let replica: skerry_model::Origin = format!("simulated-{number}").parse().unwrap();
    let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
    let hello = Hello { protocol: PROTOCOL, replica: replica.clone(), incarnation, timeline: None };
    let Answer::Welcome(welcome) = ask(&client, &core, &Request::Hello(hello)).await else { panic!("no welcome") };
    let subscription = Subscription::All;
    let cursor = |shard| Cursor {
        timeline: welcome.timeline,
        shard: ShardId::new(shard),
        subscription: subscription.digest(),
        position: Position::Start,
    };
    let mut cursors: Vec<_> = (0..welcome.shards).map(cursor).collect();
    let mut catalog = welcome.catalog.version;
    let mut copied = false;
    loop {
        let (cursors_now, subscription, replica) = (cursors.clone(), subscription.clone(), replica.clone());
        let pull =
            Pull { replica, subscription, catalog, cursors: cursors_now, manifests: Vec::new(), wait_ms: 30_000 };
        let Answer::Pulled(pulled) = ask(&client, &core, &Request::Pull(pull)).await else { panic!("no news") };
        catalog = pulled.catalog.map_or(catalog, |catalog| catalog.version);
        for batch in pulled.batches {
            let at = usize::from(batch.to.shard.get());
            cursors[at] = batch.to;
        }
        if !copied && cursors.iter().all(|cursor| matches!(cursor.position, Position::Feed { .. })) {
            copied = true;
            at_the_feed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long it takes from a write at one edge until another shows it.
async fn arrival(client: &reqwest::Client, from: &str, to: &str, number: usize) -> Duration {
    let at = |edge: &str| format!("{edge}/v1/collections/items/documents/k{}", number % DOCUMENTS);
    let began = Instant::now();
    let body = json!({ "number": number }).to_string();
    let put = client.put(at(from)).header("content-type", "application/json").body(body.clone());
    let written = put.send().await.unwrap();
    assert!(written.status().is_success());
    loop {
        let read = client.get(at(to)).send().await.unwrap().text().await.unwrap();
        if read == body {
            return began.elapsed();
        }
    }
}

#[test]
#[ignore = "needs a release build as SKERRY_BINARY and an idle machine"]
fn measure_a_thousand_edges() {
    let mut cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    create(&core, "items", &json!({ "policy": "lww" }));
    let edges: Vec<_> = (0..PROCESSES).map(|number| Edge::start(&cluster, &format!("shop-{number}"))).collect();
    edges.iter().for_each(Edge::synced);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = reqwest::Client::new();
    let latencies = |of: &str| {
        let mut times: Vec<_> = runtime.block_on(async {
            let mut times = Vec::new();
            for number in 0..SAMPLES {
                let (from, to) = (&edges[number % PROCESSES], &edges[(number + 1) % PROCESSES]);
                times.push(arrival(&client, &from.url(), &to.url(), number).await);
            }
            times
        });
        times.sort_unstable();
        let milliseconds = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1_000.0;
        println!("{of}: p50 {:.1} ms, p99 {:.1} ms", milliseconds(50), milliseconds(99));
    };
    latencies("10 edges");
    settle_down();
    let process = cluster.node(0).id();
    let before = resident(process);
    let at_the_feed = Arc::<AtomicUsize>::default();
    for number in PROCESSES..EDGES {
        runtime.spawn(wait_for_news(core.clone(), number, Arc::clone(&at_the_feed)));
    }
    skerry_tests::processes::until("all of them to wait", || {
        (at_the_feed.load(Ordering::Relaxed) == EDGES - PROCESSES).then_some(())
    });
    settle_down();
    let waiting = resident(process);
    latencies("1,000 edges");
    settle_down();
    let after = resident(process);
    let each = |now: u64| now.saturating_sub(before) / (EDGES - PROCESSES) as u64;
    println!(
        "the core has {} MiB with 10 edges, {} with 1,000 that wait ({} bytes each), {} after news for all ({} each)",
        before >> 20,
        waiting >> 20,
        each(waiting),
        after >> 20,
        each(after)
    );
}
