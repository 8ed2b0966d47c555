//! Writes the seeds in corpus/: `cargo run --example seeds`. What is there already under other names stays.

use std::error::Error;
use std::path::Path;

use automerge::sync::SyncDoc;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ObjType, ROOT, ScalarValue};
use bytes::Bytes;
use serde::Serialize;
use serde_bytes::{ByteArray, ByteBuf};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skerry_channel::change::{Chain, Change, Mark};
use skerry_channel::frame;
use skerry_channel::message::{
    Answer, Batch, Catalog, Collection, Document, Hello, MergeState, PROTOCOL, Pull, Pulled, Push, Pushed, Refusal,
    Request, Verdict, Welcome,
};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::subscription::{Entry, Subscription};
use skerry_fuzz::answers::{self, Choice};
use skerry_fuzz::ingress::{Kind, LINK, Subject, author, write};
use skerry_model::document::View;
use skerry_model::engine::{Delta, Version, Write};
use skerry_model::policy::{Policy, World};
use skerry_model::{
    CatalogVersion, ClusterId, CollectionId, DocumentKey, Epoch, Incarnation, Nonce, Origin, PluginDigest, ShardId,
    Timeline, VersionId,
};

type Seeds = Vec<(&'static str, Vec<u8>)>;

fn main() -> Result<(), Box<dyn Error>> {
    let targets = [
        ("component", components()?),
        ("answers", answered()),
        ("conflicts", conflicts()),
        ("ingress", deltas()?),
        ("frames", frames()?),
        ("clients", clients()?),
    ];
    for (target, seeds) in targets {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        for (name, seed) in seeds {
            std::fs::write(folder.join(name), seed)?;
        }
    }
    Ok(())
}

fn components() -> Result<Seeds, wat::Error> {
    let resolver = answers::guest();
    let described = |body: &str| resolver.replace("(result i32) i32.const 16)", &format!("(result i32) {body})"));
    let import = r#"(component (import "now" (func $now (result u64)))"#;
    let types = r#"(component (import "skerry:plugin/types@1.0.0" (instance (type $json string) (export "json" (type (eq $json)))))"#;
    let grows = described("i32.const 600 memory.grow drop i32.const 16");
    let texts = [
        ("nothing", "(component)".to_owned()),
        ("resolver", resolver.clone()),
        ("resolver-traps", described("unreachable")),
        ("resolver-never-ends", described("loop br 0 end i32.const 16")),
        ("resolver-grows", grows),
        ("resolver-wants-too-much", described("i32.const 1572856")),
        ("resolver-imports-a-function", resolver.replacen("(component", import, 1)),
        ("resolver-imports-types", resolver.replacen("(component", types, 1)),
        ("policy", POLICY.to_owned()),
        ("policy-of-no-version", POLICY.replace("i32.const 1)", "i32.const 0)")),
        ("policy-without-end", POLICY.replace("(result i32) i32.const 48)", "(result i32) call $again i32.const 48)")),
    ];
    texts.into_iter().map(|(name, text)| Ok((name, wat::parse_str(text)?))).collect()
}

/// Every list is empty, a view is `{}`, and the one example is `1`.
const POLICY: &str = r#"(component
    (type $context-record (record
        (field "origin" string) (field "incarnation" u32) (field "sequence" u64) (field "time" s64)))
    (export $context "context" (type $context-record))
    (core module $guest
        (memory (export "memory") 2)
        (global $end (mut i32) (i32.const 65536))
        (func $again call $again)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            global.get $end
            global.get $end local.get 3 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $end)
        (func (export "state-version") (result i32) i32.const 1)
        (func (export "empty") (result i32) i32.const 16)
        (func (export "apply") (param i32 i32 i32 i32 i32 i32 i32 i64 i64) (result i32) i32.const 16)
        (func (export "merge") (param i32 i32 i32 i32) (result i32) i32.const 16)
        (func (export "view") (param i32 i32) (result i32) i32.const 48)
        (func (export "migrate") (param i32 i32 i32) (result i32) i32.const 16)
        (func (export "examples") (result i32) i32.const 56)
        (data (i32.const 48) "\60\00\00\00\02\00\00\00\40\00\00\00\01\00\00\00\62\00\00\00\01\00\00\00")
        (data (i32.const 96) "{}1"))
    (core instance $instance (instantiate $guest))
    (alias core export $instance "memory" (core memory $memory))
    (alias core export $instance "cabi_realloc" (core func $realloc))
    (type $bytes (list u8))
    (func (export "state-version") (result u32) (canon lift (core func $instance "state-version")))
    (func (export "empty") (result $bytes) (canon lift (core func $instance "empty") (memory $memory)))
    (func (export "apply") (param "state" $bytes) (param "operation" string) (param "context" $context)
        (result (result $bytes (error string)))
        (canon lift (core func $instance "apply") (memory $memory) (realloc (core func $realloc))))
    (func (export "merge") (param "a" $bytes) (param "b" $bytes) (result $bytes)
        (canon lift (core func $instance "merge") (memory $memory) (realloc (core func $realloc))))
    (func (export "view") (param "state" $bytes) (result string)
        (canon lift (core func $instance "view") (memory $memory) (realloc (core func $realloc))))
    (func (export "migrate") (param "from-version" u32) (param "state" $bytes) (result (result $bytes (error string)))
        (canon lift (core func $instance "migrate") (memory $memory) (realloc (core func $realloc))))
    (func (export "examples") (result (list string)) (canon lift (core func $instance "examples") (memory $memory))))"#;

