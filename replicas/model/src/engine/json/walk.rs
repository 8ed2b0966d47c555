//! Reads an Automerge document from its root, at its heads or at heads of the past: its fields as JSON, and the places
//! where concurrent writes left more than one value. What lies inside a candidate is settled by the order that the walk
//! was given; no conflict is reported there.

use std::borrow::Cow;

use automerge::iter::Keys;
use automerge::{Automerge, ChangeHash, ObjId, ObjType, Prop, ROOT, ReadDoc, Value as Found};
use serde_json::{Map, Value};

use super::ancestor::Common;
use super::bytes::Corrections;
use super::limits::CANDIDATE_BYTES_MAX;
use super::{REPLICA_ACTOR_BYTES, table};
use crate::document;
use crate::engine::Error;
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_DEPTH_MAX, INTEGER_MAX};
use crate::policy::{Candidate, Choice};

/// Which of several values stands where nobody else chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// The latest effective time, then the higher operation id. Operation ids are unique within a document, so the hash
    /// of the origin, third in the order of all of Skerry, never has to decide here.
    Lww,
    /// The higher operation id.
    Automerge,
}

/// A value with its conflicts still open.
#[derive(Debug)]
enum Node {
    Value(Value),
    Fields(Vec<(String, Self)>),
    Items(Vec<Self>),
    /// The place at this index.
    Open(usize),
}

/// A place with more than one value.
#[derive(Debug)]
pub(super) struct Place {
    /// JSON Pointer.
    pub(super) path: String,
    /// The map or list it is in.
    pub(super) container: ObjId,
    /// Which field or item of it.
    pub(super) property: Prop,
    /// The values, by operation id, lowest first.
    pub(super) candidates: Vec<Candidate>,
    /// The changes that wrote them, likewise.
    pub(super) changes: Vec<ChangeHash>,
    /// Which of them the walk's order chooses.
    pub(super) winner: usize,
}

impl Place {
    /// Whether all have written the same.
    pub(super) fn agrees(&self) -> bool {
        self.candidates.iter().all(|candidate| candidate.value == self.candidates[0].value)
    }
}

/// A document that was walked.
#[derive(Debug)]
pub(super) struct Walked {
    fields: Vec<(String, Node)>,
    /// Where it has more than one value, in the order of the walk.
    pub(super) places: Vec<Place>,
}

impl Walked {
    /// The document with every conflict chosen: by `choose` where it says something of the place, else by the walk's
    /// order. A candidate that does not exist leaves the field out.
    pub(super) fn settle(&self, choose: &dyn Fn(usize) -> Option<Choice>) -> Map<String, Value> {
        let chosen = |at: usize| self.chosen(at, choose(at));
        self.fields.iter().filter_map(|(name, node)| Some((name.clone(), node.settle(&chosen)?))).collect()
    }
}

impl Walked {
    /// What one place reads as under a choice; without one, as the walk's order has it.
    pub(super) fn chosen(&self, at: usize, choice: Option<Choice>) -> Option<Value> {
        let place = &self.places[at];
        let candidate = |index: usize| place.candidates.get(index).map(|candidate| candidate.value.clone());
        match choice {
            None => candidate(place.winner),
            Some(Choice::Candidate(index)) => candidate(index as usize),
            Some(Choice::Value(value)) => Some(value),
            Some(Choice::Remove) => None,
        }
    }
}

impl Node {
    fn settle(&self, chosen: &dyn Fn(usize) -> Option<Value>) -> Option<Value> {
        match self {
            Self::Value(value) => Some(value.clone()),
            Self::Fields(fields) => {
                let settled = |(name, node): &(String, Self)| Some((name.clone(), node.settle(chosen)?));
                Some(Value::Object(fields.iter().filter_map(settled).collect()))
            }
            Self::Items(items) => Some(Value::Array(items.iter().filter_map(|item| item.settle(chosen)).collect())),
            Self::Open(at) => chosen(*at),
        }
    }
}

/// Milliseconds of a change's time: JavaScript clients write seconds, which are below 10^11 until the year 5138.
pub(super) fn milliseconds(time: i64) -> i64 {
    const SECONDS_MAX: u64 = 100_000_000_000;
    if time.unsigned_abs() < SECONDS_MAX { time * 1_000 } else { within_json(time) }
}

