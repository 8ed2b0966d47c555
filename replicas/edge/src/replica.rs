//! An edge as a pure, synchronous machine over its database (DESIGN.md, Channel): documents, outbox, cursors. It stages
//! rows, and [`Replica::commit`] writes them in one batch with one fsync; nobody may be told of a step before that.
//!
//! Invariants: a change leaves the outbox by a verdict alone; what is refused is kept as stranded; a batch of the feed
//! is installed whole with its cursor; a document with nothing pending shows the core's own outcome.
//! Knows nothing of tokio or HTTP: time, randomness, storage and resolvers come in from outside, so that a test runs
//! many edges in one thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use skerry_api::documents::Address;
use skerry_api::problem::Problem;
use skerry_channel::message::{Catalog, Refusal};
use skerry_channel::pull::{Cursor, Position};
use skerry_channel::push::sender::Sender;
use skerry_channel::subscription::Subscription;
use skerry_model::engine::{self, Author, Engine};
use skerry_model::env::{Clock, Random};
use skerry_model::policy::{MergePolicy, Resolver};
use skerry_model::{
    CatalogVersion, CollectionId, DocumentKey, Incarnation, Nonce, Origin, PluginDigest, ShardId, Timeline,
};
use skerry_store::LogDb;

use crate::keys::cursor::{Copying, Role, Standing};
use crate::keys::identity::{Home, Identity};
use crate::keys::outbox::Entry;
use crate::keys::subscription::Subscribed;
use crate::keys::tally::Tally;
use crate::keys::{self, Place, Slot};
use crate::table::Table;

mod audit;
mod base;
mod document;
mod fork;
mod history;
mod install;
mod kept;
pub(crate) mod known;
mod live;
mod outbox;
mod progress;
mod read;
mod shown;
mod stranded;
mod subscribe;
mod timeline;
mod upkeep;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use install::{Installed, Welcomed};
pub use outbox::Settled;
pub use progress::Progress;
pub use read::Reader;
pub use stranded::{BadId, Retried, StrandedChange, StrandedId};

use audit::Audit;
use known::{Known, Shared};
use live::LiveDocuments;
use subscribe::Leaving;

/// Why an edge cannot go on: its database failed or is damaged, and the process must stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed.
    #[error("the edge's database failed")]
    Store(#[from] skerry_store::Error),
    /// A row cannot be read.
    #[error(transparent)]
    Row(#[from] keys::Error),
    /// A document's saved history cannot be read.
    #[error("the saved history of {key} in collection {collection} cannot be read")]
    History {
        /// The collection.
        collection: CollectionId,
        /// The document.
        key: DocumentKey,
        /// What the engine found.
        source: engine::Error,
    },
    /// The folder belongs to another replica.
    #[error("this data folder belongs to replica {stored}, not to {given}: name another folder")]
    OtherReplica {
        /// Whose it is.
        stored: Origin,
        /// Who was to open it.
        given: Origin,
    },
    /// A new name that is the old one.
    #[error("this data folder is replica {stored} already: give it a name that no other edge has or had")]
    SameReplica {
        /// Whose it is.
        stored: Origin,
    },
}

/// What a caller is told: the outcome, or a problem that changed nothing.
pub type Answer<T> = Result<T, Problem>;

/// Where compiled plugins come from.
pub trait Resolvers: Send + Sync + 'static {
    /// The resolver of this digest; `component` reads it from the edge's database, `None` when it is not there yet.
    ///
    /// # Errors
    /// A sentence on why there is none, for the view's fallback.
    fn resolver(
        &self,
        digest: PluginDigest,
        component: &dyn Fn() -> Option<Bytes>,
    ) -> Result<Arc<dyn Resolver>, String>;

    /// The merge policy of this digest.
    ///
    /// # Errors
    /// A sentence on why there is none, for whoever writes.
    fn merge_policy(
        &self,
        digest: PluginDigest,
        component: &dyn Fn() -> Option<Bytes>,
    ) -> Result<Arc<dyn MergePolicy>, String>;
}

