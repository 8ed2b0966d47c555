use serde_json::json;

use super::*;
use crate::{Choice, Conflict, Resolution, Resolver, Wants};

#[track_caller]
fn check<R: Resolver>(effort: Effort) -> Result<Report, Stopped> {
    check_resolver(&NativeResolver::<R>::new(), &[], effort)
}

#[track_caller]
fn check_broken<R: Resolver>(law: Law) -> Finding {
    let finding = broken(check::<R>(Effort::TEST));
    assert_eq!(finding.law, law, "{finding}");
    finding
}

fn each(conflicts: &[Conflict], decide: impl Fn(&Conflict) -> Option<Choice>) -> Result<Resolution, String> {
    conflicts.iter().map(decide).collect::<Option<Resolution>>().ok_or_else(|| "not the kind of value".to_owned())
}

/// The mean of the mean so far and the next one weighs the last candidate most.
struct AverageWithoutWeights;

impl Resolver for AverageWithoutWeights {
    fn wants() -> Wants {
        Wants::fields(["price"])
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        each(conflicts, |conflict| conflict.integers()?.into_iter().reduce(|a, b| (a + b) / 2).map(Choice::value))
    }
}

#[test]
fn an_average_without_weights_is_caught() {
    let finding = check_broken::<AverageWithoutWeights>(Law::Order);
    assert!(finding.case.to_string().len() < 400, "{finding}");
}

struct LastByArrival;

impl Resolver for LastByArrival {
    fn wants() -> Wants {
        Wants::everything()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        each(conflicts, |conflict| Some(Choice::value(conflict.candidates.last()?.value.clone())))
    }
}

#[test]
fn the_last_writer_by_arrival_is_caught() {
    let finding = check_broken::<LastByArrival>(Law::Order);
    let candidates = finding.case["conflicts"][0]["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 2, "{finding}");
}

/// `(a + b) + c` is not `a + (b + c)`.
struct FloatSums;

impl Resolver for FloatSums {
    fn wants() -> Wants {
        Wants::fields(["total"])
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let sum = |conflict: &Conflict| {
            conflict.candidates.iter().map(|candidate| candidate.value.as_f64()).sum::<Option<f64>>().map(Choice::value)
        };
        each(conflicts, sum)
    }
}

#[test]
fn sums_of_floats_are_caught() {
    check_broken::<FloatSums>(Law::Order);
}

/// The first of what is equally good depends on the map's seed.
struct MapOrder;

impl Resolver for MapOrder {
    fn wants() -> Wants {
        Wants::everything()
    }

    #[allow(clippy::disallowed_types, clippy::iter_over_hash_type, reason = "it is what the test is about")]
    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let any = |conflict: &Conflict| {
            let by_origin = conflict.candidates.iter().map(|candidate| (&candidate.origin, &candidate.value));
            let by_origin: std::collections::HashMap<_, _> = by_origin.collect();
            by_origin.into_values().next().cloned().map(Choice::value)
        };
        each(conflicts, any)
    }
}

#[test]
fn the_order_of_a_hash_map_is_caught() {
    // By chance two calls may agree, and then two orders do not.
    let finding = broken(check::<MapOrder>(Effort::TEST));
    assert!([Law::Deterministic, Law::Order].contains(&finding.law), "{finding}");
}

/// Between equal times the one wins that comes first.
struct LatestWithoutTieBreak;

impl Resolver for LatestWithoutTieBreak {
    fn wants() -> Wants {
        Wants::everything()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let latest = |conflict: &Conflict| {
            let latest = conflict.candidates.iter().rev().max_by_key(|candidate| candidate.time);
            latest.map(|latest| Choice::value(latest.value.clone()))
        };
        each(conflicts, latest)
    }
}

#[test]
fn a_missing_tie_break_is_caught() {
    let finding = check_broken::<LatestWithoutTieBreak>(Law::Order);
    let candidates = &finding.case["conflicts"][0]["candidates"];
    assert_eq!(candidates[0]["time"], candidates[1]["time"], "{finding}");
}

/// A sum of integers that a document holds may be one that it does not.
struct SumsWithoutBound;

impl Resolver for SumsWithoutBound {
    fn wants() -> Wants {
        Wants::fields(["total"])
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        each(conflicts, |conflict| Some(Choice::value(conflict.integers()?.into_iter().sum::<i64>())))
    }
}

