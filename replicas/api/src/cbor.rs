//! JSON values as CBOR (RFC 8949) and back. Only what JSON can say is taken: no byte strings, tags, NaN, infinities or
//! keys that are not text, so that nothing changes its meaning on the way in.

use ciborium::Value as Cbor;
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::limits::CBOR_DEPTH_MAX;

/// Why bytes are not a JSON value in CBOR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not CBOR, or nested too deeply.
    #[error("the body is not valid CBOR, or nests deeper than {CBOR_DEPTH_MAX} levels: {reason}")]
    Syntax {
        /// What the decoder found.
        reason: String,
    },
    /// More follows the value.
    #[error("{bytes} bytes follow the CBOR value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// Something that JSON cannot say.
    #[error("the CBOR value has {found}, which JSON does not have")]
    NotJson {
        /// What it has.
        found: &'static str,
    },
    /// An object with the same key twice.
    #[error("the CBOR value has the key {key:?} twice in one map")]
    RepeatedKey {
        /// The key.
        key: String,
    },
}

/// A JSON value, or anything that has one, in CBOR.
///
/// # Panics
/// When the value's `Serialize` fails, which none of this crate's does.
pub fn encode(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a vector takes every byte, and plain data serializes");
    bytes
}

/// The JSON value that these bytes are.
///
/// # Errors
/// [`Error`].
pub fn decode(mut bytes: &[u8]) -> Result<Value, Error> {
    let value: Cbor = ciborium::de::from_reader_with_recursion_limit(&mut bytes, CBOR_DEPTH_MAX)
        .map_err(|error| Error::Syntax { reason: error.to_string() })?;
    if !bytes.is_empty() {
        return Err(Error::Trailing { bytes: bytes.len() });
    }
    to_json(value)
}

fn to_json(value: Cbor) -> Result<Value, Error> {
    let refused = |found| Err(Error::NotJson { found });
    match value {
        Cbor::Null => Ok(Value::Null),
        Cbor::Bool(bool) => Ok(Value::Bool(bool)),
        Cbor::Text(text) => Ok(Value::String(text)),
        Cbor::Integer(integer) => {
            let number = i64::try_from(integer).map(Number::from).or_else(|_| u64::try_from(integer).map(Number::from));
            number.map(Value::Number).map_err(|_| Error::NotJson { found: "an integer below -2^63" })
        }
        Cbor::Float(float) => match Number::from_f64(float) {
            Some(number) => Ok(Value::Number(number)),
            None => refused("a number that is not finite"),
        },
        Cbor::Array(items) => items.into_iter().map(to_json).collect::<Result<_, _>>().map(Value::Array),
        Cbor::Map(entries) => to_object(entries).map(Value::Object),
        Cbor::Bytes(_) => refused("a byte string"),
        Cbor::Tag(..) => refused("a tag"),
        _ => refused("a value of an unknown type"),
    }
}

fn to_object(entries: Vec<(Cbor, Cbor)>) -> Result<Map<String, Value>, Error> {
    let mut object = Map::new();
    for (key, value) in entries {
        let Cbor::Text(key) = key else { return Err(Error::NotJson { found: "a key that is not text" }) };
        if object.contains_key(&key) {
            return Err(Error::RepeatedKey { key });
        }
        object.insert(key, to_json(value)?);
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,0.1,1e300,"é"],"b":{}}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(decode(&encode(&value)).unwrap(), value);
    }

    #[track_caller]
    fn check_refused(hexadecimal: &[u8], expected: &str) {
        let sentence = decode(hexadecimal).unwrap_err().to_string();
        assert!(sentence.contains(expected), "{sentence}");
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        check_refused(&[0x41, 0x00], "a byte string");
        check_refused(&[0xc0, 0x60], "a tag");
        check_refused(&[0xf9, 0x7e, 0x00], "not finite");
        check_refused(&[0xf9, 0x7c, 0x00], "not finite");
        check_refused(&[0xa1, 0x01, 0x02], "a key that is not text");
        check_refused(&[0xa2, 0x61, b'a', 0x01, 0x61, b'a', 0x02], r#"the key "a" twice"#);
        check_refused(&[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "below -2^63");
    }

    #[test]
    fn what_is_no_cbor_is_refused() {
        check_refused(&[], "not valid CBOR");
        check_refused(&[0x01, 0x02, 0x03], "2 bytes follow");
        // A text that claims 2^63 bytes, and arrays without end: neither may cost memory.
        check_refused(&[0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'a'], "not valid CBOR");
        check_refused(&[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "not valid CBOR");
        check_refused(&[0x81; 1 << 20], "not valid CBOR");
    }
}