/// What a replica is opened with.
pub struct Options {
    /// Its id; fixed for the life of the folder.
    pub replica: Origin,
    /// The core's base URL, for sentences to people.
    pub core: String,
    /// What it holds from now on; `None` for what it held before, which is everything at first.
    pub subscription: Option<Subscription>,
    /// Its database.
    pub database: Arc<dyn LogDb>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Compiled resolvers.
    pub resolvers: Arc<dyn Resolvers>,
}

/// The edge.
pub struct Replica {
    table: Table,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    resolvers: Arc<dyn Resolvers>,
    identity: Identity,
    subscribed: Subscribed,
    /// How far the search for documents that are no longer wanted has come.
    leaving: Option<Leaving>,
    /// Whether the next pull is of what is to join.
    joins_next: bool,
    known: Arc<Known>,
    shared: Shared,
    engines: BTreeMap<CollectionId, Arc<dyn Engine>>,
    shards: BTreeMap<ShardId, Shard>,
    /// Changes that the published state may not have yet, in their order.
    pending: BTreeMap<Place, Vec<Pending>>,
    live: LiveDocuments,
    /// Documents whose provisional view is to be computed anew.
    stale: BTreeSet<Place>,
    /// Documents whose provisional view waits for a plugin.
    unsettled: BTreeSet<Place>,
    /// Collections that the catalog no longer has and whose rows are still here.
    vanished: BTreeSet<CollectionId>,
    /// Components that are stored.
    components: BTreeSet<PluginDigest>,
    audit: Audit,
    tally: Tally,
    /// Documents that may read otherwise once what is staged is committed.
    changed: BTreeSet<Place>,
    /// Those of the last commit.
    committed: BTreeSet<Place>,
    /// The latest time of the core that was heard of, in milliseconds since 1970; 0 before its first word.
    core_ms: u64,
    /// When the oldest kept change was acknowledged, by the core's clock, as far as is known.
    oldest_kept_ms: Option<u64>,
    stranded: u64,
}

/// One shard of the cluster as this edge knows it.
struct Shard {
    sender: Sender,
    standing: Standing,
    /// Where the copy of what is to join stands.
    joining: Option<Standing>,
    /// The sequence number of the next change under the present incarnation.
    next_sequence: u64,
    /// Changes in the outbox.
    waiting: u64,
    /// Their rows' values, in bytes.
    waiting_bytes: usize,
    /// None of them stands before this position: where rows were, a database takes its time to look.
    waiting_from: u64,
}

/// A change that the published state may not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pending {
    slot: Slot,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In the outbox.
    Waiting,
    /// Accepted, and not published here.
    Accepted,
}

/// Counts for people, as of the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Number of the incarnation.
    pub incarnation: u32,
    /// Documents that a reader finds.
    pub documents: u64,
    /// Changes that the core has not judged.
    pub unsent: u64,
    /// The same, in bytes.
    pub unsent_bytes: usize,
    /// Changes that the core refused.
    pub stranded: u64,
    /// Whether the first copy is complete, also of what has joined the subscription since.
    pub copied: bool,
    /// Whether something is being copied that is to join the subscription.
    pub joining: bool,
    /// Whether a restored core's content is being copied; nothing is sent of a shard before.
    pub returning: bool,
    /// Whether this is one of two copies of a folder, and sends nothing until it is enrolled anew.
    pub held: bool,
    /// Whether the core has ever been reached.
    pub enrolled: bool,
    /// Views of the core's that were others when they were computed here; more than 0 is an alarm.
    pub divergences: u64,
}

