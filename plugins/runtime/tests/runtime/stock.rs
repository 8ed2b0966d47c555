//! The bundled stock resolver: the component that is committed does what its source says, with the same fuel on both
//! back ends.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};
use skerry_guest::Resolver as _;
use skerry_model::policy::{Candidate, Choice, Conflict, ConflictSet, PluginError, Resolver as _};
use skerry_runtime::{Backend, CompiledResolver, Runtime, RuntimeProfile, standard};

static NATIVE: LazyLock<CompiledResolver> = LazyLock::new(|| compile(Backend::Native));
static PULLEY: LazyLock<CompiledResolver> = LazyLock::new(|| compile(Backend::Pulley));

fn compile(backend: Backend) -> CompiledResolver {
    let runtime = Runtime::with_backend(RuntimeProfile::newest(), backend).unwrap();
    runtime.compile_resolver(standard::STOCK.component).unwrap()
}

fn sales(ancestor: Option<Value>, values: Vec<Value>) -> ConflictSet {
    let written = values.into_iter().enumerate();
    let candidates = written.map(|(at, value)| Candidate { value, origin: format!("till-{at}"), sequence: 1, time: 0 });
    let conflict = Conflict { path: "/remaining".to_owned(), ancestor, candidates: candidates.collect() };
    ConflictSet { conflicts: vec![conflict] }
}

#[test]
fn it_wants_the_ancestor_of_one_field() {
    assert!(NATIVE.wants().ancestor);
    assert_eq!(NATIVE.wants().paths, ["/remaining"]);
}

#[test]
fn two_tills_that_sell_the_last_one_oversell_it() {
    let resolution = NATIVE.resolve(&sales(Some(json!(1)), vec![json!(0), json!(0)])).unwrap();
    assert_eq!(resolution.choices, [Choice::Value(json!(0))]);
    assert_eq!(resolution.notes, [("oversold".to_owned(), json!(1))]);
}

#[test]
fn what_it_cannot_decide_is_its_own_word() {
    let failed = NATIVE.resolve(&sales(None, vec![json!(4), json!(3)])).unwrap_err();
    let PluginError::Refused { reason } = failed else { panic!("{failed}") };
    assert!(reason.starts_with("it decides nothing: /remaining has no one count to subtract sales from"), "{reason}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let other = prop_oneof![Just(json!(null)), Just(json!({"a": [true]})), "[a-zé\"\\\\]{0,20}".prop_map(Value::from)];
    prop_oneof![
        8 => (-1000_i64..1000).prop_map(Value::from),
        2 => (-(1_i64 << 53) + 1..1 << 53).prop_map(Value::from),
        1 => any::<f64>().prop_filter_map("JSON has no such number", |number| serde_json::Number::from_f64(number).map(Value::from)),
        1 => other,
    ]
}

fn any_sales() -> impl Strategy<Value = ConflictSet> {
    (proptest::option::weighted(0.9, any_value()), proptest::collection::vec(any_value(), 2..6))
        .prop_map(|(ancestor, values)| sales(ancestor, values))
}

/// The resolver compiled into this test, on what the component is handed: canonical JSON.
fn by_source(set: &ConflictSet) -> Result<Value, String> {
    let canonical = |value: &Value| -> Value {
        serde_json::from_str(&serde_json_canonicalizer::to_string(value).unwrap()).unwrap()
    };
    let conflict = |conflict: &Conflict| {
        let handed = skerry_guest::Conflict::at(&conflict.path);
        let handed = conflict.ancestor.iter().fold(handed, |handed, value| handed.ancestor(canonical(value)));
        let candidates = conflict.candidates.iter();
        candidates.fold(handed, |handed, candidate| handed.candidate(&candidate.origin, canonical(&candidate.value)))
    };
    let conflicts: Vec<_> = set.conflicts.iter().map(conflict).collect();
    let resolution = skerry_stock::Stock::resolve(&conflicts)?;
    let choices = resolution.choices.into_iter().map(|choice| match choice {
        skerry_guest::Choice::Value(value) => value,
        other => panic!("{other:?}"),
    });
    let choices: Vec<_> = choices.collect();
    let notes: Vec<_> = resolution.notes.into_iter().map(|note| (note.name, note.value)).collect();
    Ok(json!([choices, notes]))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn source_component_and_back_ends_agree(set in any_sales()) {
        let native = NATIVE.call(&set);
        prop_assert_eq!(&native, &PULLEY.call(&set));
        prop_assert_eq!(&native, &NATIVE.call(&set));
        let component = match native {
            Ok(outcome) => {
                let choices: Vec<_> = outcome.resolution.choices.into_iter().map(|choice| match choice {
                    Choice::Value(value) => value,
                    other => panic!("{other:?}"),
                }).collect();
                Ok(json!([choices, outcome.resolution.notes]))
            }
            Err(PluginError::Refused { reason }) => Err(reason),
            Err(error) => panic!("{error}"),
        };
        prop_assert_eq!(component, by_source(&set).map_err(|words| format!("it decides nothing: {words}")));
    }
}
