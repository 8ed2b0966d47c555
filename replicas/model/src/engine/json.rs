//! The json engine: documents are Automerge documents. Concurrent values stay side by side in them; the policy chooses
//! what a reader sees. Invariants: whatever is refused leaves the document as it was; no change waits for one that is
//! missing; equal versions have equal content. How JSON maps to Automerge: json/table.rs.
//!
//! | file | |
//! |---|---|
//! | json/write.rs, splice.rs | a PUT, patch or splice into an Automerge transaction |
//! | json/merge.rs, chunk.rs | changes from elsewhere |
//! | json/walk.rs, choose.rs, ancestor.rs | what a reader sees, and conflicts |
//! | json/sync.rs | the protocol of Automerge's own clients |
//! | json/bytes.rs | versions, deltas and saved documents as bytes |

mod ancestor;
mod bytes;
mod choose;
mod chunk;
mod difference;
mod limits;
mod local;
mod merge;
mod splice;
pub mod sync;
mod table;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use ::bytes::Bytes;
use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, ChangeHash, LoadOptions, ROOT, ReadDoc, SaveOptions};
use serde_json::{Map, Value};

use self::ancestor::Common;
use self::bytes::{Changes, Corrections, Saved, Seen};
use self::limits::{HISTORY_OPERATIONS_MAX, MEASURE_EVERY_BYTES};
use self::merge::{Sender, guarded};
pub use self::splice::texts;
use self::walk::Reader;
use super::{Author, Delta, Engine, Error, MergeDocument, OpenConflicts, Version, Viewed, Write, WriteContext};
use crate::document::{self, View};
use crate::limits::{HISTORY_BYTES_MAX, TEMPLATE_BYTES_MAX, TEXT_FIELDS_MAX};
use crate::policy::{Chooser, ConflictSet};

/// The actor of every genesis change.
const GENESIS_ACTOR: [u8; 16] = *b"skerry genesis 0";
/// How long the actors of replicas are, in bytes: the author's sixteen and a number. Automerge's own clients have sixteen, or
/// where they write at heads of the past these behind four bytes and a number, so more.
const REPLICA_ACTOR_BYTES: RangeInclusive<usize> = 17..=20;

/// What a json collection's documents have in common; fixed when the collection is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JsonSettings {
    /// What every document starts with, from the same genesis change everywhere: whoever writes first finds the same
    /// objects, arrays and Text there. Without one, documents start empty.
    pub template: Option<Map<String, Value>>,
    /// JSON Pointers of the fields whose strings are Text and merge by character; not below an array.
    pub text: Vec<String>,
}

/// Makes the documents of one json collection.
#[derive(Debug, Clone)]
pub struct JsonEngine {
    empty: JsonDocument,
}

impl JsonEngine {
    /// The engine of a collection with these settings.
    ///
    /// # Errors
    /// [`Error::Document`] for a template that no document could be, [`Error::Limit`] past [`TEMPLATE_BYTES_MAX`] or
    /// [`TEXT_FIELDS_MAX`], [`Error::Malformed`] for a text field that is not a JSON Pointer.
    pub fn new(settings: JsonSettings) -> Result<Self, Error> {
        within("the text fields of a collection", settings.text.len(), TEXT_FIELDS_MAX)?;
        if let Some(field) = settings.text.iter().find(|field| !field.starts_with('/')) {
            let reason = format!("{field:?} does not start with a slash, as a JSON Pointer does");
            return Err(Error::Malformed { what: "a text field", reason });
        }
        let text: BTreeSet<_> = settings.text.into_iter().collect();
        let template = settings.template.unwrap_or_default();
        local::valid(&template)?;
        within("the bytes of a template", View::of(&template)?.bytes().len(), TEMPLATE_BYTES_MAX)?;
        let document = genesis(&template, &text);
        let genesis = document.get_heads().first().copied();
        let settings = Arc::new(Settings { text, genesis });
        let empty = JsonDocument::new(settings, document, false, Corrections::new(), 0);
        Ok(Self { empty })
    }
}

