//! Merge policy for a counter of seats or vouchers that never goes below zero, whoever takes from it while apart.
//!
//! | operation | |
//! |---|---|
//! | `{"add": 10}` | makes ten, which the replica that adds holds the rights to |
//! | `{"take": 3}` | takes three by the replica's own rights, and is refused where it holds fewer |
//! | `{"give": {"to": "till-2", "n": 4}}` | moves four of the replica's rights to another one |
//!
//! A reader sees what is left and who may take how much of it: `{"value": 7, "rights": {"till-1": 3, "till-2": 4}}`. A
//! replica is named by its id, the core is `core`; rights that are given to an id that no replica has can be taken by
//! nobody. What is more than 2^53 - 1, after concurrent additions, is shown as that.
//!
//! Why it cannot go below zero (the bounded counter of Balegas et al. 2015, "Extending Eventually Consistent Cloud
//! Databases for Enforcing Numeric Invariants"): a right is made by an addition, moves when it is given and ends when
//! it is taken, and only its holder does that, one operation after another. Each replica has an entry of numbers that
//! only grow, and merging takes the larger of each. A state that has an entry has all that its replica had heard of
//! when it wrote the entry, so in no state has a replica used rights that it does not hold there.
//!
//! A replica that may have lost writes goes on under a higher incarnation from the entry in its state, and that one
//! replaces the entry of a lower incarnation; numbers of two incarnations are never joined. No right is doubled by
//! that: others hear of a replica only through the core, which takes an operation only on top of all that it has of
//! that replica, so the new entry holds whatever others can have seen. Rights that lost writes took or gave are back
//! where they were. What this cannot prevent: two running copies of one edge's folder, or one put back from a backup,
//! each hand out the same rights, until the core refuses what one of them did and it is stranded there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skerry_guest::{Context, MergePolicy, Value, json};

/// The largest integer that a document can hold: 2^53 - 1.
const INTEGER_MAX: u64 = (1 << 53) - 1;
/// A replica's id, in characters.
const REPLICA_CHARS_MAX: usize = 64;

/// Splits what there is between replicas.
pub struct BoundedCounter;

/// What one replica has done, over all its operations.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Entry {
    incarnation: u32,
    added: u64,
    taken: u64,
    given: BTreeMap<String, u64>,
}

/// What every replica has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counter {
    replicas: BTreeMap<String, Entry>,
}

/// What clients send.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Makes so many.
    Add(u64),
    /// Takes so many.
    Take(u64),
    /// Moves rights.
    Give(Give),
}

/// Rights for another replica.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Give {
    to: String,
    n: u64,
}

impl Entry {
    fn join(&mut self, other: Self) {
        if self.incarnation < other.incarnation {
            *self = other;
        } else if self.incarnation == other.incarnation {
            self.added = self.added.max(other.added);
            self.taken = self.taken.max(other.taken);
            for (to, n) in other.given {
                let known = self.given.entry(to).or_default();
                *known = n.max(*known);
            }
        }
    }
}

impl Counter {
    /// What each replica may take: what it has added and was given, less what it has taken and given.
    fn rights(&self) -> BTreeMap<&str, i128> {
        let mut rights = BTreeMap::<&str, i128>::new();
        for (name, entry) in &self.replicas {
            *rights.entry(name).or_default() += i128::from(entry.added) - i128::from(entry.taken);
            for (to, n) in &entry.given {
                *rights.entry(name).or_default() -= i128::from(*n);
                *rights.entry(to).or_default() += i128::from(*n);
            }
        }
        rights
    }

    /// Whether a replica can make an operation.
    fn check(&self, operation: &Operation, name: &str) -> Result<(), String> {
        let rights = self.rights();
        let (total, own) = (rights.values().sum::<i128>(), rights.get(name).copied().unwrap_or_default());
        let (Operation::Add(n) | Operation::Take(n) | Operation::Give(Give { n, .. })) = *operation;
        let after = total + i128::from(n);
        match operation {
            _ if n == 0 || n > INTEGER_MAX => Err(format!("{n} is no number from 1 to 2^53 - 1")),
            Operation::Add(_) if after > i128::from(INTEGER_MAX) => {
                Err(format!("the counter would be {after}, beyond 2^53 - 1"))
            }
            Operation::Take(_) | Operation::Give(_) if own < i128::from(n) => Err(format!(
                "{name} holds the rights to {own} of {total}, too few for {n}: another replica may give it some"
            )),
            Operation::Give(Give { to, .. }) if to == name => Err(format!("{name} holds its rights already")),
            Operation::Give(Give { to, .. }) if !is_replica(to) => Err(format!("{to:?} is no replica's id")),
            _ => Ok(()),
        }
    }
}

