//! Each limit of a call, at it and past it.

use serde_json::json;
use skerry_model::limits::CONFLICTS_MAX;
use skerry_model::policy::{ConflictSet, PluginError};
use skerry_runtime::{Backend, RuntimeProfile};

use crate::guest::{Choice, Guest, conflicts, one_conflict, profile};

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let guest = Guest::resolving("(loop $again br $again)");
    let profile = profile(|profile| profile.fuel = 1_000_000);
    assert_eq!(guest.reason(&profile, &one_conflict()), "it ran out of fuel, the limit is 1000000");
}

/// What calls into the host is dear enough to run out of fuel, not into the alarm.
#[test]
fn loops_that_call_the_host_run_out_of_fuel() {
    for operator in
        ["(drop (memory.grow (i32.const 60000)))", "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))"]
    {
        let guest = Guest::resolving(&format!("(loop $again {operator} br $again)"));
        let reason = guest.reason(&RuntimeProfile::newest(), &one_conflict());
        assert_eq!(reason, "it ran out of fuel, the limit is 250000000");
    }
}

/// A call of exactly this much fuel passes. Wasmtime looks only at loops and calls, so what fails is a little less.
#[test]
fn fuel_is_enough_to_the_last_unit() {
    let guest = Guest::resolving(
        "(local $i i32) (loop $again (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))",
    );
    let used = guest.call(&RuntimeProfile::newest(), &one_conflict()).unwrap().fuel;
    assert_eq!(guest.call(&profile(|profile| profile.fuel = used), &one_conflict()).unwrap().fuel, used);
    let reason = guest.reason(&profile(|profile| profile.fuel = used - 100), &one_conflict());
    assert_eq!(reason, format!("it ran out of fuel, the limit is {}", used - 100));
}

#[test]
fn a_call_that_outlasts_the_alarm_is_the_hosts_word_and_no_result() {
    let guest = Guest::resolving("(loop $again br $again)");
    let profile = profile(|profile| (profile.fuel, profile.alarm_ms) = (u64::MAX >> 1, 100));
    for backend in [Backend::Native, Backend::Pulley] {
        let resolver = guest.compile(backend, &profile).unwrap();
        let failed = resolver.call(&one_conflict()).unwrap_err();
        assert!(
            matches!(&failed, PluginError::Host { reason, .. } if reason == "it ran longer than 100 ms"),
            "{failed}"
        );
        assert_eq!((resolver.calls().not_run(), resolver.calls().failed()), (1, 0));
    }
}

/// Grows page by page until the answer is no, then as far as it was told.
fn growing(pages: u32) -> Guest {
    let body = format!(
        "(block $refused (loop $again
            (br_if $refused (i32.ge_u (memory.size) (i32.const {pages})))
            (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))
            unreachable))"
    );
    Guest::resolving(&body)
}

#[test]
fn memory_is_bounded() {
    let profile = profile(|profile| profile.memory_bytes = 100 << 16);
    assert!(growing(100).call(&profile, &one_conflict()).is_ok());
    let reason = "it asked for more memory than the limit of 6553600 bytes";
    assert_eq!(growing(101).reason(&profile, &one_conflict()), reason);
}

#[test]
fn a_guest_that_asks_for_the_whole_address_space_sees_a_refusal() {
    let survives = Guest::resolving("(if (i32.ne (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))");
    assert!(survives.call(&RuntimeProfile::newest(), &one_conflict()).is_ok());
    let dies = Guest::resolving("(if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))");
    let reason = dies.reason(&RuntimeProfile::newest(), &one_conflict());
    assert_eq!(reason, "it asked for more memory than the limit of 67108864 bytes");
}

#[test]
fn memory_at_the_start_counts_and_all_memories_count_together() {
    let small = profile(|profile| profile.memory_bytes = 80 << 16);
    assert!(Guest::default().call(&small, &one_conflict()).is_ok());
    let second = "(core module $second (memory 1)) (core instance (instantiate $second))";
    for guest in [Guest { pages: 81, ..Guest::default() }, Guest { beside: second.to_owned(), ..Guest::default() }] {
        let refused = guest.compile(Backend::Native, &small).unwrap_err().to_string();
        assert_eq!(refused, "describe() gave no answer: it asked for more memory than the limit of 5242880 bytes");
    }
}

#[test]
fn tables_are_bounded() {
    let grow = |elements: u32| {
        Guest::resolving(&format!(
            "(if (i32.eq (table.grow $table (ref.null func) (i32.const {elements})) (i32.const -1)) (then unreachable))"
        ))
    };
    assert!(grow(99_999).call(&RuntimeProfile::newest(), &one_conflict()).is_ok());
    let reason = grow(100_000).reason(&RuntimeProfile::newest(), &one_conflict());
    assert_eq!(reason, "it asked for larger tables than the limit of 100000 elements");
}

#[test]
fn core_instances_are_bounded() {
    let with = |further: usize| Guest {
        beside: format!("(core module $empty) {}", "(core instance (instantiate $empty))".repeat(further)),
        ..Guest::default()
    };
    assert!(with(31).call(&RuntimeProfile::newest(), &one_conflict()).is_ok());
    let refused = with(32).compile(Backend::Native, &RuntimeProfile::newest()).unwrap_err().to_string();
    let expected = "describe() gave no answer: it has more core instances, tables or memories than the limit of 32";
    assert_eq!(refused, expected);
}

