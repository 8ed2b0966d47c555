//! Who writes the collections that merge: edges at themselves, and clients of the core beside them. Documents of the growing
//! collection only ever get fields and letters that nobody else writes, sets get items that nobody else adds, and counters only go up,
//! so each stored write can be found again; in the changing collection everybody writes over everybody, and deletes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skerry_api::documents::{Address, Consistency, Documents, WriteRequest};
use skerry_model::engine::Write;
use skerry_model::{DocumentKey, Origin};

use super::super::machine::Machine;
use super::machine::EdgeMachine;
use crate::checkers::edge_writes_kept::shows;
use crate::checkers::{Added, Shown, StoredWrite};

/// The collection in which fields only come.
pub(crate) const GROWING: &str = "tides";
/// The collection in which anything happens.
pub(crate) const CHANGING: &str = "marks";
/// The collection of counters.
pub(crate) const COUNTING: &str = "sums";
/// The collection of sets.
pub(crate) const COLLECTING: &str = "nets";
/// The collection of documents that have no room for what everybody brings.
pub(crate) const LOADING: &str = "holds";
/// The field of a growing document that is a text.
pub(crate) const TEXT: &str = "log";
const KEYS: usize = 3;
/// Two of these are more than a document holds.
const LOAD_BYTES: usize = 600_000;
/// The share of writers who see a version of the past.
const BASED: f64 = 0.4;
/// The share of heavy writes among those that could be one.
const LOADED: f64 = 0.3;
/// How likely each writer begins a write in a tick.
const CHANCE: f64 = 0.006;

/// Every document that is written here.
pub(crate) fn documents() -> impl Iterator<Item = Address> {
    let collections = [GROWING, LOADING, CHANGING, COUNTING, COLLECTING];
    collections.into_iter().flat_map(|collection| (0..KEYS).map(move |key| address(collection, key)))
}

fn address(collection: &str, key: usize) -> Address {
    Address {
        collection: collection.parse().expect("it is a valid name"),
        key: format!("key-{key}").parse().expect("it is a valid key"),
    }
}

/// The writers of a world.
pub(crate) struct Writers {
    random: StdRng,
    /// Counts up, so that every field is written once.
    number: u64,
    stored: Arc<Mutex<Vec<StoredWrite>>>,
    /// How often one was to be added to each counter.
    asked: BTreeMap<String, usize>,
    may_be_restored: bool,
    /// Held by everybody who is about to write.
    busy: Arc<()>,
}

impl Writers {
    pub(crate) fn new(seed: u64, may_be_restored: bool) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self {
            random,
            number: 0,
            stored: Arc::default(),
            asked: BTreeMap::new(),
            may_be_restored,
            busy: Arc::default(),
        }
    }

    /// Writes that were answered and that nothing takes back: at an edge they are stored, at the core acknowledged.
    pub(crate) fn stored(&self) -> Vec<StoredWrite> {
        self.stored.lock().clone()
    }

    /// How often one was to be added to each counter, answered or not.
    pub(crate) fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.clone()
    }

    /// What clients of the core wrote and a restored core does not show is lost.
    pub(crate) fn forget_at_core(&self, shown: &Shown) {
        self.stored.lock().retain(|write| write.by.is_some() || shows(shown, write));
    }

    /// Some of them write something.
    pub(crate) fn ask(&mut self, edges: &[EdgeMachine], nodes: &[Machine]) {
        for machine in edges {
            let Some(edge) = machine.edge().filter(|_| self.random.random_bool(CHANCE)) else { continue };
            let planned = self.draw(machine.replica.as_str(), true);
            let (edge, all) = (edge.clone(), Arc::clone(&self.stored));
            let by = machine.replica.clone();
            let busy = Arc::clone(&self.busy);
            machine.spawn(async move {
                carry_out(&edge, planned, Some(by), &all).await;
                drop(busy);
            });
        }
        if edges.is_empty() || !self.random.random_bool(CHANCE) {
            return;
        }
        let machine = &nodes[self.random.random_range(0..nodes.len())];
        let Some(node) = machine.node().filter(|_| !machine.is_paused()) else { return };
        let planned = self.draw("core", !self.may_be_restored);
        let all = Arc::clone(&self.stored);
        let busy = Arc::clone(&self.busy);
        machine.spawn(async move {
            carry_out(&node, planned, None, &all).await;
            drop(busy);
        });
    }

    /// Whether anybody still waits to write, or for the answer.
    pub(crate) fn are_busy(&self) -> bool {
        Arc::strong_count(&self.busy) > 1
    }

    /// Somebody has some of what was refused made again.
    pub(crate) fn try_again(&mut self, edges: &[EdgeMachine]) {
        for machine in edges {
            let refused = machine.edge().filter(|edge| edge.status().stranded > 0);
            let Some(edge) = refused.filter(|_| self.random.random_bool(CHANCE)).cloned() else { continue };
            machine.spawn(async move {
                let Ok(stranded) = edge.stranded(None, 1).await else { return };
                for change in stranded {
                    // Where it cannot be made it stays.
                    drop(edge.retry_stranded(change.id).await);
                }
            });
        }
    }

    /// A write, and what it adds to which document where nothing takes that back. Increments tell nothing of who made them,
    /// so where some are lost and others are not, nobody makes any.
    fn draw(&mut self, who: &str, counts: bool) -> Planned {
        self.number += 1;
        let (number, key) = (self.number, self.random.random_range(0..KEYS));
        let part = format!("{who}-{number}");
        let based = self.random.random_bool(BASED).then(|| Duration::from_millis(self.random.random_range(0..3_000)));
        let (at, write, added) = match self.random.random_range(0..12) {
            0..4 => (address(GROWING, key), Want::Write(Write::Patch(json!({ &part: number }))), Added::Part(part)),
            4 | 5 => {
                let letter = letter(number);
                (address(GROWING, key), Want::Letter(letter, self.random.random()), Added::Letter(letter))
            }
            6 if counts => (address(COUNTING, key), Want::Write(Write::Operation(json!({ "inc": 1 }))), Added::One),
            7 => {
                let add = Write::Operation(json!({ "add": part }));
                return self.planned(address(COLLECTING, key), Want::Write(add), Some(Added::Part(part)), None);
            }
            8 if self.random.random_bool(LOADED) => {
                let load = Write::Patch(json!({ &part: "x".repeat(LOAD_BYTES) }));
                (address(LOADING, key), Want::Write(load), Added::Part(part))
            }
            _ => {
                let (at, write) = self.change(key, number);
                let based = based.filter(|_| at.collection.as_str() == CHANGING);
                return self.planned(at, Want::Write(write), None, based);
            }
        };
        let based = based.filter(|_| added != Added::One);
        self.planned(at, write, Some(added), based)
    }

    fn planned(&mut self, at: Address, want: Want, added: Option<Added>, based: Option<Duration>) -> Planned {
        let document = format!("{}/{}", at.collection, at.key);
        if added == Some(Added::One) {
            *self.asked.entry(document.clone()).or_default() += 1;
        }
        Planned { at, want, based, added: added.map(|added| (document, added)) }
    }

    /// A write that others may take back.
    fn change(&mut self, key: usize, number: u64) -> (Address, Write) {
        if self.random.random_bool(0.2) {
            let doing = ["add", "remove"][self.random.random_range(0..2)];
            return (address(COLLECTING, key), Write::Operation(json!({ doing: "weed" })));
        }
        let field = ["left", "right"][self.random.random_range(0..2)];
        let write = match self.random.random_range(0..8) {
            0 => Write::Delete,
            1 => Write::Patch(json!({ field: null })),
            2..4 => Write::Put(object(json!({ field: number }))),
            _ => Write::Patch(json!({ field: number })),
        };
        (address(CHANGING, key), write)
    }
}

