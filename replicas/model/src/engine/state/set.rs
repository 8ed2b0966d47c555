//! Policy `set`: a set of JSON values in which an addition wins over a concurrent removal (observed-remove set without
//! tombstones; Bieniusa et al. 2012). `{"add": VALUE}` and `{"remove": VALUE}`; a reader sees `{"items": [...]}`, in the
//! order of their canonical text.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::delta::{decode, encode};
use super::seen::{Dot, Seen};
use crate::document;
use crate::ids::{Origin, PluginDigest};
use crate::policy::{MergePolicy, OperationContext, PluginError, refused};

/// The policy.
#[derive(Debug, Clone, Copy)]
pub struct Set;

/// The additions that were seen, and of those the ones that still stand, by the canonical text of the value added. An
/// addition that was seen and does not stand was removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Items {
    seen: Seen,
    standing: BTreeMap<String, BTreeSet<(Origin, Dot)>>,
}

impl Items {
    /// What stands of a value once both are known: additions in both, and those that the other has not seen.
    fn join(&self, other: &Self, text: &str) -> BTreeSet<(Origin, Dot)> {
        let none = BTreeSet::new();
        let (mine, theirs) = (self.standing.get(text).unwrap_or(&none), other.standing.get(text).unwrap_or(&none));
        fn unseen(by: &Items) -> impl Fn(&&(Origin, Dot)) -> bool + '_ {
            move |(origin, dot)| !by.seen.has(origin, *dot)
        }
        let both = mine.intersection(theirs);
        let new = mine.iter().filter(unseen(other)).chain(theirs.iter().filter(unseen(self)));
        both.chain(new).cloned().collect()
    }
}

fn items(state: &Bytes) -> Result<Items, PluginError> {
    decode("the set", state).map_err(|error| refused(error.to_string()))
}

/// What an operation adds or removes.
enum Operation {
    Add(String),
    Remove(String),
}

fn operation(operation: &Value) -> Result<Operation, PluginError> {
    let field = operation.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.iter().next());
    let text = |value| serde_json_canonicalizer::to_string(value).map_err(|error| refused(error.to_string()));
    match field {
        Some((name, value)) if name == "add" => Ok(Operation::Add(text(value)?)),
        Some((name, value)) if name == "remove" => Ok(Operation::Remove(text(value)?)),
        _ => Err(refused(r#"a set takes {"add": VALUE} or {"remove": VALUE}"#.to_owned())),
    }
}

impl MergePolicy for Set {
    fn digest(&self) -> Option<PluginDigest> {
        None
    }

    fn state_version(&self) -> u32 {
        1
    }

    fn empty(&self) -> Result<Bytes, PluginError> {
        Ok(encode(&Items::default()))
    }

    fn apply(&self, state: &Bytes, wanted: &Value, context: &OperationContext<'_>) -> Result<Bytes, PluginError> {
        let mut items = items(state)?;
        match operation(wanted)? {
            Operation::Add(text) => {
                let dot = Dot::after(items.seen.of(context.origin), context.incarnation);
                items.seen.add(context.origin, dot);
                items.standing.insert(text, BTreeSet::from([(context.origin.clone(), dot)]));
            }
            Operation::Remove(text) => drop(items.standing.remove(&text)),
        }
        Ok(encode(&items))
    }

    fn merge(&self, a: &Bytes, b: &Bytes) -> Result<Bytes, PluginError> {
        let (a, b) = (items(a)?, items(b)?);
        let texts: BTreeSet<&String> = a.standing.keys().chain(b.standing.keys()).collect();
        let standing = texts.into_iter().map(|text| (text.clone(), a.join(&b, text)));
        let standing = standing.filter(|(_, additions)| !additions.is_empty()).collect();
        Ok(encode(&Items { seen: a.seen.join(&b.seen), standing }))
    }

    fn view(&self, state: &Bytes) -> Result<Map<String, Value>, PluginError> {
        let items = items(state)?;
        let values = items.standing.keys().map(|text| serde_json::from_str(text));
        let values: Result<Vec<Value>, _> = values.collect();
        let values = values.map_err(|error| refused(format!("the set holds what is no JSON: {error}")))?;
        Ok(Map::from_iter([("items".to_owned(), values.into())]))
    }

    fn migrate(&self, from: u32, _state: &Bytes) -> Result<Bytes, PluginError> {
        Err(refused(format!("a set's state has no version {from}")))
    }

    fn check_pushed(&self, known: &Bytes, pushed: &Bytes, origin: &Origin) -> Result<(), String> {
        let items = |state| items(state).map_err(|error| error.to_string());
        let (known, pushed) = (items(known)?, items(pushed)?);
        if let Some(other) = pushed.seen.unknown_to(&known.seen, origin) {
            return Err(format!("{origin} adds in the name of {other}"));
        }
        for (text, additions) in &pushed.standing {
            check_item(text)?;
            if additions.is_empty() {
                return Err("an item of the set was never added".to_owned());
            }
            if let Some((other, _)) = additions.iter().find(|(of, dot)| !pushed.seen.has(of, *dot)) {
                return Err(format!("an addition of {other} is not among those that the set has seen"));
            }
        }
        Ok(())
    }
}

/// An item is the canonical text of a value that a document can hold.
fn check_item(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("an item is not JSON: {error}"))?;
    document::check_value(&value, &mut Vec::new()).map_err(|error| format!("an item cannot be in a set: {error}"))?;
    let canonical = serde_json_canonicalizer::to_string(&value).map_err(|error| error.to_string())?;
    if canonical == text { Ok(()) } else { Err("an item of the set is not canonical JSON".to_owned()) }
}
