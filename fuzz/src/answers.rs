//! What a resolver hands back. The guest is compiled once: it decodes the first candidate's origin into its memory and
//! hands back what lies there, so that each input is an answer of its own.

use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::json;
use skerry_model::policy::{Candidate, Conflict, ConflictSet};

use crate::contract::Both;

/// Where the answer lies; what the guest is handed lies from twice as far on.
pub const ANSWER_AT: usize = 1 << 16;

/// One answer, and what it is an answer to.
#[derive(Debug, Arbitrary)]
struct Case<'a> {
    conflicts: u8,
    candidates: u8,
    answer: Answer<'a>,
}

#[derive(Debug, Arbitrary)]
enum Answer<'a> {
    /// Laid out as it must be.
    Laid { choices: Vec<Choice<'a>>, notes: Vec<(&'a str, &'a str)> },
    /// The guest's memory from [`ANSWER_AT`] on.
    Memory(&'a [u8]),
}

/// A choice as a guest hands it back.
#[derive(Debug, Arbitrary)]
pub enum Choice<'a> {
    /// The candidate at this place.
    Candidate(u32),
    /// JSON text.
    Value(&'a str),
    /// None.
    Remove,
}

static GUEST: LazyLock<Both> = LazyLock::new(|| Both::new(&wat::parse_str(guest()).expect("it is a component")));

/// Lets the guest answer.
///
/// # Panics
/// When an answer that breaks the contract is taken, or when the back ends differ.
pub fn check(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let laid;
    let answer = match case.answer {
        Answer::Laid { choices, notes } => {
            laid = lay(&choices, &notes);
            &laid
        }
        Answer::Memory(memory) => memory,
    };
    let answer = &answer[..answer.len().min(ANSWER_AT)];
    GUEST.check(&conflicts(1 + case.conflicts % 4, 2 + case.candidates % 3, answer));
}

/// Conflicts whose first candidate carries the answer, a letter for each half of a byte.
fn conflicts(number: u8, candidates: u8, answer: &[u8]) -> ConflictSet {
    let letters = answer.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|half| char::from(b'a' + half)).collect();
    let candidate =
        |at: u8| Candidate { value: json!(at), origin: format!("till-{at}"), sequence: at.into(), time: at.into() };
    let conflict = |at: u8| Conflict {
        path: format!("/{at}"),
        ancestor: None,
        candidates: (0..candidates).map(candidate).collect(),
    };
    let mut conflicts: Vec<_> = (0..number).map(conflict).collect();
    conflicts[0].candidates[0].origin = letters;
    ConflictSet { conflicts }
}

/// `result<resolution, string>` as the canonical ABI lays it out from [`ANSWER_AT`] on.
#[must_use]
pub fn lay(choices: &[Choice<'_>], notes: &[(&str, &str)]) -> Vec<u8> {
    let (choices_at, notes_at) = (20, 20 + 12 * choices.len());
    let mut text_at = notes_at + 16 * notes.len();
    let mut texts = Vec::new();
    let mut words = vec![0, ANSWER_AT + choices_at, choices.len(), ANSWER_AT + notes_at, notes.len()];
    let mut place = |text: &str| {
        texts.extend_from_slice(text.as_bytes());
        text_at += text.len();
        [ANSWER_AT + text_at - text.len(), text.len()]
    };
    for choice in choices {
        match choice {
            Choice::Candidate(at) => words.extend([0, *at as usize, 0]),
            Choice::Value(text) => words.extend([1].into_iter().chain(place(text))),
            Choice::Remove => words.extend([2, 0, 0]),
        }
    }
    words.extend(notes.iter().flat_map(|(name, value)| [place(name), place(value)].concat()));
    let words = words.into_iter().flat_map(|word| u32::try_from(word).expect("inputs are small").to_le_bytes());
    words.chain(texts).collect()
}

/// The guest as text. A conflict's candidates lie 20 bytes into it, a candidate's origin 8 bytes, each as an address and a
/// length.
#[must_use]
pub fn guest() -> String {
    let (pages, behind) = (24, 2 * ANSWER_AT);
    format!(
        r#"(component
            (type $candidate-record (record
                (field "value" string) (field "origin" string) (field "sequence" u64) (field "time" s64)))
            (export $candidate "candidate" (type $candidate-record))
            (type $conflict-record (record
                (field "path" string) (field "ancestor" (option string)) (field "candidates" (list $candidate))))
            (export $conflict "conflict" (type $conflict-record))
            (type $choice-variant (variant (case "candidate" u32) (case "value" string) (case "remove")))
            (export $choice "choice" (type $choice-variant))
            (type $note-record (record (field "name" string) (field "value" string)))
            (export $note "note" (type $note-record))
            (type $resolution-record (record (field "choices" (list $choice)) (field "notes" (list $note))))
            (export $resolution "resolution" (type $resolution-record))
            (type $wants-record (record (field "ancestor" bool) (field "paths" (list string))))
            (export $wants "wants" (type $wants-record))
            (core module $guest
                (memory (export "memory") {pages})
                (global $end (mut i32) (i32.const {behind}))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    global.get $end
                    global.get $end local.get 3 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $end)
                (func (export "describe") (result i32) i32.const 16)
                (func $half (param $at i32) (result i32)
                    local.get $at i32.load8_u i32.const 97 i32.sub)
                (func (export "resolve") (param $conflicts i32) (param i32) (result i32)
                    (local $candidate i32) (local $from i32) (local $end i32) (local $to i32)
                    local.get $conflicts i32.load offset=20 local.tee $candidate
                    i32.load offset=8 local.tee $from
                    local.get $candidate i32.load offset=12 i32.add local.set $end
                    i32.const {ANSWER_AT} local.set $to
                    loop $next
                        local.get $from local.get $end i32.lt_u if
                            local.get $to
                            local.get $from call $half i32.const 4 i32.shl
                            local.get $from i32.const 1 i32.add call $half
                            i32.or i32.store8
                            local.get $from i32.const 2 i32.add local.set $from
                            local.get $to i32.const 1 i32.add local.set $to
                            br $next
                        end
                    end
                    i32.const {ANSWER_AT}))
            (core instance $instance (instantiate $guest))
            (alias core export $instance "memory" (core memory $memory))
            (alias core export $instance "cabi_realloc" (core func $realloc))
            (func (export "describe") (result $wants)
                (canon lift (core func $instance "describe") (memory $memory) (realloc (core func $realloc))))
            (func (export "resolve") (param "conflicts" (list $conflict)) (result (result $resolution (error string)))
                (canon lift (core func $instance "resolve") (memory $memory) (realloc (core func $realloc)))))"#
    )
}
