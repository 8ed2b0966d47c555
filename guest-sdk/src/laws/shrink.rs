//! Makes a case smaller as long as it still breaks its law (Zeller and Hildebrandt 2002, over JSON instead of lines).

use std::time::Instant;

use serde_json::{Map, Value};

/// Simpler cases that are tried before the smallest one so far is taken.
const TRIES_MAX: usize = 2_000;
/// A case that is longer than this as JSON is left as it is: each try would copy it.
const CASE_BYTES_MAX: usize = 64 << 10;

/// The smallest case that `breaks` still finds broken, with what it found, as far as that is found out until `end`.
pub(super) fn smallest<F>(case: Value, found: F, end: Instant, breaks: impl Fn(&Value) -> Option<F>) -> (Value, F) {
    let (mut case, mut found) = (case, found);
    let is_short = serde_json::to_vec(&case).is_ok_and(|text| text.len() <= CASE_BYTES_MAX);
    let mut tries = if is_short { 0 } else { TRIES_MAX };
    loop {
        let mut smaller = None;
        each_simpler(&case, &mut |simpler| {
            tries += 1;
            if tries > TRIES_MAX || Instant::now() > end {
                return true;
            }
            smaller = breaks(&simpler).map(|still| (simpler, still));
            smaller.is_some()
        });
        match smaller {
            Some(smaller) => (case, found) = smaller,
            None => return (case, found),
        }
    }
}

/// Told each simpler value until it has seen enough.
type See<'a> = dyn FnMut(Value) -> bool + 'a;

/// Shows values with less in them, those with the least first, one at a time. Answers whether enough was seen.
fn each_simpler(value: &Value, see: &mut See<'_>) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => see(Value::Bool(false)),
        Value::Number(number) => simpler_numbers(number).into_iter().any(see),
        Value::String(text) => simpler_texts(text).into_iter().any(see),
        Value::Array(items) => each_simpler_array(items, see),
        Value::Object(fields) => each_simpler_object(fields, see),
    }
}

fn simpler_numbers(number: &serde_json::Number) -> Vec<Value> {
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

fn simpler_texts(text: &str) -> Vec<Value> {
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

fn each_simpler_array(items: &[Value], see: &mut See<'_>) -> bool {
    if items.len() > 2 {
        let (first, second) = items.split_at(items.len() / 2);
        if see(Value::from(first)) || see(Value::from(second)) {
            return true;
        }
    }
    let without = |at: usize| items.iter().enumerate().filter(move |(i, _)| *i != at).map(|(_, item)| item.clone());
    (0..items.len()).any(|at| see(without(at).collect::<Value>()))
        || items.iter().enumerate().any(|(at, item)| {
            each_simpler(item, &mut |simpler| {
                let mut changed = items.to_vec();
                changed[at] = simpler;
                see(Value::Array(changed))
            })
        })
}

fn each_simpler_object(fields: &Map<String, Value>, see: &mut See<'_>) -> bool {
    let without = |name: &String| {
        let mut without = fields.clone();
        without.remove(name);
        Value::Object(without)
    };
    fields.keys().any(|name| see(without(name)))
        || fields.iter().any(|(name, value)| {
            each_simpler(value, &mut |simpler| {
                let mut changed = fields.clone();
                changed.insert(name.clone(), simpler);
                see(Value::Object(changed))
            })
        })
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
        let simpler = |value: &Value| {
            let mut seen = Vec::new();
            each_simpler(value, &mut |simpler| {
                seen.push(simpler);
                false
            });
            seen
        };
        for value in [json!(0), json!(""), json!([]), json!({}), json!(false), Value::Null] {
            assert_eq!(simpler(&value), Vec::<Value>::new(), "{value}");
        }
        assert_eq!(simpler(&json!(-1)), vec![json!(0), json!(1)]);
        assert_eq!(simpler(&json!({"a": [true]})), vec![json!({}), json!({"a": []}), json!({"a": [false]})]);
    }

    #[test]
    fn a_large_case_is_left_as_it_is() {
        let large = json!(vec![1; CASE_BYTES_MAX]);
        let end = Instant::now() + std::time::Duration::from_secs(60);
        assert_eq!(smallest(large.clone(), (), end, |_| Some(())), (large, ()));
    }
}
