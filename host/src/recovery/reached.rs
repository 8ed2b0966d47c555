//! What a shard comes to once all of its log is applied. Pure: follows what application does to the shard as a whole, and
//! leaves documents alone.

use std::collections::BTreeMap;

use openraft::EntryPayload;
use skerry_model::{CatalogVersion, ClusterId, Scn, Timeline};

use super::Error;
use crate::catalog::{Catalog, Step};
use crate::consensus::state_machine::OwnRows;
use crate::consensus::types::{Entry, LogId, Membership};
use crate::documents::record::{Effect, Record};

/// A shard at the end of its log.
#[derive(Debug, Clone, Default)]
pub(super) struct Reached {
    /// The last entry.
    pub(super) last: Option<LogId>,
    /// Its SCN, or that of the last one before it that has one.
    pub(super) scn: Scn,
    /// The cluster and its line of history, once an entry has named them.
    pub(super) line: Option<(ClusterId, Timeline)>,
    /// The group.
    pub(super) membership: Membership,
    /// The catalog.
    pub(super) catalog: Catalog,
    /// Every step that led there.
    pub(super) steps: BTreeMap<CatalogVersion, Step>,
}

impl Reached {
    /// What the rows hold, with nothing of the log behind them.
    pub(super) fn of(rows: OwnRows, steps: Vec<(CatalogVersion, Step)>) -> Self {
        let OwnRows { header, membership, catalog } = rows;
        Self {
            last: header.applied,
            scn: header.scn,
            line: header.cluster,
            membership: membership.membership().clone(),
            catalog,
            steps: steps.into_iter().collect(),
        }
    }

    /// Goes on by the next entry.
    ///
    /// # Errors
    /// When its record cannot be read, or the shard is at its end.
    pub(super) fn take(&mut self, entry: Entry) -> Result<(), Error> {
        self.last = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => self.membership = membership,
            EntryPayload::Normal(command) => {
                let record = Record::decode(&command)?;
                self.scn = Scn::assign(self.scn, record.proposed)?;
                match record.effect {
                    Effect::Found { cluster, timeline } => self.line = Some((cluster, timeline)),
                    Effect::Catalog { version, step } if version == self.catalog.version.next() => {
                        self.catalog = self.catalog.after(&step);
                        self.steps.insert(version, step);
                    }
                    Effect::Catalog { .. }
                    | Effect::Documents(_)
                    | Effect::Compare { .. }
                    | Effect::ForgetFeed { .. }
                    | Effect::PluginChunk { .. } => {}
                }
            }
        }
        Ok(())
    }
}