fn is_replica(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    (1..=REPLICA_CHARS_MAX).contains(&id.len()) && id.chars().all(plain)
}

/// The nearest integer that a document can hold.
fn shown(n: i128) -> i64 {
    let max = i128::from(INTEGER_MAX);
    i64::try_from(n.clamp(-max, max)).expect("2^53 - 1 fits in 64 bits")
}

impl MergePolicy for BoundedCounter {
    type State = Counter;
    type Operation = Operation;

    fn apply(counter: &mut Counter, operation: Operation, context: &Context) -> Result<(), String> {
        let Context { origin, incarnation, .. } = context;
        counter.check(&operation, origin)?;
        let mut entry = counter.replicas.get(origin).cloned().unwrap_or_default();
        if entry.incarnation > *incarnation {
            return Err(format!("{origin} has written under a higher incarnation than {incarnation} here"));
        }
        entry.incarnation = *incarnation;
        let (number, n) = match operation {
            Operation::Add(n) => (&mut entry.added, n),
            Operation::Take(n) => (&mut entry.taken, n),
            Operation::Give(Give { to, n }) => (entry.given.entry(to).or_default(), n),
        };
        let sum = number.checked_add(n).filter(|sum| *sum <= INTEGER_MAX);
        *number = sum.ok_or_else(|| format!("{origin} has counted to 2^53 - 1 in all, and counts no further"))?;
        counter.replicas.insert(origin.clone(), entry);
        Ok(())
    }

    fn merge(counter: &mut Counter, other: Counter) {
        for (name, entry) in other.replicas {
            counter.replicas.entry(name).or_default().join(entry);
        }
    }

    fn view(counter: &Counter) -> Value {
        let rights = counter.rights();
        let value = shown(rights.values().sum());
        let held = rights.into_iter().filter(|(_, n)| *n != 0).map(|(name, n)| (name, shown(n)));
        let held: BTreeMap<_, _> = held.collect();
        json!({ "value": value, "rights": held })
    }

    fn examples() -> Vec<Value> {
        let give = json!({ "give": { "to": "till-2", "n": 4 } });
        vec![json!({ "add": 10 }), json!({ "take": 3 }), give, json!({ "add": 1 }), json!({ "take": 1 })]
    }
}

skerry_guest::merge_policy!(BoundedCounter);
skerry_guest::laws!(merge_policy BoundedCounter);

#[cfg(test)]
mod tests {
    use skerry_guest::serde_json;

    use super::*;

    fn operate(counter: &mut Counter, by: (&str, u32), operation: Value) -> Result<(), String> {
        let operation = serde_json::from_value(operation).map_err(|error| error.to_string())?;
        BoundedCounter::apply(counter, operation, &Context { incarnation: by.1, ..Context::of(by.0) })
    }

    fn give(to: &str, n: u64) -> Value {
        json!({ "give": { "to": to, "n": n } })
    }

    fn merged(a: &Counter, b: &Counter) -> Counter {
        let mut merged = a.clone();
        BoundedCounter::merge(&mut merged, b.clone());
        merged
    }

    #[test]
    fn what_was_added_is_taken_once() {
        let (one, two) = (("till-1", 1), ("till-2", 1));
        let mut a = Counter::default();
        assert_eq!(BoundedCounter::view(&a), json!({ "value": 0, "rights": {} }));
        operate(&mut a, one, json!({ "add": 10 })).unwrap();
        operate(&mut a, one, give("till-2", 4)).unwrap();
        assert_eq!(BoundedCounter::view(&a), json!({ "value": 10, "rights": { "till-1": 6, "till-2": 4 } }));
        let mut b = a.clone();
        operate(&mut a, one, json!({ "take": 6 })).unwrap();
        operate(&mut b, two, json!({ "take": 1 })).unwrap();
        let refused = operate(&mut b, two, json!({ "take": 5 })).unwrap_err();
        assert_eq!(refused, "till-2 holds the rights to 3 of 9, too few for 5: another replica may give it some");
        operate(&mut b, two, json!({ "take": 3 })).unwrap();
        let mut both = merged(&a, &b);
        assert_eq!((&both, BoundedCounter::view(&both)), (&merged(&b, &a), json!({ "value": 0, "rights": {} })));
        for till in [one, two, ("till-3", 1)] {
            operate(&mut both, till, json!({ "take": 1 })).unwrap_err();
            operate(&mut both, till, give("till-4", 1)).unwrap_err();
        }
    }

