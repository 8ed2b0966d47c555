//! Clients that ask one thing after the other of nodes chosen at random, and write down what they hear.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skerry_api::documents::{Address, Conditions, Consistency, Documents, Match, WriteRequest};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_host::node::Node;
use skerry_model::engine::Write;

use super::history::{Ask, Heard, History, Step};
use super::machine::Machine;

const CLIENTS: usize = 6;
const KEYS: usize = 3;
/// How long a client waits for an answer, in microseconds.
const PATIENCE_US: u64 = 5_000_000;

/// The clients of a world.
pub(super) struct Clients {
    random: StdRng,
    documents: Vec<Address>,
    /// What each client waits for, and until when.
    waiting: Vec<Option<(usize, u64)>>,
    answers: Arc<Mutex<Vec<(usize, Heard)>>>,
    /// Counts up, so that every value is written once.
    value: u64,
    /// Documents that are still to be read at the end, and what the reader waits for.
    unread: Option<Vec<Address>>,
    pub(super) history: History,
}

impl Clients {
    pub(super) fn new(seed: u64, collections: &[&str]) -> Self {
        let documents = collections.iter().flat_map(|collection| {
            (0..KEYS).map(move |key| Address {
                collection: collection.parse().expect("it is a valid name"),
                key: format!("key-{key}").parse().expect("it is a valid key"),
            })
        });
        Self {
            random: StdRng::seed_from_u64(seed),
            documents: documents.collect(),
            waiting: vec![None; CLIENTS],
            answers: Arc::default(),
            value: 0,
            unread: None,
            history: History::default(),
        }
    }

    /// Clients that wait for nothing ask something.
    pub(super) fn ask(&mut self, machines: &[Machine], now_us: u64) {
        for client in 0..CLIENTS {
            match self.waiting[client] {
                Some((_, until)) if now_us < until => continue,
                // It gives up; its write may still happen.
                Some(_) => self.waiting[client] = None,
                None => {}
            }
            if !self.random.random_bool(0.05) {
                continue;
            }
            let machine = &machines[self.random.random_range(0..machines.len())];
            let Some(node) = machine.node().filter(|_| !machine.is_paused()) else { continue };
            let at = self.documents[self.random.random_range(0..self.documents.len())].clone();
            self.value += 1;
            let ask = match self.random.random_range(0..10) {
                0..4 => Ask::Put(self.value),
                4 => Ask::Create(self.value),
                5 => Ask::Delete,
                _ => Ask::Get,
            };
            let number = self.send(machine, node, at, ask);
            self.waiting[client] = Some((number, now_us + PATIENCE_US));
        }
    }

    fn send(&mut self, machine: &Machine, node: Node, at: Address, ask: Ask) -> usize {
        let number = self.history.ask(&format!("{}/{}", at.collection, at.key), ask);
        let answers = Arc::clone(&self.answers);
        machine.spawn(async move {
            let heard = carry_out(&node, at, ask).await;
            answers.lock().push((number, heard));
        });
        number
    }

    /// Writes down what was answered.
    pub(super) fn hear(&mut self) {
        for (number, heard) in std::mem::take(&mut *self.answers.lock()) {
            self.history.hear(number, heard);
            for waiting in &mut self.waiting {
                if waiting.is_some_and(|(waits_for, _)| waits_for == number) {
                    *waiting = None;
                }
            }
        }
    }

    /// What is asked and not answered, for a report.
    pub(super) fn unheard(&self) -> Vec<&Step> {
        self.waiting.iter().flatten().map(|(number, _)| &self.history.steps()[*number]).collect()
    }

    /// Reads every document once more from each of these nodes; whether all of that is answered.
    pub(super) fn read_all(&mut self, machines: &[Machine], nodes: &[usize], now_us: u64) -> bool {
        let everything = || self.documents.iter().flat_map(|at| std::iter::repeat_n(at.clone(), nodes.len())).collect();
        let mut unread = self.unread.take().unwrap_or_else(everything);
        let last = self.waiting[0].take();
        let waits = match last {
            Some((_, until)) if now_us < until => {
                self.waiting[0] = last;
                true
            }
            _ => false,
        };
        if !waits && let Some(at) = unread.pop() {
            let machine = &machines[nodes[unread.len() % nodes.len()]];
            if let Some(node) = machine.node() {
                let number = self.send(machine, node, at, Ask::Get);
                self.waiting[0] = Some((number, now_us + PATIENCE_US));
            } else {
                unread.push(at);
            }
        }
        let done = unread.is_empty() && self.waiting[0].is_none();
        self.unread = Some(unread);
        done
    }
}

async fn carry_out(node: &Node, at: Address, ask: Ask) -> Heard {
    let put = |value: u64| {
        let fields = json!({ "value": value });
        Write::Put(fields.as_object().cloned().unwrap_or_default())
    };
    let write = match ask {
        Ask::Get => return read(node, at).await,
        Ask::Put(value) | Ask::Create(value) => put(value),
        Ask::Delete => Write::Delete,
    };
    let if_none_match = matches!(ask, Ask::Create(_)).then_some(Match::Any);
    let conditions = Conditions { if_match: None, if_none_match };
    match node.write(at, WriteRequest { conditions, ..WriteRequest::new(write) }).await {
        Ok(_) => Heard::Done,
        Err(problem) => refused(&problem),
    }
}

async fn read(node: &Node, at: Address) -> Heard {
    match node.get(at, Consistency::Linearizable).await {
        Ok(read) => {
            let value = read.view.object().ok().and_then(|view| view.get("value").and_then(Value::as_u64));
            value.map_or(Heard::Unknown, |value| Heard::Value(Some(value)))
        }
        Err(problem) if problem.kind == Kind::DocumentNotFound => Heard::Value(None),
        Err(_) => Heard::Unknown,
    }
}

fn refused(problem: &Problem) -> Heard {
    match (problem.kind, problem.outcome) {
        (Kind::PreconditionFailed | Kind::DocumentNotFound, _) => Heard::Refused,
        (Kind::Unavailable, Some(Outcome::NotProposed)) | (Kind::Overloaded, _) => Heard::NotDone,
        _ => Heard::Unknown,
    }
}
