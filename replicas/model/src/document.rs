//! Documents as bytes: parsing a client's JSON within the limits, the canonical form (RFC 8785) that every replica
//! writes alike, and splices between two of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::limits;

/// From here on RFC 8785 writes numbers with an exponent.
const PLAIN_DIGITS_BELOW: f64 = 1e21;

/// Why a document was refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON.
    #[error("the document is not valid JSON: {0}")]
    Syntax(#[source] serde_json::Error),
    /// JSON, but not an object.
    #[error("a document must be a JSON object, this is {found}")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// Over the size limit.
    #[error("the document is {bytes} bytes, the limit is {max}")]
    TooLarge {
        /// Its size as canonical JSON.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Nested too deeply.
    #[error("the document nests deeper than {max} levels at {path}")]
    TooDeep {
        /// Where the limit is passed.
        path: String,
        /// The limit.
        max: usize,
    },
    /// A number that would not come back as it was sent.
    #[error("the integer {number} at {path} is beyond 2^53 - 1 and would lose digits: send it as a string")]
    Integer {
        /// Where it is.
        path: String,
        /// The number.
        number: String,
    },
}

/// A document's canonical JSON: RFC 8785 of an object within the limits. Equal documents have equal bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct View(Bytes);

impl View {
    /// The canonical form of an object that [`parse`] has taken.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn of(document: &Map<String, Value>) -> Result<Self, Error> {
        let bytes = serde_json_canonicalizer::to_vec(document).map_err(Error::Syntax)?;
        let (size, max) = (bytes.len(), limits::DOCUMENT_BYTES_MAX);
        if size > max {
            return Err(Error::TooLarge { bytes: size, max });
        }
        Ok(Self(Bytes::from(bytes)))
    }

    /// Takes back bytes that [`View::of`] made, from storage or from a replica that is trusted with outcomes.
    #[must_use]
    pub fn from_canonical(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The object.
    ///
    /// # Errors
    /// [`Error::Syntax`] when the bytes were damaged.
    pub fn object(&self) -> Result<Map<String, Value>, Error> {
        serde_json::from_slice(&self.0).map_err(Error::Syntax)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({})", String::from_utf8_lossy(&self.0))
    }
}

/// Parses a client's document.
///
/// # Errors
/// [`Error`] names what is wrong, where, and the limit.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    check(serde_json::from_slice(bytes).map_err(Error::Syntax)?)
}

/// Checks a value that came in another format than JSON text.
///
/// # Errors
/// As [`parse`].
pub fn check(value: Value) -> Result<Map<String, Value>, Error> {
    check_value(&value, &mut Vec::new())?;
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Err(Error::NotAnObject { found: "null" }),
        Value::Bool(_) => Err(Error::NotAnObject { found: "a boolean" }),
        Value::Number(_) => Err(Error::NotAnObject { found: "a number" }),
        Value::String(_) => Err(Error::NotAnObject { found: "a string" }),
        Value::Array(_) => Err(Error::NotAnObject { found: "an array" }),
    }
}

/// Checks depth and numbers of any JSON value; a merge patch is one that need not be a document.
///
/// # Errors
/// [`Error::TooDeep`], [`Error::Integer`].
pub fn check_value<'v>(value: &'v Value, path: &mut Vec<std::borrow::Cow<'v, str>>) -> Result<(), Error> {
    if path.len() > limits::DOCUMENT_DEPTH_MAX {
        return Err(Error::TooDeep { path: pointer(path), max: limits::DOCUMENT_DEPTH_MAX });
    }
    match value {
        Value::Number(number) => {
            // A float without a fraction is written as plain digits (RFC 8785), so it is held to the same limit.
            let digits = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < PLAIN_DIGITS_BELOW);
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            let too_large = magnitude.is_some_and(|magnitude| magnitude > limits::INTEGER_MAX)
                || magnitude.is_none() && digits.is_some_and(|float| float.abs() > limits::INTEGER_MAX as f64);
            match too_large {
                true => {
                    let path = if path.is_empty() { "the top".to_owned() } else { pointer(path) };
                    Err(Error::Integer { path, number: number.to_string() })
                }
                false => Ok(()),
            }
        }
        Value::Array(items) => items.iter().enumerate().try_for_each(|(at, item)| {
            path.push(at.to_string().into());
            let checked = check_value(item, path);
            path.pop();
            checked
        }),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            path.push(name.as_str().into());
            let checked = check_value(field, path);
            path.pop();
            checked
        }),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// The JSON Pointer (RFC 6901) of these steps.