    /// Three replicas operate and hear of each other in an arbitrary order; a tally beside them knows everything.
    #[test]
    fn no_order_of_events_takes_what_is_not_there() {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        let (mut replicas, mut tally, mut refused) = (NAMES.map(|_| Counter::default()), 0_i64, 0);
        let mut random = 1_u64;
        let mut below = |n: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(random >> 33).unwrap() % n
        };
        for _ in 0..3_000 {
            let (at, other, n) = (below(3), below(3), below(5) as i64 + 1);
            let before = replicas[at].clone();
            let (operation, change) = match below(6) {
                0 => (json!({ "add": n }), n),
                1 | 2 => (json!({ "take": n }), -n),
                3 => (json!({ "give": { "to": NAMES[other], "n": n } }), 0),
                _ => {
                    replicas[at] = merged(&before, &replicas[other]);
                    continue;
                }
            };
            let made = operate(&mut replicas[at], (NAMES[at], 1), operation).is_ok();
            tally += if made { change } else { 0 };
            refused += u32::from(!made);
            assert_eq!(merged(&before, &replicas[at]), replicas[at]);
            assert!(replicas[at].rights().values().all(|n| *n >= 0));
        }
        let [a, b, c] = &replicas;
        let whole = merged(&merged(a, b), c);
        assert_eq!((&whole, &whole), (&merged(c, &merged(b, a)), &merged(&whole, a)));
        assert_eq!(whole.rights().values().sum::<i128>(), i128::from(tally));
        assert!(refused > 100, "{refused}");
    }

    #[test]
    fn a_higher_incarnation_goes_on_from_what_the_core_had() {
        let mut core = Counter::default();
        operate(&mut core, ("till-1", 1), json!({ "add": 9 })).unwrap();
        operate(&mut core, ("till-1", 1), give("till-2", 2)).unwrap();
        let mut lost = core.clone();
        operate(&mut lost, ("till-1", 1), json!({ "take": 5 })).unwrap();
        let mut again = core.clone();
        operate(&mut again, ("till-1", 2), json!({ "take": 3 })).unwrap();
        assert_eq!(BoundedCounter::view(&again), json!({ "value": 6, "rights": { "till-1": 4, "till-2": 2 } }));
        assert_eq!((merged(&again, &lost), merged(&lost, &again)), (again.clone(), again.clone()));
        let refused = operate(&mut again, ("till-1", 1), json!({ "take": 1 })).unwrap_err();
        assert_eq!(refused, "till-1 has written under a higher incarnation than 1 here");
    }

    #[test]
    fn what_it_does_not_take_it_says() {
        let mut counter = Counter::default();
        operate(&mut counter, ("a", 1), json!({ "add": INTEGER_MAX })).unwrap();
        let before = counter.clone();
        let cases = [
            (json!({ "add": 1 }), "the counter would be 9007199254740992, beyond 2^53 - 1"),
            (json!({ "take": 0 }), "0 is no number from 1 to 2^53 - 1"),
            (json!({ "add": u64::MAX }), "18446744073709551615 is no number from 1 to 2^53 - 1"),
            (json!({ "add": -1 }), "-1"),
            (give("a", 1), "a holds its rights already"),
            (give("Till 2", 1), r#""Till 2" is no replica's id"#),
        ];
        for (operation, expected) in cases {
            let refused = operate(&mut counter, ("a", 1), operation).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        assert_eq!(counter, before);
        operate(&mut counter, ("a", 1), json!({ "take": INTEGER_MAX })).unwrap();
        let refused = operate(&mut counter, ("a", 1), json!({ "add": 1 })).unwrap_err();
        assert_eq!(refused, "a has counted to 2^53 - 1 in all, and counts no further");
        let mut other = Counter::default();
        operate(&mut other, ("b", 1), json!({ "add": INTEGER_MAX })).unwrap();
        assert_eq!(BoundedCounter::view(&merged(&before, &other))["value"], INTEGER_MAX);
    }
}