/// The nearest number that JSON carries exactly.
pub(super) fn within_json(number: i64) -> i64 {
    number.clamp(-INTEGER_MAX.cast_signed(), INTEGER_MAX.cast_signed())
}

/// A document at some heads.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) document: &'a Automerge,
    /// `None` for the heads it has now.
    pub(super) heads: Option<&'a [ChangeHash]>,
    pub(super) corrections: &'a Corrections,
    pub(super) common: &'a Common,
}

impl<'a> Reader<'a> {
    /// Walks the whole document.
    ///
    /// # Errors
    /// [`Error::Document`] when it is too deep or too large to be one.
    pub(super) fn walk(self, order: Order) -> Result<Walked, Error> {
        let mut walk =
            Walk { reader: self, order, path: Vec::new(), bytes: 0, candidate_bytes: 0, places: Some(Vec::new()) };
        let fields = walk.fields(&ROOT)?;
        Ok(Walked { fields, places: walk.places.unwrap_or_default() })
    }

    /// One value of a field or item, with everything in it settled.
    ///
    /// # Errors
    /// As [`Reader::walk`].
    pub(super) fn value(self, found: &Found<'_>, id: &ObjId, order: Order) -> Result<Value, Error> {
        let mut walk = Walk { reader: self, order, path: Vec::new(), bytes: 0, candidate_bytes: 0, places: None };
        walk.candidate(found, id)
    }

    /// Every value of a field or item, by operation id, lowest first.
    pub(super) fn all(self, container: &ObjId, property: &Prop) -> Vec<(Found<'a>, ObjId)> {
        let property = property.clone();
        let found = match self.heads {
            None => self.document.get_all(container, property),
            Some(heads) => self.document.get_all_at(container, property, heads),
        };
        found.unwrap_or_default()
    }

    /// The ids of a list's items, in order. An item keeps its id when it is changed or moved along.
    pub(super) fn item_ids(self, list: &ObjId) -> Keys<'a> {
        match self.heads {
            None => self.document.keys(list),
            Some(heads) => self.document.keys_at(list, heads),
        }
    }

    fn text(self, id: &ObjId) -> String {
        let found = match self.heads {
            None => self.document.text(id),
            Some(heads) => self.document.text_at(id, heads),
        };
        found.unwrap_or_default()
    }

    /// Who wrote a value, and when.
    fn writer(self, id: &ObjId) -> Writer {
        let written = self.document.hash_for_opid(id);
        let change = written.and_then(|hash| self.document.get_change_meta_by_hash(&hash));
        let change = change.expect("every value that Automerge shows comes from one of its changes");
        let corrected = self.corrections.get(&change.hash).copied();
        Writer {
            hash: change.hash,
            origin: match change.message.as_deref() {
                // Clients of Automerge write into messages what they like.
                Some(replica) if REPLICA_ACTOR_BYTES.contains(&change.actor.to_bytes().len()) => replica.to_owned(),
                _ => change.actor.to_hex_string(),
            },
            sequence: change.seq,
            time: corrected.unwrap_or_else(|| milliseconds(change.timestamp)),
        }
    }
}

/// Where a value comes from.
struct Writer {
    hash: ChangeHash,
    origin: String,
    sequence: u64,
    time: i64,
}

enum Step<'a> {
    Field(Cow<'a, str>),
    Item(usize),
}

struct Walk<'a> {
    reader: Reader<'a>,
    order: Order,
    path: Vec<Step<'a>>,
    /// The least that what was walked takes as JSON; while a candidate is walked, of that alone.
    bytes: usize,
    candidate_bytes: usize,
    /// `None` where conflicts are settled, not reported.
    places: Option<Vec<Place>>,
}

impl<'a> Walk<'a> {
    fn pointer(&self) -> String {
        let steps = self.path.iter().map(|step| match step {
            Step::Field(name) => name.to_string(),
            Step::Item(index) => index.to_string(),
        });
        document::pointer(&steps.collect::<Vec<_>>())
    }

    fn enter(&mut self, step: Step<'a>) -> Result<(), Error> {
        self.path.push(step);
        if self.path.len() > DOCUMENT_DEPTH_MAX {
            return Err(document::Error::TooDeep { path: self.pointer(), max: DOCUMENT_DEPTH_MAX }.into());
        }
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        if self.bytes > DOCUMENT_BYTES_MAX {
            return Err(document::Error::TooLarge { bytes: self.bytes, max: DOCUMENT_BYTES_MAX }.into());
        }
        Ok(())
    }

