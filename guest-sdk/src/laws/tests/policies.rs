use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::*;
use crate::{Context, MergePolicy};

#[track_caller]
fn check_broken<P: MergePolicy>(law: Law) -> Finding {
    let finding = broken(check_policy(&NativePolicy::<P>::new(), &PolicyExamples::default(), Effort::TEST));
    assert_eq!(finding.law, law, "{finding}");
    finding
}

/// A policy that is a type of state, what an operation and a merge do to it, and its examples.
macro_rules! policy {
    ($name:ident, $state:ty, $operation:ty, $apply:expr, $merge:expr, $examples:expr) => {
        struct $name;

        impl MergePolicy for $name {
            type State = $state;
            type Operation = $operation;

            fn apply(state: &mut $state, operation: $operation, context: &Context) -> Result<(), String> {
                let apply: fn(&mut $state, $operation, &Context) = $apply;
                apply(state, operation, context);
                Ok(())
            }

            fn merge(state: &mut $state, other: $state) {
                let merge: fn(&mut $state, $state) = $merge;
                merge(state, other);
            }

            fn view(state: &$state) -> Value {
                json!({ "value": state })
            }

            fn examples() -> Vec<Value> {
                $examples
            }
        }
    };
}

policy!(SumsWhenMerged, i32, i16, |n, by, _| *n += i32::from(by), |n, other| *n += other, vec![json!(1), json!(2)]);

#[test]
fn a_counter_that_is_not_idempotent_is_caught() {
    let finding = check_broken::<SumsWhenMerged>(Law::Grows);
    assert!(finding.case.to_string().len() < 80, "{finding}");
}

policy!(
    SharedTotal,
    u32,
    u8,
    |n, by, _| *n += u32::from(by),
    |n, other| *n = (*n).max(other),
    vec![json!(1), json!(2)]
);

#[test]
fn a_counter_with_one_total_for_all_is_caught() {
    let finding = check_broken::<SharedTotal>(Law::Concurrent);
    assert_eq!(finding.one, json!({"value": 1}), "{finding}");
    assert_eq!(finding.other, json!({"value": 2}), "{finding}");
}

policy!(
    LastArrived,
    Option<String>,
    String,
    |held, word, _| *held = Some(word),
    |held, other| *held = other.or_else(|| held.take()),
    vec![json!("a"), json!("b")]
);

#[test]
fn a_register_that_keeps_what_arrived_last_is_caught() {
    check_broken::<LastArrived>(Law::Commutative);
}

policy!(
    LatestWithoutTieBreak,
    (i64, String),
    String,
    |held, word, context| {
        if context.time > held.0 || held.1.is_empty() {
            *held = (context.time, word);
        }
    },
    |held, other| {
        if other.0 > held.0 || held.1.is_empty() {
            *held = other;
        }
    },
    vec![json!("a"), json!("b")]
);

#[test]
fn a_register_without_a_tie_break_is_caught() {
    let finding = check_broken::<LatestWithoutTieBreak>(Law::Commutative);
    assert_eq!(finding.case["a"][0].get("time"), finding.case["b"][0].get("time"), "{finding}");
}

policy!(
    Average,
    Option<f64>,
    f64,
    |mean, value, _| *mean = Some(mean.map_or(value, |mean| f64::midpoint(mean, value))),
    |mean, other| {
        *mean = match (*mean, other) {
            (Some(mean), Some(other)) => Some(f64::midpoint(mean, other)),
            (one, other) => one.or(other),
        }
    },
    vec![json!(1.0), json!(4.0)]
);

#[test]
fn an_average_without_weights_is_caught() {
    let finding = broken(check_policy(&NativePolicy::<Average>::new(), &PolicyExamples::default(), Effort::TEST));
    assert!([Law::Grows, Law::Associative].contains(&finding.law), "{finding}");
}

policy!(
    ArrivalLog,
    Vec<String>,
    String,
    |log, line, _| {
        if !log.contains(&line) {
            log.push(line);
        }
    },
    |log, other| {
        for line in other {
            if !log.contains(&line) {
                log.push(line);
            }
        }
    },
    vec![json!("a"), json!("b")]
);

#[test]
fn a_list_in_the_order_of_arrival_is_caught() {
    let finding = broken(check_policy(&NativePolicy::<ArrivalLog>::new(), &PolicyExamples::default(), Effort::TEST));
    assert!([Law::Commutative, Law::Associative].contains(&finding.law), "{finding}");
}

policy!(
    RemovesByForgetting,
    BTreeSet<String>,
    (bool, String),
    |set, (add, word), _| {
        if add {
            set.insert(word);
        } else {
            set.remove(&word);
        }
    },
    |set, other| set.extend(other),
    vec![json!([true, "a"]), json!([false, "a"])]
);

#[test]
fn a_set_that_forgets_what_was_removed_is_caught() {
    check_broken::<RemovesByForgetting>(Law::Grows);
}

