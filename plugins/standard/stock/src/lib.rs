//! Resolver for stock counts: every concurrent sale is subtracted.
//!
//! It decides the field `remaining` at the top level of a document. Each writer's value says how many it took from what
//! it saw, the ancestor; all of that is taken together:
//!
//! ```text
//! remaining = ancestor - sum of (ancestor - candidate)
//! ```
//!
//! With 5 left, two tills that sell one and two while offline write 4 and 3; the view says `"remaining": 2`. A delivery
//! counts the same way, with the other sign: 5 left, one till writes 4, another adds ten and writes 15, and 14 remain.
//!
//! When more was sold than there was, `remaining` is 0 and the view says `"oversold"`: how many are missing. With 1 left,
//! two tills that sell it write 0 and 0; the view says `"remaining": 0, "oversold": 1`.
//!
//! It decides nothing, and says why, when `remaining` has no single ancestor (two tills created the document
//! independently: nobody knows whether they counted the same things; or they met before, and nothing was settled, which a
//! collection made with `--settle` does by itself), when a value is no integer, or when the result is
//! beyond 2^53 - 1. The conflict then stays open and the view takes the built-in order.

use skerry_guest::{Choice, Conflict, Resolution, Resolver, Value, Wants};

/// The field that it decides.
const FIELD: &str = "remaining";
/// The note that says how many are missing.
const OVERSOLD: &str = "oversold";
/// The largest integer that a document can hold: 2^53 - 1.
const INTEGER_MAX: i128 = (1 << 53) - 1;

/// Subtracts every concurrent sale.
pub struct Stock;

impl Resolver for Stock {
    fn wants() -> Wants {
        Wants::fields([FIELD]).with_ancestor()
    }

    fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
        let mut resolution = Resolution::default();
        for conflict in conflicts {
            let remaining = remaining(conflict)?;
            resolution.choices.push(Choice::value(remaining.max(0)));
            if remaining < 0 {
                resolution = resolution.note(OVERSOLD, remaining.unsigned_abs());
            }
        }
        Ok(resolution)
    }
}

skerry_guest::resolver!(Stock);
skerry_guest::laws!(resolver Stock);

/// What remains, below zero when more was sold than there was.
fn remaining(conflict: &Conflict) -> Result<i64, String> {
    let path = &conflict.path;
    let ancestor = conflict.ancestor.as_ref().ok_or_else(|| {
        format!(
            "{path} has no one count to subtract sales from: several writers created it, or they met before unsettled \
             (collection create --settle)"
        )
    })?;
    let before = count(path, ancestor)?;
    let taken = conflict.candidates.iter().map(|candidate| Ok(before - count(path, &candidate.value)?));
    let remaining = before - taken.sum::<Result<i128, String>>()?;
    if remaining.abs() > INTEGER_MAX {
        return Err(format!("{path} would become {remaining}, beyond 2^53 - 1"));
    }
    Ok(i64::try_from(remaining).expect("2^53 - 1 fits in 64 bits"))
}

fn count(path: &str, value: &Value) -> Result<i128, String> {
    value.as_i64().map(i128::from).ok_or_else(|| format!("{path} counts whole things, and {value} is no integer"))
}

#[cfg(test)]
mod tests {
    use skerry_guest::json;

    use super::*;

    fn conflict(ancestor: impl Into<Value>, values: &[i64]) -> Conflict {
        let empty = Conflict::at("/remaining").ancestor(ancestor);
        values.iter().enumerate().fold(empty, |conflict, (at, &value)| conflict.candidate(format!("till-{at}"), value))
    }

    #[track_caller]
    fn check(ancestor: i64, values: &[i64], expected: i64, oversold: Option<u64>) {
        let expected = [Choice::value(expected)].into_iter().collect::<Resolution>();
        let expected = oversold.into_iter().fold(expected, |resolution, missing| resolution.note("oversold", missing));
        assert_eq!(Stock::resolve(&[conflict(ancestor, values)]), Ok(expected));
    }

    #[track_caller]
    fn check_refused(conflict: Conflict, expected: &str) {
        assert_eq!(Stock::resolve(&[conflict]), Err(expected.to_owned()));
    }

    #[test]
    fn sales_add_up() {
        check(5, &[4, 3], 2, None);
        check(5, &[4, 4, 4], 2, None);
        check(5, &[4, 15], 14, None);
        check(5, &[5, 5], 5, None);
        check(2, &[1, 1], 0, None);
    }

    #[test]
    fn what_is_missing_is_said() {
        check(1, &[0, 0], 0, Some(1));
        check(3, &[0, 0, 0], 0, Some(6));
    }

    #[test]
    fn what_it_cannot_decide_it_says() {
        check_refused(
            Conflict::at("/remaining").candidate("till-1", 4).candidate("till-2", 3),
            "/remaining has no one count to subtract sales from: several writers created it, or they met before unsettled \
             (collection create --settle)",
        );
        check_refused(conflict("five", &[4, 3]), r#"/remaining counts whole things, and "five" is no integer"#);
        check_refused(
            conflict(5, &[4]).candidate("till-1", json!(3.5)),
            "/remaining counts whole things, and 3.5 is no integer",
        );
        let below =
            Conflict::at("/remaining/shelf").ancestor(json!(null)).candidate("till-1", 1).candidate("till-2", 2);
        check_refused(below, "/remaining/shelf counts whole things, and null is no integer");
    }

    #[test]
    fn a_result_that_no_document_can_hold_is_refused() {
        let most = (1 << 53) - 1;
        check(0, &[most, 0], most, None);
        check_refused(conflict(0, &[most, 1]), "/remaining would become 9007199254740992, beyond 2^53 - 1");
    }

    #[test]
    fn every_conflict_gets_a_choice() {
        let resolution = Stock::resolve(&[conflict(5, &[4, 3]), conflict(9, &[8, 8])]).unwrap();
        assert_eq!(resolution.choices, [Choice::value(2), Choice::value(7)]);
    }
}
