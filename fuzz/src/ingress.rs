//! Deltas that an edge pushes, as the core takes them before it proposes them. The first byte of an input says what the
//! rest is: 0 a delta of a json document, 1 the parts of one (see [`assembled`]), 2 a delta of a counter, 3 one of a set.

use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use serde_bytes::{ByteArray, ByteBuf};
use serde_json::json;
use sha2::{Digest, Sha256};
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::state::{Counter, Set, StateEngine};
use skerry_model::engine::{Author, Delta, Engine, MergeDocument, Version, Viewed, Write, WriteContext};
use skerry_model::policy::{Chooser, ConflictSet};
use skerry_model::{Incarnation, Nonce, Origin};

use crate::within_memory;

/// When documents are written, and the latest time that counts.
const NOW_MS: i64 = 1_700_000_000_000;
/// What taking a delta, or reading what is stored, may take: a change may stand for 1.5 million operations of some 200
/// bytes.
const MEMORY_BYTES_MAX: usize = 1 << 30;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
const TYPE_CHANGE: u8 = 1;
/// Before the number of a part, it stands for the hash of what that part becomes.
pub const LINK: [u8; 31] = [0xee; 31];
/// Parts that become changes of one delta.
const PARTS_MAX: u8 = 8;

/// A collection, and documents of it that deltas are offered to.
pub struct Subject {
    engine: Box<dyn Engine>,
    /// One that nobody has written, one that somebody else has, and one that the sender has written after that.
    pub documents: [Box<dyn MergeDocument>; 3],
}

/// What the first byte of an input chooses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A json document.
    Json,
    /// A json document, offered a delta in parts.
    Parts,
    /// A counter.
    Counter,
    /// A set.
    Set,
}

const KINDS: [Kind; 4] = [Kind::Json, Kind::Parts, Kind::Counter, Kind::Set];

thread_local! {
    static SUBJECTS: [Subject; 4] = KINDS.map(Subject::new);
    static CAUGHT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Lets panics of Automerge pass, which the engine catches, where libfuzzer-sys would end the process.
pub fn let_caught_panics_pass() {
    std::panic::set_hook(Box::new(|panic| {
        let text = format!("{panic}\n{}", Backtrace::capture());
        let place = panic.location().map_or("", |location| location.file());
        if ["automerge-", "hexane-", "library/"].iter().any(|caught| place.contains(caught)) {
            CAUGHT.set(text);
        } else {
            eprintln!("{text}");
        }
    }));
}

/// Offers the delta to each document of its kind.
///
/// # Panics
/// When a refusal leaves a trace, when what was taken cannot be stored, read and passed on, or when the panic of a
/// library is not caught.
pub fn check(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let kind = usize::from(*kind) % KINDS.len();
    let delta = if KINDS[kind] == Kind::Parts { assembled(rest) } else { Delta(rest.to_vec().into()) };
    let offered = catch_unwind(AssertUnwindSafe(|| SUBJECTS.with(|subjects| subjects[kind].offer(&delta))));
    if let Err(panic) = offered {
        eprintln!("the last panic of a library, caught or not: {}", CAUGHT.take());
        resume_unwind(panic);
    }
}

impl Subject {
    /// The documents of this kind.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let engine: Box<dyn Engine> = match kind {
            Kind::Json | Kind::Parts => {
                Box::new(JsonEngine::new(JsonSettings::default()).expect("there is no template to refuse"))
            }
            Kind::Counter => Box::new(StateEngine::new(Arc::new(Counter))),
            Kind::Set => Box::new(StateEngine::new(Arc::new(Set))),
        };
        let mut others = engine.empty();
        write(others.as_mut(), &author("core"), &kind.write(1), 1);
        let mut both = others.scratch();
        write(both.as_mut(), &author("one"), &kind.write(2), 1);
        Self { documents: [engine.empty(), others, both], engine }
    }

    fn offer(&self, delta: &Delta) {
        for before in &self.documents {
            let mut document = before.scratch();
            let taken = within_memory(MEMORY_BYTES_MAX, || document.merge_from(delta, &author("one"), NOW_MS));
            match taken {
                Err(_) => assert_eq!((document.version(), document.save()), (before.version(), before.save())),
                Ok(given) => self.check_taken(delta, before.as_ref(), document.as_mut(), &given),
            }
        }
    }

    /// Checks a document that took a delta, and what others are given for it.
    fn check_taken(&self, delta: &Delta, before: &dyn MergeDocument, document: &mut dyn MergeDocument, given: &Delta) {
        let shown = Shown::of(document);
        // Nothing was written where the delta is empty.
        if document.version() != Version::default() {
            let (saved, all) = (document.save(), document.delta(&Version::default()).expect("there is all"));
            let loaded = within_memory(MEMORY_BYTES_MAX, || self.engine.load(&saved));
            assert_eq!(Shown::of(loaded.expect("what is stored can be read").as_ref()), shown);
            let mut fresh = self.engine.empty();
            within_memory(MEMORY_BYTES_MAX, || fresh.merge(&all)).expect("all of it can be taken");
            assert_eq!(Shown::of(fresh.as_ref()), shown);
        }
        let mut other = before.scratch();
        other.merge(given).expect("others take what the core has taken");
        assert_eq!(Shown::of(other.as_ref()), shown);
        document.merge_from(delta, &author("one"), NOW_MS).expect("taking it twice is harmless");
        assert_eq!(Shown::of(document), shown);
    }
}

