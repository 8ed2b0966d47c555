//! Replicas of one document, and what a reader of theirs sees.

mod bytes;
mod conflicts;
mod costs;
mod deletes;
mod hostile;
mod merging;
mod properties;
mod splices;
mod writes;

use serde_json::{Map, Value, json};

use super::*;
use crate::ids::{Incarnation, Nonce, Origin, PluginDigest};
use crate::policy::{Choice, Conflict, PluginError, Resolution, Resolver, Wants};

/// A replica with its copy of the document. Each write is a second later than the one before.
struct Replica {
    document: JsonDocument,
    author: Author,
    now_ms: i64,
}

const START_MS: i64 = 1_700_000_000_000;

fn author(name: &str) -> Author {
    let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([7; 16]) };
    Author::new(Origin::new(name).unwrap(), &incarnation)
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { panic!("{value} is no object") };
    fields
}

fn engine(settings: JsonSettings) -> JsonEngine {
    JsonEngine::new(settings).unwrap()
}

fn templated() -> JsonEngine {
    let template = object(json!({"body": "", "items": {}, "tags": [], "title": "untitled"}));
    engine(JsonSettings { template: Some(template), text: vec!["/body".to_owned(), "/notes/text".to_owned()] })
}

impl Replica {
    fn new(engine: &JsonEngine, name: &str) -> Self {
        Self { document: engine.empty.clone(), author: author(name), now_ms: START_MS }
    }

    fn at(mut self, seconds: i64) -> Self {
        self.now_ms = START_MS + seconds * 1_000;
        self
    }

    fn try_write(&mut self, write: &Write, chooser: Chooser<'_>) -> Result<Option<Delta>, Error> {
        let seen = self.document.view(chooser)?.view.map(|view| view.object().unwrap());
        self.now_ms += 1_000;
        let context =
            WriteContext { author: &self.author, time_ms: self.now_ms, number: None, base: None, seen: seen.as_ref() };
        self.document.apply(write, &context)
    }

    fn try_write_at(&mut self, base: &Version, write: &Write) -> Result<Option<Delta>, Error> {
        let seen = self.document.view_at(base, Chooser::Lww)?.view.map(|view| view.object().unwrap());
        self.now_ms += 1_000;
        let context = WriteContext {
            author: &self.author,
            time_ms: self.now_ms,
            number: None,
            base: Some(base),
            seen: seen.as_ref(),
        };
        self.document.apply(write, &context)
    }

    /// `None` when nothing changed.
    #[track_caller]
    fn put(&mut self, body: Value) -> Option<Delta> {
        self.try_write(&Write::Put(object(body)), Chooser::Lww).unwrap()
    }

    #[track_caller]
    fn patch(&mut self, patch: Value) -> Option<Delta> {
        self.try_write(&Write::Patch(patch), Chooser::Lww).unwrap()
    }

    #[track_caller]
    fn put_at(&mut self, base: &Version, body: Value) -> Option<Delta> {
        self.try_write_at(base, &Write::Put(object(body))).unwrap()
    }

    #[track_caller]
    fn delete(&mut self) -> Option<Delta> {
        self.try_write(&Write::Delete, Chooser::Lww).unwrap()
    }

    #[track_caller]
    fn pull(&mut self, other: &Self) -> bool {
        let delta = other.document.delta(&Version::default()).unwrap();
        self.document.merge(&delta).unwrap()
    }

    #[track_caller]
    fn view(&self, chooser: Chooser<'_>) -> Viewed {
        self.document.view(chooser).unwrap()
    }

    #[track_caller]
    fn read(&self) -> Value {
        json_of(&self.view(Chooser::Lww))
    }

    #[track_caller]
    fn read_by(&self, chooser: Chooser<'_>) -> Value {
        json_of(&self.view(chooser))
    }
}

/// What was seen, null where there was no document.
fn json_of(viewed: &Viewed) -> Value {
    viewed.view.as_ref().map_or(Value::Null, |view| Value::Object(view.object().unwrap()))
}

/// Both take all that the other has.
#[track_caller]
fn exchange(one: &mut Replica, other: &mut Replica) {
    one.pull(other);
    other.pull(one);
    assert_eq!(one.document.version(), other.document.version());
}

/// A resolver from a function.
struct Test<F> {
    wants: Wants,
    resolve: F,
}

impl<F: Fn(&ConflictSet) -> Result<Resolution, PluginError> + Send + Sync> Resolver for Test<F> {
    fn digest(&self) -> PluginDigest {
        PluginDigest::of(b"test")
    }

    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn resolve(&self, conflicts: &ConflictSet) -> Result<Resolution, PluginError> {
        (self.resolve)(conflicts)
    }
}

fn wants(ancestor: bool, paths: &[&str]) -> Wants {
    Wants { ancestor, paths: paths.iter().map(|path| (*path).to_owned()).collect() }
}

/// Numbers: the ancestor and every difference to it. Everything else: the first candidate. Notes how many it saw.
fn sum(conflicts: &ConflictSet) -> Result<Resolution, PluginError> {
    let choice = |conflict: &Conflict| {
        let start = conflict.ancestor.as_ref().and_then(Value::as_i64).unwrap_or(0);
        let numbers: Option<Vec<_>> = conflict.candidates.iter().map(|candidate| candidate.value.as_i64()).collect();
        numbers.map_or(Choice::Candidate(0), |numbers| {
            Choice::Value(json!(start + numbers.iter().map(|number| number - start).sum::<i64>()))
        })
    };
    let choices = conflicts.conflicts.iter().map(choice).collect();
    Ok(Resolution { choices, notes: vec![("summed".to_owned(), json!(conflicts.conflicts.len()))] })
}
