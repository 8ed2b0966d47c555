//! Every input in corpus/ holds, without libFuzzer.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use skerry_fuzz::{answers, clients, component, conflicts, frames, ingress};

/// How much memory a target may take is counted for the whole process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

#[track_caller]
fn check(target: &str, check: fn(&[u8])) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{}", input.display());
        check(&std::fs::read(input).unwrap());
    }
}

#[test]
fn components_hold() {
    check("component", component::check);
}

#[test]
fn answers_hold() {
    check("answers", answers::check);
}

#[test]
fn conflicts_hold() {
    check("conflicts", conflicts::check);
}

#[test]
fn deltas_hold() {
    ingress::let_caught_panics_pass();
    check("ingress", ingress::check);
}

#[test]
fn frames_hold() {
    check("frames", frames::check);
}

#[test]
fn clients_hold() {
    ingress::let_caught_panics_pass();
    check("clients", clients::check);
}
