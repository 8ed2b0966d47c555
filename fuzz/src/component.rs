//! Bytes that somebody deploys as a plugin. They compile or are refused, and whatever they do when called, they do it
//! alike on both back ends.

use std::fmt::{Debug, Display};
use std::sync::LazyLock;

use serde_json::json;
use skerry_model::policy::{Candidate, Conflict, ConflictSet, MergePolicy};
use skerry_runtime::{CompiledPlugin, CompiledPolicy, Error, Runtime, RuntimeProfile};

use crate::contract::{check_outcome, runtimes};

/// Enough for what is small, so that endless loops end soon.
const FUEL: u64 = 1_000_000;
/// How deep calls may nest before the stack is full is the one thing in which back ends may differ.
const TOO_DEEP: &str = "its calls nest deeper";

static RUNTIMES: LazyLock<[Runtime; 2]> =
    LazyLock::new(|| runtimes(&RuntimeProfile { fuel: FUEL, ..RuntimeProfile::newest() }));

/// Compiles the component, and calls it where it is a plugin.
///
/// # Panics
/// When it does not end in an answer or an error, when the back ends differ, or when the host is blamed.
pub fn check(component: &[u8]) {
    let [native, pulley] = RUNTIMES.each_ref().map(|runtime| runtime.compile(component));
    match (native, pulley) {
        (Ok(CompiledPlugin::Resolver(native)), Ok(CompiledPlugin::Resolver(pulley))) => {
            let conflicts = conflicts();
            let (native, pulley) = (native.call(&conflicts), pulley.call(&conflicts));
            check_outcome(&native, &conflicts);
            check_alike(native, pulley);
        }
        (Ok(CompiledPlugin::MergePolicy(native)), Ok(CompiledPlugin::MergePolicy(pulley))) => {
            check_policies(&native, &pulley);
        }
        (native, pulley) => {
            if let Err(Error::Host { reason }) = &native {
                panic!("blamed on the host: {reason}");
            }
            check_alike(native.map(|plugin| plugin.world()), pulley.map(|plugin| plugin.world()));
        }
    }
}

fn check_policies(native: &CompiledPolicy, pulley: &CompiledPolicy) {
    assert_eq!(native.state_version(), pulley.state_version());
    let empty = native.empty();
    check_alike(empty.clone(), pulley.empty());
    if let Ok(state) = empty {
        check_alike(native.view(&state), pulley.view(&state));
        check_alike(native.merge(&state, &state), pulley.merge(&state, &state));
    }
    check_alike(native.examples(), pulley.examples());
    assert_eq!(native.calls().not_run(), 0, "blamed on the host");
}

#[track_caller]
fn check_alike<T: PartialEq + Debug, E: Display>(native: Result<T, E>, pulley: Result<T, E>) {
    let [native, pulley] = [native, pulley].map(|result| result.map_err(|error| error.to_string()));
    let too_deep = |result: &Result<T, String>| result.as_ref().is_err_and(|reason| reason.contains(TOO_DEEP));
    if !too_deep(&native) && !too_deep(&pulley) {
        assert_eq!(native, pulley);
    }
}

/// One conflict at `/a` between 1 and 2.
fn conflicts() -> ConflictSet {
    let candidate = |value: i64| Candidate { value: json!(value), origin: "till".to_owned(), sequence: 1, time: 0 };
    let candidates = vec![candidate(1), candidate(2)];
    ConflictSet { conflicts: vec![Conflict { path: "/a".to_owned(), ancestor: Some(json!(0)), candidates }] }
}
