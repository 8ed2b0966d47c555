//! Cases from examples: structured mutation, the same for the same examples and number.

use fastrand::Rng;
use serde_json::{Value, json};

use crate::{Candidate, Conflict, INTEGER_MAX, Wants};

/// Clocks are wrong and agree by chance, so equal times and times before 1970 are among them.
const TIMES: [i64; 6] = [1_000, 1_000, 1_001, 2_000, 0, -5];
/// Where arithmetic goes wrong.
const NUMBERS: [f64; 8] = [0.1, 0.2, 0.3, -0.5, 1.5, 2.25, 1e15, -1e15];
const INTEGERS: [i64; 9] = [0, 1, 2, 3, 7, -1, 100, INTEGER_MAX, -INTEGER_MAX];
const WORDS: [&str; 6] = ["a", "b", "B", "", "ä", "ten"];
const ORIGINS: [&str; 5] = ["till-1", "till-2", "till-3", "a", "z"];
/// Fields that a resolver that asks for every field is shown conflicts in.
const ANY_PATHS: [&str; 2] = ["/field", "/list/0"];
const CONFLICTS_MAX: usize = 3;
const CANDIDATES_MAX: usize = 4;

/// The numbers behind one case.
pub(super) fn rng(case: u32) -> Rng {
    Rng::with_seed(u64::from(case) + 1)
}

pub(super) fn time(rng: &mut Rng) -> i64 {
    TIMES[rng.usize(..TIMES.len())]
}

/// A value like another one: somewhere in it, something of the same kind has changed, now and then of another kind.
pub(super) fn mutated(rng: &mut Rng, value: &Value) -> Value {
    match value {
        _ if rng.u8(..20) == 0 => of_kind(rng, 0),
        Value::Null => Value::Null,
        Value::Bool(_) => Value::Bool(rng.bool()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) if rng.bool() => {
                json!(integer.saturating_add(rng.i64(-3..=3)).clamp(-INTEGER_MAX, INTEGER_MAX))
            }
            Some(_) => integer(rng),
            None => float(rng),
        },
        Value::String(_) => word(rng),
        Value::Array(items) => array(rng, items),
        Value::Object(fields) => {
            let mut fields = fields.clone();
            let names: Vec<String> = fields.keys().cloned().collect();
            if let Some(name) = rng.choice(&names) {
                let changed = mutated(rng, &fields[name]);
                fields.insert(name.clone(), changed);
            }
            Value::Object(fields)
        }
    }
}

fn array(rng: &mut Rng, items: &[Value]) -> Value {
    let mut items = items.to_vec();
    if let Some(at) = (!items.is_empty()).then(|| rng.usize(..items.len())) {
        match rng.u8(..4) {
            0 => drop(items.remove(at)),
            1 => items.push(items[at].clone()),
            2 => items.swap(0, at),
            _ => items[at] = mutated(rng, &items[at]),
        }
    }
    Value::Array(items)
}

fn integer(rng: &mut Rng) -> Value {
    json!(INTEGERS[rng.usize(..INTEGERS.len())])
}

fn float(rng: &mut Rng) -> Value {
    json!(NUMBERS[rng.usize(..NUMBERS.len())])
}

fn word(rng: &mut Rng) -> Value {
    json!(WORDS[rng.usize(..WORDS.len())])
}

/// A value of a kind; of any for a kind that is none of these.
fn of_kind(rng: &mut Rng, kind: u8) -> Value {
    match if kind == 0 { rng.u8(1..=7) } else { kind } {
        1 | 2 => integer(rng),
        3 => float(rng),
        4 => word(rng),
        5 => json!(rng.bool()),
        6 => json!([integer(rng), integer(rng)]),
        _ => json!({ "n": integer(rng), "name": word(rng) }),
    }
}

/// A conflict set as one of the examples, mutated; without examples, one in a field that the resolver decides.
pub(super) fn conflicts(rng: &mut Rng, wants: &Wants, examples: &[Vec<Conflict>]) -> Vec<Conflict> {
    let from_example = !examples.is_empty() && rng.u8(..4) > 0;
    let mut conflicts = match rng.choice(examples).filter(|_| from_example) {
        Some(example) => example.iter().map(|conflict| mutated_conflict(rng, conflict)).collect(),
        None => made_up(rng, wants),
    };
    conflicts.iter_mut().for_each(|conflict: &mut Conflict| {
        if !wants.ancestor {
            conflict.ancestor = None;
        }
    });
    conflicts
}

fn made_up(rng: &mut Rng, wants: &Wants) -> Vec<Conflict> {
    let any = ANY_PATHS.map(str::to_owned);
    let paths = if wants.paths.is_empty() { &any[..] } else { &wants.paths };
    let mut paths: Vec<&String> = paths.iter().take(CONFLICTS_MAX).collect();
    if paths.len() > 1 && rng.bool() {
        paths.truncate(1);
    }
    paths.sort();
    let conflict = |path: &String| {
        let kind = rng.u8(1..=8);
        let kind = if kind == 8 { 0 } else { kind };
        let mut conflict = Conflict::at(if path.is_empty() { "/field" } else { path });
        conflict.ancestor = (rng.u8(..5) > 0).then(|| of_kind(rng, kind));
        for _ in 0..rng.usize(2..=CANDIDATES_MAX) {
            let value = of_kind(rng, kind);
            add(rng, &mut conflict, value);
        }
        conflict
    };
    paths.into_iter().map(conflict).collect()
}

fn mutated_conflict(rng: &mut Rng, conflict: &Conflict) -> Conflict {
    let mut conflict = conflict.clone();
    for _ in 0..rng.usize(..4) {
        let at = rng.usize(..conflict.candidates.len());
        match rng.u8(..6) {
            0 if conflict.candidates.len() > 2 => drop(conflict.candidates.remove(at)),
            1 if conflict.candidates.len() < CANDIDATES_MAX => {
                let value = mutated(rng, &conflict.candidates[at].value);
                add(rng, &mut conflict, value);
            }
            2 => conflict.candidates[at].time = time(rng),
            3 => conflict.ancestor = conflict.ancestor.as_ref().map(|ancestor| mutated(rng, ancestor)),
            _ => conflict.candidates[at].value = mutated(rng, &conflict.candidates[at].value),
        }
    }
    conflict
}

/// Adds a candidate by a replica that has none yet.
fn add(rng: &mut Rng, conflict: &mut Conflict, value: Value) {
    let is_new = |origin: &&&str| conflict.candidates.iter().all(|candidate| candidate.origin != **origin);
    let free: Vec<&&str> = ORIGINS.iter().filter(is_new).collect();
    let origin = rng.choice(free).map_or_else(|| format!("edge-{}", conflict.candidates.len()), |it| (*it).to_owned());
    conflict.candidates.push(Candidate { value, origin, sequence: rng.u64(1..=3), time: time(rng) });
}
