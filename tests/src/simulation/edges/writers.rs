//! Who writes the collections that merge: edges at themselves, and clients of the core beside them. Documents of the growing
//! collection only ever get fields that nobody else writes, sets get items that nobody else adds, and counters only go up,
//! so each stored write can be found again; in the changing collection everybody writes over everybody, and deletes.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skerry_api::documents::{Address, Documents, WriteRequest};
use skerry_model::DocumentKey;
use skerry_model::engine::Write;

use super::super::machine::Machine;
use super::machine::EdgeMachine;
use crate::checkers::{Added, StoredWrite};

/// The collection in which fields only come.
pub(crate) const GROWING: &str = "tides";
/// The collection in which anything happens.
pub(crate) const CHANGING: &str = "marks";
/// The collection of counters.
pub(crate) const COUNTING: &str = "sums";
/// The collection of sets.
pub(crate) const COLLECTING: &str = "nets";
const KEYS: usize = 3;
/// How likely each writer begins a write in a tick.
const CHANCE: f64 = 0.006;

/// Every document that is written here.
pub(crate) fn documents() -> impl Iterator<Item = Address> {
    let collections = [GROWING, CHANGING, COUNTING, COLLECTING];
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
}

impl Writers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), number: 0, stored: Arc::default(), asked: BTreeMap::new() }
    }

    /// Writes that were answered and that nothing takes back: at an edge they are stored, at the core acknowledged.
    pub(crate) fn stored(&self) -> Vec<StoredWrite> {
        self.stored.lock().clone()
    }

    /// How often one was to be added to each counter, answered or not.
    pub(crate) fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.clone()
    }

    /// Some of them write something.
    pub(crate) fn ask(&mut self, edges: &[EdgeMachine], nodes: &[Machine]) {
        for machine in edges {
            let Some(edge) = machine.edge().filter(|_| self.random.random_bool(CHANCE)) else { continue };
            let (at, write, stored) = self.draw(machine.replica.as_str());
            let (edge, all) = (edge.clone(), Arc::clone(&self.stored));
            let by = machine.replica.clone();
            machine.spawn(async move {
                let request = WriteRequest::new(write);
                // What is refused, or never answered, may be there or not.
                if let (Ok(_), Some((document, added))) = (edge.write(at, request).await, stored) {
                    all.lock().push(StoredWrite { by: Some(by), document, added });
                }
            });
        }
        if edges.is_empty() || !self.random.random_bool(CHANCE) {
            return;
        }
        let machine = &nodes[self.random.random_range(0..nodes.len())];
        let Some(node) = machine.node().filter(|_| !machine.is_paused()) else { return };
        let (at, write, stored) = self.draw("core");
        let all = Arc::clone(&self.stored);
        machine.spawn(async move {
            let request = WriteRequest::new(write);
            if let (Ok(_), Some((document, added))) = (node.write(at, request).await, stored) {
                all.lock().push(StoredWrite { by: None, document, added });
            }
        });
    }

    /// A write, and what it adds to which document where nothing takes that back.
    fn draw(&mut self, who: &str) -> (Address, Write, Option<(String, Added)>) {
        self.number += 1;
        let (number, key) = (self.number, self.random.random_range(0..KEYS));
        let part = format!("{who}-{number}");
        let (at, write, added) = match self.random.random_range(0..10) {
            0..4 => (address(GROWING, key), Write::Patch(json!({ &part: number })), Added::Part(part)),
            4 => (address(COUNTING, key), Write::Operation(json!({ "inc": 1 })), Added::One),
            5 => (address(COLLECTING, key), Write::Operation(json!({ "add": part })), Added::Part(part)),
            _ => return self.change(key, number),
        };
        let document = format!("{}/{}", at.collection, at.key);
        if added == Added::One {
            *self.asked.entry(document.clone()).or_default() += 1;
        }
        (at, write, Some((document, added)))
    }

    /// A write that others may take back.
    fn change(&mut self, key: usize, number: u64) -> (Address, Write, Option<(String, Added)>) {
        if self.random.random_bool(0.2) {
            let doing = ["add", "remove"][self.random.random_range(0..2)];
            return (address(COLLECTING, key), Write::Operation(json!({ doing: "weed" })), None);
        }
        let field = ["left", "right"][self.random.random_range(0..2)];
        let write = match self.random.random_range(0..8) {
            0 => Write::Delete,
            1 => Write::Patch(json!({ field: null })),
            2..4 => Write::Put(object(json!({ field: number }))),
            _ => Write::Patch(json!({ field: number })),
        };
        (address(CHANGING, key), write, None)
    }
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
        _ => (format!("{GROWING}/{key}"), Added::Part(name)),
    });
    added.collect()
}
