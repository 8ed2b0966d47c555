//! What the bundled plugins decide and the fuel that it takes, over a corpus: the same on every machine, and changed only
//! on purpose. `SKERRY_GOLDEN=write` writes the file anew.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use skerry_guest::laws::decision;
use skerry_model::policy::{ConflictSet, MergePolicy, OperationContext};
use skerry_runtime::{Backend, CompiledPlugin, Runtime, RuntimeProfile, guest_conflicts, guest_resolution, standard};

/// What came of one case, and the fuel of all its calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Golden {
    result: Value,
    fuel: u64,
}

fn corpus(plugin: &str) -> Vec<(&'static str, Value)> {
    let candidate = |origin: &str, time: i64, value: Value| json!({ "value": value, "origin": origin, "sequence": 1, "time": time });
    let conflict = |path: &str, ancestor: Option<Value>, candidates: Vec<Value>| {
        let mut conflict = json!({ "path": path, "candidates": candidates });
        if let Some(ancestor) = ancestor {
            conflict["ancestor"] = ancestor;
        }
        json!({ "conflicts": [conflict] })
    };
    let between = |path: &str, ancestor: Option<Value>, one: Value, other: Value| {
        conflict(path, ancestor, vec![candidate("till-1", 1_000, one), candidate("till-2", 1_000, other)])
    };
    match plugin {
        "stock" => vec![
            ("two sales", between("/remaining", Some(json!(10)), json!(7), json!(9))),
            ("oversold", between("/remaining", Some(json!(1)), json!(0), json!(0))),
            ("created twice", between("/remaining", None, json!(4), json!(5))),
            ("no number", between("/remaining", Some(json!("ten")), json!(4), json!(5))),
        ],
        "multi-value" => vec![
            ("two titles", between("/title", None, json!("one"), json!("two"))),
            ("equal titles", between("/title", None, json!("one"), json!("one"))),
            ("objects", between("/title", None, json!({"b": [1, 2.5]}), json!({"a": null}))),
        ],
        "calendar-booking" => vec![
            ("one slot", between("/slots/10:00", None, json!({"by": "ann"}), json!({"by": "bo"}))),
            ("freed", between("/slots/10:00", Some(json!({"by": "ann"})), json!(null), json!({"by": "bo"}))),
        ],
        "max-register" => vec![("three", json!([["a", {"set": 3}], ["b", {"set": 5}], ["a", {"set": 4}]]))],
        "bounded-counter" => vec![
            ("given and taken", json!([["a", {"add": 5}], ["a", {"give": {"to": "b", "n": 2}}], ["b", {"take": 2}]])),
            ("too few", json!([["a", {"add": 1}], ["b", {"take": 1}]])),
        ],
        "ordered-list" => vec![
            (
                "in order",
                json!([["a", {"insert": {"at": 0, "value": "x"}}], ["b", {"insert": {"at": 1, "value": [1]}}]]),
            ),
            ("removed", json!([["a", {"insert": {"at": 0, "value": "x"}}], ["a", {"remove": {"at": 0}}]])),
        ],
        other => panic!("{other} has no corpus"),
    }
}

fn outcome(plugin: &CompiledPlugin, case: &Value) -> Golden {
    let before = plugin.calls().fuel();
    let result = match plugin {
        CompiledPlugin::Resolver(resolver) => {
            let set: ConflictSet = serde_json::from_value(case.clone()).unwrap();
            match resolver.call(&set) {
                Ok(outcome) => json!(decision(&guest_conflicts(&set), &guest_resolution(outcome.resolution)).unwrap()),
                Err(refused) => json!(refused.to_string()),
            }
        }
        CompiledPlugin::MergePolicy(policy) => {
            let mut state: Bytes = policy.empty().unwrap();
            let mut refused = Vec::new();
            for (at, step) in case.as_array().unwrap().iter().enumerate() {
                let origin = step[0].as_str().unwrap().parse().unwrap();
                let context =
                    OperationContext { origin: &origin, incarnation: 1, sequence: at as u64 + 1, time_ms: 1_000 };
                match policy.apply(&state, &step[1], &context) {
                    Ok(applied) => state = policy.merge(&state, &applied).unwrap(),
                    Err(error) => refused.push(error.to_string()),
                }
            }
            json!({ "view": policy.view(&state).unwrap(), "refused": refused })
        }
    };
    Golden { result, fuel: plugin.calls().fuel() - before }
}

#[test]
fn results_and_fuel_are_the_golden_ones() {
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    for (found, backend) in found.iter_mut().zip([Backend::Native, Backend::Pulley]) {
        let runtime = Runtime::with_backend(RuntimeProfile::newest(), backend).unwrap();
        for plugin in standard::ALL {
            let compiled = runtime.compile(plugin.component).unwrap();
            for (name, case) in corpus(plugin.name) {
                found.insert(format!("{}: {name}", plugin.name), outcome(&compiled, &case));
            }
        }
    }
    let [native, pulley] = found;
    assert_eq!(native, pulley);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden.json");
    if std::env::var_os("SKERRY_GOLDEN").is_some() {
        std::fs::write(&path, format!("{:#}\n", json!(native))).unwrap();
    }
    let golden: BTreeMap<String, Golden> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(native, golden);
}
