//! A resolver as its author sees it: values instead of text, and helpers for what most resolvers do.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Decides what readers see where concurrent writes to a document met.
pub trait Resolver {
    /// What it wants handed. Asked once for each version of the plugin.
    fn wants() -> Wants;

    /// Decides about all conflicts of one document at once; they come in the order of their paths.
    ///
    /// # Errors
    /// One sentence for whoever reads the document: its conflicts stay open and the view takes the built-in order.
    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String>;
}

/// What a resolver says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wants {
    /// Whether each conflict should carry its ancestor.
    pub ancestor: bool,
    /// JSON Pointers (RFC 6901) of the fields it decides, each with everything below it; empty for every field. Conflicts
    /// elsewhere take the built-in order.
    pub paths: Vec<String>,
}

impl Wants {
    /// Every conflict.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// The conflicts in and below these fields at the top level.
    pub fn fields<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let pointer = |name: S| format!("/{}", name.as_ref().replace('~', "~0").replace('/', "~1"));
        Self { ancestor: false, paths: names.into_iter().map(pointer).collect() }
    }

    /// The same, each conflict with its ancestor.
    #[must_use]
    pub fn with_ancestor(self) -> Self {
        Self { ancestor: true, ..self }
    }
}

/// One writer's value where concurrent writes met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The value it wrote.
    pub value: Value,
    /// The replica that wrote it: its id, or the hexadecimal Automerge actor of a client that has none.
    pub origin: String,
    /// The writing change's number among its actor's changes to the document.
    pub sequence: u64,
    /// When it was written, in milliseconds since 1970. Two writers may give the same time.
    pub time: i64,
}

/// One place of a document where concurrent writes met. As JSON it is what `skerry plugin try` reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// The value that every candidate replaced, if it was asked for and there is exactly one. In JSON, a null is a value
    /// and no ancestor is no field.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<Value>,
    /// What was written, by Automerge operation id, lowest first; at least two.
    pub candidates: Vec<Candidate>,
}

impl Conflict {
    /// A conflict without candidates yet, for tests.
    pub fn at(path: impl Into<String>) -> Self {
        Self { path: path.into(), ancestor: None, candidates: Vec::new() }
    }

    /// The same conflict with an ancestor, for tests.
    #[must_use]
    pub fn ancestor(mut self, value: impl Into<Value>) -> Self {
        self.ancestor = Some(value.into());
        self
    }

    /// The same conflict with one more candidate, for tests: its sequence number is 1, its time 1 ms after the last one's.
    #[must_use]
    pub fn candidate(mut self, origin: impl Into<String>, value: impl Into<Value>) -> Self {
        let time = self.candidates.last().map_or(0, |last| last.time.saturating_add(1));
        self.candidates.push(Candidate { value: value.into(), origin: origin.into(), sequence: 1, time });
        self
    }

    /// Every candidate's value, or `None` when one is not an integer.
    #[must_use]
    pub fn integers(&self) -> Option<Vec<i64>> {
        self.candidates.iter().map(|candidate| candidate.value.as_i64()).collect()
    }

    /// The candidate with the latest time; between equal times, the one whose origin comes last, whatever the order of the
    /// candidates.
    ///
    /// # Panics
    /// Without candidates, which no conflict is.
    #[must_use]
    pub fn latest(&self) -> Choice {
        let order = |candidate: &Candidate| (candidate.time, candidate.origin.clone(), candidate.sequence);
        let latest = self.candidates.iter().enumerate().max_by_key(|(_, candidate)| order(candidate));
        let (at, _) = latest.expect("a conflict has at least two candidates");
        Choice::Candidate(u32::try_from(at).expect("the host hands in fewer than 2^32 candidates"))
    }
}

/// A field that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What a resolver decides about one conflict.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The candidate at this place, counted from 0.
    Candidate(u32),
    /// A value of its own.
    Value(Value),
    /// The field is left out of the view.
    Remove,
}

impl Choice {
    /// A value of the resolver's own.
    pub fn value(value: impl Into<Value>) -> Self {
        Self::Value(value.into())
    }
}

impl From<Value> for Choice {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

/// A field added to what readers see, to tell them about the outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// Name of the field at the top level: 1 to 64 bytes, without `/`. A field of the document itself is left alone.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// What a resolver decides about a document. Collects from choices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Resolution {
    /// One choice for each conflict, in their order.
    pub choices: Vec<Choice>,
    /// At most 32, each name once.
    pub notes: Vec<Note>,
}

impl Resolution {
    /// The same resolution with one more note.
    #[must_use]
    pub fn note(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.notes.push(Note { name: name.into(), value: value.into() });
        self
    }
}

impl FromIterator<Choice> for Resolution {
    fn from_iter<I: IntoIterator<Item = Choice>>(choices: I) -> Self {
        Self { choices: choices.into_iter().collect(), notes: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wants_name_fields_as_pointers() {
        assert_eq!(Wants::fields(["remaining", "a/b~c"]).paths, ["/remaining", "/a~1b~0c"]);
        assert!(Wants::everything().paths.is_empty());
        assert!(Wants::everything().with_ancestor().ancestor);
    }

    #[test]
    fn the_latest_of_equal_times_is_the_last_by_origin() {
        let mut conflict = Conflict::at("/a").candidate("b", 1).candidate("c", 2).candidate("a", 3);
        assert_eq!(conflict.latest(), Choice::Candidate(2));
        conflict.candidates[0].time = 9;
        assert_eq!(conflict.latest(), Choice::Candidate(0));
        conflict.candidates[1].time = 9;
        assert_eq!(conflict.latest(), Choice::Candidate(1));
        conflict.candidates.reverse();
        assert_eq!(conflict.latest(), Choice::Candidate(1));
    }

    #[test]
    fn integers_are_all_or_none() {
        let conflict = Conflict::at("/a").candidate("one", 1).candidate("two", -2);
        assert_eq!(conflict.integers(), Some(vec![1, -2]));
        assert_eq!(conflict.candidate("three", 1.5).integers(), None);
    }

    #[track_caller]
    fn check_json(text: Value, expected: &Conflict) {
        assert_eq!(&serde_json::from_value::<Conflict>(text.clone()).unwrap(), expected);
        assert_eq!(serde_json::to_value(expected).unwrap(), text);
    }

    #[test]
    fn conflicts_are_read_from_json() {
        let written = json!([{"value": 4, "origin": "till-1", "sequence": 1, "time": 0}]);
        let conflict = Conflict::at("/a").candidate("till-1", 4);
        check_json(json!({"path": "/a", "candidates": written}), &conflict);
        check_json(json!({"path": "/a", "ancestor": null, "candidates": written}), &conflict.ancestor(json!(null)));
    }
}
