//! The state engine: a document is a join-semilattice in bytes, and a merge policy defines it (Shapiro et al. 2011,
//! state-based CRDTs). An operation is applied once, at the replica that made it; all others only merge, so repeats are
//! harmless. Beside the state stands which operations are in it, one number for each replica.
//! Invariant: equal `Seen` means equal state.

mod counter;
mod delta;
mod seen;
mod set;
#[cfg(test)]
mod tests;
mod unavailable;

use std::sync::Arc;

use bytes::Bytes;

use self::delta::{Held, Made, StateDelta};
use self::seen::{Dot, Seen};
use super::{Author, Delta, Engine, Error, MergeDocument, Version, Viewed, Write, WriteContext};
use serde_json::Value;

use crate::document::{self, View};
use crate::ids::PluginDigest;
use crate::limits::STATE_BYTES_MAX;
use crate::policy::{Chooser, ConflictSet, MergePolicy, OperationContext, PluginError, Policy};

pub use self::counter::Counter;
pub use self::set::Set;
pub use self::unavailable::Unavailable;

/// The merge policy of a policy that needs no plugin for one.
#[must_use]
pub fn built_in(policy: &Policy) -> Option<Arc<dyn MergePolicy>> {
    match policy {
        Policy::Counter => Some(Arc::new(Counter)),
        Policy::Set => Some(Arc::new(Set)),
        Policy::Strict | Policy::Lww | Policy::Json | Policy::Plugin { .. } => None,
    }
}

/// Makes the documents of one merge policy.
#[derive(Clone)]
pub struct StateEngine {
    policy: Arc<dyn MergePolicy>,
}

impl StateEngine {
    /// The engine of a policy.
    #[must_use]
    pub fn new(policy: Arc<dyn MergePolicy>) -> Self {
        Self { policy }
    }

    fn document(&self, held: Option<Held>) -> Box<dyn MergeDocument> {
        Box::new(StateDocument { policy: Arc::clone(&self.policy), held })
    }
}

impl Engine for StateEngine {
    fn empty(&self) -> Box<dyn MergeDocument> {
        self.document(None)
    }

    fn load(&self, saved: &Bytes) -> Result<Box<dyn MergeDocument>, Error> {
        let held = Held::decode("the document's state", saved)?;
        Ok(self.document(Some(held)))
    }

    fn plugin(&self) -> Option<PluginDigest> {
        self.policy.digest()
    }

    fn delta_is_everything(&self) -> bool {
        true
    }
}

struct StateDocument {
    policy: Arc<dyn MergePolicy>,
    /// `None` until somebody writes.
    held: Option<Held>,
}

impl StateDocument {
    fn seen(&self) -> Seen {
        self.held.as_ref().map(|held| held.seen.clone()).unwrap_or_default()
    }

    fn covered(&self) -> Seen {
        self.held.as_ref().map(|held| held.covered.clone()).unwrap_or_default()
    }

    /// The state in the policy's present encoding, the empty one where nobody has written.
    fn state_or_empty(&self) -> Result<Bytes, Error> {
        match &self.held {
            Some(held) => self.present(held),
            None => Ok(self.policy.empty()?),
        }
    }

    fn present(&self, held: &Held) -> Result<Bytes, Error> {
        let (found, known) = (held.state_version, self.policy.state_version());
        match found.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(held.state.clone()),
            std::cmp::Ordering::Less => Ok(self.policy.migrate(found, &held.state)?),
            // A version never goes back, so a newer one is on its way here.
            std::cmp::Ordering::Greater => Err(Error::Unavailable {
                reason: format!("the state is of version {found}, and the plugin here knows versions up to {known}"),
            }),
        }
    }

    /// What the document holds with another state beside its own.
    fn joined(&self, other: &Held) -> Result<Held, Error> {
        // Also where there was nothing: no state is kept that the policy has not taken in.
        let state = self.policy.merge(&self.state_or_empty()?, &self.present(other)?)?;
        let covered = self.covered().join(&other.covered);
        self.bounded(state, self.seen().join(&other.seen), covered)
    }

    fn bounded(&self, state: Bytes, seen: Seen, covered: Seen) -> Result<Held, Error> {
        let (found, max) = (state.len(), STATE_BYTES_MAX);
        if found > max {
            return Err(Error::Limit { what: "the document's state in bytes", found, max });
        }
        seen.check()?;
        Ok(Held { state_version: self.policy.state_version(), state, seen, covered })
    }
}

impl MergeDocument for StateDocument {
    fn state(&self) -> Result<Option<Bytes>, Error> {
        self.held.as_ref().map(|held| self.present(held)).transpose()
    }

    fn version(&self) -> Version {
        self.seen().version()
    }

    fn plugin(&self) -> Option<PluginDigest> {
        self.policy.digest()
    }