/// What a guest's memory holds: first how many conflicts and candidates are handed to it, then which kind of answer.
fn answered() -> Seeds {
    let memory = |conflicts: u8, memory: &[u8]| [&[conflicts - 1, 0, 0xff, 0xff, 0xff, 0xff], memory].concat();
    let laid = |choices: &[Choice<'_>], notes: &[(&str, &str)]| {
        memory(u8::try_from(choices.len()).unwrap_or(1).clamp(1, 4), &answers::lay(choices, notes))
    };
    let words = |words: [usize; 5]| words.map(|word| (word as u32).to_le_bytes()).concat();
    let at = answers::ANSWER_AT;
    let refusal = [&words([1, at + 20, 11, 0, 0])[..], b"no ancestor"].concat();
    vec![
        ("candidate", laid(&[Choice::Candidate(1)], &[])),
        ("candidate-that-is-not-there", laid(&[Choice::Candidate(9)], &[])),
        ("value", laid(&[Choice::Value(r#" {"b": [1, 2.5, null, "é\u0000"]} "#)], &[])),
        ("remove", laid(&[Choice::Remove], &[("oversold", "1"), ("b", "[]")])),
        ("each", laid(&[Choice::Candidate(0), Choice::Value("9007199254740991"), Choice::Remove], &[("a/b", "{")])),
        ("note-twice", laid(&[Choice::Remove], &[("a", "1"), ("a", "1e400")])),
        ("refusal", memory(1, &refusal)),
        ("list-beyond-memory", memory(1, &words([0, at * 24 - 8, 1, 0, 0]))),
        ("list-too-long", memory(1, &words([0, 0, 120_000, 0, 0]))),
        ("no-such-case", memory(1, &[9; 20])),
    ]
}

fn conflicts() -> Seeds {
    let set = |name, conflicts: Value| (name, json!({ "conflicts": conflicts }).to_string().into_bytes());
    let candidate = |origin: &str, time: i64, value: Value| json!({ "value": value, "origin": origin, "sequence": 1, "time": time });
    let booking = |who: &str| json!({ "name": who, "from": "2026-05-01T10:00", "until": "2026-05-01T11:00" });
    let two = |path: &str, one: Value, other: Value| json!({ "path": path, "candidates": [candidate("till-1", 1, one), candidate("till-2", 2, other)] });
    let counted = |before: i64, one: i64, other: i64| {
        let mut conflict = two("/remaining", json!(one), json!(other));
        conflict["ancestor"] = json!(before);
        conflict
    };
    vec![
        set("none", json!([])),
        set("sales", json!([counted(5, 4, 3)])),
        set("oversold", json!([counted(1, 0, 0)])),
        set("beyond-an-integer", json!([counted(0, (1 << 53) - 1, (1 << 53) - 1)])),
        set("no-ancestor", json!([two("/remaining", json!(4), json!(3))])),
        set(
            "titles",
            json!([two("/tags", json!(["sea"]), json!(["sea"])), two("/title", json!("Tide"), json!("Ebb"))]),
        ),
        set(
            "slots",
            json!([two("/slots/10", booking("ada"), booking("eve")), two("/10:00", json!("ada"), json!("eve"))]),
        ),
        set(
            "same-time",
            json!([{ "path": "/a", "ancestor": null, "candidates": [
            candidate("b", 7, json!(1.5)), candidate("a", 7, json!(-0.0)), candidate("a", i64::MIN, json!(1e300)),
        ] }]),
        ),
        set(
            "strange",
            json!([two("", json!({ "": [[]] }), json!(null)), two("/~0~1/é\n", json!(true), json!("\u{0}\u{10ffff}"))]),
        ),
    ]
}

fn deltas() -> Result<Seeds, Box<dyn Error>> {
    let kinds = [(0, Kind::Json), (2, Kind::Counter), (3, Kind::Set)];
    let names = [
        ["json-first", "json-next", "json-delete"],
        ["counter-first", "counter-next", "counter-delete"],
        ["set-first", "set-next", "set-delete"],
    ];
    let mut seeds = Vec::new();
    for ((byte, kind), [first, next, delete]) in kinds.into_iter().zip(names) {
        let Subject { documents: [mut empty, _, mut written], .. } = Subject::new(kind);
        let mut also = written.scratch();
        let one = author("one");
        let mut push = |name, delta: &Delta| seeds.push((name, [&[byte][..], &delta.0].concat()));
        push(first, &write(empty.as_mut(), &one, &kind.write(5), 1));
        push(next, &write(written.as_mut(), &one, &kind.write(9), 2));
        push(delete, &write(also.as_mut(), &one, &Write::Delete, 2));
    }
    let Subject { documents: [mut document, ..], .. } = Subject::new(Kind::Parts);
    let one = author("one");
    let mut push = |name, delta: &Delta| -> Result<(), Box<dyn Error>> {
        seeds.push((name, [&[1][..], &apart(delta)?].concat()));
        Ok(())
    };
    for (number, name) in [(1, "parts-first"), (2, "parts-two")] {
        write(document.as_mut(), &one, &Kind::Parts.write(number.try_into()?), number);
        push(name, &document.delta(&Version::default())?)?;
    }
    write(document.as_mut(), &one, &Write::Delete, 3);
    push("parts-deleted", &document.delta(&Version::default())?)?;
    push("parts-of-every-kind", &of_every_kind()?)?;
    Ok(seeds)
}

/// What Automerge knows and the json engine does not write: counters, marks, nested texts.
fn of_every_kind() -> Result<Delta, Box<dyn Error>> {
    let mut document = Automerge::new().with_actor(ActorId::from(author("one").actor));
    let mut transaction = document.transaction();
    transaction.put(ROOT, "a", 1)?;
    let list = transaction.put_object(ROOT, "list", ObjType::List)?;
    transaction.insert(&list, 0, "x")?;
    transaction.put(&list, 0, 2.5)?;
    let text = transaction.insert_object(&list, 1, ObjType::Text)?;
    transaction.splice_text(&text, 0, 0, "ab")?;
    transaction.put(ROOT, "n", ScalarValue::counter(1))?;
    transaction.increment(ROOT, "n", 2)?;
    transaction.put(ROOT, "b", vec![0_u8, 1])?;
    transaction.put(ROOT, "t", ScalarValue::Timestamp(1))?;
    transaction.delete(ROOT, "a")?;
    transaction.commit_with(CommitOptions::default().with_message("one").with_time(1_700_000_000));
    let chunks: Vec<_> = document.get_changes(&[]).iter().map(|change| ByteBuf::from(change.raw_bytes())).collect();
    let none = (Vec::<Vec<ByteArray<32>>>::new(), Vec::<(ByteArray<32>, i64)>::new());
    Ok(Delta(plain(&(0_u32, 1_u8, chunks, none.0, none.1))?.into()))
}

/// The parts that `skerry_fuzz::ingress::assembled` makes this delta of.
fn apart(delta: &Delta) -> Result<Vec<u8>, Box<dyn Error>> {
    type Form = (u32, u8, Vec<ByteBuf>, Vec<Vec<ByteArray<32>>>, Vec<(ByteArray<32>, i64)>);
    let (_, _, chunks, deletes, times): Form = ciborium::from_reader(&delta.0[..])?;
    let hashes: Vec<[u8; 32]> = chunks.iter().map(|chunk| Sha256::digest(&chunk[8..]).into()).collect();
    let number = |hash: &ByteArray<32>| hashes.iter().position(|known| **hash == *known).ok_or("not of this delta");
    let mut parts = vec![u8::try_from(chunks.len())?];
    for chunk in &chunks {
        let length = chunk[9..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let mut body = chunk[9 + length..].to_vec();
        for (at, hash) in hashes.iter().enumerate() {
            if let Some(place) = body.windows(32).position(|window| window == hash) {
                body[place..place + 32].copy_from_slice(&[&LINK[..], &[u8::try_from(at)?]].concat());
            }
        }
        parts.extend(u16::try_from(body.len())?.to_le_bytes());
        parts.extend(body);
    }
    for delete in &deletes {
        let bits = delete.iter().map(|hash| number(hash).map(|at| 1_u8 << at)).sum::<Result<u8, _>>()?;
        parts.extend([0, bits]);
    }
    for (hash, time) in &times {
        parts.extend([1, u8::try_from(number(hash)?)?]);
        parts.extend(time.to_le_bytes());
    }
    Ok(parts)
}

fn frames() -> Result<Seeds, Box<dyn Error>> {
    let [push, hello, pull] = requests()?;
    let mut seeds = vec![("frame", [&[0][..], &frame::encode(&push)?].concat())];
    for (name, request) in [("push", push), ("hello", hello), ("pull", pull)] {
        seeds.push((name, [&[1][..], &plain(&request)?].concat()));
    }
    seeds.push(("change", [&[2][..], &change()?].concat()));
    let names = ["welcome", "pushed", "elsewhere", "fork", "pulled", "refused"];
    for (name, answer) in names.into_iter().zip(messages()?) {
        let plain = plain(&answer)?;
        // A list of verdicts that has no end, and is long.
        let verdict = b"\x68Accepted";
        if let Some(at) = plain.windows(verdict.len()).position(|window| window == verdict) {
            let before = [&plain[..at - 1], &[0x9f]].concat();
            let lengths = [3, u8::try_from(before.len())?, u8::try_from(verdict.len())?];
            seeds.push(("many-verdicts", [&lengths, &before[..], verdict, &[0xff]].concat()));
        }
        seeds.push((name, [&[1][..], &plain].concat()));
    }
    Ok(seeds)
}

fn plain<T: Serialize>(message: &T) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(message, &mut bytes)?;
    Ok(bytes)
}

const INCARNATION: Incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([7; 16]) };
const TIMELINE: Timeline = Timeline::from_bytes([9; 16]);

fn change() -> Result<Bytes, Box<dyn Error>> {
    let delta = write(Subject::new(Kind::Counter).documents[0].as_mut(), &author("one"), &Kind::Counter.write(1), 1);
    let (collection, key) = (CollectionId::new(3), DocumentKey::new("tea")?);
    Ok(Change { sequence: 1, collection, key, epoch: Epoch::new(0), time_ms: 1, delta }.encode()?)
}

fn requests() -> Result<[Request; 3], Box<dyn Error>> {
    let (replica, shard) = (Origin::new("one")?, ShardId::new(1));
    let before = Chain::start(&replica, &INCARNATION, shard);
    let push = Push {
        replica: replica.clone(),
        incarnation: INCARNATION,
        timeline: TIMELINE,
        shard,
        first: 1,
        before,
        changes: vec![change()?],
    };
    let entry = Entry { collection: "stock".parse()?, prefix: "te".to_owned() };
    let subscription = Subscription::only(vec![entry])?;
    let after = (CollectionId::new(3), DocumentKey::new("tea")?);
    let position = Position::Copy { feed_after: VersionId::ZERO, after };
    let cursors = vec![Cursor { timeline: TIMELINE, shard, subscription: subscription.digest(), position }];
    let pull = Pull {
        replica: replica.clone(),
        subscription,
        catalog: CatalogVersion::new(1),
        cursors,
        manifests: Vec::new(),
        wait_ms: 30_000,
    };
    let hello = Hello { protocol: PROTOCOL, replica, incarnation: INCARNATION, timeline: Some(TIMELINE) };
    Ok([Request::Push(push), Request::Hello(hello), Request::Pull(pull)])
}

fn messages() -> Result<[Answer; 6], Box<dyn Error>> {
    let mark = Mark::start(&Origin::new("one")?, &INCARNATION, ShardId::new(1));
    let refusal = Refusal { kind: "collection-gone".to_owned(), detail: "it is gone".to_owned() };
    let view = View::from_canonical(Bytes::from_static(br#"{"a":1}"#));
    let collection = Collection {
        id: CollectionId::new(3),
        name: "stock".parse()?,
        policy: Policy::Plugin { name: "stock".parse()?, pinned: Some(PluginDigest::of(b"stock")) },
        plugin: Some(PluginDigest::of(b"stock")),
        world: Some(World::Resolver),
        template: Some(view.clone()),
        text: vec!["/notes".to_owned()],
        settle: true,
        inbox: None,
    };
    let catalog = Catalog { version: CatalogVersion::new(2), collections: vec![collection] };
    let cursor = |position| Cursor {
        timeline: TIMELINE,
        shard: ShardId::new(1),
        subscription: Subscription::All.digest(),
        position,
    };
    let document = Document {
        collection: CollectionId::new(3),
        key: DocumentKey::new("tea")?,
        epoch: Epoch::new(0),
        version: VersionId::ZERO,
        view: Some(view),
        plugin: None,
        conflicts: 1,
        fallback: Some("it trapped".to_owned()),
        merge: Some(MergeState { deltas: vec![Delta(Bytes::from_static(b"delta"))], seen: Some(Version::default()) }),
    };
    let batch = Batch {
        from: cursor(Position::Start),
        to: cursor(Position::Feed { after: VersionId::ZERO }),
        documents: vec![document],
        gone: None,
        more: false,
    };
    let cluster = ClusterId::from_bytes([1; 16]);
    let verdicts = vec![Verdict::Accepted, Verdict::Repeated, Verdict::Refused(refusal.clone())];
    Ok([
        Answer::Welcome(Welcome {
            cluster,
            timeline: TIMELINE,
            shards: 4,
            now_ms: 1,
            catalog: catalog.clone(),
            restored: None,
        }),
        Answer::Pushed(Pushed::Judged { mark, verdicts }),
        Answer::Pushed(Pushed::Elsewhere { incarnation: Some(INCARNATION), mark: Some(mark) }),
        Answer::Pushed(Pushed::Fork { incarnation: INCARNATION }),
        Answer::Pulled(Pulled {
            batches: vec![batch],
            too_old: Vec::new(),
            catalog: Some(catalog),
            timeline: TIMELINE,
        }),
        Answer::Refused(refusal),
    ])
}

/// Messages of automerge-repo's protocol, and sync messages of a client with a text long enough to be compressed.
fn clients() -> Result<Seeds, Box<dyn Error>> {
    let said = |kind: &str, data: Vec<u8>| -> Result<Vec<u8>, Box<dyn Error>> {
        let document = "2cFvHEgfbRSEhBguRnVvTzz9Hse6";
        let fields = json!({ "type": kind, "senderId": "peer-1", "targetId": "core", "documentId": document,
            "supportedProtocolVersions": ["1"], "count": 1, "sessionId": "s" });
        let mut message = ciborium::Value::serialized(&fields)?;
        if let ciborium::Value::Map(fields) = &mut message {
            fields.push(("data".into(), ciborium::Value::Bytes(data)));
        }
        let mut bytes = vec![0];
        ciborium::into_writer(&message, &mut bytes)?;
        Ok(bytes)
    };
    let mut client = automerge::AutoCommit::new().with_actor(ActorId::from([3; 16]));
    client.put(ROOT, "title", "x".repeat(600))?;
    client.commit_with(CommitOptions::default().with_time(1_700_000_000));
    let list = client.put_object(ROOT, "list", ObjType::List)?;
    client.insert(&list, 0, 1)?;
    client.commit_with(CommitOptions::default().with_time(1_700_000_001));
    let (mut here, mut there) = (automerge::sync::State::new(), automerge::sync::State::new());
    let greeting = client.sync().generate_sync_message(&mut here).ok_or("there is a greeting")?;
    let mut other = automerge::AutoCommit::new();
    other.sync().receive_sync_message(&mut there, greeting.clone())?;
    let answer = other.sync().generate_sync_message(&mut there).ok_or("there is an answer")?;
    let mut plain = answer;
    plain.flags = None;
    here.their_capabilities = None;
    client.sync().receive_sync_message(&mut here, plain)?;
    let brings = client.sync().generate_sync_message(&mut here).ok_or("there are changes to bring")?;
    let behind = |message: automerge::sync::Message| [&[1][..], &message.encode()].concat();
    Ok(vec![
        ("join", said("join", Vec::new())?),
        ("request", said("request", greeting.clone().encode())?),
        ("ephemeral", said("ephemeral", vec![1, 2, 3])?),
        ("greeting", behind(greeting)),
        ("changes", behind(brings)),
    ])
}
