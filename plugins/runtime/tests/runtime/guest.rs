//! Guests written by hand, so that each does one wrong thing.

use serde_json::{Value, json};
use skerry_model::policy::{Candidate, Conflict, ConflictSet, PluginError};
use skerry_runtime::{Backend, CompiledResolver, Error, Outcome, Runtime, RuntimeProfile};

/// A guest with room for what each test changes. Its `describe` asks for everything, its `resolve` hands back what lies
/// at `ANSWER_AT`.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) pages: u32,
    pub(crate) describe: String,
    pub(crate) resolve: String,
    pub(crate) functions: String,
    pub(crate) answer: Vec<u8>,
    /// Further core modules and instances.
    pub(crate) beside: String,
    /// What the component imports, what its core module imports of that, and how the one becomes the other.
    pub(crate) imports: [String; 3],
}

/// Where the answer lies, on the second page; what is handed in lies behind it.
const ANSWER_AT: usize = 1 << 16;

impl Default for Guest {
    fn default() -> Self {
        Self {
            pages: 80,
            describe: "i32.const 16".to_owned(),
            resolve: format!("i32.const {ANSWER_AT}"),
            functions: String::new(),
            answer: answer(&[Choice::Candidate(0)], &[]),
            beside: String::new(),
            imports: [const { String::new() }; 3],
        }
    }
}

impl Guest {
    pub(crate) fn answering(choices: &[Choice<'_>], notes: &[(&str, &str)]) -> Self {
        Self { answer: answer(choices, notes), ..Self::default() }
    }

    /// It keeps the laws while it is handed one conflict, and does something else on two: it asks for `/a` alone, so the law
    /// check shows it one.
    pub(crate) fn on_two_conflicts(then: &str) -> Self {
        let guest = Self::answering(&[Choice::Value("0")], &[]);
        let resolve = format!("local.get 1 i32.const 2 i32.ge_u (if (then {then})) {}", guest.resolve);
        Self { resolve, ..guest }.asking_for_a()
    }

    /// It asks for conflicts at `/a` alone.
    pub(crate) fn asking_for_a(self) -> Self {
        let wants = r#"(data (i32.const 2048) "\00\00\00\00\10\08\00\00\01\00\00\00\00\00\00\00\20\08\00\00\02\00\00\00")
            (data (i32.const 2080) "/a")"#;
        Self { functions: wants.to_owned(), describe: "i32.const 2048".to_owned(), ..self }
    }

    pub(crate) fn resolving(body: &str) -> Self {
        Self { resolve: format!("{body} i32.const {ANSWER_AT}"), ..Self::default() }
    }

    /// The component.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { pages, describe, resolve, functions, answer, beside, imports: [imports, of_core, with] } = self;
        let data: String = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let behind = (ANSWER_AT + answer.len()).next_multiple_of(8);
        wat::parse_str(format!(
            r#"(component
                {imports}
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
                    {of_core}
                    (memory (export "memory") {pages})
                    (table $table 1 funcref)
                    (global $end (mut i32) (i32.const {behind}))
                    {functions}
                    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                        global.get $end
                        global.get $end local.get 3 i32.add i32.const 7 i32.add i32.const -8 i32.and global.set $end)
                    (func (export "describe") (result i32) {describe})
                    (func (export "resolve") (param i32 i32) (result i32) {resolve})
                    (data (i32.const {ANSWER_AT}) "{data}"))
                (core instance $instance (instantiate $guest {with}))
                {beside}
                (alias core export $instance "memory" (core memory $memory))
                (alias core export $instance "cabi_realloc" (core func $realloc))
                (func (export "describe") (result $wants)
                    (canon lift (core func $instance "describe") (memory $memory) (realloc (core func $realloc))))
                (func (export "resolve") (param "conflicts" (list $conflict)) (result (result $resolution (error string)))
                    (canon lift (core func $instance "resolve") (memory $memory) (realloc (core func $realloc)))))"#
        ))
        .unwrap()
    }

    pub(crate) fn compile(&self, backend: Backend, profile: &RuntimeProfile) -> Result<CompiledResolver, Error> {
        Runtime::with_backend(profile.clone(), backend).unwrap().compile_resolver(&self.bytes())
    }

    /// What a call gives under this profile, the same on both back ends.
    #[track_caller]
    pub(crate) fn call(&self, profile: &RuntimeProfile, conflicts: &ConflictSet) -> Result<Outcome, PluginError> {
        let native = self.compile(Backend::Native, profile).unwrap().call(conflicts);
        let pulley = self.compile(Backend::Pulley, profile).unwrap().call(conflicts);
        assert_eq!(native, pulley);
        native
    }

    /// Why a call fails by the plugin's fault, the same on both back ends.
    #[track_caller]
    pub(crate) fn reason(&self, profile: &RuntimeProfile, conflicts: &ConflictSet) -> String {
        match self.call(profile, conflicts) {
            Err(PluginError::Plugin { reason, .. } | PluginError::Refused { reason }) => reason,
            other => panic!("not the plugin's fault: {other:?}"),
        }
    }
}

/// A choice as a guest hands it back.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice<'a> {
    Candidate(u32),
    Value(&'a str),
    Remove,
}

/// `result<resolution, string>` as the canonical ABI lays it out from `ANSWER_AT` on.
fn answer(choices: &[Choice<'_>], notes: &[(&str, &str)]) -> Vec<u8> {
    let (choices_at, notes_at) = (20, 20 + 12 * choices.len());
    let mut text_at = notes_at + 16 * notes.len();
    let mut texts = Vec::new();
    let mut words: Vec<usize> = vec![0, ANSWER_AT + choices_at, choices.len(), ANSWER_AT + notes_at, notes.len()];
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
    let words = words.into_iter().flat_map(|word| u32::try_from(word).unwrap().to_le_bytes());
    words.chain(texts).collect()
}

/// The error string as the canonical ABI lays it out.
pub(crate) fn refusal(words: &str) -> Vec<u8> {
    let head = [1, ANSWER_AT + 12, words.len()].map(|word| u32::try_from(word).unwrap().to_le_bytes());
    head.concat().into_iter().chain(words.bytes()).collect()
}

/// One conflict at `/a` between these values.
pub(crate) fn conflicts(values: &[Value]) -> ConflictSet {
    let candidate = |value: &Value| Candidate { value: value.clone(), origin: "till".to_owned(), sequence: 1, time: 0 };
    let candidates = values.iter().map(candidate).collect();
    ConflictSet { conflicts: vec![Conflict { path: "/a".to_owned(), ancestor: None, candidates }] }
}

/// One conflict at `/a` between 1 and 2.
pub(crate) fn one_conflict() -> ConflictSet {
    conflicts(&[json!(1), json!(2)])
}

pub(crate) fn profile(change: impl FnOnce(&mut RuntimeProfile)) -> RuntimeProfile {
    let mut profile = RuntimeProfile::newest();
    change(&mut profile);
    profile
}
