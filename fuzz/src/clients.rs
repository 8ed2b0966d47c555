//! What clients of Automerge send a core node. The first byte of an input says what the rest is: 0 a message of
//! automerge-repo's protocol, 1 a sync message, 2 the changes of one in parts (see [`assembled`]).

use automerge::sync::{ChunkList, Message, MessageVersion};
use ciborium::Value;
use serde_json::json;
use skerry_channel::automerge::FromClient;
use skerry_model::engine::json::sync::{Incoming, Peer};
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::{Engine, MergeDocument, Write, WriteContext};
use skerry_model::policy::Chooser;

use crate::ingress::{assembled, author, write};
use crate::within_memory;

const NOW_MS: i64 = 1_700_000_000_000;
/// What hearing a message may take: changes of 32 MiB once they are inflated, and what Automerge makes of them.
const MEMORY_BYTES_MAX: usize = 1 << 30;
/// What reading a message may take for each of its bytes, and beside that.
const READ_FACTOR_MAX: usize = 16;
const READ_BYTES_MAX: usize = 1 << 16;

/// Reads a message as the core does; a sync message is then heard by an empty document and by one that has been written.
///
/// # Panics
/// When a refusal leaves a trace, when there is no answer to a message that was heard, or when either takes too much memory.
pub fn check(data: &[u8]) {
    match data.split_first() {
        Some((0, message)) => {
            let memory = READ_BYTES_MAX + READ_FACTOR_MAX * message.len();
            drop(within_memory(memory, || FromClient::decode(message)));
        }
        Some((1, message)) => hear(message),
        Some((2, parts)) => hear(&with_changes(parts)),
        _ => {}
    }
}

/// A sync message that brings the changes of assembled parts.
fn with_changes(parts: &[u8]) -> Vec<u8> {
    let delta: Value = ciborium::from_reader(&*assembled(parts).0).expect("deltas are CBOR");
    let chunks =
        delta.as_array().and_then(|fields| fields.get(2)).and_then(Value::as_array).expect("the third are chunks");
    let chunks: Vec<Vec<u8>> = chunks.iter().filter_map(|chunk| chunk.as_bytes().cloned()).collect();
    let message = Message {
        heads: Vec::new(),
        need: Vec::new(),
        have: Vec::new(),
        changes: ChunkList::from(chunks),
        flags: None,
        version: MessageVersion::V1,
    };
    message.encode()
}

fn hear(message: &[u8]) {
    let engine = JsonEngine::new(JsonSettings::default()).expect("there is no template to refuse");
    let mut written = engine.empty();
    write(written.as_mut(), &author("core"), &Write::Patch(json!({ "number": 1, "text": "x" })), 1);
    for mut document in [engine.empty(), written] {
        within_memory(MEMORY_BYTES_MAX, || offer(document.as_mut(), message));
    }
}

fn offer(document: &mut dyn MergeDocument, message: &[u8]) {
    let Ok(mut incoming) = Incoming::decode(message) else { return };
    let mut peer = Peer::default();
    let json = document.as_json().expect("it is one of the json engine");
    let Ok(ready) = json.admit_from(&mut peer, incoming.take_changes()) else { return };
    let core = author("core");
    for delta in ready {
        let before = document.version();
        let context = WriteContext { author: &core, time_ms: NOW_MS, number: None, base: None, seen: None };
        match document.apply(&Write::Merge(delta), &context) {
            Ok(_) => drop(document.view(Chooser::Lww)),
            Err(_) => assert_eq!(document.version(), before),
        }
    }
    let json = document.as_json().expect("it is one of the json engine");
    if json.hear(&mut peer, incoming).is_ok() {
        // What a client says of itself may make no sense; then there is nothing to say.
        drop(json.say(&mut peer));
    }
}
