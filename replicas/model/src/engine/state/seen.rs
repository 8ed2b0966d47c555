//! Which operations a state holds: of each replica all up to one (a version vector; Parker et al. 1983).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Error, Version};
use crate::ids::Origin;
use crate::limits::{ORIGIN_CHARS_MAX, WRITERS_MAX};

/// One operation of a replica on one document: which run of the replica's numbers, and which number in it. A later run
/// begins with all that earlier ones have brought to the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Dot {
    pub(super) incarnation: u32,
    /// From 1 in each incarnation, and never used twice in one; there may be gaps.
    pub(super) sequence: u64,
}

impl Dot {
    /// Whether an operation may come after another one of the same replica.
    pub(super) fn follows(self, previous: Option<Self>) -> bool {
        previous.is_none_or(|previous| self > previous)
    }

    /// The operation of an incarnation that comes right after another one of the same replica.
    pub(super) fn after(previous: Option<Self>, incarnation: u32) -> Self {
        let same = previous.filter(|dot| dot.incarnation == incarnation);
        Self { incarnation, sequence: same.map_or(1, |dot| dot.sequence.saturating_add(1)) }
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.sequence)
    }
}

/// The last operation of each replica.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Seen(BTreeMap<Origin, Dot>);

impl Seen {
    pub(super) fn of(&self, origin: &Origin) -> Option<Dot> {
        self.0.get(origin).copied()
    }

    pub(super) fn add(&mut self, origin: &Origin, dot: Dot) {
        self.0.insert(origin.clone(), dot);
    }

    /// Whether an operation is among them.
    pub(super) fn has(&self, origin: &Origin, dot: Dot) -> bool {
        self.of(origin).is_some_and(|last| last >= dot)
    }

    /// Whether all of it is in another.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        self.0.iter().all(|(origin, dot)| other.has(origin, *dot))
    }

    /// A replica other than `except` of which this has an operation that `known` has not.
    pub(super) fn unknown_to<'a>(&'a self, known: &Self, except: &Origin) -> Option<&'a Origin> {
        let unknown = |(origin, dot): &(&'a Origin, &Dot)| *origin != except && !known.has(origin, **dot);
        self.0.iter().find(unknown).map(|(origin, _)| origin)
    }

    /// What is in either.
    pub(super) fn join(&self, other: &Self) -> Self {
        let mut joined = self.clone();
        for (origin, dot) in &other.0 {
            let last = joined.0.entry(origin.clone()).or_insert(*dot);
            *last = (*last).max(*dot);
        }
        joined
    }

    /// # Errors
    /// [`Error::Limit`] when more replicas have written than a document may have writers.
    pub(super) fn check(&self) -> Result<(), Error> {
        let (found, max) = (self.0.len(), WRITERS_MAX);
        if found > max { Err(Error::Limit { what: "the document's writers", found, max }) } else { Ok(()) }
    }

    /// Equal for equal operations.
    pub(super) fn version(&self) -> Version {
        if self.0.is_empty() {
            return Version::default();
        }
        let mut bytes = Vec::new();
        ciborium::into_writer(self, &mut bytes).expect("it serializes, and memory takes every write");
        Version(Bytes::from(bytes))
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.0.len() * (ORIGIN_CHARS_MAX + size_of::<Dot>())
    }
}
