//! One shard's state machine: what openraft hands over is decoded, applied by `documents::apply` and installed, each
//! record with the header in one batch.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::RwLock;
use skerry_model::{CatalogVersion, Scn, ShardId};
use skerry_store::{Batch, ShardStore};
use tokio::sync::watch;

use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::catalog::Catalog;
use crate::documents::apply::{self, Application, apply};
use crate::documents::keys::{self, catalog, header};
use crate::documents::record::{self, Applied, Record};

/// Why a shard's state cannot be opened or applied to. The node must stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state database.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// A row.
    #[error(transparent)]
    Row(#[from] keys::Unreadable),
    /// A log record.
    #[error("shard {shard}, log index {index}: {source}")]
    Record {
        /// The shard.
        shard: ShardId,
        /// The record.
        index: u64,
        /// What is wrong.
        source: record::Unreadable,
    },
    /// The log was closed while the shard waited for it.
    #[error("shard {shard}: the log was closed")]
    LogClosed {
        /// The shard.
        shard: ShardId,
    },
    /// Application.
    #[error("shard {shard}, log index {index}: {source}")]
    Apply {
        /// The shard.
        shard: ShardId,
        /// The record.
        index: u64,
        /// What is wrong.
        source: apply::Error,
    },
}

/// How far a shard's replica has come on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Index of the last record applied; 0 before the first.
    pub index: u64,
    /// Its SCN.
    pub scn: Scn,
    /// The catalog it has reached.
    pub catalog: CatalogVersion,
}

/// A shard's replica as readers see it.
pub struct ShardState {
    /// The shard.
    pub id: ShardId,
    /// Its rows.
    pub store: ShardStore,
    catalog: RwLock<Arc<Catalog>>,
    progress: watch::Sender<Progress>,
}

impl ShardState {
    /// The catalog that the shard has reached.
    #[must_use]
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Follows how far it comes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// The state machine.
pub struct StateMachine {
    state: Arc<ShardState>,
    /// Every entry of the shard's log below this index is on this node's disk.
    durable_end: watch::Receiver<u64>,
    header: header::Header,
    membership: StoredMembership,
}

impl StateMachine {
    /// The state machine of a shard over what its keyspace holds.
    ///
    /// # Errors
    /// [`Error`] when the rows cannot be read.
    pub fn open(
        id: ShardId,
        store: ShardStore,
        durable_end: watch::Receiver<u64>,
    ) -> Result<(Self, Arc<ShardState>), Error> {
        let header = store.get(&header::key())?.map(|row| header::decode(&row)).transpose()?.unwrap_or_default();
        let membership =
            store.get(&header::membership_key())?.map(|row| header::decode_membership(&row)).transpose()?;
        let catalog = store.get(&catalog::key())?.map(|row| catalog::decode(&row)).transpose()?.unwrap_or_default();
        let index = header.applied.as_ref().map_or(0, |applied| applied.index);
        let progress = Progress { index, scn: header.scn, catalog: catalog.version };
        let state = Arc::new(ShardState {
            id,
            store,
            catalog: RwLock::new(Arc::new(catalog)),
            progress: watch::Sender::new(progress),
        });
        let membership = membership.unwrap_or_default();
        Ok((Self { state: Arc::clone(&state), durable_end, header, membership }, state))
    }

    async fn install(
        &mut self,
        at: LogId,
        payload: EntryPayload<super::types::Command, skerry_model::NodeId, super::types::NodeAddress>,
    ) -> Result<Applied, Error> {
        let (shard, index) = (self.state.id, at.index);
        // A quorum has the entry, but what is applied must not outlive this node's own log: after a crash the log could
        // not lead up to it.
        self.durable_end.wait_for(|end| index < *end).await.map_err(|_closed| Error::LogClosed { shard })?;
        let mut batch = Batch::new();
        let mut applied = Applied::Nothing;
        let mut moved = None;
        self.header.applied = Some(at);
        match payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(at), membership);
                batch.put(header::membership_key(), header::encode_membership(&self.membership));
            }
            EntryPayload::Normal(command) => {
                let record = Record::decode(&command).map_err(|source| Error::Record { shard, index, source })?;
                let known = self.state.catalog();
                let application: Application = apply(&self.header, &known, &self.state.store, index, &record)
                    .map_err(|source| Error::Apply { shard, index, source })?;
                batch = application.batch;
                applied = application.applied;
                moved = application.catalog;
                self.header.scn = application.scn;
                self.header.cluster = application.founded.or(self.header.cluster);
            }
        }
        batch.put(header::key(), header::encode(&self.header));
        self.state.store.install(batch).await?;
        if let Some(catalog) = moved {
            *self.state.catalog.write() = Arc::new(catalog);
        }
        let catalog = self.state.catalog.read().version;
        self.state.progress.send_replace(Progress { index, scn: self.header.scn, catalog });
        Ok(applied)
    }
}

/// A snapshot on its way. The log is kept whole, so none is ever made and the type has no value.
#[derive(Debug)]
pub enum SnapshotHandle {}

/// Makes no snapshot: the log is kept whole.
pub struct NoSnapshots;

fn log_is_kept_whole() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "the log is kept whole, so there are no snapshots")
}

impl RaftSnapshotBuilder<TypeConfig> for NoSnapshots {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(
        &mut self,
    ) -> Result<openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotHandle>, io::Error> {
        Err(log_is_kept_whole())
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = NoSnapshots;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.header.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.install(entry.log_id, entry.payload).await.map_err(io::Error::other)?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        NoSnapshots
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), io::Error> {
        match snapshot {}
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotHandle>>, io::Error> {
        Ok(None)
    }
}
