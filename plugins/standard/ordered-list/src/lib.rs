//! Merge policy for a list that several write at once: a shopping list, a playlist, the steps of a plan. Concurrent
//! insertions all stay, and what one has removed stays removed. Moving an element is removing it and inserting it
//! again.
//!
//! | operation | |
//! |---|---|
//! | `{"insert": {"at": 0, "value": "milk"}}` | puts a value, any JSON, at a position, counted from 0 |
//! | `{"insert": {"after": ID, "value": "milk"}}` | puts it after an element; `null` puts it first |
//! | `{"remove": {"at": 0}}` | removes the element that is there |
//! | `{"remove": ID}` | removes an element; once more changes nothing |
//!
//! Positions are those in the list as the replica that takes the operation has it, so two that remove at 0 concurrently
//! remove one element, not two. A reader sees the values and, in the same order, the elements' ids:
//!
//! ```text
//! {"items": ["milk", "bread"], "ids": ["2.1.5@till-1", "1.1.3@till-2"]}
//! ```
//!
//! An element stands right after the one that it was inserted after; of several that were concurrently inserted after
//! the same one, each stays together with what was inserted after it (a replicated growable array; Roh et al. 2011). A
//! removed element is kept without its value, since others may still insert after it.
//!
//! An id is made of a number higher than all in the list, the operation's incarnation and number, and the replica, so
//! no two elements ever have the same one. An operation that an edge has to make again (after a fork or a restore)
//! gives its element another id: later ones of that edge that name the old id are refused then, those that name
//! positions are not.
//!
//! A list takes at most 10,000 elements over its life, removed ones included, and 512 KiB of what readers see at a
//! time. Concurrent insertions may pass both: all are kept, and the view ends before what is over 512 KiB and says how
//! many elements are `hidden`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use skerry_guest::{Context, MergePolicy, Value, json};

/// Elements that a list takes over its life, removed ones included.
const ELEMENTS_MAX: usize = 10_000;
/// What readers see of a list, in bytes: half of what a view may be, as RFC 8785 writes some numbers longer.
const SHOWN_BYTES_MAX: usize = 512 << 10;

/// Merges insertions and removals.
pub struct OrderedList;

/// Which element. In the order of these, of two that were inserted after the same one, the higher comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Id {
    /// Higher than all that the writer knew (Lamport 1978).
    lamport: u64,
    origin: String,
    incarnation: u32,
    sequence: u64,
}

/// An element, or what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Element {
    /// Inserted first when there is none.
    after: Option<Id>,
    /// As JSON text; removed when there is none.
    value: Option<String>,
}

/// All elements that were ever inserted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct List {
    elements: BTreeMap<Id, Element>,
}

/// What clients send.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value into the list.
    Insert(Insert),
    /// Removes an element.
    Remove(Remove),
}

/// A value and its place, by one of two.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    #[serde(default, deserialize_with = "present")]
    after: Option<Option<Id>>,
    at: Option<u64>,
    value: Value,
}

/// Which element to remove.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "`remove` takes an element's id or {\"at\": POSITION}")]
pub enum Remove {
    /// By its id.
    Id(Id),
    /// By where it is.
    Place(Place),
}

/// A position, counted from 0.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    at: u64,
}

/// A field that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Id>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}@{}", self.lamport, self.incarnation, self.sequence, self.origin)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parse = || {
            let (numbers, origin) = text.split_once('@')?;
            let (lamport, numbers) = numbers.split_once('.')?;
            let (incarnation, sequence) = numbers.split_once('.')?;
            Some(Self {
                lamport: lamport.parse().ok()?,
                origin: origin.to_owned(),
                incarnation: incarnation.parse().ok()?,
                sequence: sequence.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("{text:?} is no element's id"))
    }
}

impl Element {
    fn join(&mut self, other: Self) {
        // Equal ids are the same insertion, so only one of the values may have gone.
        self.after = self.after.take().max(other.after);
        self.value = self.value.take().zip(other.value).map(|(one, another)| one.max(another));
    }
}

impl List {
    /// What is there, in order.
    fn shown(&self) -> Vec<(&Id, &str)> {
        let (mut waiting, mut followers) = (Vec::new(), BTreeMap::<&Id, Vec<&Id>>::new());
        for (id, element) in &self.elements {
            match &element.after {
                None => waiting.push(id),
                Some(other) => followers.entry(other).or_default().push(id),
            }
        }
        // The last one waiting is the next: the highest of those after the same one, and its own before the others.
        let mut shown = Vec::new();
        while let Some(id) = waiting.pop() {
            if let Some(value) = self.elements.get(id).and_then(|element| element.value.as_deref()) {
                shown.push((id, value));
            }
            waiting.extend(followers.remove(id).unwrap_or_default());
        }
        shown
    }

