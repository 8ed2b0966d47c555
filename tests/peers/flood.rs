//! One edge that sends a million changes, each as small as one can be, while others go on.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use skerry_channel::limits::PUSH_CHANGES_MAX;
use skerry_channel::message::Verdict;
use skerry_model::engine::{Delta, Write};
use skerry_tests::liar::{Draft, Liar};
use skerry_tests::processes::{Cluster, http};

use super::figures::create;
use super::skerry::{binaries, resident};

const CHANGES: usize = 1_000_000;
/// Of these every one builds on the one before, and whoever makes them has the whole document too.
const CHANGES_OF_ONE: usize = 200_000;
/// Batches between two writes of somebody else.
const BETWEEN: usize = 10;

/// Pushes the changes that `delta` makes in batches, and gives how many were refused, and the longest that somebody else's
/// write beside them took.
fn flood(
    core: &str,
    liar: &mut Liar,
    key: &str,
    count: usize,
    mut delta: impl FnMut(usize) -> Delta,
) -> (usize, Duration) {
    let (mut refused, mut longest) = (0, Duration::ZERO);
    for batch in 0..count / PUSH_CHANGES_MAX {
        let changes = (0..PUSH_CHANGES_MAX).map(|at| {
            let change = liar.change(at as u64, key, delta(batch * PUSH_CHANGES_MAX + at));
            change.encode().unwrap()
        });
        let changes = changes.collect();
        refused += liar.told(changes).iter().filter(|verdict| matches!(verdict, Verdict::Refused(_))).count();
        if batch % BETWEEN == 0 {
            let began = Instant::now();
            let at = format!("{core}/v1/collections/items/documents/mine");
            let (status, said) = http(&at, "PUT", Some(&json!({ "batch": batch }))).unwrap();
            assert!(status < 300, "{status}: {said}");
            longest = longest.max(began.elapsed());
        }
    }
    (refused, longest)
}

#[test]
#[ignore = "needs a release build as SKERRY_BINARY and an idle machine"]
fn measure_a_million_tiny_changes() {
    let mut cluster = Cluster::start(binaries(), 1, 1);
    let core = cluster.url(0);
    create(&core, "items", &json!({ "policy": "lww" }));
    let mut liar = Liar::new(&core, "liar");
    let began = Instant::now();
    let (refused, longest) = flood(&core, &mut liar, "nothing", CHANGES, |_| Delta(Bytes::from_static(b"x")));
    assert_eq!(refused, CHANGES);
    println!(
        "{CHANGES} changes that mean nothing: {:.1} s, a write beside them {} ms at most, {} MiB in memory",
        began.elapsed().as_secs_f64(),
        longest.as_millis(),
        resident(cluster.node(0).id()) >> 20
    );

    let mut draft = Draft::of(&liar.replica);
    let began = Instant::now();
    let (refused, longest) =
        flood(&core, &mut liar, "one", CHANGES_OF_ONE, |number| draft.write(&Write::Patch(json!({ "n": number }))));
    println!(
        "{CHANGES_OF_ONE} changes of one document: {refused} refused, {:.1} s, a write beside them {} ms at most, {} MiB in memory",
        began.elapsed().as_secs_f64(),
        longest.as_millis(),
        resident(cluster.node(0).id()) >> 20
    );
    let read = |key: &str| http(&format!("{core}/v1/collections/items/documents/{key}"), "GET", None).unwrap();
    assert_eq!(read("nothing").0, 404);
    assert_eq!(read("one").1, json!({ "n": CHANGES_OF_ONE - refused - 1 }), "what is refused is behind what is taken");
    assert_eq!(read("mine").1["batch"], Value::from(CHANGES_OF_ONE / PUSH_CHANGES_MAX - BETWEEN));
}