/// How deep is the host's, so this compares the reason and not the depth.
#[test]
fn calls_that_never_return_exhaust_the_stack() {
    let guest = Guest {
        functions: "(func $deeper (param i32) (result i32)
            (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))"
            .to_owned(),
        ..Guest::resolving("(drop (call $deeper (i32.const 0)))")
    };
    let reason = guest.reason(&RuntimeProfile::newest(), &one_conflict());
    assert_eq!(reason, "its calls nest deeper than the stack limit of 524288 bytes allows");
}

#[test]
fn traps_are_named() {
    let check = |body: &str, expected: &str| {
        assert_eq!(Guest::resolving(body).reason(&RuntimeProfile::newest(), &one_conflict()), expected);
    };
    check("unreachable", "it trapped: it reached code that must not be reached, as a panic does");
    check("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "it trapped: wasm trap: integer divide by zero");
    check("(drop (i32.load (i32.const -4)))", "it trapped: wasm trap: out of bounds memory access");
}

#[test]
fn output_is_bounded() {
    let text = format!("\"{}\"", "x".repeat(998));
    let guest = Guest::answering(&[Choice::Value(&text)], &[]);
    let with = |output_bytes| profile(|profile| profile.output_bytes = output_bytes);
    assert!(guest.call(&with(1_000), &one_conflict()).is_ok());
    assert_eq!(guest.reason(&with(999), &one_conflict()), "it handed back more than the limit of 999 bytes");
    // Far past it, wasmtime stops before the text is copied.
    let vast = Guest {
        resolve: "(i32.store (i32.const 0) (i32.const 1)) (i32.store (i32.const 4) (i32.const 0))
            (i32.store (i32.const 8) (i32.const 5000000)) i32.const 0"
            .to_owned(),
        ..Guest::default()
    };
    let reason = vast.reason(&RuntimeProfile::newest(), &one_conflict());
    assert_eq!(reason, "it handed back more than the limit of 1048576 bytes");
}

#[test]
fn input_is_bounded() {
    // Path, two values and two origins: 2 + 2 * (value + 4).
    let handed = conflicts(&[json!("x".repeat(44)), json!("y".repeat(44))]);
    let with = |input_bytes| profile(|profile| profile.input_bytes = input_bytes);
    assert!(Guest::default().call(&with(102), &handed).is_ok());
    assert_eq!(Guest::default().reason(&with(101), &handed), "the conflicts are 102 bytes, the limit is 101");
}

#[test]
fn conflicts_are_bounded() {
    let many = |count| ConflictSet { conflicts: vec![one_conflict().conflicts.remove(0); count] };
    let choices = vec![Choice::Candidate(1); CONFLICTS_MAX];
    assert!(Guest::answering(&choices, &[]).call(&RuntimeProfile::newest(), &many(CONFLICTS_MAX)).is_ok());
    let reason = Guest::default().reason(&RuntimeProfile::newest(), &many(CONFLICTS_MAX + 1));
    assert_eq!(reason, "the document has 1001 conflicts, the limit is 1000");
}

/// 0 / 0 has a sign and a payload that differ between processors; the guest answers with candidate 1 if they are not the
/// canonical ones.
#[test]
fn nan_is_canonical() {
    let guest = Guest::resolving(
        "(local $zero f64)
         (i32.store (i32.const 65560) (i64.ne
            (i64.reinterpret_f64 (f64.neg (f64.div (local.get $zero) (local.get $zero))))
            (i64.reinterpret_f64 (f64.neg (f64.const nan)))))",
    );
    let outcome = guest.call(&RuntimeProfile::newest(), &one_conflict()).unwrap();
    assert_eq!(outcome.resolution.choices, [skerry_model::policy::Choice::Candidate(0)]);
}

#[test]
fn a_call_without_conflicts_runs_nothing() {
    let outcome = Guest::resolving("unreachable").call(&RuntimeProfile::newest(), &ConflictSet::default()).unwrap();
    assert_eq!((outcome.fuel, outcome.resolution.choices.len()), (0, 0));
}

#[test]
fn nothing_is_left_of_the_last_call() {
    let guest =
        Guest::resolving("(if (i32.load (i32.const 8)) (then unreachable)) (i32.store (i32.const 8) (i32.const 1))");
    let resolver = guest.compile(Backend::Native, &RuntimeProfile::newest()).unwrap();
    for _ in 0..3 {
        resolver.call(&one_conflict()).unwrap();
    }
}

#[test]
fn calls_are_counted() {
    let guest = Guest::resolving("(if (i32.eqz (local.get 1)) (then unreachable))");
    let resolver = guest.compile(Backend::Native, &RuntimeProfile::newest()).unwrap();
    let used = resolver.call(&one_conflict()).unwrap().fuel;
    resolver.call(&one_conflict()).unwrap();
    let two =
        ConflictSet { conflicts: [one_conflict(), one_conflict()].map(|mut set| set.conflicts.remove(0)).to_vec() };
    resolver.call(&two).unwrap_err();
    let calls = resolver.calls();
    assert_eq!((calls.answered(), calls.failed(), calls.not_run(), calls.fuel()), (2, 1, 0, 2 * used));
}
