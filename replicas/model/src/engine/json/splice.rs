//! Splices of Text: characters that go and come at a place, counted in code points of the version that the writer saw.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::document;
use crate::engine::Error;
use crate::ids::hash_field;
use crate::limits::{SPLICED_BYTES_MAX, TEXT_SPLICES_MAX};

/// What a client sends: `{"splice": [{"path": "/body", "at": 5, "remove": 2, "insert": "abc"}]}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    splice: Vec<TextSplice>,
}

/// One change of one Text. Each counts from what those before it have left.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextSplice {
    /// JSON Pointer of a text field.
    path: String,
    /// Characters before it.
    pub(super) at: usize,
    /// Characters that go.
    #[serde(default)]
    pub(super) remove: usize,
    /// What comes in their place.
    #[serde(default)]
    pub(super) insert: String,
}

impl TextSplice {
    /// The steps that lead to the Text.
    pub(super) fn steps(&self) -> Vec<String> {
        document::steps(&self.path)
    }

    /// Changes the Text.
    ///
    /// # Errors
    /// [`Error::Refused`] when it reaches past the end.
    pub(super) fn apply(&self, text: &mut String) -> Result<(), Error> {
        let place =
            place_of(text, self.at).and_then(|start| Some(start..start + place_of(&text[start..], self.remove)?));
        let Some(place) = place else {
            let (path, at, remove, length) = (&self.path, self.at, self.remove, text.chars().count());
            let reason = format!("{path} has {length} characters, and the splice removes {remove} from {at} on");
            return Err(Error::Refused { reason });
        };
        text.replace_range(place, &self.insert);
        Ok(())
    }
}

/// How many bytes so many characters take; `None` where there are not so many.
fn place_of(text: &str, characters: usize) -> Option<usize> {
    let mut rest = text.chars();
    if let Some(last) = characters.checked_sub(1) {
        rest.nth(last)?;
    }
    Some(text.len() - rest.as_str().len())
}

/// The splices of an operation, and the document that the writer saw with them.
///
/// # Errors
/// [`Error::Refused`] when it is no such operation, names a field that is no Text there, or reaches past its end.
pub(super) fn read(
    operation: &Value,
    text: &BTreeSet<String>,
    seen: Option<&Map<String, Value>>,
) -> Result<(Vec<TextSplice>, Map<String, Value>), Error> {
    let refused = |reason| Error::Refused { reason };
    let form = r#"{"splice": [{"path": "/body", "at": 5, "remove": 2, "insert": "abc"}]}"#;
    let unlike = |error| refused(format!("documents of this policy take operations like {form}: {error}"));
    let Operation { splice: splices } = Operation::deserialize(operation).map_err(unlike)?;
    if splices.is_empty() || splices.len() > TEXT_SPLICES_MAX {
        return Err(refused(format!("an operation has 1 to {TEXT_SPLICES_MAX} splices, this one {}", splices.len())));
    }
    let mut spliced = seen.cloned().ok_or_else(|| refused("there is no document here".to_owned()))?;
    let mut work = 0;
    for splice in &splices {
        let path = &splice.path;
        if !text.contains(path) {
            return Err(refused(format!("{path} is none of the collection's text fields")));
        }
        let Some(Value::String(held)) = at(&mut spliced, &splice.steps()) else {
            return Err(refused(format!("the document has no text at {path}: write one there first")));
        };
        work += held.len();
        if work > SPLICED_BYTES_MAX {
            let what = "the texts that an operation splices, each counted for every splice, in bytes";
            return Err(Error::Limit { what, found: work, max: SPLICED_BYTES_MAX });
        }
        splice.apply(held)?;
    }
    Ok((splices, spliced))
}

/// What stands at the end of these steps, through objects alone: in a list there is no Text.
fn at<'v>(fields: &'v mut Map<String, Value>, steps: &[String]) -> Option<&'v mut Value> {
    let (first, rest) = steps.split_first()?;
    rest.iter().try_fold(fields.get_mut(first)?, |value, step| value.as_object_mut()?.get_mut(step))
}

/// The string that stands there.
pub(super) fn text_at<'v>(fields: &'v Map<String, Value>, steps: &[String]) -> Option<&'v str> {
    let (first, rest) = steps.split_first()?;
    rest.iter().try_fold(fields.get(first)?, |value, step| value.as_object()?.get(step))?.as_str()
}

/// A digest of the texts that an operation splices, as they stand in a document: where it is another, the operation's
/// places mean other characters. `None` for what is no such operation.
#[must_use]
pub fn texts(operation: &Value, fields: Option<&Map<String, Value>>) -> Option<[u8; 32]> {
    let Operation { splice: splices } = Operation::deserialize(operation).ok()?;
    let fields = fields?;
    let mut hasher = blake3::Hasher::new();
    let paths: BTreeSet<_> = splices.iter().map(TextSplice::steps).collect();
    for steps in paths {
        hash_field(&mut hasher, text_at(fields, &steps).unwrap_or_default().as_bytes());
    }
    Some(*hasher.finalize().as_bytes())
}