#[must_use]
pub fn pointer<S: AsRef<str>>(steps: &[S]) -> String {
    steps.iter().fold(String::new(), |mut text, step| {
        text.push('/');
        text.push_str(&step.as_ref().replace('~', "~0").replace('/', "~1"));
        text
    })
}

/// The steps of a JSON Pointer (RFC 6901).
#[must_use]
pub fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// One replacement that turns some bytes into others: how views travel, so that an edit costs its own size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splice {
    /// Where it starts, in bytes.
    pub offset: u32,
    /// How many bytes go.
    pub removed: u32,
    /// What comes in their place.
    pub inserted: Bytes,
}

/// A splice that does not fit the bytes it was to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a splice of {removed} bytes at {offset} does not fit into {length} bytes")]
pub struct SpliceMismatch {
    offset: u32,
    removed: u32,
    length: usize,
}

impl Splice {
    /// The splice between what the two have in common at their ends. Both are documents, so lengths fit in 32 bits.
    ///
    /// # Panics
    /// When either is past 4 GiB, which no document is.
    #[must_use]
    pub fn between(old: &[u8], new: &Bytes) -> Self {
        let prefix = old.iter().zip(new.iter()).take_while(|(a, b)| a == b).count();
        let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
        let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
        let fits = |length: usize| u32::try_from(length).expect("a document is at most 1 MiB");
        Self {
            offset: fits(prefix),
            removed: fits(old_rest.len() - suffix),
            inserted: new.slice(prefix..new.len() - suffix),
        }
    }

    /// The bytes after the splice.
    ///
    /// # Errors
    /// [`SpliceMismatch`] when it reaches past the end of `old`.
    pub fn apply(&self, old: &[u8]) -> Result<Bytes, SpliceMismatch> {
        let (offset, removed) = (self.offset as usize, self.removed as usize);
        let mismatch = SpliceMismatch { offset: self.offset, removed: self.removed, length: old.len() };
        let head = old.get(..offset).ok_or_else(|| mismatch.clone())?;
        let tail = old.get(offset + removed..).ok_or(mismatch)?;
        Ok([head, &self.inserted, tail].concat().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        String::from_utf8(View::of(&parse(text.as_bytes()).unwrap()).unwrap().bytes().to_vec()).unwrap()
    }

    #[test]
    fn views_are_canonical() {
        assert_eq!(canonical(r#"{ "b": 1.0, "a": [1e2, "\u00e9"] }"#), r#"{"a":[100,"é"],"b":1}"#);
        assert_eq!(canonical(r#"{"z":0.1,"€":-0.0}"#), r#"{"z":0.1,"€":0}"#);
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn refusals_name_the_place_and_the_limit() {
        check_refused("[1]", "a document must be a JSON object, this is an array");
        check_refused(
            r#"{"a/b":[9007199254740992]}"#,
            "the integer 9007199254740992 at /a~1b/0 is beyond 2^53 - 1 and would lose digits: send it as a string",
        );
        check_refused(
            r#"{"a":1e16}"#,
            "the integer 1e+16 at /a is beyond 2^53 - 1 and would lose digits: send it as a string",
        );
        assert!(parse(br#"{"a":1e21,"b":9007199254740991.0}"#).is_ok());
        let deep = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
        assert!(
            parse(deep.as_bytes()).unwrap_err().to_string().starts_with("the document nests deeper than 64 levels")
        );
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(limits::DOCUMENT_BYTES_MAX));
        let refused = View::of(&parse(large.as_bytes()).unwrap()).unwrap_err();
        assert_eq!(refused.to_string(), "the document is 1048584 bytes, the limit is 1048576");
    }

    proptest! {
        #[test]
        fn splices_lead_from_old_to_new(old: Vec<u8>, new: Vec<u8>) {
            let new = Bytes::from(new);
            prop_assert_eq!(Splice::between(&old, &new).apply(&old).unwrap(), new);
        }

        #[test]
        fn a_splice_that_does_not_fit_is_refused(offset: u32, removed: u32, old in proptest::collection::vec(any::<u8>(), 0..50)) {
            let fits = (u64::from(offset) + u64::from(removed)) <= old.len() as u64;
            prop_assert_eq!(Splice { offset, removed, inserted: Bytes::new() }.apply(&old).is_ok(), fits);
        }
    }
}
