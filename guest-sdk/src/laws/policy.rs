//! The laws of a merge policy.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::cases;
use super::found::{Found, Trouble};
use super::shrink::smallest;
use super::subject::{Failed, PolicySubject};
use super::{Effort, Law, Report, Stopped};
use crate::Context;

/// Operations of one replica in a case.
const OPERATIONS_MAX: usize = 3;
/// The replicas of a case; no replica has such a name.
const REPLICAS: [&str; 4] = ["law-a", "law-b", "law-c", "law-common"];

/// What cases are made from, beside the policy's own examples.
#[derive(Default)]
pub struct PolicyExamples<'a> {
    /// States of real documents, in the encoding of the version before where that is another one.
    pub states: Vec<Vec<u8>>,
    /// The version before, when its states are to be migrated.
    pub before: Option<&'a dyn PolicySubject>,
}

/// Three replicas that wrote on their own, from where they had last met.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PolicyCase {
    /// Which real document they began with, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<usize>,
    /// What all three have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub common: Vec<Operation>,
    /// What the first did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub a: Vec<Operation>,
    /// What the second did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub b: Vec<Operation>,
    /// What the third did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub c: Vec<Operation>,
    /// Whether the third had heard of what the first two did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub c_heard: bool,
}

/// An operation and when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// What a client sent.
    #[serde(rename = "do")]
    operation: Value,
    /// In milliseconds since 1970.
    #[serde(default)]
    time: i64,
}

/// Tries a merge policy.
///
/// # Errors
/// [`Stopped`]: the smallest case that breaks a law, or that the policy could not be run.
pub fn check_policy(
    policy: &dyn PolicySubject,
    examples: &PolicyExamples<'_>,
    effort: Effort,
) -> Result<Report, Stopped> {
    let end = effort.end();
    let operations = own_examples(policy).map_err(|trouble| trouble.stop("examples()"))?;
    let migrates = examples.before.filter(|before| before.state_version() < policy.state_version());
    let states = present_states(policy, migrates, &examples.states)
        .map_err(|trouble| trouble.stop("migrate() of a real document"))?;
    let mut report = Report::default();
    for case in 0..effort.cases {
        if Instant::now() > end {
            break;
        }
        let case = made(case, &operations, states.len());
        report.cases += 1;
        let tried = |case: &PolicyCase| {
            let answered = Trial { policy, states: &states }.broken(case)?;
            migrates.map_or(Ok(()), |before| migration(policy, before, case))?;
            Ok(answered)
        };
        match tried(&case) {
            Ok(answered) => report.answered += u32::from(answered),
            Err(Trouble::Unavailable(reason)) => return Err(Stopped::Unavailable(reason)),
            Err(Trouble::OutOfTime) => {
                report.cases -= 1;
                break;
            }
            Err(Trouble::Found(found)) => {
                let law = found.law;
                let breaks = |case: &Value| match tried(&serde_json::from_value(case.clone()).ok()?) {
                    Err(Trouble::Found(found)) if found.law == law => Some(found),
                    _ => None,
                };
                let case = serde_json::to_value(&case).expect("a case has a JSON form");
                let (case, found) = smallest(case, found, effort.end_of_shrinking(), breaks);
                return Err(Stopped::Broken(Box::new(found.with(case))));
            }
        }
    }
    report.complete(effort)
}

/// A state as JSON, where it is JSON.
fn shown(state: &[u8]) -> Value {
    serde_json::from_slice(state).unwrap_or_else(|_| {
        let hexadecimal: String = state.iter().map(|byte| format!("{byte:02x}")).collect();
        json!(hexadecimal)
    })
}

fn agree(law: Law, compared: &'static str, one: &[u8], other: &[u8]) -> Result<(), Trouble> {
    if one == other {
        return Ok(());
    }
    Err(Trouble::Found(Found { law, compared, one: shown(one), other: shown(other) }))
}

/// The policy's examples, once it has taken them one after another.
fn own_examples(policy: &dyn PolicySubject) -> Result<Vec<Value>, Trouble> {
    let examples = policy.examples()?;
    let refused = |operation: &Value, reason: String| {
        let (compared, one, other) = ("the example and what apply says to it", operation.clone(), json!(reason));
        Trouble::Found(Found { law: Law::Examples, compared, one, other })
    };
    if examples.is_empty() {
        return Err(refused(&json!([]), "examples() gives none".to_owned()));
    }
    let mut state = policy.empty()?;
    for (at, operation) in examples.iter().enumerate() {
        let context = Context { sequence: at as u64 + 1, ..Context::of(REPLICAS[0]) };
        state = match policy.apply(&state, operation, &context) {
            Err(Failed::Refused(reason)) => return Err(refused(operation, reason)),
            applied => applied?,
        };
    }
    Ok(examples)
}

/// The states of real documents in the policy's own encoding.
fn present_states(
    policy: &dyn PolicySubject,
    before: Option<&dyn PolicySubject>,
    states: &[Vec<u8>],
) -> Result<Vec<Vec<u8>>, Trouble> {
    let Some(before) = before else { return Ok(states.to_vec()) };
    states.iter().map(|state| Ok(policy.migrate(before.state_version(), state)?)).collect()
}

fn made(case: u32, examples: &[Value], documents: usize) -> PolicyCase {
    let mut rng = cases::rng(case);
    let mut some = |max: usize| -> Vec<Operation> {
        let mut operations = Vec::new();
        for _ in 0..rng.usize(..=max) {
            let example = rng.choice(examples).expect("there is at least one");
            let operation = if rng.bool() { example.clone() } else { cases::mutated(&mut rng, example) };
            operations.push(Operation { operation, time: cases::time(&mut rng) });
        }
        operations
    };
    let (common, a, b, c) = (some(2), some(OPERATIONS_MAX), some(OPERATIONS_MAX), some(OPERATIONS_MAX));
    let document = (documents > 0 && rng.bool()).then(|| rng.usize(..documents));
    PolicyCase { document, common, a, b, c, c_heard: rng.u8(..4) == 0 }
}

