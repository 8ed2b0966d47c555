//! Registers: documents that are put, created, deleted and read, for the check that one order explains the answers.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use serde_json::Value;
use skerry_api::client::Client;
use skerry_api::documents::Conditions;
use skerry_tests::simulation::history::{Ask, Heard};

use super::clients::{One, Shared, address, document, only_at, read, written};

const KEYS: u64 = 3;
const FIELD: &str = "value";

/// One client, until it is told to stop.
pub(super) async fn run(mut client: One) {
    while client.goes_on().await {
        let generation = client.shared.generation.load(Ordering::Relaxed);
        let key = key(generation, client.random.random_range(0..KEYS));
        let (node, patience) = client.chooses();
        let value = client.shared.value();
        let ask = match client.random.random_range(0..10) {
            0..4 => Ask::Put(value),
            4 => Ask::Create(value),
            5 => Ask::Delete,
            _ => Ask::Get,
        };
        ask_once(&client.shared, &node, &key, ask, patience).await;
    }
}

/// Reads every document that was ever used once more, from every node; all of it must be answered.
pub(super) async fn read_all(shared: &Shared, patience: Duration) {
    for generation in 0..=shared.generation.load(Ordering::Relaxed) {
        for number in 0..KEYS {
            for node in shared.nodes() {
                let key = key(generation, number);
                let heard = ask_once(shared, &node, &key, Ask::Get, patience).await;
                assert_ne!(heard, Heard::Unknown, "a healed cluster did not answer a read of {key}");
            }
        }
    }
}

fn key(generation: u64, number: u64) -> String {
    format!("register-{generation}-{number}")
}

async fn ask_once(shared: &Shared, node: &Client, key: &str, ask: Ask, patience: Duration) -> Heard {
    let number = shared.history.lock().ask(key, ask);
    let at = address(key);
    let heard = match ask {
        Ask::Get => match read(node, &at, FIELD, patience).await {
            Ok(found) => Heard::Value(found.map(|(value, _)| value.as_u64().expect("every value is a number"))),
            Err(()) => Heard::Unknown,
        },
        Ask::Put(value) | Ask::Create(value) => {
            let conditions = if matches!(ask, Ask::Create(_)) { only_at(None) } else { Conditions::default() };
            let (document, at) = (document(FIELD, Value::from(value)), &at);
            written(tokio::time::timeout(patience, node.put(at, &document, &conditions)).await.ok())
        }
        Ask::Delete => {
            let conditions = Conditions::default();
            written(tokio::time::timeout(patience, node.delete(&at, &conditions)).await.ok())
        }
    };
    shared.history.lock().hear(number, heard);
    heard
}
