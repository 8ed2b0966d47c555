//! Resolver for calendars: of concurrent bookings of a slot the earliest wins, and the others stay to be seen.
//!
//! It decides the field `slots` at the top level of a document, an object with a field for each slot; a slot's value is
//! its booking, most often an object, and null where it is free:
//!
//! ```text
//! ann's phone writes at 9:00  "slots": {"2026-11-26T10:00": {"by": "ann"}}
//! bo's phone writes at 9:01   "slots": {"2026-11-26T10:00": {"by": "bo"}}
//! the view                    "slots": {"2026-11-26T10:00": {
//!                               "winner":    {"booking": {"by": "ann"}, "origin": "phone-1", "time": 1795683600000},
//!                               "rejected": [{"booking": {"by": "bo"}, "origin": "phone-2", "time": 1795683660000}]}},
//!                             "contested": ["/slots/2026-11-26T10:00"]
//! ```
//!
//! - The earliest time wins, then the lower origin, then the lower canonical JSON as text; `rejected` is in that order
//!   too. The times are the writers' clocks, so of two bookings a minute apart the later one may win.
//! - A booking that several wrote alike is one booking, by the earliest of them.
//! - A slot that one writer frees (null) while another books it is booked, like a field that one removes while another
//!   writes it. A slot that all free is null.
//! - The note `contested` names the places where somebody was rejected, as JSON Pointers (RFC 6901).
//!
//! A slot where concurrent writes met always has that form, with an empty `rejected` where nobody lost. It keeps what
//! is needed to compare: where it is written back and meets another booking, it is taken apart and all compete again,
//! with the times and origins that it states. To settle a slot, write the booking that stands; to free it, write null
//! or remove it.
//!
//! Where two writers changed fields inside the same booking, each field is the earlier writer's, so that they stay
//! together, and `contested` names the fields. Where two writers created `slots` itself independently, the view has the
//! slots of both, each in the form above; a template with `"slots": {}` spares readers that. It decides nothing, and
//! says why, when one of them is no object.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skerry_guest::{Candidate, Choice, Conflict, Resolution, Resolver, Value, Wants, json};

/// The field that it decides.
const FIELD: &str = "slots";
/// The note that names the places where somebody was rejected.
const CONTESTED: &str = "contested";

/// The earliest booking wins.
pub struct CalendarBooking;

/// A booking with what it is compared by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    booking: Value,
    origin: String,
    time: i64,
}

/// What a decided slot reads like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decided {
    winner: Entry,
    rejected: Vec<Entry>,
}

impl Resolver for CalendarBooking {
    fn wants() -> Wants {
        Wants::fields([FIELD])
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let (mut resolution, mut contested) = (Resolution::default(), Vec::new());
        for conflict in conflicts {
            let value = decided(conflict, &mut contested)?;
            resolution.choices.push(Choice::Value(value));
        }
        Ok(if contested.is_empty() { resolution } else { resolution.note(CONTESTED, contested) })
    }
}

skerry_guest::resolver!(CalendarBooking);
skerry_guest::laws!(resolver CalendarBooking);

/// The value for a conflict at `/slots`, `/slots/SLOT` or below.
fn decided(conflict: &Conflict, contested: &mut Vec<String>) -> Result<Value, String> {
    let steps = conflict.path.matches('/').count();
    match steps {
        0 | 1 => calendar(conflict, contested),
        2 => {
            let written = conflict.candidates.iter().flat_map(|candidate| entries(&candidate.value, candidate));
            Ok(slot(conflict.path.clone(), written.collect(), contested))
        }
        _ => part(conflict, contested),
    }
}

/// The slots of all writers.
fn calendar(conflict: &Conflict, contested: &mut Vec<String>) -> Result<Value, String> {
    let path = &conflict.path;
    let mut written = BTreeMap::<&String, Vec<Entry>>::new();
    let mut others = BTreeSet::new();
    for candidate in &conflict.candidates {
        match &candidate.value {
            Value::Null => {}
            Value::Object(slots) => {
                for (name, value) in slots {
                    written.entry(name).or_default().extend(entries(value, candidate));
                }
            }
            other => {
                others.insert(other.to_string());
            }
        }
    }
    if let Some(found) = others.first() {
        return Err(format!("{path} holds slots by their names, and {found} is no object"));
    }
    if conflict.candidates.iter().all(|candidate| candidate.value.is_null()) {
        return Ok(Value::Null);
    }
    let slots = written.into_iter().map(|(name, entries)| {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        (name.clone(), slot(path, entries, contested))
    });
    Ok(Value::Object(slots.collect()))
}

