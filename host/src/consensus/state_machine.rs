//! One shard's state machine: what openraft hands over is decoded, applied by `documents::apply` and installed, each
//! record with the header in one batch. A snapshot is changed over to as a whole: readers have the rows before it or the
//! rows behind it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock};
use skerry_model::{CatalogVersion, Scn, ShardId};
use skerry_store::{Batch, OrderedStore, ShardStore};
use tokio::sync::watch;

use super::snapshot::{self, Generations, Received, Snapshot, SnapshotHandle};
use super::types::{LogId, SnapshotMeta, StoredMembership, TypeConfig};
use crate::catalog::Catalog;
use crate::documents::apply::{self, Application, apply};
use crate::documents::effects::{EffectHash, Marks};
use crate::documents::keys::{self, catalog, header};
use crate::documents::live::LiveDocuments;
use crate::documents::record::{self, Applied, Effect, Record};

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
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
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
    /// A hash over everything that it has applied.
    pub effects: EffectHash,
}

/// A shard's replica as readers see it.
pub struct ShardState {
    /// The shard.
    pub id: ShardId,
    current: RwLock<Current>,
    catalog: RwLock<Arc<Catalog>>,
    progress: watch::Sender<Progress>,
    marks: Mutex<Marks>,
    compared: AtomicU64,
    divergences: AtomicU64,
}

/// The keyspace that is read and applied to.
struct Current {
    generation: u64,
    store: ShardStore,
}

impl ShardState {
    /// Its rows: at least as new as the progress and the catalog read before this call. A snapshot that is installed does
    /// not change what this store holds, it changes the store, so an answer comes from one call.
    #[must_use]
    pub fn store(&self) -> ShardStore {
        self.current.read().store.clone()
    }

    /// Which keyspace that is: each snapshot that is installed makes the next one.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.read().generation
    }

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

    /// A place to compare that has not been compared yet.
    #[must_use]
    pub fn uncompared(&self) -> Option<(u64, EffectHash)> {
        self.marks.lock().newest().filter(|(index, _)| *index > self.compared.load(Ordering::Relaxed))
    }

    /// How often this replica's effects were not the leader's: more than 0 is an alarm.
    #[must_use]
    pub fn divergences(&self) -> u64 {
        self.divergences.load(Ordering::Relaxed)
    }

    fn compare(&self, index: u64, effects: EffectHash) {
        self.compared.fetch_max(index, Ordering::Relaxed);
        if self.marks.lock().differs(index, effects) {
            self.divergences.fetch_add(1, Ordering::Relaxed);
            tracing::error!(shard = %self.id, index, "this replica holds something else than its leader: replace the node");
        }
    }

    /// Follows how far it comes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// What a shard's rows say of the shard as a whole.
#[derive(Default)]
pub(crate) struct OwnRows {
    pub(crate) header: header::Header,
    pub(crate) membership: StoredMembership,
    pub(crate) catalog: Catalog,
}

impl OwnRows {
    pub(crate) fn read(store: &(impl OrderedStore + ?Sized)) -> Result<Self, Error> {
        let header = store.get(&header::key())?.map(|row| header::decode(&row)).transpose()?;
        let membership = header::membership::<Error>(store)?;
        let catalog = store.get(&catalog::key())?.map(|row| catalog::decode(&row)).transpose()?;
        Ok(Self { header: header.unwrap_or_default(), membership, catalog: catalog.unwrap_or_default() })
    }

    fn progress(&self) -> Progress {
        let index = self.header.applied.as_ref().map_or(0, |applied| applied.index);
        Progress { index, scn: self.header.scn, catalog: self.catalog.version, effects: self.header.effects }
    }
}

/// What a state machine works with.
pub struct Parts {
    /// The shard's keyspaces.
    pub generations: Generations,
    /// Every entry of the shard's log below this index is on this node's disk.
    pub durable_end: watch::Receiver<u64>,
    /// Documents in memory.
    pub live: Arc<LiveDocuments>,
    /// Where a chunk of a snapshot ends, in bytes.
    pub chunk_bytes: usize,
    /// Records after which replicas compare what they have done.
    pub compare_every: u64,
}

/// The state machine.
pub struct StateMachine {
    parts: Parts,
    state: Arc<ShardState>,
    store: ShardStore,
    header: header::Header,
    membership: StoredMembership,
}