impl Replica {
    /// Opens the database, and makes the replica first if it is empty. After an unclean stop it writes under a new
    /// incarnation at once. Commits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn open(options: Options) -> Result<Self, Error> {
        Self::open_as(options, false)
    }

    /// Opens a copy of another replica's folder, or one that is held, as a replica of its own: what waits in it is made again
    /// under the new name. Commits.
    ///
    /// # Errors
    /// [`Error`].
    pub fn enrol(options: Options) -> Result<Self, Error> {
        let mut enrolled = Self::open_as(options, true)?;
        for id in enrolled.shards.keys().copied().collect::<Vec<_>>() {
            enrolled.remake(id)?;
        }
        enrolled.commit()?;
        Ok(enrolled)
    }

    fn open_as(options: Options, anew: bool) -> Result<Self, Error> {
        let Options { replica, core, subscription, database, clock, random, resolvers } = options;
        let table = Table::new(database);
        let stored = table.get(&keys::identity::key())?.map(|row| keys::identity::decode(&row)).transpose()?;
        if let Some(stored) = stored.as_ref().filter(|stored| stored.replica != replica && !anew) {
            return Err(Error::OtherReplica { stored: stored.replica.clone(), given: replica });
        }
        if let Some(stored) = stored.as_ref().filter(|stored| stored.replica == replica && anew) {
            return Err(Error::SameReplica { stored: stored.replica.clone() });
        }
        let clean = table.get(&keys::clean_stop::key())?.is_some();
        let new_incarnation = |number| Incarnation { number, nonce: Nonce::from_bytes(random.id()) };
        let identity = match stored {
            None => Identity {
                replica,
                incarnation: new_incarnation(1),
                home: None,
                clock_offset_ms: 0,
                left: Vec::new(),
                forked_ms: None,
                held: false,
                named_from: 0,
            },
            Some(stored) if anew => {
                let incarnation = new_incarnation(stored.incarnation.number + 1);
                stored.anew(replica, incarnation)
            }
            Some(stored) if clean => stored,
            Some(stored) => {
                let incarnation = new_incarnation(stored.incarnation.number + 1);
                tracing::warn!(replica = %stored.replica, incarnation = incarnation.number, "starting after an unclean stop");
                Identity { incarnation, ..stored }
            }
        };
        let catalog = table.get(&keys::catalog::key())?.map(|row| keys::catalog::decode(&row)).transpose()?;
        let catalog = catalog.unwrap_or(Catalog { version: CatalogVersion::default(), collections: Vec::new() });
        let subscribed =
            table.get(&keys::subscription::key())?.map(|row| keys::subscription::decode(&row)).transpose()?;
        let first = || Subscribed::to(subscription.clone().unwrap_or(Subscription::All));
        let subscribed = subscribed.unwrap_or_else(first);
        let known = Known::new(identity.replica.clone(), core, subscribed.wanted.clone(), identity.home);
        let known = known.with_catalog(&catalog);
        let tally = table.get(&keys::tally::key())?.map(|row| keys::tally::decode(&row)).transpose()?;
        let known = Arc::new(known);
        let mut opened = Self {
            table,
            clock,
            random,
            resolvers,
            identity,
            subscribed,
            leaving: None,
            joins_next: false,
            shared: Arc::new(RwLock::new(known.clone())),
            known,
            engines: BTreeMap::new(),
            shards: BTreeMap::new(),
            pending: BTreeMap::new(),
            live: LiveDocuments::new(),
            stale: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            vanished: BTreeSet::new(),
            components: BTreeSet::new(),
            audit: Audit::default(),
            tally: tally.unwrap_or(Tally { next_position: 1, ..Tally::default() }),
            changed: BTreeSet::new(),
            committed: BTreeSet::new(),
            core_ms: 0,
            oldest_kept_ms: Some(0),
            stranded: 0,
        };
        opened.make_engines();
        if anew {
            opened.forget_confirmed()?;
        }
        opened.load()?;
        opened.table.put(keys::identity::key(), keys::identity::encode(&opened.identity));
        opened.table.put(keys::subscription::key(), keys::subscription::encode(&opened.subscribed));
        opened.table.delete(keys::clean_stop::key());
        if let Some(wanted) = subscription {
            opened.subscribe(wanted)?;
        }
        // A copy is a replica of its own once what waits in it is made again.
        if !anew {
            opened.commit()?;
        }
        Ok(opened)
    }

    /// Reads what is kept in memory.
    fn load(&mut self) -> Result<(), Error> {
        if let Some(home) = self.identity.home {
            self.load_shards(home)?;
        }
        let mut entries = Vec::new();
        self.table.for_each(keys::outbox::all(), |key, value| {
            let (slot, entry) = (keys::outbox::decode_key(&key)?, keys::outbox::decode(&value)?);
            entries.push((slot, Phase::Waiting, entry.incarnation, entry.change()?, value.len()));
            Ok::<_, Error>(())
        })?;
        self.table.for_each(keys::accepted::all(), |key, value| {
            let (slot, entry) = (keys::accepted::decode_key(&key)?, keys::accepted::decode(&value)?);
            entries.push((slot, Phase::Accepted, entry.incarnation, entry.change()?, value.len()));
            Ok::<_, Error>(())
        })?;
        entries.sort_by_key(|(slot, ..)| slot.position);
        for (slot, phase, incarnation, change, bytes) in entries {
            let place = Place { collection: change.collection, key: change.key };
            self.pending.entry(place).or_default().push(Pending { slot, phase });
            let Some(shard) = self.shards.get_mut(&slot.shard) else { continue };
            if phase == Phase::Waiting {
                shard.waiting += 1;
                shard.waiting_bytes += bytes;
                if incarnation == self.identity.incarnation {
                    shard.next_sequence = shard.next_sequence.max(change.sequence + 1);
                }
            }
        }
        let mut stranded = 0;
        self.table.for_each(keys::stranded::all(), |_, _| {
            stranded += 1;
            Ok::<_, Error>(())
        })?;
        self.stranded = stranded;
        self.load_upkeep()
    }

    /// The chains of another name are not this replica's.
    fn forget_confirmed(&mut self) -> Result<(), Error> {
        let mut rows = Vec::new();
        self.table.for_each(keys::confirmed::all(), |key, _| {
            rows.push(key);
            Ok::<_, Error>(())
        })?;
        rows.into_iter().for_each(|key| self.table.delete(key));
        Ok(())
    }

    fn load_shards(&mut self, home: Home) -> Result<(), Error> {
        self.shards = (0..home.shards).map(ShardId::new).map(|id| (id, self.new_shard(id, home.timeline))).collect();
        let (incarnation, replica) = (self.identity.incarnation, self.identity.replica.clone());
        let shards = &mut self.shards;
        self.table.for_each(keys::confirmed::all(), |key, value| {
            let (id, confirmed) = (keys::confirmed::decode_key(&key)?, keys::confirmed::decode(&value)?);
            if let Some(shard) = shards.get_mut(&id) {
                shard.sender = Sender::new(replica.clone(), id, Some(confirmed));
                if confirmed.incarnation == incarnation {
                    shard.next_sequence = confirmed.mark.sequence + 1;
                }
            }
            Ok::<_, Error>(())
        })?;
        for role in [Role::Main, Role::Joining] {
            self.table.for_each(role.all(), |key, value| {
                let (id, standing) = (role.decode_key(&key)?, keys::cursor::decode(&value)?);
                if let Some(shard) = shards.get_mut(&id) {
                    shard.stand(role, standing);
                }
                Ok::<_, Error>(())
            })?;
        }
        self.leaving = self.subscribed.leaving.then(Leaving::default);
        Ok(())
    }

    /// A shard of which this edge has nothing.
    fn new_shard(&self, id: ShardId, timeline: Timeline) -> Shard {
        let subscription = self.subscribed.held.digest();
        let cursor = Cursor { timeline, shard: id, subscription, position: Position::Start };
        Shard {
            sender: Sender::new(self.identity.replica.clone(), id, None),
            standing: Standing { cursor, copying: Copying::First, returning: false },
            joining: None,
            next_sequence: 1,
            waiting: 0,
            waiting_bytes: 0,
            waiting_from: 0,
        }
    }

    /// Writes what is staged in one batch with one fsync, and lets readers see a new catalog.
    ///
    /// # Errors
    /// [`Error::Store`]: the replica takes no more steps, and what was staged may or may not be there after a start.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.table.commit()?;
        self.committed = std::mem::take(&mut self.changed);
        *self.shared.write() = self.known.clone();
        Ok(())
    }

    /// Documents that may read otherwise since the last commit, in the order of collections and keys; without those of
    /// collections that are gone.
    pub fn take_changed(&mut self) -> Vec<Address> {
        let changed = std::mem::take(&mut self.committed).into_iter();
        let address =
            |Place { collection, key }| Some(Address { collection: self.known.by_id(collection)?.name.clone(), key });
        changed.filter_map(address).collect()
    }

    /// Rows staged since the last commit, in bytes.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.table.staged_bytes()
    }

    /// Commits, and marks that this was a clean stop: the next start goes on under the same incarnation.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn close(mut self) -> Result<(), Error> {
        self.table.put(keys::clean_stop::key(), keys::clean_stop::encode());
        self.commit()
    }

    /// Reads of committed rows.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.table.database().clone(), self.shared.clone())
    }

    /// Counts for people.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let copied = |shard: &Shard| matches!(shard.standing.cursor.position, Position::Feed { .. });
        Counts {
            incarnation: self.identity.incarnation.number,
            documents: self.tally.documents,
            unsent: self.shards.values().map(|shard| shard.waiting).sum(),
            unsent_bytes: self.unsent_bytes(),
            stranded: self.stranded,
            copied: !self.shards.is_empty() && self.shards.values().all(copied) && self.subscribed.joining.is_none(),
            joining: self.subscribed.joining.is_some(),
            returning: self.shards.values().any(|shard| shard.standing.returning),
            held: self.identity.held,
            enrolled: self.identity.home.is_some(),
            divergences: self.audit.divergences,
        }
    }

    fn unsent_bytes(&self) -> usize {
        self.shards.values().map(|shard| shard.waiting_bytes).sum()
    }

    fn author(&self) -> Author {
        Author::new(self.identity.replica.clone(), &self.identity.incarnation)
    }

    /// This edge's clock, corrected by the core's.
    fn now_ms(&self) -> i64 {
        let now = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX);
        now.saturating_add(self.identity.clock_offset_ms)
    }

    /// Keeps the count of documents in step with a document that a reader found before, or finds now.
    fn recount(&mut self, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.tally.documents += 1,
            (true, false) => self.tally.documents = self.tally.documents.saturating_sub(1),
            (true, true) | (false, false) => return,
        }
        self.put_tally();
    }

    fn put_tally(&mut self) {
        self.table.put(keys::tally::key(), keys::tally::encode(&self.tally));
    }

    /// Takes a change into the outbox.
    fn put_waiting(&mut self, place: &Place, slot: Slot, entry: &Entry) {
        let row = keys::outbox::encode(entry);
        if let Some(shard) = self.shards.get_mut(&slot.shard) {
            shard.waiting += 1;
            shard.waiting_bytes += row.len();
            shard.waiting_from = shard.waiting_from.min(slot.position);
        }
        self.table.put(keys::outbox::key(slot), row);
        self.pending.entry(place.clone()).or_default().push(Pending { slot, phase: Phase::Waiting });
    }

    /// Takes a change out of the outbox; its pending entry stays.
    fn take_waiting(&mut self, slot: Slot, row_bytes: usize) {
        self.table.delete(keys::outbox::key(slot));
        if let Some(shard) = self.shards.get_mut(&slot.shard) {
            shard.waiting = shard.waiting.saturating_sub(1);
            shard.waiting_bytes = shard.waiting_bytes.saturating_sub(row_bytes);
        }
    }

    /// Keeps what was refused for a person.
    fn strand(&mut self, slot: Slot, entry: Entry, refusal: Refusal) {
        tracing::warn!(
            shard = slot.shard.get(),
            position = slot.position,
            kind = refusal.kind,
            detail = refusal.detail,
            "a change was refused and is stranded"
        );
        let stranded = keys::stranded::Stranded { entry, refusal };
        self.table.put(keys::stranded::key(slot), keys::stranded::encode(&stranded));
        self.stranded += 1;
    }

    fn forget_pending(&mut self, place: &Place, slot: Slot) {
        if let Some(list) = self.pending.get_mut(place) {
            list.retain(|pending| pending.slot != slot);
            if list.is_empty() {
                self.pending.remove(place);
            }
        }
    }
}
