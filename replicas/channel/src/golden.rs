//! The frames in docs/sync.md are the ones that are sent: what another client was written against stays as it is.

use bytes::Bytes;
use serde::Serialize;
use skerry_model::engine::Delta;
use skerry_model::{CatalogVersion, CollectionId, Epoch, Incarnation, Nonce, Origin, ShardId, Timeline};

use crate::change::{Chain, Change, Mark};
use crate::message::{Answer, Hello, PROTOCOL, Pull, Push, Pushed, Request, Verdict};
use crate::pull::{Cursor, Position};
use crate::subscription::Subscription;

const DOCUMENT: &str = include_str!("../../../docs/sync.md");
const TIMELINE: Timeline = Timeline::from_bytes([2; 16]);

#[track_caller]
fn check(what: &str, bytes: &[u8]) {
    let expected = hex::encode(bytes);
    let listed: String = DOCUMENT.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim).collect();
    assert!(listed.contains(&expected), "docs/sync.md lacks {what}: {expected}");
}

fn cbor(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_documented_frames_are_sent() {
    let replica: Origin = "shop".parse().unwrap();
    let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
    let shard = ShardId::new(3);
    let hello = Hello { protocol: PROTOCOL, replica: replica.clone(), incarnation, timeline: None };
    check("the hello", &cbor(&Request::Hello(hello)));

    let start = Mark::start(&replica, &incarnation, shard);
    let chain = |mark: &Mark| cbor(&mark.chain).split_off(2);
    check("the first chain", &chain(&start));
    let change = Change {
        sequence: 1,
        collection: CollectionId::new(7),
        key: "lantern".parse().unwrap(),
        epoch: Epoch::new(0),
        time_ms: 1_000,
        delta: Delta(Bytes::from_static(&[0xab, 0xcd])),
    };
    let change = change.encode().unwrap();
    check("the change", &change);
    let mark = start.then(&change);
    check("the second chain", &chain(&mark));
    let before: Chain = start.chain;
    let push = Push {
        replica: replica.clone(),
        incarnation,
        timeline: TIMELINE,
        shard,
        first: 1,
        before,
        changes: vec![change],
    };
    check("the push", &cbor(&Request::Push(push)));
    let judged = Pushed::Judged { mark, verdicts: vec![Verdict::Accepted] };
    check("the answer to a push", &cbor(&Answer::Pushed(judged)));

    let subscription = Subscription::All;
    let digest = subscription.digest();
    let cursor = Cursor { timeline: TIMELINE, shard: ShardId::new(0), subscription: digest, position: Position::Start };
    let catalog = CatalogVersion::default();
    let pull = Pull { replica, subscription, catalog, cursors: vec![cursor], manifests: Vec::new(), wait_ms: 1_000 };
    check("the pull", &cbor(&Request::Pull(pull)));
}