/// A write that is to be made.
struct Planned {
    at: Address,
    want: Want,
    /// Whoever writes has read the document this long before, and writes at what it was then.
    based: Option<Duration>,
    added: Option<(String, Added)>,
}

enum Want {
    Write(Write),
    /// A letter somewhere in the text: a share of its length.
    Letter(char, u32),
}

/// What is refused, or never answered, may be there or not.
async fn carry_out(replica: &impl Documents, planned: Planned, by: Option<Origin>, all: &Mutex<Vec<StoredWrite>>) {
    let Planned { at, want, based, added } = planned;
    let read = match (&want, based) {
        (Want::Write(_), None) => None,
        _ => replica.get(at.clone(), Consistency::Local).await.ok(),
    };
    let write = match want {
        Want::Write(write) => write,
        Want::Letter(letter, place) => {
            let view = read.as_ref().and_then(|read| read.view.object().ok()).unwrap_or_default();
            let letters = view.get(TEXT).and_then(Value::as_str).map_or(0, |text| text.chars().count());
            let place = place as usize % (letters + 1);
            Write::Operation(json!({ "splice": [{ "path": format!("/{TEXT}"), "at": place, "insert": letter }] }))
        }
    };
    if let Some(pause) = based {
        tokio::time::sleep(pause).await;
    }
    let base = based.and(read).map(|read| read.stamp.etag);
    if let (Ok(_), Some((document, added))) =
        (replica.write(at, WriteRequest { base, ..WriteRequest::new(write) }).await, added)
    {
        all.lock().push(StoredWrite { by, document, added });
    }
}

/// One that no other write has, and none of the names has either.
fn letter(number: u64) -> char {
    let of = |number: u32| char::from_u32(0x4e00 + number);
    u32::try_from(number).ok().and_then(of).expect("a world has some thousand writes")
}

fn object(value: Value) -> serde_json::Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => serde_json::Map::new(),
    }
}

/// What a write that patches, or operates, with these fields adds to the document of a key.
pub(crate) fn added(key: &DocumentKey, fields: &[u8]) -> Vec<(String, Added)> {
    let fields = serde_json::from_slice::<BTreeMap<String, Value>>(fields).unwrap_or_default();
    let added = fields.into_iter().map(|(name, value)| match (&*name, value) {
        ("inc", _) => (format!("{COUNTING}/{key}"), Added::One),
        ("add", Value::String(item)) => (format!("{COLLECTING}/{key}"), Added::Part(item)),
        ("splice", splices) => {
            let letter = splices.pointer("/0/insert").and_then(Value::as_str).and_then(|text| text.chars().next());
            (format!("{GROWING}/{key}"), Added::Letter(letter.unwrap_or_default()))
        }
        (_, Value::String(_)) => (format!("{LOADING}/{key}"), Added::Part(name)),
        _ => (format!("{GROWING}/{key}"), Added::Part(name)),
    });
    added.collect()
}
