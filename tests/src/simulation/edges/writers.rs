//! Who writes the collections that merge: edges at themselves, and clients of the core beside them. Documents of the growing
//! collection only ever get fields that nobody else writes, so each stored write can be found again; in the changing
//! one everybody writes over everybody, and deletes.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skerry_api::documents::{Address, Conditions, Documents, WriteRequest};
use skerry_model::engine::Write;

use super::super::machine::Machine;
use super::machine::EdgeMachine;
use crate::checkers::StoredWrite;

/// The collection in which fields only come.
pub(crate) const GROWING: &str = "tides";
/// The collection in which anything happens.
pub(crate) const CHANGING: &str = "marks";
const KEYS: usize = 3;
/// How likely each writer begins a write in a tick.
const CHANCE: f64 = 0.006;

/// Every document that is written here.
pub(crate) fn documents() -> impl Iterator<Item = Address> {
    [GROWING, CHANGING].into_iter().flat_map(|collection| (0..KEYS).map(move |key| address(collection, key)))
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
}

impl Writers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), number: 0, stored: Arc::default() }
    }

    /// Writes to the growing collection that were answered: at an edge they are stored, at the core acknowledged.
    pub(crate) fn stored(&self) -> Vec<StoredWrite> {
        self.stored.lock().clone()
    }

    /// Some of them write something.
    pub(crate) fn ask(&mut self, edges: &[EdgeMachine], nodes: &[Machine]) {
        for machine in edges {
            let Some(edge) = machine.edge().filter(|_| self.random.random_bool(CHANCE)) else { continue };
            let (at, write, stored) = self.draw(machine.replica.as_str());
            let (edge, all) = (edge.clone(), Arc::clone(&self.stored));
            let by = machine.replica.clone();
            machine.spawn(async move {
                let request = WriteRequest { write, conditions: Conditions::default() };
                // What is refused, or never answered, may be there or not.
                if let (Ok(_), Some((document, field))) = (edge.write(at, request).await, stored) {
                    all.lock().push(StoredWrite { by: Some(by), document, field });
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
            let request = WriteRequest { write, conditions: Conditions::default() };
            if let (Ok(_), Some((document, field))) = (node.write(at, request).await, stored) {
                all.lock().push(StoredWrite { by: None, document, field });
            }
        });
    }

    /// A write, and for the growing collection which field of which document it adds.
    fn draw(&mut self, who: &str) -> (Address, Write, Option<(String, String)>) {
        self.number += 1;
        let (number, key) = (self.number, self.random.random_range(0..KEYS));
        if self.random.random_bool(0.6) {
            let (at, field) = (address(GROWING, key), format!("{who}-{number}"));
            let document = format!("{}/{}", at.collection, at.key);
            let write = Write::Patch(json!({ &field: number }));
            return (at, write, Some((document, field)));
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
