//! The frames in docs/sync.md are the ones that are sent: what another client was written against stays as it is.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use skerry_model::document::View;
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::state::{Counter, StateEngine};
use skerry_model::engine::{Author, Delta, Engine, Write, WriteContext};
use skerry_model::policy::Policy;
use skerry_model::{
    CatalogVersion, ClusterId, CollectionId, Epoch, Incarnation, Nonce, Ordinal, Origin, Scn, ShardId, Timeline,
    VersionId,
};

use crate::automerge::{FromCore, Metadata};
use crate::change::{Chain, Change, Mark};
use crate::message::{
    Answer, Batch, Catalog, Collection, Document, Hello, MergeState, PROTOCOL, Pull, Pulled, Push, Pushed, Request,
    Verdict, Welcome,
};
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

/// The delta of a write by incarnation 1 of `shop` in an empty document, and the version behind it.
fn written(engine: &dyn Engine, write: &Write) -> (Delta, Vec<u8>) {
    let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
    let author = Author::new("shop".parse().unwrap(), &incarnation);
    let context = WriteContext { author: &author, time_ms: 1_000, number: Some(1), base: None, seen: None };
    let mut document = engine.empty();
    let delta = document.apply(write, &context).unwrap().unwrap();
    (delta, document.version().0.to_vec())
}

#[test]
fn the_documented_answers_are_given() {
    let collection = Collection {
        id: CollectionId::new(7),
        name: "items".parse().unwrap(),
        policy: Policy::Lww,
        plugin: None,
        world: None,
        template: None,
        text: Vec::new(),
        settle: false,
        inbox: None,
    };
    let welcome = Welcome {
        cluster: ClusterId::from_bytes([3; 16]),
        timeline: TIMELINE,
        shards: 1,
        now_ms: 1_000,
        catalog: Catalog { version: CatalogVersion::new(7), collections: vec![collection] },
        restored: None,
    };
    check("the welcome", &cbor(&Answer::Welcome(welcome)));

    let fields = json!({ "n": 1 }).as_object().cloned().unwrap();
    let json = JsonEngine::new(JsonSettings::default()).unwrap();
    let (delta, version) = written(&json, &Write::Put(fields.clone()));
    check("the delta of a put", &delta.0);
    check("the version behind it", &version);
    let (counted, version) =
        written(&StateEngine::new(std::sync::Arc::new(Counter)), &Write::Operation(json!({ "inc": 5 })));
    check("the delta of an increment", &counted.0);
    check("the counter's version", &version);

    let at = |position| Cursor {
        timeline: TIMELINE,
        shard: ShardId::new(0),
        subscription: Subscription::All.digest(),
        position,
    };
    let version = VersionId { scn: Scn::at_millis(1_000), ordinal: Ordinal { index: 9, position: 0 } };
    let document = Document {
        collection: CollectionId::new(7),
        key: "lantern".parse().unwrap(),
        epoch: Epoch::new(0),
        version,
        view: Some(View::of(&fields).unwrap()),
        plugin: None,
        conflicts: 0,
        fallback: None,
        merge: Some(MergeState { deltas: vec![delta], seen: None }),
    };
    let feed = Position::Feed { after: version };
    let batch = Batch { from: at(Position::Start), to: at(feed), documents: vec![document], gone: None, more: false };
    let pulled = Pulled { batches: vec![batch], too_old: Vec::new(), catalog: None, timeline: TIMELINE };
    check("the answer to a pull", &cbor(&Answer::Pulled(pulled)));
}

#[test]
fn the_documented_messages_to_clients_of_automerge_are_sent() {
    let (sender_id, target_id, document_id) = ("core", "peer-1", "2cFvHEgfbRSEhBguRnVvTzz9Hse6");
    let peer_metadata = Metadata { storage_id: "02020202020202020202020202020202", is_ephemeral: false };
    let peer = FromCore::Peer { sender_id, target_id, selected_protocol_version: "1", peer_metadata };
    check("the answer to join", &peer.encode());
    check("a sync message", &FromCore::Sync { sender_id, target_id, document_id, data: &[1, 2, 3] }.encode());
    check("that there is no document", &FromCore::DocUnavailable { sender_id, target_id, document_id }.encode());
    check("an error", &FromCore::Error { sender_id, target_id, message: "it is too large" }.encode());
}
