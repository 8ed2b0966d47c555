//! What Skerry reads from outside, one module for each fuzz target. `check` is handed bytes and panics when a promise
//! does not hold. fuzz_targets/ hands it libFuzzer's inputs, tests/seeds.rs what is in corpus/.

pub mod answers;
pub mod clients;
pub mod component;
pub mod conflicts;
mod contract;
pub mod frames;
pub mod ingress;

use std::alloc::System;

use cap::Cap;

/// Counts what Rust code allocates, so that a target can say how much its work may take. Past the limit the process
/// aborts, in the call that asked for it.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Does some work that may take so many bytes beside what is taken already. No other thread may be at work meanwhile.
fn within_memory<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let limit = MEMORY.allocated().saturating_add(bytes);
    MEMORY.set_limit(limit).expect("the limit is above what is taken");
    let done = work();
    MEMORY.set_limit(usize::MAX).expect("no limit is below what is taken");
    done
}
