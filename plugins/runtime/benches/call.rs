//! What the sandbox costs beside a bare call of wasmtime: `cargo bench -p skerry-runtime`. Both run the bundled stock
//! resolver on a fresh instance, with fuel, canonical NaNs and the epoch alarm; ours also turns values into canonical text
//! and back, bounds what goes in and out, and checks what comes back.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![expect(clippy::unwrap_used, reason = "a benchmark ends where a call fails")]

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use skerry_model::policy;
use skerry_runtime::{Runtime, RuntimeProfile, standard};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

#[allow(clippy::allow_attributes_without_reason, clippy::large_futures, reason = "generated")]
mod bare {
    wasmtime::component::bindgen!({ path: "../wit", world: "resolver" });
}

use bare::skerry::plugin::resolving::{Candidate, Conflict};

/// One conflict between so many candidates.
fn conflicts(candidates: i64) -> policy::ConflictSet {
    let candidate = |at: i64| policy::Candidate {
        value: json!(1_000 - at),
        origin: format!("till-{at}"),
        sequence: 1,
        time: 1_700_000_000_000 + at,
    };
    let candidates = (1..=candidates).map(candidate).collect();
    let conflict = policy::Conflict { path: "/remaining".to_owned(), ancestor: Some(json!(1_000)), candidates };
    policy::ConflictSet { conflicts: vec![conflict] }
}

fn handed(set: &policy::ConflictSet) -> Vec<Conflict> {
    let candidate = |candidate: &policy::Candidate| Candidate {
        value: candidate.value.to_string(),
        origin: candidate.origin.clone(),
        sequence: candidate.sequence,
        time: candidate.time,
    };
    let conflict = |conflict: &policy::Conflict| Conflict {
        path: conflict.path.clone(),
        ancestor: conflict.ancestor.as_ref().map(ToString::to_string),
        candidates: conflict.candidates.iter().map(candidate).collect(),
    };
    set.conflicts.iter().map(conflict).collect()
}

fn call(c: &mut Criterion) {
    let profile = RuntimeProfile::newest();
    let resolver = Runtime::new(profile.clone()).unwrap().compile_resolver(standard::STOCK.component).unwrap();
    let mut config = Config::new();
    config.consume_fuel(true).cranelift_nan_canonicalization(true).max_wasm_stack(profile.stack_bytes);
    config.epoch_interruption(true);
    let engine = Engine::new(&config).unwrap();
    let component = Component::from_binary(&engine, standard::STOCK.component).unwrap();
    let instance = Linker::new(&engine).instantiate_pre(&component).unwrap();
    let instance = bare::ResolverPre::new(instance).unwrap();
    for candidates in [3, 100] {
        let set = conflicts(candidates);
        let mut group = c.benchmark_group(format!("{candidates} candidates"));
        group.bench_function("bare wasmtime", |bencher| {
            let input = handed(&set);
            bencher.iter(|| {
                let mut store = Store::new(&engine, ());
                store.set_fuel(profile.fuel).unwrap();
                store.set_epoch_deadline(1_000);
                let resolver = instance.instantiate(&mut store).unwrap();
                resolver.call_resolve(&mut store, &input).unwrap().unwrap()
            });
        });
        group.bench_function("skerry", |bencher| bencher.iter(|| resolver.call(&set).unwrap()));
        group.finish();
    }
}

criterion_group!(benches, call);
criterion_main!(benches);