#[test]
fn integers_that_no_document_holds_are_caught() {
    let finding = check_broken::<SumsWithoutBound>(Law::Total);
    assert!(finding.one.as_str().unwrap().contains("cannot be in a document"), "{finding}");
}

struct TrustsItsInput;

impl Resolver for TrustsItsInput {
    fn wants() -> Wants {
        Wants::fields(["stock"]).with_ancestor()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        each(conflicts, |conflict| conflict.ancestor.as_ref().unwrap().as_i64().map(Choice::value))
    }
}

#[test]
fn a_panic_is_caught() {
    let finding = check_broken::<TrustsItsInput>(Law::Total);
    assert!(finding.one.as_str().unwrap().contains("panicked"), "{finding}");
}

/// A mean that keeps no count is right for all at once and wrong once it was written back.
struct Mean;

impl Resolver for Mean {
    fn wants() -> Wants {
        Wants::fields(["price"])
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let mean = |conflict: &Conflict| {
            let prices = conflict.integers()?;
            let sum = prices.iter().map(|price| i128::from(*price)).sum::<i128>();
            i64::try_from(sum / prices.len() as i128).ok().map(Choice::value)
        };
        each(conflicts, mean)
    }
}

#[test]
fn a_resolution_that_a_third_candidate_upsets_is_reported_and_let_pass() {
    let report = kept(check::<Mean>(Effort::TEST));
    assert_eq!(report.advice[0].law, Law::Stable);
    assert!(report.answered > Effort::TEST.cases / 10, "{report:?}");
}

struct Largest;

impl Resolver for Largest {
    fn wants() -> Wants {
        Wants::everything()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        each(conflicts, |conflict| conflict.integers()?.into_iter().max().map(Choice::value))
    }
}

#[test]
fn a_right_one_passes_and_examples_are_tried_first() {
    let report = kept(check::<Largest>(Effort::TEST));
    assert_eq!((report.cases, report.advice.len()), (Effort::TEST.cases, 0));
    let example = vec![Conflict::at("/a").candidate("x", 1).candidate("y", 2)];
    let report =
        kept(check_resolver(&NativeResolver::<Largest>::new(), &[example], Effort { cases: 1, ..Effort::TEST }));
    assert_eq!((report.cases, report.answered), (1, 1));
}

struct Silent;

impl Resolver for Silent {
    fn wants() -> Wants {
        Wants::everything()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        Err(format!("{} conflicts are too many", conflicts.len()))
    }
}

#[test]
fn one_that_never_decides_passes_and_its_words_are_shown() {
    let advice = kept(check::<Silent>(Effort::TEST)).advice();
    let said = "it decided none of the cases; of the first it says: ";
    assert!(advice[0].starts_with(said) && advice[0].ends_with("conflicts are too many"), "{advice:?}");
    assert_eq!(kept(check::<Largest>(Effort::TEST)).advice(), Vec::<String>::new());
}

#[test]
fn decisions_name_values_and_notes() {
    let conflicts = [Conflict::at("/a").candidate("x", 1).candidate("y", 2), Conflict::at("/b").candidate("x", 3)];
    let resolution: Resolution = [Choice::Candidate(1), Choice::Remove].into_iter().collect();
    let decided = decision(&conflicts, &resolution.note("n", 5)).unwrap();
    assert_eq!(json!(decided), json!({"decided": {"/a": 2}, "notes": {"n": 5}}));
    assert!(decision(&conflicts, &Resolution::default()).is_err());
    let beyond: Resolution = [Choice::Candidate(2), Choice::Remove].into_iter().collect();
    assert!(decision(&conflicts, &beyond).unwrap_err().contains("candidate 2"));
}

#[test]
fn a_resolver_of_which_too_little_was_tried_is_too_slow() {
    let effort = Effort { time: Duration::ZERO, cases_min: 20, ..Effort::TEST };
    assert_eq!(check::<Largest>(effort), Err(Stopped::TooSlow(0)));
}

#[test]
fn what_is_shown_of_a_large_case_is_cut() {
    let long = "x".repeat(10_000);
    let example = vec![Conflict::at("/a").candidate("x", long.as_str()).candidate("y", 1)];
    let effort = Effort { time: Duration::from_millis(1), ..Effort::TEST };
    let finding = broken(check_resolver(&NativeResolver::<LastByArrival>::new(), &[example], effort));
    assert!(finding.to_string().len() < 8_000, "{}", finding.to_string().len());
}
