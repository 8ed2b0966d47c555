//! Resolver that shows every value that was written concurrently, for documents where a person should decide: an
//! article with two titles, a customer with two addresses.
//!
//! It decides every field. Where concurrent writers wrote different values, the view has the list of them, and the note
//! `several` names the places, as JSON Pointers (RFC 6901), since a list may as well be the one value that a field has:
//!
//! ```text
//! one writes  {"title": "Tide", "tags": ["sea"]}
//! another     {"title": "Ebb",  "tags": ["sea"]}
//! the view    {"title": ["Ebb", "Tide"], "tags": ["sea"], "several": ["/title"]}
//! ```
//!
//! Each value is listed once, however many wrote it, in the order of the values' canonical JSON as text (so 10 comes
//! before 9). Where all wrote the same, the view has the value itself.
//!
//! Writing the value that should stand closes the conflict. Writing the list back closes it too and makes the list a
//! value like any other: it is not taken apart where it meets a further concurrent write, because a list that somebody
//! meant cannot be told from one that was shown here.

use std::collections::BTreeMap;

use skerry_guest::{Choice, Conflict, Resolution, Resolver, Value, Wants};

/// The note that names the places with several values.
const SEVERAL: &str = "several";

/// Shows every value.
pub struct MultiValue;

impl Resolver for MultiValue {
    fn wants() -> Wants {
        Wants::everything()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let (mut resolution, mut several) = (Resolution::default(), Vec::new());
        for conflict in conflicts {
            let mut values = distinct(conflict);
            let value = if values.len() == 1 {
                values.remove(0)
            } else {
                several.push(conflict.path.clone());
                Value::Array(values)
            };
            resolution.choices.push(Choice::Value(value));
        }
        Ok(if several.is_empty() { resolution } else { resolution.note(SEVERAL, several) })
    }
}

skerry_guest::resolver!(MultiValue);
skerry_guest::laws!(resolver MultiValue);

/// Each value once, in the order of their text, whatever the order of the candidates.
fn distinct(conflict: &Conflict) -> Vec<Value> {
    let by_text = conflict.candidates.iter().map(|candidate| (candidate.value.to_string(), candidate.value.clone()));
    by_text.collect::<BTreeMap<_, _>>().into_values().collect()
}

#[cfg(test)]
mod tests {
    use skerry_guest::json;

    use super::*;

    fn conflict(path: &str, values: &[Value]) -> Conflict {
        let written = values.iter().enumerate();
        written
            .fold(Conflict::at(path), |conflict, (at, value)| conflict.candidate(format!("till-{at}"), value.clone()))
    }

    /// In whatever order the candidates come.
    #[track_caller]
    fn check(values: &[Value], expected: Value, several: bool) {
        let expected = [Choice::Value(expected)].into_iter().collect::<Resolution>();
        let expected = if several { expected.note("several", json!(["/title"])) } else { expected };
        for shift in 0..values.len() {
            let mut values = values.to_vec();
            values.rotate_left(shift);
            assert_eq!(MultiValue::resolve(&[conflict("/title", &values)]).as_ref(), Ok(&expected));
            values.reverse();
            assert_eq!(MultiValue::resolve(&[conflict("/title", &values)]).as_ref(), Ok(&expected));
        }
    }

    #[test]
    fn every_value_is_shown_once() {
        check(&[json!("Tide"), json!("Ebb")], json!(["Ebb", "Tide"]), true);
        check(&[json!(2), json!(1), json!(2), json!(3)], json!([1, 2, 3]), true);
        check(&[json!(9), json!(10), json!(null)], json!([10, 9, null]), true);
    }

    #[test]
    fn what_all_agree_on_is_shown_as_it_is() {
        check(&[json!("Tide"), json!("Tide")], json!("Tide"), false);
        check(&[json!({ "a": 1, "b": 2 }), json!({ "b": 2, "a": 1 })], json!({ "a": 1, "b": 2 }), false);
        check(&[json!(["a", "b"]), json!(["a", "b"])], json!(["a", "b"]), false);
    }

    #[test]
    fn lists_are_values_like_any_other() {
        check(&[json!(["b"]), json!(["a", "b"])], json!([["a", "b"], ["b"]]), true);
        // The first one is what a reader saw and wrote back.
        check(&[json!(["Ebb", "Tide"]), json!("Spring")], json!(["Spring", ["Ebb", "Tide"]]), true);
    }

    #[test]
    fn the_note_names_the_places_with_several_values() {
        let conflicts = [
            conflict("/body", &[json!("x"), json!("y")]),
            conflict("/by", &[json!("ann"), json!("ann")]),
            conflict("/lines/0", &[json!(1), json!(2)]),
        ];
        let resolution = MultiValue::resolve(&conflicts).unwrap();
        let values = [json!(["x", "y"]), json!("ann"), json!([1, 2])];
        assert_eq!(resolution.choices, values.map(Choice::Value));
        assert_eq!(resolution.notes.len(), 1);
        assert_eq!(resolution.notes[0].value, json!(["/body", "/lines/0"]));
    }
}