impl StateMachine {
    /// The state machine of a shard over what its current keyspace holds, which must be on the disk: openraft takes it
    /// for durable.
    ///
    /// # Errors
    /// [`Error`] when the rows cannot be read.
    pub fn open(parts: Parts) -> Result<(Self, Arc<ShardState>), Error> {
        let (generation, store) = parts.generations.open()?;
        let rows = OwnRows::read(&store)?;
        let state = Arc::new(ShardState {
            id: parts.generations.shard(),
            current: RwLock::new(Current { generation, store: store.clone() }),
            progress: watch::Sender::new(rows.progress()),
            catalog: RwLock::new(Arc::new(rows.catalog)),
            marks: Mutex::default(),
            compared: AtomicU64::new(0),
            divergences: AtomicU64::new(0),
        });
        let (header, membership) = (rows.header, rows.membership);
        Ok((Self { parts, state: Arc::clone(&state), store, header, membership }, state))
    }

    /// The last log id applied.
    #[must_use]
    pub fn applied(&self) -> Option<LogId> {
        self.header.applied
    }

    /// The last log id of the snapshot that this node has gone on from, if there was one.
    ///
    /// # Errors
    /// [`Error`] when the row cannot be read.
    pub fn received(&self) -> Result<Option<LogId>, Error> {
        let row = self.store.get(&header::received_key())?;
        Ok(row.map(|row| header::decode(&row)).transpose()?.and_then(|header| header.applied))
    }

    /// What the keyspace holds now, as a snapshot.
    fn stored(&self) -> Result<Option<Snapshot>, snapshot::Error> {
        snapshot::stored(self.store.snapshot(), self.parts.chunk_bytes)
    }

    /// Completes a received generation and goes on with it. A crash leaves the old one or the new one, whole.
    async fn change_over(&mut self, received: Received) -> Result<(), Error> {
        let generation = received.generation;
        let store = self.parts.generations.complete(generation, received.header).await?;
        let rows = OwnRows::read(&store)?;
        let progress = rows.progress();
        // In this order, so that whoever saw the progress finds the catalog and the rows that belong to it.
        let current = Current { generation, store: store.clone() };
        let before = std::mem::replace(&mut *self.state.current.write(), current);
        *self.state.catalog.write() = Arc::new(rows.catalog);
        self.state.progress.send_replace(progress);
        self.parts.live.forget(self.state.id);
        (self.store, self.header, self.membership) = (store, rows.header, rows.membership);
        Ok(self.parts.generations.delete(before.generation).await?)
    }

    async fn install(
        &mut self,
        at: LogId,
        payload: EntryPayload<super::types::Command, skerry_model::NodeId, super::types::NodeAddress>,
    ) -> Result<Applied, Error> {
        let (shard, index) = (self.state.id, at.index);
        // A quorum has the entry, but what is applied must not outlive this node's own log: after a crash the log could
        // not lead up to it.
        self.parts.durable_end.wait_for(|end| index < *end).await.map_err(|_closed| Error::LogClosed { shard })?;
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
                let application: Application = apply(&self.header, &known, &self.store, index, &record)
                    .map_err(|source| Error::Apply { shard, index, source })?;
                if let Effect::Compare { index, effects } = record.effect {
                    self.state.compare(index, effects);
                }
                batch = application.batch;
                applied = application.applied;
                moved = application.catalog;
                self.header.scn = application.scn;
                self.header.cluster = application.founded.or(self.header.cluster);
            }
        }
        self.header.effects = self.header.effects.after(index, &batch);
        batch.put(header::key(), header::encode(&self.header));
        self.store.install(batch).await?;
        if let Some(catalog) = moved {
            *self.state.catalog.write() = Arc::new(catalog);
        }
        let catalog = self.state.catalog.read().version;
        let effects = self.header.effects;
        if index.is_multiple_of(self.parts.compare_every) {
            self.state.marks.lock().note(index, effects);
        }
        self.state.progress.send_replace(Progress { index, scn: self.header.scn, catalog, effects });
        Ok(applied)
    }
}

/// Makes the shard's keyspace into a snapshot: it only has to be on the disk.
pub struct Builder {
    store: ShardStore,
    /// What the keyspace held when the builder was made.
    taken: Result<Option<Snapshot>, snapshot::Error>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotHandle;

    /// openraft purges the log up to what this covers, so it returns only when all of that is on the disk.
    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let taken = std::mem::replace(&mut self.taken, Ok(None)).map_err(io::Error::other)?;
        self.store.flush().await.map_err(io::Error::other)?;
        taken.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nothing has been applied"))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = Builder;

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

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let builder = self.get_snapshot_builder().await;
        // A new shard's first records may not have reached the keyspace yet.
        let is_empty = matches!(builder.taken, Ok(None));
        (force || !is_empty).then_some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), taken: self.stored() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), io::Error> {
        let SnapshotHandle::Received(received) = snapshot else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a snapshot of this node's own rows is no news"));
        };
        assert!(meta.last_log_id > self.header.applied, "openraft installs only what is newer");
        self.change_over(received).await.map_err(io::Error::other)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.stored().map_err(io::Error::other)
    }
}
