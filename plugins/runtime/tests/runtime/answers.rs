//! What a guest hands back is checked before anybody trusts it.

use serde_json::json;
use skerry_model::policy;
use skerry_runtime::RuntimeProfile;
use skerry_runtime::limits::{NOTES_MAX, REASON_BYTES_MAX};

use crate::guest::{Choice, Guest, one_conflict, refusal};

#[track_caller]
fn check(choices: &[Choice<'_>], notes: &[(&str, &str)], expected: &str) {
    let guest = Guest::answering(choices, notes);
    assert_eq!(guest.reason(&RuntimeProfile::newest(), &one_conflict()), expected);
}

#[track_caller]
fn check_taken(choice: Choice<'_>, expected: policy::Choice) {
    let outcome = Guest::answering(&[choice], &[]).call(&RuntimeProfile::newest(), &one_conflict()).unwrap();
    assert_eq!(outcome.resolution.choices, [expected]);
}

#[test]
fn every_kind_of_choice_is_taken() {
    check_taken(Choice::Candidate(1), policy::Choice::Candidate(1));
    check_taken(Choice::Value(r#" {"b": [1, 2.5]} "#), policy::Choice::Value(json!({"b": [1, 2.5]})));
    check_taken(Choice::Remove, policy::Choice::Remove);
}

#[test]
fn a_wrong_number_of_choices_is_refused() {
    check(&[], &[], "it made 0 choices, and 1 conflicts were handed to it");
    check(&[Choice::Remove, Choice::Remove], &[], "it made 2 choices, and 1 conflicts were handed to it");
}

#[test]
fn a_candidate_that_is_not_there_is_refused() {
    check(&[Choice::Candidate(2)], &[], "it chose candidate 2 for /a, and there are 2, counted from 0");
    let last = u32::MAX;
    check(&[Choice::Candidate(last)], &[], "it chose candidate 4294967295 for /a, and there are 2, counted from 0");
}

#[test]
fn a_value_that_no_document_can_hold_is_refused() {
    check(&[Choice::Value("{")], &[], "its value for /a is not JSON: EOF while parsing an object at line 1 column 1");
    check(&[Choice::Value("1 2")], &[], "its value for /a is not JSON: trailing characters at line 1 column 3");
    let deep = format!("{}1{}", "[".repeat(65), "]".repeat(65));
    let reason = Guest::answering(&[Choice::Value(&deep)], &[]).reason(&RuntimeProfile::newest(), &one_conflict());
    assert!(
        reason.starts_with("its value for /a cannot be in a document: the document nests deeper than 64"),
        "{reason}"
    );
    check(
        &[Choice::Value("9007199254740992")],
        &[],
        "its value for /a cannot be in a document: the integer 9007199254740992 at the top is beyond 2^53 - 1 and would \
         lose digits: send it as a string",
    );
}

#[test]
fn notes_are_taken_in_order() {
    let guest = Guest::answering(&[Choice::Remove], &[("oversold", "1"), ("b", "[]")]);
    let outcome = guest.call(&RuntimeProfile::newest(), &one_conflict()).unwrap();
    assert_eq!(outcome.resolution.notes, [("oversold".to_owned(), json!(1)), ("b".to_owned(), json!([]))]);
}

#[test]
fn notes_that_are_no_top_level_fields_are_refused() {
    let long = "x".repeat(65);
    for name in ["", "/oversold", "a/b", &long] {
        let start = &name[..name.len().min(64)];
        let expected = format!("its note {start:?} is not named by 1 to 64 bytes without a slash");
        check(&[Choice::Remove], &[(name, "1")], &expected);
    }
    check(&[Choice::Remove], &[("a", "x")], r#"its note "a" is not JSON: expected value at line 1 column 1"#);
    check(&[Choice::Remove], &[("a", "1"), ("a", "1")], r#"it made the note "a" twice"#);
}

#[test]
fn notes_are_bounded_in_number() {
    let names: Vec<_> = (0..=NOTES_MAX).map(|at| at.to_string()).collect();
    let notes: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let guest = Guest::answering(&[Choice::Remove], &notes[..NOTES_MAX]);
    assert!(guest.call(&RuntimeProfile::newest(), &one_conflict()).is_ok());
    check(&[Choice::Remove], &notes, "it made 33 notes, the limit is 32");
}

/// A broken pointer, text that is not UTF-8, a case that the variant does not have.
#[test]
fn an_answer_that_breaks_the_abi_is_the_plugins_fault() {
    let reason =
        |answer: Vec<u8>| Guest { answer, ..Guest::default() }.reason(&RuntimeProfile::newest(), &one_conflict());
    let beyond = [[0; 4], [0xff, 0xff, 0xff, 0x7f], [1, 0, 0, 0], [0; 4], [0; 4]].concat();
    let found = reason(beyond);
    assert!(
        found.starts_with("it handed back what the contract does not allow: list pointer/length out of"),
        "{found}"
    );
    let mut latin = refusal("é");
    latin.pop();
    latin[8] = 1;
    let found = reason(latin);
    assert!(found.starts_with("it handed back what the contract does not allow: "), "{found}");
    let found = reason(vec![9; 20]);
    assert!(found.starts_with("it handed back what the contract does not allow: "), "{found}");
}

#[test]
fn a_plugins_own_words_are_passed_on_and_bounded() {
    let words = |words: &str| {
        Guest { answer: refusal(words), ..Guest::default() }.reason(&RuntimeProfile::newest(), &one_conflict())
    };
    assert_eq!(words("no ancestor"), "it decides nothing: no ancestor");
    let long = "é".repeat(300);
    assert_eq!(words(&long), format!("it decides nothing: {}", &long[..REASON_BYTES_MAX]));
}