/// One policy with the real documents that cases may begin with.
struct Trial<'a> {
    policy: &'a dyn PolicySubject,
    states: &'a [Vec<u8>],
}

impl Trial<'_> {
    /// Whether the policy took any operation of the case.
    fn broken(&self, case: &PolicyCase) -> Result<bool, Trouble> {
        let policy = self.policy;
        let empty = policy.empty()?;
        let [start, a, b, c] = self.reached(case, &empty)?;
        for state in [&a, &b, &c] {
            agree(Law::Idempotent, "merge(a, a) and a", &policy.merge(state, state)?, state)?;
            agree(Law::Neutral, "merge(empty, a) and a", &policy.merge(&empty, state)?, state)?;
        }
        let ab = policy.merge(&a, &b)?;
        agree(Law::Commutative, "merge(a, b) and merge(b, a)", &ab, &policy.merge(&b, &a)?)?;
        let bc = policy.merge(&b, &c)?;
        let (one, other) = (policy.merge(&ab, &c)?, policy.merge(&a, &bc)?);
        agree(Law::Associative, "merge(merge(a, b), c) and merge(a, merge(b, c))", &one, &other)?;
        policy.view(&one)?;
        if let ([.., first], [.., second]) = (&case.a[..], &case.b[..]) {
            self.concurrent(&start, first, second)?;
        }
        Ok(one != empty)
    }

    /// Where all began, and where each of the three got to.
    fn reached(&self, case: &PolicyCase, empty: &[u8]) -> Result<[Vec<u8>; 4], Trouble> {
        let policy = self.policy;
        let document = case.document.and_then(|at| self.states.get(at));
        let start = self.written(document.map_or(empty, Vec::as_slice), &case.common, REPLICAS[3])?;
        let a = self.written(&start, &case.a, REPLICAS[0])?;
        let b = self.written(&start, &case.b, REPLICAS[1])?;
        let heard = if case.c_heard { policy.merge(&a, &b)? } else { start.clone() };
        let c = self.written(&heard, &case.c, REPLICAS[2])?;
        Ok([start, a, b, c])
    }

    /// The state after operations of one replica; those that it refuses change nothing.
    fn written(&self, state: &[u8], operations: &[Operation], origin: &str) -> Result<Vec<u8>, Trouble> {
        let mut state = state.to_vec();
        for (at, operation) in operations.iter().enumerate() {
            if let Some(after) = self.applied(&state, operation, origin, at as u64 + 1)? {
                let compared = "merge(before, after) and after";
                agree(Law::Grows, compared, &self.policy.merge(&state, &after)?, &after)?;
                state = after;
            }
        }
        Ok(state)
    }

    fn applied(&self, state: &[u8], made: &Operation, origin: &str, sequence: u64) -> Result<Option<Vec<u8>>, Trouble> {
        let context = Context { origin: origin.to_owned(), incarnation: 1, sequence, time: made.time };
        match self.policy.apply(state, &made.operation, &context) {
            Err(Failed::Refused(_)) => Ok(None),
            applied => Ok(Some(applied?)),
        }
    }

    /// Merging two concurrent operations must not read as one of them alone, unless one after the other do so too.
    fn concurrent(&self, start: &[u8], first: &Operation, second: &Operation) -> Result<(), Trouble> {
        let policy = self.policy;
        let by = |state: &[u8], operation, replica: usize| self.applied(state, operation, REPLICAS[replica], 1);
        let (Some(one), Some(other)) = (by(start, first, 0)?, by(start, second, 1)?) else { return Ok(()) };
        let met = policy.view(&policy.merge(&one, &other)?)?;
        if met != policy.view(&one)? && met != policy.view(&other)? {
            return Ok(());
        }
        let one_then_other = by(&one, second, 1)?.unwrap_or_else(|| one.clone());
        let other_then_one = by(&other, first, 0)?.unwrap_or_else(|| other.clone());
        let in_turn = policy.view(&one_then_other)?;
        if met == in_turn || met == policy.view(&other_then_one)? {
            return Ok(());
        }
        let compared = "where they met, and one after the other";
        Err(Trouble::Found(Found { law: Law::Concurrent, compared, one: met, other: in_turn }))
    }
}

/// States of the version before, merged and then migrated, and the other way round.
fn migration(policy: &dyn PolicySubject, before: &dyn PolicySubject, case: &PolicyCase) -> Result<(), Trouble> {
    // Whatever the version before does wrong is no fault of this one.
    let Some((a, b, ab)) = merged_before(before, case) else { return Ok(()) };
    let from = before.state_version();
    let migrated = |state: &[u8]| policy.migrate(from, state);
    let merged_before = migrated(&ab)?;
    let merged_after = policy.merge(&migrated(&a)?, &migrated(&b)?)?;
    agree(Law::Migrates, "migrate(merge(a, b)) and merge(migrate(a), migrate(b))", &merged_before, &merged_after)
}

/// Two states of the version before, and both merged.
fn merged_before(before: &dyn PolicySubject, case: &PolicyCase) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let old = Trial { policy: before, states: &[] };
    let [_, a, b, _] = old.reached(case, &before.empty().ok()?).ok()?;
    let merged = before.merge(&a, &b).ok()?;
    Some((a, b, merged))
}