impl Kind {
    /// A write to a document of this kind.
    #[must_use]
    pub fn write(self, value: i64) -> Write {
        match self {
            Self::Json | Self::Parts => Write::Patch(json!({ "number": value, "list": [value, "x"] })),
            Self::Counter => Write::Operation(json!({ "inc": value })),
            Self::Set => Write::Operation(json!({ "add": value })),
        }
    }
}

/// What can be seen of a document.
#[derive(Debug, PartialEq)]
struct Shown {
    version: Version,
    views: [Result<Viewed, String>; 2],
    conflicts: Result<ConflictSet, String>,
}

impl Shown {
    fn of(document: &dyn MergeDocument) -> Self {
        let view = |chooser| document.view(chooser).map_err(|error| error.to_string());
        Self {
            version: document.version(),
            views: [view(Chooser::Lww), view(Chooser::Json)],
            conflicts: document.conflicts().map_err(|error| error.to_string()),
        }
    }
}

/// Who sends; also the others, by their names.
#[must_use]
pub fn author(name: &str) -> Author {
    let origin = Origin::new(name).expect("names here are short");
    Author::new(origin, &Incarnation { number: 1, nonce: Nonce::from_bytes([7; 16]) })
}

/// Writes as an edge does. `number` is the write's among its author's.
///
/// # Panics
/// When the document does not take it, or when it changes nothing.
pub fn write(document: &mut dyn MergeDocument, author: &Author, write: &Write, number: u64) -> Delta {
    let seen = document.view(Chooser::Lww).expect("what was written here can be shown").view;
    let seen = seen.map(|view| view.object().expect("views are objects"));
    let context = WriteContext { author, time_ms: NOW_MS, number: Some(number), base: None, seen: seen.as_ref() };
    document.apply(write, &context).expect("the write is within all limits").expect("it changes something")
}

/// A delta of a json document from its parts, so that hashes need not be guessed. First comes how many changes it has;
/// then each change, without its header and behind its length; then what is said of them by their numbers: 0 and a bit
/// for each that a delete saw, or 1, a number, and the effective time in milliseconds. Integers are little-endian. Where
/// a change names an earlier one, [`LINK`] and its number stand for the hash.
#[must_use]
pub fn assembled(mut parts: &[u8]) -> Delta {
    let (mut chunks, mut hashes) = (Vec::new(), Vec::<[u8; 32]>::new());
    let number = take::<1>(&mut parts).map_or(0, |[number]| number % (PARTS_MAX + 1));
    while chunks.len() < number.into()
        && let Some(length) = take(&mut parts)
    {
        let (body, rest) = parts.split_at(parts.len().min(u16::from_le_bytes(length).into()));
        parts = rest;
        let content = content(&linked(body, &hashes));
        let hash: [u8; 32] = Sha256::digest(&content).into();
        chunks.push(ByteBuf::from([&MAGIC[..], &hash[..4], &content].concat()));
        hashes.push(hash);
    }
    let hash = |at: u8| ByteArray::new(hashes.get(usize::from(at)).copied().unwrap_or([at; 32]));
    let (mut deletes, mut times) = (Vec::new(), Vec::new());
    while let Some([what, at]) = take(&mut parts) {
        if what == 0 {
            deletes.push((0..PARTS_MAX).filter(|bit| at >> bit & 1 == 1).map(hash).collect::<Vec<_>>());
        } else if let Some(time) = take(&mut parts) {
            times.push((hash(at), i64::from_le_bytes(time)));
        }
    }
    let (epoch, format) = (0_u32, 1_u8);
    let mut delta = Vec::new();
    ciborium::into_writer(&(epoch, format, chunks, deletes, times), &mut delta).expect("memory takes every write");
    Delta(delta.into())
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// What a change's hash is of: its type, its length, and itself.
fn content(body: &[u8]) -> Vec<u8> {
    let (mut content, mut length) = (vec![TYPE_CHANGE], body.len());
    while length > 0x7f {
        content.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    content.push(length as u8);
    content.extend_from_slice(body);
    content
}

/// The change with the hashes of those before it.
fn linked(body: &[u8], hashes: &[[u8; 32]]) -> Vec<u8> {
    let mut linked = body.to_vec();
    for at in 0..=linked.len().saturating_sub(32) {
        if linked[at..].starts_with(&LINK)
            && let Some(hash) = linked.get(at + LINK.len()).and_then(|number| hashes.get(usize::from(*number)))
        {
            linked[at..at + 32].copy_from_slice(hash);
        }
    }
    linked
}