    fn apply(&mut self, write: &Write, context: &WriteContext<'_>) -> Result<Option<Delta>, Error> {
        let author = context.author;
        let mut seen = self.seen();
        let previous = seen.of(&author.origin);
        let next = match context.number {
            Some(sequence) => Dot { incarnation: author.incarnation, sequence },
            None => Dot::after(previous, author.incarnation),
        };
        if !next.follows(previous) {
            let found = previous.map(|dot| dot.to_string()).unwrap_or_default();
            let reason = format!("operation {next} of {} cannot follow operation {found}", author.origin);
            return Err(Error::Refused { reason });
        }
        seen.add(&author.origin, next);
        let deleted = self.held.as_ref().is_none_or(Held::is_deleted);
        let covered = self.covered();
        let held = match write {
            Write::Operation(operation) => {
                let before = self.state_or_empty()?;
                let context = OperationContext {
                    origin: &author.origin,
                    incarnation: next.incarnation,
                    sequence: next.sequence,
                    time_ms: context.time_ms,
                };
                let state = self.policy.apply(&before, operation, &context)?;
                if state == before && !deleted {
                    return Ok(None);
                }
                self.bounded(state, seen, covered)?
            }
            Write::Delete if deleted => return Ok(None),
            Write::Delete => self.bounded(self.state_or_empty()?, seen.clone(), seen)?,
            Write::Put(_) | Write::Patch(_) | Write::Settle(_) | Write::Merge(_) => {
                let reason =
                    "documents of this policy take operations, at …/operations, and no whole documents or patches";
                return Err(Error::Refused { reason: reason.to_owned() });
            }
        };
        // Of the core's operations others are only given the last.
        let made = context.number.map(|_| Made { author: author.origin.clone(), previous });
        let delta = StateDelta { made, held: held.clone() }.encode();
        self.held = Some(held);
        Ok(Some(delta))
    }

    fn merge(&mut self, delta: &Delta) -> Result<bool, Error> {
        let StateDelta { made, held: other } = StateDelta::decode(delta)?;
        let seen = self.seen();
        if other.seen.is_in(&seen) {
            return Ok(false);
        }
        if let Some(made) = made {
            builds_on_what_is_here(&made, &seen)?;
        }
        // Whoever has seen all that is here holds the join of both already.
        let whole = seen.is_in(&other.seen);
        self.held = Some(if whole { other } else { self.joined(&other)? });
        Ok(true)
    }

    fn merge_from(&mut self, delta: &Delta, author: &Author, _now_ms: i64) -> Result<Delta, Error> {
        let StateDelta { made, held: pushed } = StateDelta::decode(delta)?;
        let seen = self.seen();
        let refused = |reason: String| Error::Refused { reason };
        let Some(made) = made.filter(|made| made.author == author.origin) else {
            return Err(refused("the operation does not say that its sender made it".to_owned()));
        };
        let own = pushed.seen.of(&author.origin).filter(|own| own.incarnation == author.incarnation);
        if own.is_none_or(|own| !own.follows(made.previous)) {
            return Err(refused("the operation does not follow the one that it names".to_owned()));
        }
        // No number is used twice, so it is the same operation.
        if pushed.seen.is_in(&seen) {
            return Ok(delta.clone());
        }
        builds_on_what_is_here(&made, &seen)?;
        if !pushed.covered.is_in(&pushed.seen) {
            return Err(refused("it deletes what it has not seen".to_owned()));
        }
        if let Some(origin) = pushed.seen.unknown_to(&seen, &author.origin) {
            return Err(refused(format!("it has seen an operation of {origin} that is not here")));
        }
        let (known, state) = (self.state_or_empty()?, self.present(&pushed)?);
        self.policy.check_pushed(&known, &state, &author.origin).map_err(refused)?;
        let joined = self.joined(&pushed)?;
        self.held = Some(joined.clone());
        Ok(StateDelta { made: None, held: joined }.encode())
    }

    fn delta(&self, since: &Version) -> Result<Delta, Error> {
        let held = self.held.clone().filter(|held| held.seen.version() != *since);
        Ok(held.map_or_else(Delta::default, |held| StateDelta { made: None, held }.encode()))
    }

    fn view(&self, _chooser: Chooser<'_>) -> Result<Viewed, Error> {
        let view = match &self.held {
            Some(held) if !held.is_deleted() => {
                let shown = self.policy.view(&self.present(held)?)?;
                Some(View::of(&document::check(Value::Object(shown))?)?)
            }
            _ => None,
        };
        Ok(Viewed { view, conflicts: 0, fallback: None, failed: false })
    }

    fn view_at(&self, version: &Version, chooser: Chooser<'_>) -> Result<Viewed, Error> {
        if *version == self.version() { self.view(chooser) } else { Err(Error::UnknownBase) }
    }

    fn conflicts(&self) -> Result<ConflictSet, Error> {
        Ok(ConflictSet::default())
    }

    fn save(&self) -> Bytes {
        self.held.as_ref().map(Held::encode).unwrap_or_default()
    }

    fn memory_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.state.len() + held.seen.memory_bytes())
    }

    fn scratch(&self) -> Box<dyn MergeDocument> {
        Box::new(Self { policy: Arc::clone(&self.policy), held: self.held.clone() })
    }
}

/// Whether the operation before one is the last that is here of its author.
fn builds_on_what_is_here(made: &Made, seen: &Seen) -> Result<(), Error> {
    let Made { author, previous } = made;
    if *previous == seen.of(author) {
        return Ok(());
    }
    let named = previous.map_or_else(|| "no operation".to_owned(), |dot| format!("operation {dot}"));
    Err(Error::Refused {
        reason: format!("it builds on {named} of {author}, which was refused or is not the last here"),
    })
}

impl From<PluginError> for Error {
    fn from(error: PluginError) -> Self {
        let reason = error.to_string();
        match error {
            PluginError::Refused { .. } => Self::Refused { reason },
            PluginError::Plugin { .. } => Self::PluginFailed { reason },
            PluginError::Host { .. } => Self::Unavailable { reason },
        }
    }
}