/// A document with nothing but the template, the same change everywhere.
fn genesis(template: &Map<String, Value>, text: &BTreeSet<String>) -> Automerge {
    let mut document = Automerge::new_with_encoding(table::TEXT_ENCODING).with_actor(ActorId::from(GENESIS_ACTOR));
    let mut transaction = document.transaction();
    let is_text = |path: &[String]| text.contains(&document::pointer(path));
    let ordered: BTreeMap<_, _> = template.iter().collect();
    for (name, field) in ordered {
        let value = table::to_automerge(field, &mut vec![name.clone()], &is_text);
        let written = match value {
            automerge::hydrate::Value::Scalar(scalar) => transaction.put(ROOT, name, scalar),
            value => transaction.batch_create_object(ROOT, name, &value, false).map(|_| ()),
        };
        written.expect("an empty document takes any field");
    }
    transaction.commit_with(CommitOptions::default().with_time(0));
    document
}

impl Engine for JsonEngine {
    fn empty(&self) -> Box<dyn MergeDocument> {
        Box::new(self.empty.clone())
    }

    fn load(&self, saved: &Bytes) -> Result<Box<dyn MergeDocument>, Error> {
        let Saved { document: content, deleted, corrections } = Saved::decode(saved)?;
        let malformed = |reason: String| Error::Malformed { what: "a saved document", reason };
        let options = LoadOptions::new().text_encoding(table::TEXT_ENCODING);
        let loaded = guarded("a saved document", || Automerge::load_with_options(&content, options))?;
        let document = loaded.map_err(|error| malformed(error.to_string()))?;
        let settings = Arc::clone(&self.empty.settings);
        if let Some(missing) = document.get_missing_deps(&settings.genesis.into_iter().collect::<Vec<_>>()).first() {
            return Err(malformed(format!("it lacks the change {missing}")));
        }
        Ok(Box::new(JsonDocument::new(settings, document, deleted, corrections, content.len())))
    }

    fn version_of(&self, before: Option<&Version>, deltas: &[Delta]) -> Option<Version> {
        let before = match before {
            Some(before) => Seen::decode(before).ok()?,
            None => self.empty.seen(),
        };
        seen_after(before, deltas).map(|seen| seen.encode())
    }
}

/// What a document has seen after these deltas, where nothing is known of them but the hashes of changes, each of which names
/// what it builds on. `None` where that is not enough, as where a change builds on one that lies behind what was seen.
fn seen_after(before: Seen, deltas: &[Delta]) -> Option<Seen> {
    if before.deleted && !deltas.is_empty() {
        return None;
    }
    let mut heads: BTreeSet<_> = before.heads.iter().copied().collect();
    let mut known = heads.clone();
    for delta in deltas {
        let Changes { chunks, deletes, corrections } = Changes::decode(delta).ok()?;
        if !deletes.is_empty() || !corrections.is_empty() {
            return None;
        }
        for chunk in chunks {
            let chunk::Named { hash, dependencies } = chunk::named(&chunk).ok()?;
            for dependency in dependencies {
                heads.remove(&dependency);
                if !known.contains(&dependency) {
                    return None;
                }
            }
            if known.insert(hash) {
                heads.insert(hash);
            }
        }
    }
    Some(Seen { heads: heads.into_iter().collect(), ..before })
}

#[derive(Debug)]
struct Settings {
    text: BTreeSet<String>,
    /// The change that every document starts from, where there is a template.
    genesis: Option<ChangeHash>,
}

/// An actor's latest change to a document.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    sequence: u64,
    /// Its highest operation counter, or that of the change before when it has no operations.
    counter: u64,
}

/// How large the history is, without writing it out each time.
#[derive(Debug, Clone, Copy, Default)]
struct History {
    /// What it was when it was last written out, in bytes.
    measured: usize,
    /// Changes since, uncompressed, in bytes.
    added: usize,
}

/// A document of a json collection.
#[derive(Debug, Clone)]
pub struct JsonDocument {
    settings: Arc<Settings>,
    document: Automerge,
    /// Whether a delete saw exactly the heads that the document has.
    deleted: bool,
    corrections: Corrections,
    actors: BTreeMap<ActorId, Last>,
    /// The highest operation counter of all.
    counter: u64,
    history: History,
    common: Common,
}

/// What errors call the bounds on history.
const HISTORY_BYTES: &str = "the bytes of a document's history";
const HISTORY_OPERATIONS: &str = "the operations of a document's history";

