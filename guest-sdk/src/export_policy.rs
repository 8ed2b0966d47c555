//! From the component's interface to [`MergePolicy`] and back: bytes become states and states become bytes.

use std::marker::PhantomData;

use serde_json::Value;

use crate::policy_bindings::{Guest, skerry::plugin::merging as wit};
use crate::{Context, MergePolicy};

/// The component's side of a merge policy; [`crate::merge_policy!`] exports it.
pub struct ExportPolicy<P>(PhantomData<P>);

impl<P: MergePolicy> Guest for ExportPolicy<P> {
    fn state_version() -> u32 {
        P::STATE_VERSION
    }

    fn empty() -> Vec<u8> {
        encode::<P>(&P::State::default())
    }

    fn apply(state: Vec<u8>, operation: String, context: wit::Context) -> Result<Vec<u8>, String> {
        let mut state = decode::<P>(&state);
        let wit::Context { origin, incarnation, sequence, time } = context;
        let operation = serde_json::from_str(&operation);
        let operation = operation.map_err(|error| format!("this policy does not know the operation: {error}"))?;
        P::apply(&mut state, operation, &Context { origin, incarnation, sequence, time })?;
        Ok(encode::<P>(&state))
    }

    fn merge(a: Vec<u8>, b: Vec<u8>) -> Vec<u8> {
        let mut state = decode::<P>(&a);
        P::merge(&mut state, decode::<P>(&b));
        encode::<P>(&state)
    }

    fn view(state: Vec<u8>) -> String {
        P::view(&decode::<P>(&state)).to_string()
    }

    fn migrate(from_version: u32, state: Vec<u8>) -> Result<Vec<u8>, String> {
        P::migrate(from_version, &state).map(|state| encode::<P>(&state))
    }

    fn examples() -> Vec<String> {
        P::examples().iter().map(Value::to_string).collect()
    }
}

/// A trap where the state is none: the host keeps the old one.
fn decode<P: MergePolicy>(state: &[u8]) -> P::State {
    serde_json::from_slice(state).expect("the host hands in what this policy has handed out")
}

fn encode<P: MergePolicy>(state: &P::State) -> Vec<u8> {
    serde_json::to_vec(state).expect("a state has a JSON form, with strings for keys")
}

/// Makes a type that implements [`MergePolicy`] the merge policy of this component: once in a crate whose `crate-type` is
/// `cdylib`. Natively it only checks the type.
#[macro_export]
macro_rules! merge_policy {
    ($policy:ty) => {
        #[doc(hidden)]
        #[allow(unsafe_code, reason = "the component's exports are unsafe functions; nothing else is in this block")]
        const _: () = {
            type Exported = $crate::ExportPolicy<$policy>;
            const fn is_component<C: $crate::policy_bindings::Guest>() {}
            is_component::<Exported>();
            #[cfg(target_arch = "wasm32")]
    $crate::policy_bindings::export_policy!(Exported with_types_in $crate::policy_bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    /// The last word of each.
    struct Words;

    impl MergePolicy for Words {
        type State = BTreeMap<String, (u64, String)>;
        type Operation = String;

        fn apply(words: &mut Self::State, word: String, context: &Context) -> Result<(), String> {
            if word.is_empty() {
                return Err("a word has letters".to_owned());
            }
            words.insert(context.origin.clone(), (context.sequence, word));
            Ok(())
        }

        fn merge(words: &mut Self::State, others: Self::State) {
            for (origin, word) in others {
                let known = words.entry(origin).or_default();
                *known = known.clone().max(word);
            }
        }

        fn view(words: &Self::State) -> Value {
            json!({ "words": words.values().map(|(_, word)| word).collect::<Vec<_>>() })
        }

        fn examples() -> Vec<Value> {
            vec![json!("a")]
        }
    }

    merge_policy!(Words);

    fn said(state: Vec<u8>, origin: &str, sequence: u64, word: &str) -> Result<Vec<u8>, String> {
        let context = wit::Context { origin: origin.to_owned(), incarnation: 1, sequence, time: 0 };
        ExportPolicy::<Words>::apply(state, word.to_owned(), context)
    }

    #[test]
    fn bytes_become_states_and_states_become_bytes() {
        let empty = ExportPolicy::<Words>::empty();
        let a = said(empty.clone(), "a", 1, r#""hello""#).unwrap();
        let b = said(empty, "b", 1, r#""world""#).unwrap();
        let merged = ExportPolicy::<Words>::merge(b.clone(), a.clone());
        assert_eq!(merged, ExportPolicy::<Words>::merge(a, b));
        assert_eq!(ExportPolicy::<Words>::view(merged), r#"{"words":["hello","world"]}"#);
        assert_eq!(ExportPolicy::<Words>::examples(), [r#""a""#]);
    }

    #[test]
    fn what_is_refused_is_said() {
        let refused = said(ExportPolicy::<Words>::empty(), "a", 1, r#""""#).unwrap_err();
        assert_eq!(refused, "a word has letters");
        let unknown = said(ExportPolicy::<Words>::empty(), "a", 1, "5").unwrap_err();
        assert!(unknown.starts_with("this policy does not know the operation"), "{unknown}");
        assert!(ExportPolicy::<Words>::migrate(7, Vec::new()).unwrap_err().contains("no version 7"));
    }
}
