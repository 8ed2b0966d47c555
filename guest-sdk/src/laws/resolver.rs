//! The laws of a resolver.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cases;
use super::found::{Found, Trouble};
use super::shrink::smallest;
use super::subject::{Failed, ResolverSubject};
use super::{Effort, Finding, Law, Report, Stopped};
use crate::{Candidate, Choice, Conflict, Resolution};

/// Cases that others are made from, beside the examples that were given.
const EXAMPLES_MAX: usize = 64;

/// What readers are to see of the conflicts: each path's value, those left out missing, and the notes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// By path.
    pub decided: BTreeMap<String, Value>,
    /// By name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, Value>,
}

/// A resolution with the values in place of the candidates' numbers.
///
/// # Errors
/// A sentence, when it does not fit the conflicts.
pub fn decision(conflicts: &[Conflict], resolution: &Resolution) -> Result<Decision, String> {
    let (made, asked) = (resolution.choices.len(), conflicts.len());
    if made != asked {
        return Err(format!("it made {made} choices, and {asked} conflicts were handed to it"));
    }
    let mut decided = BTreeMap::new();
    for (conflict, choice) in conflicts.iter().zip(&resolution.choices) {
        let value = match choice {
            Choice::Remove => continue,
            Choice::Value(value) => value,
            Choice::Candidate(at) => {
                let candidate = usize::try_from(*at).ok().and_then(|at| conflict.candidates.get(at));
                let path = &conflict.path;
                &candidate.ok_or_else(|| format!("it chose candidate {at} for {path}, which is not there"))?.value
            }
        };
        decided.insert(conflict.path.clone(), value.clone());
    }
    let notes = resolution.notes.iter().map(|note| (note.name.clone(), note.value.clone()));
    Ok(Decision { decided, notes: notes.collect() })
}

/// Tries a resolver with cases made from examples, the examples themselves first.
///
/// # Errors
/// [`Stopped`]: the smallest case that breaks a law, or that the resolver could not be run.
pub fn check_resolver(
    resolver: &dyn ResolverSubject,
    examples: &[Vec<Conflict>],
    effort: Effort,
) -> Result<Report, Stopped> {
    let wants = resolver.wants();
    let mut examples: Vec<_> = examples.iter().filter(|example| is_valid(example)).cloned().collect();
    let given = examples.len();
    let mut report = Report::default();
    let mut advised = None;
    let end = effort.end();
    for case in 0..effort.cases {
        if Instant::now() > end {
            break;
        }
        let as_it_is = usize::try_from(case).ok().and_then(|at| examples[..given].get(at)).cloned();
        let conflicts = as_it_is.unwrap_or_else(|| cases::conflicts(&mut cases::rng(case), &wants, &examples));
        report.cases += 1;
        match broken(resolver, &conflicts) {
            Ok(refused) => {
                let decided = refused.is_none();
                report.count(refused);
                // More cases are like those that it has decided.
                if decided && examples.len() < EXAMPLES_MAX {
                    examples.push(conflicts.clone());
                }
            }
            Err(Trouble::Unavailable(reason)) => return Err(Stopped::Unavailable(reason)),
            Err(Trouble::OutOfTime) => {
                report.cases -= 1;
                break;
            }
            Err(Trouble::Found(found)) => {
                let law = found.law;
                let still = |conflicts: &[Conflict]| match broken(resolver, conflicts) {
                    Err(Trouble::Found(found)) if found.law == law => Some(found),
                    _ => None,
                };
                return Err(Stopped::Broken(Box::new(shrunk(&conflicts, found, effort, still))));
            }
        }
        if advised.is_none() {
            advised = unstable(resolver, &conflicts)
                .map(|found| shrunk(&conflicts, found, effort, |conflicts| unstable(resolver, conflicts)));
        }
    }
    report.advice.extend(advised);
    report.complete(effort)
}

