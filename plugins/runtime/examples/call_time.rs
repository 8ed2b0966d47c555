//! How long calls of the bundled stock resolver take on each back end:
//! `cargo run --release -p skerry-runtime --example call_time`.

use std::error::Error;
use std::time::{Duration, Instant};

use serde_json::json;
use skerry_model::policy::{Candidate, Conflict, ConflictSet};
use skerry_runtime::{Backend, Runtime, RuntimeProfile, standard};

const CALLS: u32 = 20_000;

#[expect(clippy::print_stdout, reason = "the program's output")]
fn main() -> Result<(), Box<dyn Error>> {
    let candidate = |at: i64| Candidate {
        value: json!(1_000 - at),
        origin: format!("till-{at}"),
        sequence: 1,
        time: 1_700_000_000_000 + at,
    };
    let candidates = (1..=3).map(candidate).collect();
    let conflict = Conflict { path: "/remaining".to_owned(), ancestor: Some(json!(1_000)), candidates };
    let set = ConflictSet { conflicts: vec![conflict] };
    for backend in [Backend::Native, Backend::Pulley] {
        let runtime = Runtime::with_backend(RuntimeProfile::newest(), backend)?;
        let started = Instant::now();
        let resolver = runtime.compile_resolver(standard::STOCK.component)?;
        let compiled = started.elapsed();
        let fuel = resolver.call(&set)?.fuel;
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let started = Instant::now();
            resolver.call(&set)?;
            times.push(started.elapsed());
        }
        times.sort();
        let at = |hundredths: u32| times[(CALLS * hundredths / 100) as usize];
        let mean = times.iter().sum::<Duration>() / CALLS;
        let (half, most) = (at(50), at(99));
        println!("{backend:?}: compile {compiled:.1?}, fuel {fuel}, call {mean:.1?} (50% {half:.1?}, 99% {most:.1?})");
    }
    Ok(())
}
