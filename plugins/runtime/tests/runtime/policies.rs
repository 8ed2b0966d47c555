//! The bundled merge policy: the component that is committed does what its source says on both back ends, and a component
//! that does otherwise than the contract leaves the old state.

use std::sync::LazyLock;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use skerry_guest::MergePolicy as _;
use skerry_max_register::{MaxRegister, Register};
use skerry_model::Origin;
use skerry_model::policy::{MergePolicy as _, OperationContext, PluginError, World};
use skerry_runtime::{Backend, CompiledPolicy, Runtime, RuntimeProfile, standard};

static NATIVE: LazyLock<CompiledPolicy> = LazyLock::new(|| compile(Backend::Native));
static PULLEY: LazyLock<CompiledPolicy> = LazyLock::new(|| compile(Backend::Pulley));

fn compile(backend: Backend) -> CompiledPolicy {
    let runtime = Runtime::with_backend(RuntimeProfile::newest(), backend).unwrap();
    runtime.compile_policy(standard::MAX_REGISTER.component).unwrap()
}

fn apply(policy: &CompiledPolicy, state: &Bytes, operation: &Value, origin: &str) -> Result<Bytes, PluginError> {
    let origin: Origin = origin.parse().unwrap();
    policy.apply(state, operation, &OperationContext { origin: &origin, incarnation: 1, sequence: 1, time_ms: 0 })
}

#[test]
fn every_bundled_plugin_is_of_its_world() {
    let runtime = Runtime::new(RuntimeProfile::newest()).unwrap();
    let world = |component: &[u8]| runtime.compile(component).unwrap().world();
    assert_eq!(world(standard::STOCK.component), World::Resolver);
    assert_eq!(world(standard::MAX_REGISTER.component), World::MergePolicy);
    let neither = runtime.compile(&wat::parse_str("(component)").unwrap()).unwrap_err().to_string();
    assert!(neither.contains("it exports neither `resolve` nor `merge`"), "{neither}");
    assert!(runtime.compile_policy(standard::STOCK.component).is_err());
    assert!(runtime.compile_resolver(standard::MAX_REGISTER.component).is_err());
}

#[test]
fn its_examples_are_accepted_one_after_another() {
    let examples = NATIVE.examples().unwrap();
    assert!(!examples.is_empty());
    let mut state = NATIVE.empty().unwrap();
    for example in &examples {
        state = apply(&NATIVE, &state, example, "till-1").unwrap();
    }
    assert_eq!(NATIVE.view(&state).unwrap()["value"], 7);
}

#[test]
fn what_it_does_not_take_is_its_own_word_and_a_state_of_nobody_is_a_trap() {
    let empty = NATIVE.empty().unwrap();
    let PluginError::Refused { reason } = apply(&NATIVE, &empty, &json!({ "add": 1 }), "till-1").unwrap_err() else {
        panic!("it is the sender's fault")
    };
    assert!(reason.starts_with("this policy does not know the operation"), "{reason}");
    let PluginError::Plugin { reason, .. } = NATIVE.merge(&empty, &Bytes::from_static(b"{")).unwrap_err() else {
        panic!("it is the plugin's fault")
    };
    assert!(reason.starts_with("it trapped"), "{reason}");
    assert_eq!(NATIVE.calls().failed(), 1);
}

fn operations() -> impl Strategy<Value = Vec<(u8, i64)>> {
    proptest::collection::vec((0..3_u8, prop_oneof![-3_i64..9, any::<i64>()]), 0..8)
}

/// The policy compiled into this test.
fn by_source(operations: &[(u8, i64)]) -> Register {
    let mut register = Register::default();
    for (origin, value) in operations {
        let operation = serde_json::from_value(json!({ "set": value })).unwrap();
        // What is refused changes nothing.
        let _ = MaxRegister::apply(&mut register, operation, &skerry_guest::Context::of(format!("till-{origin}")));
    }
    register
}

fn by_component(policy: &CompiledPolicy, operations: &[(u8, i64)]) -> Bytes {
    let fold = |state: Bytes, (origin, value): &(u8, i64)| {
        apply(policy, &state, &json!({ "set": value }), &format!("till-{origin}")).unwrap_or(state)
    };
    operations.iter().fold(policy.empty().unwrap(), fold)
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn source_component_and_back_ends_agree(a in operations(), b in operations()) {
        let merged = [&*NATIVE, &*PULLEY].map(|policy| {
            let (a, b) = (by_component(policy, &a), by_component(policy, &b));
            let merged = policy.merge(&a, &b).unwrap();
            assert_eq!(merged, policy.merge(&b, &a).unwrap());
            assert_eq!(merged, policy.merge(&merged, &a).unwrap());
            merged
        });
        prop_assert_eq!(&merged[0], &merged[1]);
        let mut expected = by_source(&a);
        MaxRegister::merge(&mut expected, by_source(&b));
        prop_assert_eq!(NATIVE.view(&merged[0]).unwrap(), object(MaxRegister::view(&expected)));
    }
}