    fn insert(&mut self, Insert { after, at, value }: Insert, context: &Context) -> Result<(), String> {
        let after = match (after, at) {
            (Some(after), None) => after,
            (None, Some(0)) => None,
            (None, Some(at)) => Some(self.at(at - 1)?),
            _ => return Err(r#"an insertion has either "after": ID or null, or "at": POSITION"#.to_owned()),
        };
        if let Some(after) = after.as_ref().filter(|after| !self.elements.contains_key(*after)) {
            return Err(format!("there is no element {after}"));
        }
        if self.elements.len() >= ELEMENTS_MAX {
            return Err(format!("the list has had {ELEMENTS_MAX} elements, removed ones included, and takes no more"));
        }
        let highest = self.elements.keys().next_back().map_or(0, |last| last.lamport);
        let lamport = highest.checked_add(1).ok_or("the list has counted to 2^64")?;
        let Context { origin, incarnation, sequence, .. } = context.clone();
        let (id, text) = (Id { lamport, origin, incarnation, sequence }, value.to_string());
        let known = self.elements.iter().filter_map(|(id, element)| Some(view_bytes(id, element.value.as_ref()?)));
        if known.sum::<usize>() + view_bytes(&id, &text) > SHOWN_BYTES_MAX {
            return Err(format!("the list would be longer than {SHOWN_BYTES_MAX} bytes"));
        }
        self.elements.insert(id, Element { after, value: Some(text) });
        Ok(())
    }

    fn remove(&mut self, remove: Remove) -> Result<(), String> {
        let id = match remove {
            Remove::Id(id) => id,
            Remove::Place(Place { at }) => self.at(at)?,
        };
        let element = self.elements.get_mut(&id).ok_or_else(|| format!("there is no element {id}"))?;
        element.value = None;
        Ok(())
    }

    /// The element at a position.
    fn at(&self, at: u64) -> Result<Id, String> {
        let shown = self.shown();
        let found = usize::try_from(at).ok().and_then(|at| shown.get(at));
        let (id, _) = found.ok_or_else(|| format!("there is no element at {at}: the list has {}", shown.len()))?;
        Ok(Id::clone(id))
    }
}

/// What an element takes in the view: its value, its id, quotes and commas.
fn view_bytes(id: &Id, value: &str) -> usize {
    value.len() + id.to_string().len() + 4
}

impl MergePolicy for OrderedList {
    type State = List;
    type Operation = Operation;

    fn apply(list: &mut List, operation: Operation, context: &Context) -> Result<(), String> {
        match operation {
            Operation::Insert(insert) => list.insert(insert, context),
            Operation::Remove(remove) => list.remove(remove),
        }
    }

    fn merge(list: &mut List, other: List) {
        for (id, element) in other.elements {
            match list.elements.entry(id) {
                Entry::Occupied(mut known) => known.get_mut().join(element),
                Entry::Vacant(place) => {
                    place.insert(element);
                }
            }
        }
    }

    fn view(list: &List) -> Value {
        let (shown, mut bytes) = (list.shown(), 0);
        let (mut items, mut ids) = (Vec::new(), Vec::new());
        for (id, text) in &shown {
            bytes += view_bytes(id, text);
            if bytes > SHOWN_BYTES_MAX {
                break;
            }
            items.push(text.parse::<Value>().expect("the value was written as JSON"));
            ids.push(id.to_string());
        }
        let hidden = shown.len() - items.len();
        let mut view = json!({ "items": items, "ids": ids });
        if hidden > 0 {
            view["hidden"] = json!(hidden);
        }
        view
    }

    /// Without removals: an example cannot know an id, and a position names another element after each operation, so
    /// that two removals at one place are not the same concurrently and one after the other.
    fn examples() -> Vec<Value> {
        let at = |at: u64, value: Value| json!({ "insert": { "at": at, "value": value } });
        let first = json!({ "insert": { "after": null, "value": { "name": "milk", "n": 2 } } });
        vec![at(0, json!("bread")), first, at(1, json!("salt")), at(3, json!(null)), at(0, json!([1, "x"]))]
    }
}

skerry_guest::merge_policy!(OrderedList);
skerry_guest::laws!(merge_policy OrderedList);

#[cfg(test)]
mod tests;
