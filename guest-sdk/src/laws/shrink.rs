//! Makes a case smaller as long as it still breaks its law (Zeller and Hildebrandt 2002, over JSON instead of lines).

use std::time::Instant;

use serde_json::{Map, Value};

/// Simpler cases that are tried before the smallest one so far is taken.
const TRIES_MAX: usize = 2_000;

/// The smallest case that `breaks` still finds broken, with what it found, as far as that is found out until `end`.
pub(super) fn smallest<F>(case: Value, found: F, end: Instant, breaks: impl Fn(&Value) -> Option<F>) -> (Value, F) {
    let (mut case, mut found) = (case, found);
    let mut tries = 0;
    'smaller: loop {
        for simpler in simpler(&case) {
            tries += 1;
            if tries > TRIES_MAX || Instant::now() > end {
                return (case, found);
            }
            if let Some(still) = breaks(&simpler) {
                (case, found) = (simpler, still);
                continue 'smaller;
            }
        }
        return (case, found);
    }
}

/// Values with less in them, those with the least first.
fn simpler(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Bool(true) => vec![Value::Bool(false)],
        Value::Bool(false) => Vec::new(),
        Value::Number(number) => simpler_number(number),
        Value::String(text) => simpler_text(text),
        Value::Array(items) => simpler_array(items),
        Value::Object(fields) => simpler_object(fields),
    }
}

fn simpler_number(number: &serde_json::Number) -> Vec<Value> {
    if let Some(integer) = number.as_i64() {
        let simpler = [0, 1, integer / 2, integer - integer.signum()];
        let mut simpler: Vec<_> = simpler.into_iter().filter(|it| it.unsigned_abs() < integer.unsigned_abs()).collect();
        simpler.dedup();
        if integer < 0 {
            simpler.push(-integer);
        }
        return simpler.into_iter().map(Value::from).collect();
    }
    let float = number.as_f64().unwrap_or_default();
    #[allow(clippy::cast_possible_truncation, reason = "any smaller number is as good")]
    let whole = float.trunc() as i64;
    if float.fract() == 0.0 { Vec::new() } else { vec![Value::from(whole)] }
}

fn simpler_text(text: &str) -> Vec<Value> {
    let characters: Vec<char> = text.chars().collect();
    let half = characters.len() / 2;
    let mut simpler = Vec::new();
    for kept in [&characters[..0], &characters[..half], &characters[..characters.len().saturating_sub(1)]] {
        let kept: String = kept.iter().collect();
        if kept != text && !simpler.contains(&Value::from(kept.as_str())) {
            simpler.push(Value::from(kept));
        }
    }
    simpler
}

fn simpler_array(items: &[Value]) -> Vec<Value> {
    let mut simpler_arrays = Vec::new();
    if items.len() > 2 {
        let (first, second) = items.split_at(items.len() / 2);
        simpler_arrays.extend([Value::from(first), Value::from(second)]);
    }
    let without = |at: usize| items.iter().enumerate().filter(move |(i, _)| *i != at).map(|(_, item)| item.clone());
    simpler_arrays.extend((0..items.len()).map(|at| without(at).collect::<Value>()));
    for (at, item) in items.iter().enumerate() {
        for simpler in simpler(item) {
            let mut changed = items.to_vec();
            changed[at] = simpler;
            simpler_arrays.push(Value::Array(changed));
        }
    }
    simpler_arrays
}

fn simpler_object(fields: &Map<String, Value>) -> Vec<Value> {
    let mut simpler_objects = Vec::new();
    for name in fields.keys() {
        let mut without = fields.clone();
        without.remove(name);
        simpler_objects.push(Value::Object(without));
    }
    for (name, value) in fields {
        for simpler in simpler(value) {
            let mut changed = fields.clone();
            changed.insert(name.clone(), simpler);
            simpler_objects.push(Value::Object(changed));
        }
    }
    simpler_objects
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let sum = |case: &Value| {
            let numbers = case["numbers"].as_array()?;
            let sum: i64 = numbers.iter().map(Value::as_i64).sum::<Option<i64>>()?;
            (sum >= 10).then_some(sum)
        };
        let case = json!({"numbers": [3, 900, 7, -2], "name": "long", "deep": {"a": [1, 2]}});
        let end = Instant::now() + std::time::Duration::from_secs(60);
        assert_eq!(smallest(case, 908, end, sum), (json!({"numbers": [10]}), 10));
    }

    #[test]
    fn nothing_simpler_is_as_large() {
        for value in [json!(0), json!(""), json!([]), json!({}), json!(false), Value::Null] {
            assert_eq!(simpler(&value), Vec::<Value>::new(), "{value}");
        }
        assert_eq!(simpler(&json!(-1)), vec![json!(0), json!(1)]);
    }
}