fn within(what: &'static str, found: usize, max: usize) -> Result<(), Error> {
    if found > max { Err(Error::Limit { what, found, max }) } else { Ok(()) }
}

/// How large a document's history is.
#[derive(Clone, Copy)]
struct Extent {
    bytes: usize,
    operations: usize,
}

impl Extent {
    /// Checks that it has not grown too large.
    fn check(self, bytes_slack: usize) -> Result<(), Error> {
        within(HISTORY_BYTES, self.bytes, HISTORY_BYTES_MAX + bytes_slack)?;
        within(HISTORY_OPERATIONS, self.operations, HISTORY_OPERATIONS_MAX)
    }

    fn plus(self, bytes: usize, operations: usize) -> Self {
        Self { bytes: self.bytes.saturating_add(bytes), operations: self.operations.saturating_add(operations) }
    }
}

impl JsonDocument {
    fn new(
        settings: Arc<Settings>,
        document: Automerge,
        deleted: bool,
        corrections: Corrections,
        saved_bytes: usize,
    ) -> Self {
        let (mut actors, mut counter) = (BTreeMap::<ActorId, Last>::new(), 0);
        for change in document.get_changes_meta(&[]) {
            counter = counter.max(change.max_op);
            actors.insert(change.actor.into_owned(), Last { sequence: change.seq, counter: change.max_op });
        }
        let history = History { measured: saved_bytes, added: 0 };
        Self { settings, document, deleted, corrections, actors, counter, history, common: Common::default() }
    }

    fn knows(&self, hash: &ChangeHash) -> bool {
        self.counter_of(hash).is_some()
    }

    /// A change's highest operation counter; `None` for a change that is not here.
    fn counter_of(&self, hash: &ChangeHash) -> Option<u64> {
        self.document.get_change_meta_by_hash(hash).map(|change| change.max_op)
    }

    /// Whether nobody has written yet at these heads.
    fn is_unwritten(&self, heads: &[ChangeHash]) -> bool {
        heads.iter().all(|head| Some(*head) == self.settings.genesis)
    }

    /// Whether there is a document to see.
    fn exists(&self) -> bool {
        !self.deleted && !self.is_unwritten(&self.document.get_heads())
    }

    fn reader<'a>(&'a self, heads: Option<&'a [ChangeHash]>) -> Reader<'a> {
        Reader { document: &self.document, heads, corrections: &self.corrections, common: &self.common }
    }

    /// Makes sure that a version is one of this document.
    fn at(&self, version: &Version) -> Result<Seen, Error> {
        let seen = Seen::decode(version)?;
        if seen.heads.iter().all(|head| self.knows(head)) { Ok(seen) } else { Err(Error::UnknownBase) }
    }

    /// How large the history is. Writes it out to measure it when the estimate says that little is left.
    fn extent(&mut self) -> Extent {
        let History { measured, added } = self.history;
        if measured + added > HISTORY_BYTES_MAX - MEASURE_EVERY_BYTES && added > MEASURE_EVERY_BYTES {
            self.history = History { measured: self.saved_document().len(), added: 0 };
        }
        let operations = usize::try_from(self.document.stats().num_ops).unwrap_or(usize::MAX);
        Extent { bytes: self.history.measured + self.history.added, operations }
    }

    fn saved_document(&self) -> Vec<u8> {
        self.document.save_with_options(SaveOptions { deflate: true, retain_orphans: false })
    }

    fn seen(&self) -> Seen {
        let corrections = bytes::digest(&self.corrections);
        Seen { heads: self.document.get_heads(), deleted: self.deleted, corrections }
    }
}

/// What a reader sees where there is no document.
const NOTHING: Viewed = Viewed { view: None, conflicts: 0, fallback: None, failed: false };

impl MergeDocument for JsonDocument {
    fn version(&self) -> Version {
        self.seen().encode()
    }

    fn apply(&mut self, write: &Write, context: &WriteContext<'_>) -> Result<Option<Delta>, Error> {
        Ok(self.write(write, context)?.map(Changes::encode))
    }

    fn merge(&mut self, delta: &Delta) -> Result<bool, Error> {
        Ok(!self.take(Changes::decode(delta)?, None)?.is_empty())
    }

