//! What documents with a long history cost.

use super::*;

/// A document of 10,000 changes. A write to it looks at what it changes: run with `--nocapture` for the times.
#[test]
fn a_write_to_a_long_history_is_small() {
    let mut one = Replica::new(&engine(JsonSettings::default()), "one");
    let mut transaction_bytes = 0;
    for at in 0..10_000 {
        let seen = object(json!({"count": at - 1}));
        let context = WriteContext {
            author: &one.author,
            time_ms: START_MS + at,
            number: None,
            base: None,
            seen: (at > 0).then_some(&seen),
        };
        let delta = one.document.apply(&Write::Put(object(json!({"count": at}))), &context).unwrap().unwrap();
        transaction_bytes = delta.0.len();
    }
    assert!(transaction_bytes < 300, "{transaction_bytes}");
    let started = std::time::Instant::now();
    one.put(json!({"count": "x"}));
    let written = started.elapsed();
    let copied = std::time::Instant::now();
    let copy = one.document.scratch();
    println!("put {written:?}, scratch {:?}, about {} bytes", copied.elapsed(), copy.memory_bytes());
}
