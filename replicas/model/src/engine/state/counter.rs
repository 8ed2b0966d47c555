//! Policy `counter`: a number that concurrent operations add to and take from, all of which count (PN-counter; Shapiro et
//! al. 2011). `{"inc": 5}` adds five, `{"inc": -2}` takes two; a reader sees `{"value": 3}`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::delta::{decode, encode};
use crate::ids::{Origin, PluginDigest};
use crate::limits::INTEGER_MAX;
use crate::policy::{MergePolicy, OperationContext, PluginError, refused};

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Counter;

/// What one replica has added and taken, over all its operations. The entry of a higher incarnation stands in the place of
/// a lower one's, and begins with what that was at the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Entry {
    incarnation: u32,
    added: u64,
    taken: u64,
}

type Entries = BTreeMap<Origin, Entry>;

impl Entry {
    fn join(self, other: Self) -> Self {
        match self.incarnation.cmp(&other.incarnation) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                incarnation: self.incarnation,
                added: self.added.max(other.added),
                taken: self.taken.max(other.taken),
            },
        }
    }

    /// Whether joining it to another changes nothing there.
    fn is_in(self, other: Option<&Self>) -> bool {
        other.is_some_and(|other| self.join(*other) == *other)
    }
}

fn entries(state: &Bytes) -> Result<Entries, PluginError> {
    decode("the counter", state).map_err(|error| refused(error.to_string()))
}

fn value(entries: &Entries) -> Result<i64, PluginError> {
    let sum: i128 = entries.values().map(|entry| i128::from(entry.added) - i128::from(entry.taken)).sum();
    let beyond = || refused(format!("the counter would be {sum}, beyond 2^53 - 1"));
    i64::try_from(sum).ok().filter(|value| value.unsigned_abs() <= INTEGER_MAX).ok_or_else(beyond)
}

/// How much an operation adds.
fn increment(operation: &Value) -> Result<i64, PluginError> {
    let only = operation.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.get("inc"));
    let inc = only.and_then(Value::as_i64).filter(|inc| inc.unsigned_abs() <= INTEGER_MAX);
    inc.ok_or_else(|| {
        refused(r#"a counter takes {"inc": N}, where N is a whole number within 2^53 - 1 of zero"#.to_owned())
    })
}

impl MergePolicy for Counter {
    fn digest(&self) -> Option<PluginDigest> {
        None
    }

    fn state_version(&self) -> u32 {
        1
    }

    fn empty(&self) -> Result<Bytes, PluginError> {
        Ok(encode(&Entries::new()))
    }

    fn apply(&self, state: &Bytes, operation: &Value, context: &OperationContext<'_>) -> Result<Bytes, PluginError> {
        let (mut entries, inc) = (entries(state)?, increment(operation)?);
        if inc == 0 {
            return Ok(state.clone());
        }
        let entry = entries.entry(context.origin.clone()).or_default();
        let side = if inc > 0 { &mut entry.added } else { &mut entry.taken };
        let sum = side.checked_add(inc.unsigned_abs());
        *side = sum.ok_or_else(|| refused("the counter has counted to 2^64".to_owned()))?;
        entry.incarnation = context.incarnation;
        value(&entries)?;
        Ok(encode(&entries))
    }

    fn merge(&self, a: &Bytes, b: &Bytes) -> Result<Bytes, PluginError> {
        let mut joined = entries(a)?;
        for (origin, entry) in entries(b)? {
            let known = joined.entry(origin).or_insert(entry);
            *known = known.join(entry);
        }
        Ok(encode(&joined))
    }

    fn view(&self, state: &Bytes) -> Result<Map<String, Value>, PluginError> {
        let value = value(&entries(state)?)?;
        Ok(Map::from_iter([("value".to_owned(), value.into())]))
    }

    fn migrate(&self, from: u32, _state: &Bytes) -> Result<Bytes, PluginError> {
        Err(refused(format!("a counter's state has no version {from}")))
    }

    fn check_pushed(&self, known: &Bytes, pushed: &Bytes, origin: &Origin) -> Result<(), String> {
        let entries = |state| entries(state).map_err(|error| error.to_string());
        let known = entries(known)?;
        let other = entries(pushed)?.into_iter().find(|(of, entry)| of != origin && !entry.is_in(known.get(of)));
        other.map_or(Ok(()), |(of, _)| Err(format!("{origin} counts in the name of {of}")))
    }
}
