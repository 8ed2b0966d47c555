//! One line of an import.

use serde::Deserialize;
use serde_json::{Map, Value};
use skerry_model::limits::DOCUMENT_BYTES_MAX;
use skerry_model::{DocumentKey, document, ids};

/// A line, in bytes: a document with room for its key, white space and escapes.
pub(super) const LINE_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX + (64 << 10);

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("longer than {LINE_BYTES_MAX} bytes, the limit")]
    TooLong,
    #[error("not of the form {{\"key\":\"…\",\"value\":{{…}}}}: {0}")]
    Form(#[source] serde_json::Error),
    #[error("it has no field {field:?} to take the key from")]
    NoKey { field: String },
    #[error("its field {field:?} must be a string or a whole number to be the key")]
    KeyForm { field: String },
    #[error(transparent)]
    Key(#[from] ids::Error),
    #[error(transparent)]
    Document(#[from] document::Error),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keyed {
    key: String,
    value: Value,
}

/// The document in a line; with a key field the line is the document, and that field its key.
pub(super) fn parse(line: &[u8], key_field: Option<&str>) -> Result<(DocumentKey, Map<String, Value>), Error> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let Some(field) = key_field else {
        let Keyed { key, value } = serde_json::from_slice(line).map_err(Error::Form)?;
        return Ok((key.parse()?, document::check(value)?));
    };
    let document = document::parse(line)?;
    let key = match document.get(field) {
        Some(Value::String(key)) => key.clone(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(_) => return Err(Error::KeyForm { field: field.to_owned() }),
        None => return Err(Error::NoKey { field: field.to_owned() }),
    };
    Ok((key.parse()?, document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, key_field: Option<&str>, expected: &str) {
        let found = match parse(line.as_bytes(), key_field) {
            Ok((key, document)) => format!("{key}: {}", Value::Object(document)),
            Err(error) => error.to_string(),
        };
        assert!(found.contains(expected), "{found}");
    }

    #[test]
    fn lines_name_a_key_and_a_value() {
        check(r#"{"key":"a/b","value":{"n":1}}"#, None, r#"a/b: {"n":1}"#);
        check(r#"{"key":"a"}"#, None, "missing field `value`");
        check(r#"{"key":"a","value":{},"extra":1}"#, None, "unknown field `extra`");
        check(r#"{"key":"","value":{}}"#, None, "key is 0 bytes long");
        check(r#"{"key":"a","value":[]}"#, None, "this is an array");
        check("{", None, "not of the form");
    }

    #[test]
    fn bare_documents_have_their_key_in_a_field() {
        check(r#"{"code":"FR-75","name":"Paris"}"#, Some("code"), r#"FR-75: {"code":"FR-75","name":"Paris"}"#);
        check(r#"{"id":7}"#, Some("id"), r#"7: {"id":7}"#);
        check(r#"{"id":7.5}"#, Some("id"), "must be a string or a whole number");
        check(r#"{"id":null}"#, Some("id"), "must be a string or a whole number");
        check("{}", Some("id"), r#"no field "id""#);
        check("7", Some("id"), "this is a number");
    }
}
