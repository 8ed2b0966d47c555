//! How far an edge's own work on one document has come.

use skerry_api::documents::Address;
use skerry_model::VersionId;

use super::{Answer, Error, Phase, Replica};
use crate::keys::{self, Place};

/// Where this edge's own changes of a document are. What is in none of the counts, and was not given up, is in the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Stored here, fsynced, and not yet judged by the core.
    pub stored: usize,
    /// Committed by the core, and not yet in what it has published here.
    pub acknowledged: usize,
    /// Refused by the core: they wait for a person.
    pub stranded: usize,
    /// Whether a reader here sees a view that the core has not published.
    pub provisional: bool,
    /// The version that the core has published here last.
    pub published: Option<VersionId>,
}

impl Replica {
    /// How far this edge's own work on a document has come.
    ///
    /// # Errors
    /// [`Error`]; a [`skerry_api::problem::Problem`] where there is no such collection.
    pub fn progress(&self, at: &Address) -> Result<Answer<Progress>, Error> {
        let collection = match self.known.collection(&at.collection) {
            Ok(collection) => collection.id,
            Err(problem) => return Ok(Err(problem)),
        };
        let place = Place { collection, key: at.key.clone() };
        let pending = self.pending.get(&place).map(Vec::as_slice).unwrap_or_default();
        let stored = pending.iter().filter(|pending| pending.phase == Phase::Waiting).count();
        let mut stranded = 0;
        self.table.for_each(keys::stranded::all(), |_, row| {
            stranded += usize::from(keys::stranded::decode(&row)?.entry.place()? == place);
            Ok::<_, Error>(())
        })?;
        Ok(Ok(Progress {
            stored,
            acknowledged: pending.len() - stored,
            stranded,
            provisional: self.provisional(&place)?.is_some(),
            published: self.head(&place)?.map(|head| head.version),
        }))
    }
}
