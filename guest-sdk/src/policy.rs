//! A merge policy as its author sees it: a state that is a Rust type, changed in place.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Who made an operation, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The replica's id.
    pub origin: String,
    /// Which run of the replica's numbers this is, from 1. A higher one's entry replaces a lower one's.
    pub incarnation: u32,
    /// The operation's number among the replica's operations on the document in this incarnation, from 1.
    pub sequence: u64,
    /// The replica's clock as corrected by the core's, in milliseconds since 1970.
    pub time: i64,
}

impl Context {
    /// The first operation of a replica, for tests.
    pub fn of(origin: impl Into<String>) -> Self {
        Self { origin: origin.into(), incarnation: 1, sequence: 1, time: 0 }
    }
}

/// Defines a kind of document whose concurrent states merge by themselves: a join-semilattice.
///
/// A state is kept as its JSON, and equal states must be equal JSON: build it from numbers, strings, `Vec`, `BTreeMap` and
/// `BTreeSet`, never from `HashMap`. Merging must be commutative, associative and idempotent; a number that only grows, a
/// set that only grows and a map of such things are, and so is any struct of them.
pub trait MergePolicy {
    /// The state; its default is the document that nobody has written to.
    type State: Serialize + DeserializeOwned + Default;
    /// What clients send.
    type Operation: DeserializeOwned;

    /// The version of the state's encoding, from 1.
    const STATE_VERSION: u32 = 1;

    /// Applies an operation. Called once for each, at the replica that made it; all others only merge. The new state must
    /// be at or above the old one: merging the two gives the new one.
    ///
    /// # Errors
    /// One sentence for whoever sent the operation.
    fn apply(state: &mut Self::State, operation: Self::Operation, context: &Context) -> Result<(), String>;

    /// Takes in everything that another state holds.
    fn merge(state: &mut Self::State, other: Self::State);

    /// What readers see: a JSON object.
    fn view(state: &Self::State) -> Value;

    /// A state of an older version of the encoding in the present one; commutes with merging.
    ///
    /// # Errors
    /// One sentence when there is no such version.
    fn migrate(from: u32, state: &[u8]) -> Result<Self::State, String> {
        let _ = state;
        Err(format!("there is no version {from} of this state"))
    }

    /// Operations that are accepted on the empty state and after one another, at least one.
    fn examples() -> Vec<Value>;
}