#[allow(clippy::disallowed_types, reason = "it is what the test is about")]
type Unordered = std::collections::HashMap<String, u64>;

policy!(
    MapOrder,
    Unordered,
    String,
    |held, word, context| *held.entry(word).or_default() = context.sequence,
    |held, other| {
        for (word, at) in other.into_iter().collect::<BTreeMap<_, _>>() {
            let known = held.entry(word).or_default();
            *known = at.max(*known);
        }
    },
    ["a", "b", "c", "d"].iter().map(|word| json!(word)).collect()
);

#[test]
fn a_state_in_the_order_of_a_hash_map_is_caught() {
    // By chance two calls may agree, and then two states that mean the same are different bytes.
    let finding = broken(check_policy(&NativePolicy::<MapOrder>::new(), &PolicyExamples::default(), Effort::TEST));
    let laws = [Law::Deterministic, Law::Grows, Law::Idempotent, Law::Neutral, Law::Commutative, Law::Associative];
    assert!(laws.contains(&finding.law), "{finding}");
}

policy!(
    PanicsWhenItIsTooMuch,
    BTreeMap<String, u8>,
    u8,
    |held, by, context| *held.entry(context.origin.clone()).or_default() += by,
    |held, other| {
        for (origin, n) in other {
            let known = held.entry(origin).or_default();
            *known = n.max(*known);
        }
    },
    vec![json!(100), json!(90)]
);

#[test]
fn a_panic_is_caught() {
    let finding = check_broken::<PanicsWhenItIsTooMuch>(Law::Total);
    assert!(finding.one.as_str().unwrap().contains("panicked"), "{finding}");
}

policy!(Refusing, u8, u8, |_, _, _| (), |_, _| (), vec![json!("not a number")]);

#[test]
fn examples_that_are_refused_are_caught() {
    check_broken::<Refusing>(Law::Examples);
}

/// A count of each replica in pairs: the second version adds how often it was written.
struct Renumbered<const VERSION: u32>;

impl<const VERSION: u32> MergePolicy for Renumbered<VERSION> {
    type State = BTreeMap<String, u64>;
    type Operation = u8;

    const STATE_VERSION: u32 = VERSION;

    fn apply(held: &mut Self::State, by: u8, context: &Context) -> Result<(), String> {
        *held.entry(context.origin.clone()).or_default() += u64::from(by);
        Ok(())
    }

    fn merge(held: &mut Self::State, other: Self::State) {
        for (origin, n) in other {
            let known = held.entry(origin).or_default();
            *known = n.max(*known);
        }
    }

    fn view(held: &Self::State) -> Value {
        json!({ "value": held.values().sum::<u64>() })
    }

    /// Version 2 keeps the state; version 3 folds it into one entry, which merging cannot follow.
    fn migrate(_: u32, state: &[u8]) -> Result<Self::State, String> {
        let old: Self::State = serde_json::from_slice(state).map_err(|error| error.to_string())?;
        if VERSION == 2 {
            return Ok(old);
        }
        Ok(BTreeMap::from([("all".to_owned(), old.values().sum())]))
    }

    fn examples() -> Vec<Value> {
        vec![json!(1), json!(2)]
    }
}

#[test]
fn a_migration_that_merging_cannot_follow_is_caught() {
    let before = NativePolicy::<Renumbered<1>>::new();
    let examples = || PolicyExamples { before: Some(&before), ..PolicyExamples::default() };
    let report = kept(check_policy(&NativePolicy::<Renumbered<2>>::new(), &examples(), Effort::TEST));
    assert_eq!(report.cases, Effort::TEST.cases);
    let finding = broken(check_policy(&NativePolicy::<Renumbered<3>>::new(), &examples(), Effort::TEST));
    assert_eq!(finding.law, Law::Migrates, "{finding}");
}

#[test]
fn real_documents_are_begun_with() {
    let states = vec![br#"{"real":7}"#.to_vec()];
    let examples = PolicyExamples { states, before: None };
    let report = kept(check_policy(&NativePolicy::<Renumbered<1>>::new(), &examples, Effort::TEST));
    assert!(report.answered > Effort::TEST.cases / 2, "{report:?}");
}

#[test]
fn real_documents_of_the_version_before_are_migrated_first() {
    let before = NativePolicy::<Renumbered<1>>::new();
    let states = vec![br#"{"real":7}"#.to_vec()];
    let examples = PolicyExamples { states: states.clone(), before: Some(&before) };
    kept(check_policy(&NativePolicy::<Renumbered<2>>::new(), &examples, Effort::TEST));
    let unreadable = PolicyExamples { states: vec![b"?".to_vec()], before: Some(&before) };
    let finding = broken(check_policy(&NativePolicy::<Renumbered<2>>::new(), &unreadable, Effort::TEST));
    assert_eq!(finding.law, Law::Total, "{finding}");
}