    fn merge_all(&mut self, deltas: &[Delta]) -> Result<bool, Error> {
        // Each step by itself costs as much as the document is large.
        let mut all = Changes::default();
        for delta in deltas {
            all.add(Changes::decode(delta)?);
        }
        Ok(!self.take(all, None)?.is_empty())
    }

    fn merge_from(&mut self, delta: &Delta, author: &Author, now_ms: i64) -> Result<Delta, Error> {
        let sender = Sender { author: Some(author), now_ms };
        Ok(self.take(Changes::decode(delta)?, Some(sender))?.encode())
    }

    fn merge_all_from(&mut self, deltas: &[&Delta], author: &Author, now_ms: i64) -> Option<Vec<Delta>> {
        let mut all = Changes::default();
        for delta in deltas {
            all.add(Changes::decode(delta).ok()?);
        }
        // What a delete covers depends on what comes behind it.
        if !all.deletes.is_empty() {
            return None;
        }
        let (sent, claimed) = (all.chunks.len(), all.corrections.clone());
        let taken = self.take(all, Some(Sender { author: Some(author), now_ms })).ok()?;
        if taken.is_empty() {
            return Some(Vec::new());
        }
        let as_sent = taken.chunks.len() == sent && taken.deletes.is_empty() && taken.corrections == claimed;
        Some(if as_sent { deltas.iter().map(|delta| (*delta).clone()).collect() } else { vec![taken.encode()] })
    }

    fn delta(&self, since: &Version) -> Result<Delta, Error> {
        let (then, now) = (self.at(since)?, self.seen());
        let changes = self.document.get_changes(&then.heads);
        let new: BTreeSet<_> = changes.iter().map(automerge::Change::hash).collect();
        let mut corrections = self.corrections.clone();
        if then.corrections == now.corrections {
            corrections.retain(|hash, _| new.contains(hash));
        }
        let deleted_since = now.deleted && (&then.heads, then.deleted) != (&now.heads, now.deleted);
        let deletes = if deleted_since { vec![now.heads] } else { Vec::new() };
        let chunks = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
        Ok(Changes { chunks, deletes, corrections }.encode())
    }

    fn view(&self, chooser: Chooser<'_>) -> Result<Viewed, Error> {
        if self.exists() { choose::view(self.reader(None), chooser) } else { Ok(NOTHING) }
    }

    fn view_at(&self, version: &Version, chooser: Chooser<'_>) -> Result<Viewed, Error> {
        let seen = self.at(version)?;
        if seen.deleted || self.is_unwritten(&seen.heads) {
            return Ok(NOTHING);
        }
        choose::view(self.reader(Some(&seen.heads)), chooser)
    }

    fn conflicts(&self) -> Result<ConflictSet, Error> {
        if self.exists() { choose::conflicts(self.reader(None)) } else { Ok(ConflictSet::default()) }
    }

    fn open(&self, chooser: Chooser<'_>) -> Result<OpenConflicts, Error> {
        if self.exists() { choose::open(self.reader(None), chooser) } else { Ok(OpenConflicts::default()) }
    }

    fn as_json(&mut self) -> Option<&mut JsonDocument> {
        Some(self)
    }

    fn save(&self) -> Bytes {
        let document = self.saved_document();
        Saved { document, deleted: self.deleted, corrections: self.corrections.clone() }.encode()
    }

    fn memory_bytes(&self) -> usize {
        let stats = self.document.stats();
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let (changes, operations) = (count(stats.num_changes), count(stats.num_ops));
        let content = self.history.measured + self.history.added;
        let content = content.saturating_sub(changes.saturating_mul(CHANGE_OVERHEAD_BYTES));
        changes.saturating_mul(CHANGE_MEMORY_BYTES) + operations.saturating_mul(OPERATION_MEMORY_BYTES) + content
    }

    fn scratch(&self) -> Box<dyn MergeDocument> {
        Box::new(self.clone())
    }
}

/// What a change takes in memory, an operation of it, and how much of a change's bytes is neither values nor names, in
/// bytes. Counted with an allocator that counts, over counters, texts, lists and maps of up to 10,000 changes: what is
/// estimated from these lies within a third of it.
const CHANGE_MEMORY_BYTES: usize = 190;
const OPERATION_MEMORY_BYTES: usize = 40;
const CHANGE_OVERHEAD_BYTES: usize = 120;
