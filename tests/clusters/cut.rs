//! Connections that break at every byte: what is under way then is sent again, and counts once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use skerry_tests::processes::{Cluster, Edge, http, metrics, until};

use super::requests::{BINARIES, create, sync_status};

/// Passes connections on, and cuts each after so many bytes of both directions.
struct Cutting {
    url: String,
    after: Arc<AtomicUsize>,
}

impl Cutting {
    fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let after = Arc::new(AtomicUsize::new(usize::MAX));
        let limit = Arc::clone(&after);
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let (passed, limit) = (Arc::<AtomicUsize>::default(), Arc::clone(&limit));
                for (from, to) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (server.try_clone().unwrap(), client.try_clone().unwrap()),
                ] {
                    let (passed, limit) = (Arc::clone(&passed), Arc::clone(&limit));
                    thread::spawn(move || pass(from, to, &passed, &limit));
                }
            }
        });
        Self { url, after }
    }
}

/// Until either end closes, or as many bytes have passed as may.
fn pass(mut from: TcpStream, mut to: TcpStream, passed: &AtomicUsize, limit: &AtomicUsize) {
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let before = passed.fetch_add(length, Ordering::SeqCst);
        let left = limit.load(Ordering::SeqCst).saturating_sub(before);
        let sent = to.write_all(&buffer[..length.min(left)]);
        if sent.is_err() || left <= length {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_connection_that_breaks_at_any_byte_loses_nothing_and_repeats_nothing() {
    /// More than hello, push and pull of one change take with their answers.
    const BYTES: usize = 4_000;
    const STEP: usize = 101;
    let cluster = Cluster::start(BINARIES, 1, 1);
    let core = cluster.url(0);
    create(&core, "votes", "counter");
    let proxy = Cutting::before(core.trim_start_matches("http://").to_owned());
    let edge = Edge::start_to(&cluster, "shop", &proxy.url);
    edge.synced();
    let votes = |url: &str| format!("{url}/v1/collections/votes/documents/one");
    let increment = |url: &str| {
        let (status, said) = http(&format!("{}/operations", votes(url)), "POST", Some(&json!({ "inc": 1 }))).unwrap();
        assert!(status < 300, "{said}");
    };
    let mut sum = 0;
    for after in (0..BYTES).step_by(STEP) {
        proxy.after.store(after, Ordering::SeqCst);
        increment(&edge.url());
        increment(&core);
        sum += 2;
        // It may fail, and mostly does.
        let _ = http(&format!("{}/v1/sync", edge.url()), "POST", None);
    }
    proxy.after.store(usize::MAX, Ordering::SeqCst);
    for url in [edge.url(), core.clone()] {
        until("all increments, once each", || {
            let (_, read) = http(&votes(&url), "GET", None).ok()?;
            assert!(read["value"].as_u64().unwrap_or_default() <= sum, "{read}");
            (read["value"] == sum).then_some(())
        });
    }
    edge.synced();
    assert_eq!(sync_status(&edge, "stranded"), 0);
    assert_eq!(metrics(&core, "skerry_sync_forks_total"), 0.0);
}
