//! Edges that lie: whatever they send is refused with a reason and counted, and the cluster serves the others as before.

use std::io::Read;

use bytes::Bytes;
use serde_json::json;
use skerry_channel::change::Change;
use skerry_channel::limits::{CHANGE_BYTES_MAX, FRAME_BYTES_MAX, FRAME_INFLATED_BYTES_MAX, PUSH_CHANGES_MAX};
use skerry_channel::message::{Answer, Push, Pushed, Verdict};
use skerry_model::engine::{Delta, Write};
use skerry_model::{Origin, ShardId};
use skerry_tests::liar::{Draft, Liar, post};
use skerry_tests::processes::{Cluster, metrics};

use super::requests::{BINARIES, create, read, write};

/// Changes that each are as small as one can be, in batches of the most there may be.
const TINY_BATCHES: usize = 20;

/// What a write of this replica makes of nothing.
fn delta(replica: &Origin, document: &serde_json::Value) -> Delta {
    Draft::of(replica).write(&Write::Put(document.as_object().unwrap().clone()))
}

#[test]
fn whatever_a_hostile_edge_sends_is_refused_and_counted() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    let core = cluster.url(0);
    create(&core, "items", "json");
    assert_eq!(write(&core, "PUT", "items", "mine", &json!({ "n": 1 })), 201);
    let mut liar = Liar::new(&core, "liar");
    let refusals = || metrics(&core, "skerry_sync_refused_total");
    let mut before = refusals();
    let mut is_counted = |what: &str| {
        let now = refusals();
        assert!(now > before, "{what} is not counted");
        before = now;
    };

    // In the name of another.
    let other: Origin = "depot".parse().unwrap();
    let change = liar.change(0, "d", delta(&other, &json!({ "n": 1 })));
    assert_eq!(liar.refused(&change), "refused");
    is_counted("another's change");
    let as_core = Push { replica: Origin::core(), ..liar.push(vec![Bytes::from_static(b"x")]) };
    assert_eq!(liar.send(as_core).unwrap_err(), 422);
    is_counted("the core's name");

    // Numbers that are not its own to choose.
    let own = |liar: &Liar, key: &str| liar.change(0, key, delta(&liar.replica, &json!({ "n": 1 })));
    let forged = Change { sequence: 77, ..own(&liar, "d") };
    assert_eq!(liar.refused(&forged), "malformed");
    is_counted("a forged number");
    let ahead = Push { first: liar.mark.sequence + 9, ..liar.push(vec![own(&liar, "d").encode().unwrap()]) };
    assert!(matches!(liar.send(ahead).unwrap(), Answer::Pushed(Pushed::Elsewhere { .. })));
    let wrapped = Push { first: u64::MAX, ..liar.push(vec![own(&liar, "d").encode().unwrap()]) };
    assert_eq!(liar.send(wrapped).unwrap_err(), 400);
    is_counted("a number past the end");
    let beyond = Push { shard: ShardId::new(9), ..liar.push(vec![own(&liar, "d").encode().unwrap()]) };
    assert_eq!(liar.send(beyond).unwrap_err(), 400);

    // Bytes that mean nothing, or too much.
    let bomb = zstd::encode_all(std::io::repeat(0).take(FRAME_INFLATED_BYTES_MAX as u64 + 1), 3).unwrap();
    assert!(bomb.len() < 1 << 20);
    assert_eq!(post(&core, [&[1], &bomb[..]].concat().into()).unwrap_err(), 413);
    is_counted("a bomb");
    assert_eq!(post(&core, vec![1; FRAME_BYTES_MAX + 1].into()).unwrap_err(), 413);
    assert_eq!(post(&core, Bytes::from_static(b"\x01nonsense")).unwrap_err(), 400);
    is_counted("nonsense");
    for crafted in
        [&b"\x85"[..], b"\x85\x6f\x4a\x83", &[0xff; 64], b"\x85\x6f\x4a\x83\x00\x00\x00\x00\x02\xff\xff\xff\xff\x0f"]
    {
        let change = liar.change(0, "d", Delta(Bytes::copy_from_slice(crafted)));
        assert_eq!(liar.refused(&change), "malformed", "{crafted:?}");
    }
    let frames = liar.told(vec![Bytes::from_static(b"no change"), Bytes::new()]);
    assert!(frames.iter().all(|verdict| matches!(verdict, Verdict::Refused(_))), "{frames:?}");
    is_counted("crafted chunks");

    // Among many changes of one document only those at fault are refused.
    let mut draft = Draft::of(&liar.replica);
    let mut frames: Vec<_> = (0..21)
        .map(|at| {
            let delta = match at % 5 {
                3 => Delta(Bytes::from_static(b"x")),
                _ => draft.write(&Write::Patch(json!({ "n": at }))),
            };
            liar.change(at, "mixed", delta).encode().unwrap()
        })
        .collect();
    frames.push(liar.change(21, "mixed", draft.write(&Write::Delete)).encode().unwrap());
    let verdicts = liar.told(frames);
    for (at, verdict) in verdicts.iter().enumerate() {
        assert_eq!(matches!(verdict, Verdict::Refused(_)), at % 5 == 3 && at < 21, "{at}: {verdict:?}");
    }
    assert_eq!(read(&core, "items", "mixed"), None);

    // At the limits: the largest document is taken, one that is larger is not.
    let large = liar.change(0, "large", delta(&liar.replica, &json!({ "text": "x".repeat((1 << 20) - 11) })));
    assert_eq!(liar.told(vec![large.encode().unwrap()]), [Verdict::Accepted]);
    let mut second = Liar::new(&core, "liar-2");
    let half = |liar: &Liar, field: &str| {
        liar.change(0, "larger", delta(&liar.replica, &json!({ field: "x".repeat(600_000) })))
    };
    let (one, two) = (half(&liar, "one"), half(&second, "two"));
    assert_eq!(liar.told(vec![one.encode().unwrap()]), [Verdict::Accepted]);
    assert_eq!(second.refused(&two), "too-large");
    let over = liar.push(vec![vec![0; CHANGE_BYTES_MAX].into(); 3]);
    assert_eq!(liar.send(over).unwrap_err(), 413);
    is_counted("too much at once");

    // A flood of the smallest there are, all of one document.
    for _ in 0..TINY_BATCHES {
        let tiny = |at| liar.change(at, "tiny", Delta(Bytes::from_static(b"x"))).encode().unwrap();
        let changes = (0..PUSH_CHANGES_MAX as u64).map(tiny).collect();
        assert_eq!(liar.told(changes).len(), PUSH_CHANGES_MAX);
    }
    is_counted("a flood");
    let too_many = liar.push(vec![Bytes::from_static(b"x"); PUSH_CHANGES_MAX + 1]);
    assert_eq!(liar.send(too_many).unwrap_err(), 400);

    // The others have noticed nothing.
    assert_eq!(read(&core, "items", "mine"), Some(json!({ "n": 1 })));
    assert_eq!(read(&core, "items", "tiny"), None);
    assert_eq!(write(&core, "PUT", "items", "mine", &json!({ "n": 2 })), 200);
    let mut honest = Liar::new(&core, "honest");
    let change = honest.change(0, "d", delta(&honest.replica, &json!({ "n": 3 })));
    assert_eq!(honest.told(vec![change.encode().unwrap()]), [Verdict::Accepted]);
    assert_eq!(read(&core, "items", "d"), Some(json!({ "n": 3 })));
}