/// A field inside a booking: all of one change have the same time and origin, so the same writer's are taken.
fn part(conflict: &Conflict, contested: &mut Vec<String>) -> Result<Value, String> {
    let order = |candidate: &Candidate| (candidate.time, candidate.origin.clone(), candidate.value.to_string());
    let earliest = conflict.candidates.iter().min_by_key(|candidate| order(candidate));
    let earliest = earliest.ok_or_else(|| format!("nothing was written at {}", conflict.path))?;
    if conflict.candidates.iter().any(|candidate| candidate.value != earliest.value) {
        contested.push(conflict.path.clone());
    }
    Ok(earliest.value.clone())
}

/// The bookings in what one writer wrote: those of an earlier decision that was written back, or the one.
fn entries(value: &Value, by: &Candidate) -> Vec<Entry> {
    // A list is a booking, though serde would read a structure from one.
    let decision = if value.is_object() { Decided::deserialize(value).ok() } else { None };
    match decision {
        Some(Decided { winner, mut rejected }) => {
            rejected.push(winner);
            rejected
        }
        None => vec![Entry { booking: value.clone(), origin: by.origin.clone(), time: by.time }],
    }
}

/// What a slot reads like, whatever the order of the entries.
fn slot(path: String, mut entries: Vec<Entry>, contested: &mut Vec<String>) -> Value {
    entries.retain(|entry| !entry.booking.is_null());
    entries.sort_by_cached_key(|entry| (entry.time, entry.origin.clone(), entry.booking.to_string()));
    let mut seen = BTreeSet::new();
    entries.retain(|entry| seen.insert(entry.booking.to_string()));
    let mut entries = entries.into_iter();
    let Some(winner) = entries.next() else { return Value::Null };
    let rejected: Vec<Entry> = entries.collect();
    if !rejected.is_empty() {
        contested.push(path);
    }
    json!(Decided { winner, rejected })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: &str = "/slots/2026-11-26T10:00";

    fn written(by: &str, time: i64, value: Value) -> Candidate {
        Candidate { value, origin: by.to_owned(), sequence: 1, time }
    }

    fn booked(by: &str, time: i64) -> Candidate {
        written(&format!("phone-{by}"), time, json!({ "by": by }))
    }

    fn entry(by: &str, time: i64) -> Value {
        json!({ "booking": { "by": by }, "origin": format!("phone-{by}"), "time": time })
    }

    /// The value and the note, the same in whatever order the candidates come.
    #[track_caller]
    fn resolve(path: &str, candidates: &[Candidate]) -> (Value, Option<Value>) {
        let outcome = |candidates: &[Candidate]| {
            let conflict = Conflict { candidates: candidates.to_vec(), ..Conflict::at(path) };
            let Resolution { choices, mut notes } = CalendarBooking::resolve(&[conflict]).unwrap();
            let [Choice::Value(value)] = &choices[..] else { panic!("it decides by value: {choices:?}") };
            (value.clone(), notes.pop().map(|note| note.value))
        };
        let expected = outcome(candidates);
        let mut candidates = candidates.to_vec();
        for _ in 0..candidates.len() {
            candidates.rotate_left(1);
            assert_eq!(outcome(&candidates), expected);
        }
        candidates.reverse();
        assert_eq!(outcome(&candidates), expected);
        expected
    }

    #[track_caller]
    fn check_slot(candidates: &[Candidate], winner: Value, rejected: &[Value]) {
        let note = (!rejected.is_empty()).then(|| json!([SLOT]));
        assert_eq!(resolve(SLOT, candidates), (json!({ "winner": winner, "rejected": rejected }), note));
    }

    #[test]
    fn the_earliest_booking_wins() {
        check_slot(&[booked("bo", 1), booked("ann", 2)], entry("bo", 1), &[entry("ann", 2)]);
        check_slot(&[booked("bo", 1), booked("ann", 1)], entry("ann", 1), &[entry("bo", 1)]);
        let three = [booked("cy", 3), booked("ann", 2), booked("bo", -5)];
        check_slot(&three, entry("bo", -5), &[entry("ann", 2), entry("cy", 3)]);
        // Of equal times and origins, the lower text.
        let one = |value: i64| json!({ "booking": value, "origin": "phone", "time": 1 });
        check_slot(&[written("phone", 1, json!(7)), written("phone", 1, json!(5))], one(5), &[one(7)]);
    }

    #[test]
    fn a_booking_that_several_wrote_is_one() {
        let again = written("laptop", 3, json!({ "by": "ann" }));
        check_slot(&[again.clone(), booked("ann", 2)], entry("ann", 2), &[]);
        check_slot(&[again, booked("ann", 2), booked("bo", 1)], entry("bo", 1), &[entry("ann", 2)]);
    }

    #[test]
    fn a_booking_stands_against_freeing_the_slot() {
        let freed = written("phone-cy", 0, json!(null));
        check_slot(&[freed.clone(), booked("ann", 2)], entry("ann", 2), &[]);
        assert_eq!(resolve(SLOT, &[freed.clone(), written("laptop", 1, json!(null))]), (json!(null), None));
        let settled = written("core", 9, resolve(SLOT, &[booked("ann", 2), booked("bo", 1)]).0);
        check_slot(&[settled, freed], entry("bo", 1), &[entry("ann", 2)]);
    }

    #[test]
    fn a_decision_that_was_written_back_competes_again() {
        let all =
            [booked("ann", 2), booked("bo", 3), booked("cy", 1), written("phone-di", 0, json!(null)), booked("bo", 4)];
        for (at, third) in all.iter().enumerate() {
            for first in &all {
                for second in &all[..at] {
                    let (settled, _) = resolve(SLOT, &[first.clone(), second.clone()]);
                    let in_turn = resolve(SLOT, &[written("core", 9, settled), third.clone()]);
                    assert_eq!(in_turn, resolve(SLOT, &[first.clone(), second.clone(), third.clone()]));
                }
            }
        }
    }

    #[test]
    fn only_the_whole_form_is_a_decision() {
        let like = json!({ "winner": { "by": "ann" }, "rejected": [] });
        let (value, _) = resolve(SLOT, &[written("phone", 1, like.clone()), booked("bo", 2)]);
        assert_eq!(value["winner"]["booking"], like);
        let list = json!([{ "booking": 1, "origin": "x", "time": 0 }, []]);
        let (value, _) = resolve(SLOT, &[written("phone", 1, list.clone()), booked("bo", 2)]);
        assert_eq!(value["winner"]["booking"], list);
    }

    #[test]
    fn calendars_that_were_created_independently_are_put_together() {
        let ann = written("phone-ann", 2, json!({ "9/10": { "by": "ann" }, "11": { "by": "ann" }, "12": null }));
        let bo = written("phone-bo", 1, json!({ "9/10": { "by": "bo" } }));
        let (value, note) = resolve("/slots", &[ann.clone(), bo.clone()]);
        assert_eq!(value["9/10"], json!({ "winner": entry("bo", 1), "rejected": [entry("ann", 2)] }));
        assert_eq!(value["11"], json!({ "winner": entry("ann", 2), "rejected": [] }));
        assert_eq!((&value["12"], note), (&json!(null), Some(json!(["/slots/9~110"]))));
        let cy = written("phone-cy", 0, json!({ "11": { "by": "cy" } }));
        let in_turn = resolve("/slots", &[written("core", 2, value), cy.clone()]);
        assert_eq!(in_turn, resolve("/slots", &[ann.clone(), bo, cy]));
        let nothing = written("phone-di", 3, json!(null));
        assert_eq!(resolve("/slots", &[nothing.clone(), nothing.clone()]), (json!(null), None));
        let odd = Conflict { candidates: vec![ann, written("phone-di", 3, json!(5))], ..Conflict::at("/slots") };
        let refused = CalendarBooking::resolve(&[odd]).unwrap_err();
        assert_eq!(refused, "/slots holds slots by their names, and 5 is no object");
    }

    #[test]
    fn fields_of_a_booking_stay_together() {
        let field = |name: &str, ann: Value, bo: Value| {
            let path = format!("{SLOT}/{name}");
            resolve(&path, &[written("phone-ann", 2, ann), written("phone-bo", 1, bo)])
        };
        let contested = Some(json!([format!("{SLOT}/by")]));
        assert_eq!(field("by", json!("ann"), json!("bo")), (json!("bo"), contested));
        assert_eq!(field("room", json!(3), json!(null)).0, json!(null));
        assert_eq!(field("room", json!(3), json!(3)), (json!(3), None));
    }
}
