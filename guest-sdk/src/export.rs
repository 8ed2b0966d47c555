//! From the component's interface to [`Resolver`] and back: values become text and text becomes values.

use std::marker::PhantomData;

use serde_json::Value;

use crate::bindings::{Guest, skerry::plugin::resolving as wit};
use crate::{Candidate, Choice, Conflict, Resolution, Resolver};

/// The component's side of a resolver; [`crate::resolver!`] exports it.
pub struct Export<R>(PhantomData<R>);

impl<R: Resolver> Guest for Export<R> {
    fn describe() -> wit::Wants {
        let wants = R::wants();
        wit::Wants { ancestor: wants.ancestor, paths: wants.paths }
    }

    fn resolve(conflicts: Vec<wit::Conflict>) -> Result<wit::Resolution, String> {
        let conflicts = conflicts.into_iter().map(conflict).collect::<Result<Vec<_>, _>>()?;
        R::resolve(&conflicts).map(resolution)
    }
}

fn conflict(conflict: wit::Conflict) -> Result<Conflict, String> {
    Ok(Conflict {
        path: conflict.path,
        ancestor: conflict.ancestor.as_deref().map(value).transpose()?,
        candidates: conflict.candidates.into_iter().map(candidate).collect::<Result<_, _>>()?,
    })
}

fn candidate(candidate: wit::Candidate) -> Result<Candidate, String> {
    let wit::Candidate { value: text, origin, sequence, time } = candidate;
    Ok(Candidate { value: value(&text)?, origin, sequence, time })
}

fn value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("the host handed in what is not JSON: {error}"))
}

fn resolution(resolution: Resolution) -> wit::Resolution {
    let choice = |choice| match choice {
        Choice::Candidate(at) => wit::Choice::Candidate(at),
        Choice::Value(value) => wit::Choice::Value(value.to_string()),
        Choice::Remove => wit::Choice::Remove,
    };
    let note = |note: crate::Note| wit::Note { name: note.name, value: note.value.to_string() };
    wit::Resolution {
        choices: resolution.choices.into_iter().map(choice).collect(),
        notes: resolution.notes.into_iter().map(note).collect(),
    }
}

/// Makes a type that implements [`Resolver`] the resolver of this component: once in a crate whose `crate-type` is
/// `cdylib`. Natively it only checks the type.
#[macro_export]
macro_rules! resolver {
    ($resolver:ty) => {
        #[doc(hidden)]
        #[allow(unsafe_code, reason = "the component's exports are unsafe functions; nothing else is in this block")]
        const _: () = {
            type Exported = $crate::Export<$resolver>;
            const fn is_component<C: $crate::bindings::Guest>() {}
            is_component::<Exported>();
            #[cfg(target_arch = "wasm32")]
    $crate::bindings::export!(Exported with_types_in $crate::bindings);
        };
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Wants;

    /// Takes the last candidate, or fails when there is none.
    struct Last;

    impl Resolver for Last {
        fn wants() -> Wants {
            Wants::fields(["a/b"]).with_ancestor()
        }

        fn resolve(conflicts: &[Conflict]) -> Result<Resolution, String> {
            let last = |conflict: &Conflict| conflict.candidates.last().map(|last| last.value.clone().into());
            let choices = conflicts.iter().map(last).collect::<Option<Resolution>>();
            choices.map(|resolution| resolution.note("seen", json!([null]))).ok_or_else(|| "no candidate".to_owned())
        }
    }

    resolver!(Last);

    fn handed(value: &str) -> wit::Conflict {
        let candidate = wit::Candidate { value: value.to_owned(), origin: "a".to_owned(), sequence: 1, time: -1 };
        wit::Conflict { path: "/a~1b".to_owned(), ancestor: Some("1".to_owned()), candidates: vec![candidate] }
    }

    #[test]
    fn text_becomes_values_and_values_become_text() {
        assert_eq!(Export::<Last>::describe().paths, ["/a~1b"]);
        let resolved = Export::<Last>::resolve(vec![handed(r#"{"b": 2.50}"#)]).unwrap();
        assert!(matches!(&resolved.choices[..], [wit::Choice::Value(text)] if text == r#"{"b":2.5}"#));
        assert_eq!((resolved.notes[0].name.as_str(), resolved.notes[0].value.as_str()), ("seen", "[null]"));
    }

    #[test]
    fn text_that_is_not_json_is_an_error_and_no_panic() {
        let refused = Export::<Last>::resolve(vec![handed("{")]).unwrap_err();
        assert!(refused.starts_with("the host handed in what is not JSON"), "{refused}");
    }
}
