//! One table from JSON to Automerge and back. What another Automerge client wrote always has a JSON form, so that no
//! value can make a document unreadable.
//!
//! | JSON | written as | |
//! |---|---|---|
//! | null, true, false | Null, Boolean | |
//! | a whole number up to 2^53 - 1 in either direction | Int | also when it was sent as 7.0 |
//! | any other number | F64 | |
//! | a string | Str, replaced whole | Text, merged by character, where the collection declares the field as text |
//! | an array | List | |
//! | an object | Map | |
//!
//! | Automerge | read as |
//! |---|---|
//! | Null, Boolean, Str | null, true or false, the string |
//! | Int, Uint, Counter | the number; past 2^53 - 1 its decimal digits as a string |
//! | Timestamp | milliseconds since 1970, as Int |
//! | F64 | the number; NaN and the infinities as null |
//! | Bytes, and scalars of a kind that this version does not know | their lowercase hexadecimal digits as a string |
//! | Text | the string, marks left out, a block or any other object in it as U+FFFC |
//! | Map, Table | an object |
//! | List | an array |

use automerge::{ScalarValue, TextEncoding, hydrate};
use serde_json::{Map, Number, Value};

use crate::limits::INTEGER_MAX;

/// How positions in Text count, in every build.
pub(super) const TEXT_ENCODING: TextEncoding = TextEncoding::UnicodeCodePoint;

/// The JSON of a scalar.
pub(super) fn from_scalar(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Null => Value::Null,
        ScalarValue::Boolean(value) => Value::Bool(*value),
        ScalarValue::Str(text) => Value::String(text.to_string()),
        ScalarValue::Int(number) | ScalarValue::Timestamp(number) => from_integer(*number),
        ScalarValue::Counter(counter) => from_integer(i64::from(counter)),
        ScalarValue::Uint(number) => {
            i64::try_from(*number).map_or_else(|_| Value::String(number.to_string()), from_integer)
        }
        ScalarValue::F64(number) => {
            whole(*number).map_or_else(|| Number::from_f64(*number).map_or(Value::Null, Value::Number), Value::from)
        }
        ScalarValue::Bytes(bytes) | ScalarValue::Unknown { bytes, .. } => Value::String(hex::encode(bytes)),
    }
}

fn from_integer(number: i64) -> Value {
    if number.unsigned_abs() > INTEGER_MAX { Value::String(number.to_string()) } else { Value::from(number) }
}

/// The scalar of a JSON value; `None` for arrays and objects.
pub(super) fn to_scalar(value: &Value) -> Option<ScalarValue> {
    match value {
        Value::Null => Some(ScalarValue::Null),
        Value::Bool(value) => Some(ScalarValue::Boolean(*value)),
        Value::Number(number) => Some(to_number(number)),
        Value::String(text) => Some(ScalarValue::Str(text.as_str().into())),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn to_number(number: &Number) -> ScalarValue {
    let float = number.as_f64().unwrap_or_default();
    number.as_i64().or_else(|| whole(float)).map_or(ScalarValue::F64(float), ScalarValue::Int)
}

/// A number without a fraction that every reader of JSON keeps exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "only within 2^53 - 1, where both are exact"
)]
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= INTEGER_MAX as f64).then_some(number as i64)
}

/// Whether two values read the same: 1 and 1.0 do.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => to_number(one) == to_number(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let found = |(name, value)| other.get(name).is_some_and(|other| same(value, other));
            one.len() == other.len() && one.iter().all(found)
        }
        (one, other) => one == other,
    }
}

/// What Automerge makes of a whole value. `text` says of a path whether a string there is Text.
pub(super) fn to_automerge(value: &Value, path: &mut Vec<String>, text: &dyn Fn(&[String]) -> bool) -> hydrate::Value {
    match value {
        Value::String(string) if text(path) => hydrate::Value::text(TEXT_ENCODING, string),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| to_automerge(item, path, &|_: &[String]| false)).collect();
            hydrate::Value::List(items.into())
        }
        Value::Object(fields) => hydrate::Value::Map(to_map(fields, path, text)),
        scalar => hydrate::Value::Scalar(to_scalar(scalar).unwrap_or(ScalarValue::Null)),
    }
}

fn to_map(fields: &Map<String, Value>, path: &mut Vec<String>, text: &dyn Fn(&[String]) -> bool) -> hydrate::Map {
    let mut map = hydrate::Map::default();
    for (name, field) in fields {
        path.push(name.clone());
        let value = to_automerge(field, path, text);
        path.pop();
        map.insert(name.clone(), hydrate::MapValue { value, conflict: false });
    }
    map
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(scalar: ScalarValue, expected: Value) {
        assert_eq!(from_scalar(&scalar), expected);
    }

    #[test]
    fn every_scalar_has_a_json_form() {
        check(ScalarValue::Null, json!(null));
        check(ScalarValue::Boolean(true), json!(true));
        check(ScalarValue::Str("é".into()), json!("é"));
        check(ScalarValue::Int(-9_007_199_254_740_991), json!(-9_007_199_254_740_991_i64));
        check(ScalarValue::Int(-9_007_199_254_740_992), json!("-9007199254740992"));
        check(ScalarValue::Int(i64::MIN), json!("-9223372036854775808"));
        check(ScalarValue::Uint(u64::MAX), json!("18446744073709551615"));
        check(ScalarValue::Uint(5), json!(5));
        check(ScalarValue::counter(3), json!(3));
        check(ScalarValue::Timestamp(1_700_000_000_000), json!(1_700_000_000_000_i64));
        check(ScalarValue::F64(2.0), json!(2));
        check(ScalarValue::F64(-0.0), json!(0));
        check(ScalarValue::F64(0.5), json!(0.5));
        check(ScalarValue::F64(1e300), json!(1e300));
        check(ScalarValue::F64(f64::NAN), json!(null));
        check(ScalarValue::F64(f64::NEG_INFINITY), json!(null));
        check(ScalarValue::Bytes(vec![0, 255]), json!("00ff"));
        check(ScalarValue::Unknown { type_code: 13, bytes: vec![7] }, json!("07"));
    }

    #[test]
    fn numbers_are_written_whole_where_they_are_whole() {
        assert_eq!(to_scalar(&json!(7.0)), Some(ScalarValue::Int(7)));
        assert_eq!(to_scalar(&json!(7.5)), Some(ScalarValue::F64(7.5)));
        assert_eq!(to_scalar(&json!(-3)), Some(ScalarValue::Int(-3)));
        assert_eq!(to_scalar(&json!(1e19)), Some(ScalarValue::F64(1e19)));
        assert!(same(&json!({"a": [1.0]}), &json!({"a": [1]})));
        assert!(!same(&json!({"a": [1]}), &json!({"a": [1], "b": 2})));
    }
}
