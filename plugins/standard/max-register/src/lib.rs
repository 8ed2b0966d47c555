//! Merge policy for a number of which the largest ever set stays: a high score, a water level, a highest bid.
//!
//! `{"set": 5}` sets five; a smaller number changes nothing. A reader sees `{"value": 5, "by": "till-1"}`, where of equal
//! numbers the smallest replica's id stays; before anybody has set one, `{}`.

use serde::{Deserialize, Serialize};
use skerry_guest::{Context, MergePolicy, Value, json};

/// The largest integer that a document can hold: 2^53 - 1.
const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Keeps the largest.
pub struct MaxRegister;

/// The largest number so far, and who set it first in the order of ids.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Register {
    largest: Option<(i64, String)>,
}

/// What clients send.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    set: i64,
}

impl Register {
    fn take(&mut self, value: i64, by: String) {
        let is_larger = match &self.largest {
            None => true,
            Some((known, of)) => value > *known || (value == *known && by < *of),
        };
        if is_larger {
            self.largest = Some((value, by));
        }
    }
}

impl MergePolicy for MaxRegister {
    type State = Register;
    type Operation = Set;

    fn apply(register: &mut Register, Set { set }: Set, context: &Context) -> Result<(), String> {
        if set.unsigned_abs() > INTEGER_MAX {
            return Err(format!("{set} is beyond 2^53 - 1"));
        }
        register.take(set, context.origin.clone());
        Ok(())
    }

    fn merge(register: &mut Register, other: Register) {
        if let Some((value, by)) = other.largest {
            register.take(value, by);
        }
    }

    fn view(register: &Register) -> Value {
        match &register.largest {
            Some((value, by)) => json!({ "value": value, "by": by }),
            None => json!({}),
        }
    }

    fn examples() -> Vec<Value> {
        [0, 1, -1, 7].map(|set| json!({ "set": set })).into()
    }
}

skerry_guest::merge_policy!(MaxRegister);
skerry_guest::laws!(merge_policy MaxRegister);

#[cfg(test)]
mod tests {
    use super::*;

    fn set(register: &mut Register, by: &str, value: i64) -> Result<(), String> {
        MaxRegister::apply(register, Set { set: value }, &Context::of(by))
    }

    #[test]
    fn the_largest_stays_wherever_it_was_set() {
        let (mut a, mut b) = (Register::default(), Register::default());
        assert_eq!(MaxRegister::view(&a), json!({}));
        set(&mut a, "till-1", 5).unwrap();
        set(&mut a, "till-1", 3).unwrap();
        set(&mut b, "till-2", 4).unwrap();
        let before = b.clone();
        MaxRegister::merge(&mut b, a.clone());
        MaxRegister::merge(&mut a, before);
        assert_eq!(a, b);
        assert_eq!(MaxRegister::view(&a), json!({ "value": 5, "by": "till-1" }));
    }

    #[test]
    fn of_equal_numbers_the_smallest_id_stays() {
        let (mut a, mut b) = (Register::default(), Register::default());
        set(&mut a, "till-2", 5).unwrap();
        set(&mut b, "till-1", 5).unwrap();
        MaxRegister::merge(&mut a, b);
        assert_eq!(MaxRegister::view(&a), json!({ "value": 5, "by": "till-1" }));
    }

    #[test]
    fn what_no_document_can_hold_is_refused() {
        let refused = set(&mut Register::default(), "till-1", 1 << 60).unwrap_err();
        assert!(refused.contains("beyond 2^53 - 1"), "{refused}");
    }
}