fn shrunk(
    conflicts: &[Conflict],
    found: Found,
    effort: Effort,
    still: impl Fn(&[Conflict]) -> Option<Found>,
) -> Finding {
    let case = serde_json::to_value(conflicts).expect("conflicts have a JSON form");
    let paths: Vec<_> = conflicts.iter().map(|conflict| &conflict.path).collect();
    let breaks = |case: &Value| {
        let conflicts: Vec<Conflict> = serde_json::from_value(case.clone()).ok()?;
        let asked_for = conflicts.iter().all(|conflict| paths.contains(&&conflict.path));
        if asked_for && is_valid(&conflicts) { still(&conflicts) } else { None }
    };
    let (conflicts, found) = smallest(case, found, effort.end_of_shrinking(), breaks);
    found.with(json!({ "conflicts": conflicts }))
}

/// Whether the host could hand that in.
fn is_valid(conflicts: &[Conflict]) -> bool {
    let has_writers = |conflict: &Conflict| {
        let mut origins: Vec<_> =
            conflict.candidates.iter().map(|candidate| (&candidate.origin, candidate.sequence)).collect();
        origins.sort();
        origins.dedup();
        origins.len() == conflict.candidates.len() && origins.iter().all(|(origin, at)| !origin.is_empty() && *at > 0)
    };
    let one =
        |conflict: &Conflict| conflict.path.starts_with('/') && conflict.candidates.len() >= 2 && has_writers(conflict);
    !conflicts.is_empty() && conflicts.iter().all(one) && conflicts.is_sorted_by(|a, b| a.path < b.path)
}

/// What it decides, or its own words where it refuses.
fn decide(resolver: &dyn ResolverSubject, conflicts: &[Conflict]) -> Result<Result<Decision, String>, Trouble> {
    match resolver.resolve(conflicts) {
        Ok(resolution) => {
            let no_answer = |reason| Trouble::Found(Found::no_answer(Law::Total, reason));
            decision(conflicts, &resolution).map(Ok).map_err(no_answer)
        }
        Err(Failed::Refused(words)) => Ok(Err(words)),
        Err(failed) => Err(failed.into()),
    }
}

/// Its own words where it does not decide the case.
fn broken(resolver: &dyn ResolverSubject, conflicts: &[Conflict]) -> Result<Option<String>, Trouble> {
    let decided = decide(resolver, conflicts)?;
    for order in [backwards, rotated] {
        let mut reordered = conflicts.to_vec();
        reordered.iter_mut().for_each(|conflict| order(&mut conflict.candidates));
        let otherwise = decide(resolver, &reordered)?;
        // It may name what it met first.
        if otherwise.as_ref().ok() != decided.as_ref().ok() {
            let compared = "decided in canonical order and in another";
            let (one, other) = (shown(decided.ok()), shown(otherwise.ok()));
            return Err(Trouble::Found(Found { law: Law::Order, compared, one, other }));
        }
    }
    Ok(decided.err())
}

fn backwards(candidates: &mut [Candidate]) {
    candidates.reverse();
}

fn rotated(candidates: &mut [Candidate]) {
    candidates.rotate_left(1);
}

fn shown(decided: Option<Decision>) -> Value {
    decided.map_or_else(|| json!("refused"), |decided| json!(decided))
}

/// Where the first two candidates were settled and a third one came, against all three at once.
fn unstable(resolver: &dyn ResolverSubject, conflicts: &[Conflict]) -> Option<Found> {
    let [conflict] = conflicts else { return None };
    let [first, second, third] = &conflict.candidates[..] else { return None };
    let met = |candidates: Vec<Candidate>| {
        let conflict = Conflict { candidates, ..conflict.clone() };
        decide(resolver, &[conflict]).ok()?.ok()
    };
    let settled = met(vec![first.clone(), second.clone()])?.decided.remove(&conflict.path)?;
    let time = first.time.max(second.time);
    let resolution = Candidate { value: settled, origin: "core".to_owned(), sequence: 1, time };
    let (in_turn, at_once) = (met(vec![resolution, third.clone()])?, met(conflict.candidates.clone())?);
    let compared = "with the first two settled before, and all at once";
    (in_turn != at_once).then(|| Found { law: Law::Stable, compared, one: json!(in_turn), other: json!(at_once) })
}