    fn fields(&mut self, id: &ObjId) -> Result<Vec<(String, Node)>, Error> {
        let found = match self.reader.heads {
            None => self.reader.document.map_range(id, ..),
            Some(heads) => self.reader.document.map_range_at(id, .., heads),
        };
        let mut fields = Vec::new();
        for field in found {
            let name = field.key.to_string();
            self.count(name.len() + 4)?;
            self.enter(Step::Field(field.key.clone()))?;
            let node = if field.conflict {
                self.several(id, Prop::Map(name.clone()))?
            } else {
                self.node(&field.value.clone().into_value(), &|| field.id())?
            };
            self.path.pop();
            fields.push((name, node));
        }
        Ok(fields)
    }

    fn items(&mut self, id: &ObjId) -> Result<Vec<Node>, Error> {
        let found = match self.reader.heads {
            None => self.reader.document.list_range(id, ..),
            Some(heads) => self.reader.document.list_range_at(id, .., heads),
        };
        let mut items = Vec::new();
        for item in found {
            self.count(1)?;
            self.enter(Step::Item(item.index))?;
            let node = if item.conflict {
                self.several(id, Prop::Seq(item.index))?
            } else {
                self.node(&item.value.clone().into_value(), &|| item.id())?
            };
            self.path.pop();
            items.push(node);
        }
        Ok(items)
    }

    fn node(&mut self, found: &Found<'_>, id: &dyn Fn() -> ObjId) -> Result<Node, Error> {
        Ok(match found {
            Found::Object(ObjType::Map | ObjType::Table) => Node::Fields(self.fields(&id())?),
            Found::Object(ObjType::List) => Node::Items(self.items(&id())?),
            Found::Object(ObjType::Text) => {
                let text = self.reader.text(&id());
                self.count(text.len() + 2)?;
                Node::Value(Value::String(text))
            }
            Found::Scalar(scalar) => {
                let value = table::from_scalar(scalar);
                self.count(value.as_str().map_or(1, |text| text.len() + 2))?;
                Node::Value(value)
            }
        })
    }

    /// A place with more than one value.
    fn several(&mut self, container: &ObjId, property: Prop) -> Result<Node, Error> {
        let found = self.reader.all(container, &property);
        let writers: Vec<_> = found.iter().map(|(_, id)| self.reader.writer(id)).collect();
        let rank = |at: &usize| (if self.order == Order::Lww { writers[*at].time } else { 0 }, *at);
        // Automerge marks one where there is nothing only after input that it should have refused.
        let Some(winner) = (0..found.len()).max_by_key(rank) else {
            let reason = format!("it marks a conflict at {} and has no value there", self.pointer());
            return Err(Error::Malformed { what: "the document", reason });
        };
        if self.places.is_none() {
            let (value, id) = &found[winner];
            return self.node(value, &|| id.clone());
        }
        let (mut candidates, mut changes) = (Vec::new(), Vec::new());
        for ((value, id), writer) in found.iter().zip(writers) {
            let value = self.candidate(value, id)?;
            let Writer { hash, origin, sequence, time } = writer;
            candidates.push(Candidate { value, origin, sequence, time });
            changes.push(hash);
        }
        let place = Place { path: self.pointer(), container: container.clone(), property, candidates, changes, winner };
        let places = self.places.get_or_insert_default();
        places.push(place);
        Ok(Node::Open(places.len() - 1))
    }

    /// One of several values: settled inside, and bounded by itself, since at most one of them is shown.
    fn candidate(&mut self, found: &Found<'_>, id: &ObjId) -> Result<Value, Error> {
        let (outer, places) = (std::mem::take(&mut self.bytes), self.places.take());
        let node = self.node(found, &|| id.clone())?;
        self.candidate_bytes += std::mem::replace(&mut self.bytes, outer);
        self.places = places;
        if self.candidate_bytes > CANDIDATE_BYTES_MAX {
            return Err(document::Error::TooLarge { bytes: self.candidate_bytes, max: CANDIDATE_BYTES_MAX }.into());
        }
        Ok(node.settle(&|_| None).expect("nothing is left open inside a candidate"))
    }
}
