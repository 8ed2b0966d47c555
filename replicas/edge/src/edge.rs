//! An edge that runs: the replica's owner, its readers and the sync loop behind one handle, for `skerry-edge` and for
//! applications that embed the library.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use skerry_api::bodies::{Collection, CollectionSpec, Collections, SyncStatus};
use skerry_api::documents::{Address, Conflicts, Consistency, Documents, Page, Read, Scan, WriteRequest, Written};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_channel::message;
use skerry_channel::subscription::Subscription;
use skerry_model::env::{SystemClock, SystemRandom};
use skerry_model::{CollectionName, Origin};
use skerry_runtime::{Plugins, Runtime, RuntimeProfile};
use skerry_store::fjall::FjallLog;
use skerry_store::limits::DISK_LOOK_INTERVAL;
use skerry_store::room::{Folder, Headroom, Space};
use tokio::sync::watch;

use crate::changes::Changes;
use crate::core_client::{self, CoreClient};
use crate::limits;
use crate::owner::{Owner, Runs, Stopped};
use crate::plugins::CompiledPlugins;
use crate::replica::{self, Answer, Counts, Progress, Reader, Replica, Retried, StrandedChange, StrandedId};
use crate::sync::{self, Exchange};
use crate::sync_loop::{Link, SyncLoop};
use crate::wire::{Http, Wire};

#[cfg(test)]
mod tests;

/// What an edge is opened with.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// The replica's id: unique in its cluster, and fixed for the life of the folder.
    pub replica: Origin,
    /// Base URLs of core nodes; when one is down the next is tried.
    pub cores: Vec<String>,
    /// Folder for everything the edge keeps; made if there is none.
    pub data: PathBuf,
    /// What it holds from now on; `None` for what it held before, which is everything at first.
    pub subscription: Option<Subscription>,
}

/// Why an edge does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The core's URLs.
    #[error(transparent)]
    Core(#[from] core_client::Error),
    /// The data folder cannot be made.
    #[error("cannot make the data folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database does not open.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// The folder is a core node's.
    #[error("the data folder {path} is a core node's: give the edge one of its own")]
    CoreFolder {
        /// The folder.
        path: PathBuf,
    },
    /// No edge has run on the folder.
    #[error("there is no edge's data in {}: name the folder that skerry-edge serve had as --data", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// What is in the database.
    #[error(transparent)]
    Replica(#[from] replica::Error),
    /// The plugin runtime does not start.
    #[error("the plugin runtime does not start: {0}")]
    Runtime(#[source] skerry_runtime::Error),
    /// No thread.
    #[error("cannot start the edge's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The tokio runtime is shutting down.
    #[error("the program is stopping")]
    Stopping,
}

/// What an edge is put together from, where time, storage and network are brought along.
pub struct Parts {
    /// The replica.
    pub replica: replica::Options,
    /// Base URLs of core nodes, as in [`EdgeOptions`].
    pub cores: Vec<String>,
    /// What carries requests to them.
    pub wire: Arc<dyn Wire>,
    /// Where its owner runs.
    pub runs: Runs,
    /// The room on its disk, as whoever brings it along last saw it.
    pub headroom: Arc<Headroom>,
}

/// A running edge. Clones are the same edge.
#[derive(Clone)]
pub struct Edge {
    owner: Owner,
    reader: Reader,
    exchange: Exchange,
    link: watch::Sender<Link>,
    online: watch::Sender<bool>,
    retry: watch::Sender<u64>,
    headroom: Arc<Headroom>,
}

impl Edge {
    /// Opens the folder and begins to sync. Needs a tokio runtime. What was answered before a crash is there; after an
    /// unclean stop the edge writes under a new incarnation.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: EdgeOptions) -> Result<Self, OpenError> {
        let space = Arc::new(Folder::new(options.data.clone()));
        Self::open_on(options, space).await
    }

    async fn open_on(options: EdgeOptions, space: Arc<dyn Space>) -> Result<Self, OpenError> {
        let headroom = Arc::new(Headroom::new(space));
        let looking = Arc::clone(&headroom);
        // It reads a database, and compiles plugins that were fetched.
        let opening = tokio::task::spawn_blocking(move || {
            let parts = parts(options, Arc::clone(&looking))?;
            looking.look();
            Self::assemble(parts)
        });
        let edge = opening.await.map_err(|_| OpenError::Stopping)??;
        tokio::spawn(watch_disk(headroom, edge.owner.clone()));
        Ok(edge)
    }

    /// As [`Edge::open`], of parts that are brought along. Reads the database, so it may block.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn assemble(parts: Parts) -> Result<Self, OpenError> {
        let Parts { replica: options, cores, wire, runs, headroom } = parts;
        let core = CoreClient::new(wire, &cores)?;
        let (clock, random) = (Arc::clone(&options.clock), Arc::clone(&options.random));
        let resolvers = Arc::clone(&options.resolvers);
        let replica = Replica::open(options)?;
        let reader = replica.reader();
        let owner = Owner::start(replica, runs).map_err(OpenError::Thread)?;
        let exchange = Exchange { owner: owner.clone(), core, clock, resolvers };
        let (link, online, retry) =
            (watch::Sender::new(Link::default()), watch::Sender::new(true), watch::Sender::new(0));
        let sync_loop = SyncLoop {
            exchange: exchange.clone(),
            random,
            link: link.clone(),
            online: online.subscribe(),
            retry: retry.subscribe(),
        };
        tokio::spawn(sync_loop.run());
        Ok(Self { owner, reader, exchange, link, online, retry, headroom })
    }

    /// The document as this edge has it: the core's outcome, or with changes of this edge that are still provisional.
    ///
    /// # Errors
    /// A [`Problem`]; of kind `document-not-found` when there is none.
    pub async fn get(&self, at: Address) -> Answer<Read> {
        self.read(move |reader| reader.get(&at)).await
    }

    /// Writes a document. Once answered it is fsynced at this edge and goes to the core when that can be reached.
    ///
    /// # Errors
    /// A [`Problem`], of kind `disk-full` while the disk is nearly full; unless it says that the outcome is unknown, nothing changed.
    pub async fn write(&self, at: Address, request: WriteRequest) -> Answer<Written> {
        self.check_room()?;
        self.owner.answer(move |replica| replica.write(&at, &request)).await
    }

    fn check_room(&self) -> Answer<()> {
        let full = |shortage| Problem::new(Kind::DiskFull, format!("this edge takes no writes, {shortage}"));
        self.headroom.check().map_err(full)
    }

    /// A page of a collection, in the order of keys.
    ///
    /// # Errors
    /// A [`Problem`].
    pub async fn scan(&self, collection: CollectionName, scan: Scan) -> Answer<Page> {
        self.read(move |reader| reader.scan(&collection, &scan)).await
    }

    /// The open conflicts of a document.
    ///
    /// # Errors
    /// A [`Problem`].
    pub async fn conflicts(&self, at: Address) -> Answer<Conflicts> {
        self.owner.answer(move |replica| replica.conflicts(&at)).await
    }

    /// The collections that the core has told of, by name.
    ///
    /// # Errors
    /// A [`Problem`] before the core was ever reached.
    pub fn collections(&self) -> Answer<Collections> {
        let known = self.reader.known();
        known.home()?;
        let collections = known.collections().map(|collection| describe(collection)).collect::<Result<_, _>>()?;
        Ok(Collections { collections })
    }

    /// One collection.
    ///
    /// # Errors
    /// A [`Problem`]; of kind `collection-not-found` when there is none.
    pub fn collection(&self, name: &CollectionName) -> Answer<Collection> {
        describe(self.reader.known().collection(name)?)
    }

    /// Reads of this edge for callers that may block.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// How the sync is going.
    #[must_use]
    pub fn status(&self) -> SyncStatus {
        let counts = *self.owner.counts().borrow();
        let link = self.link.borrow().clone();
        let Counts { incarnation, documents, unsent, stranded, copied, divergences, .. } = counts;
        SyncStatus {
            replica: self.reader.known().replica.to_string(),
            incarnation,
            core: self.exchange.core.url(),
            connected: link.connected,
            error: link.error,
            documents,
            unsent,
            stranded,
            copied,
            divergences,
        }
    }

    /// Documents that change from now on, whoever writes them.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes::new(self.owner.changes(), self.owner.stopped().clone())
    }

    /// How far this edge's own work on a document has come.
    ///
    /// # Errors
    /// A [`Problem`]; of kind `collection-not-found` where there is no such collection.
    pub async fn progress(&self, at: Address) -> Answer<Progress> {
        self.owner.answer(move |replica| replica.progress(&at)).await
    }

    /// Whether the core has ever been reached, so that reads and writes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.owner.counts().borrow().enrolled && !self.owner.stopped().is_cancelled()
    }

    /// At most `limit` pieces of work that the core refused, and no more than a few MiB, in the order of shards and positions,
    /// behind `after`; none only at the end.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn stranded(&self, after: Option<StrandedId>, limit: usize) -> Result<Vec<StrandedChange>, Stopped> {
        self.owner.run(move |replica| replica.stranded(after, limit)).await
    }

    /// One of them.
    ///
    /// # Errors
    /// A [`Problem`]; of kind `stranded-not-found` when there is none of that name.
    pub async fn stranded_one(&self, id: StrandedId) -> Answer<StrandedChange> {
        self.owner.answer(move |replica| replica.stranded_one(id)).await
    }

    /// Makes refused work again, as a write of now on the document as it is shown here now.
    ///
    /// # Errors
    /// A [`Problem`] that says why not; the work then stays as it was.
    pub async fn retry_stranded(&self, id: StrandedId) -> Answer<Retried> {
        self.check_room()?;
        self.owner.answer(move |replica| replica.retry_stranded(id)).await
    }

    /// Gives refused work up for good.
    ///
    /// # Errors
    /// A [`Problem`]; of kind `stranded-not-found` when there is none of that name.
    pub async fn discard_stranded(&self, id: StrandedId) -> Answer<()> {
        self.owner.answer(move |replica| replica.discard_stranded(id)).await
    }

    /// What this edge holds, or is about to.
    #[must_use]
    pub fn subscription(&self) -> Subscription {
        self.reader.known().subscription.clone()
    }

    /// Has this edge hold something else from now on, also after a restart. What is new is copied from the core and then
    /// joins; what is no longer wanted goes, once nothing that was written here waits in it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn subscribe(&self, wanted: Subscription) -> Result<(), Stopped> {
        self.owner.run(move |replica| replica.subscribe(wanted)).await
    }

    /// Pushes everything and pulls until nothing is new, beside what goes on in the background.
    ///
    /// # Errors
    /// [`sync::Error`]; what was done until then is kept.
    pub async fn sync_now(&self) -> Result<SyncStatus, sync::Error> {
        let mut online = self.online.subscribe();
        let after = limits::SYNC_NOW_TIMEOUT;
        let is_in_touch = self.link.borrow().connected;
        let outcome = tokio::select! {
            biased;
            _ = online.wait_for(|online| !*online) => Err(sync::Error::Offline),
            () = self.owner.stopped().cancelled() => Err(self.owner.stopped_error().into()),
            synced = self.exchange.everything(is_in_touch) => synced,
            () = tokio::time::sleep(after) => Err(sync::Error::TimedOut { after }),
        };
        match outcome {
            Ok(()) => {
                self.link.send_replace(Link::up());
                self.retry.send_modify(|attempts| *attempts += 1);
                Ok(self.status())
            }
            Err(error) => Err(error),
        }
    }

    /// Connects to the core, which is how an edge starts, or keeps away from it: then it reads and writes as it does
    /// while the core cannot be reached.
    pub fn set_online(&self, wanted: bool) {
        self.online.send_if_modified(|online| std::mem::replace(online, wanted) != wanted);
    }

    /// Whether the edge has stopped, as [`Edge::stopped`] waits for.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.owner.stopped().is_cancelled()
    }

    /// Done when the edge has stopped: after [`Edge::close`], or because its database failed.
    pub async fn stopped(&self) -> Stopped {
        self.owner.stopped().cancelled().await;
        self.owner.stopped_error()
    }

    /// Stores what is queued and marks a clean stop. Other clones answer with a problem from here on; the folder is free
    /// when they are dropped too.
    ///
    /// # Errors
    /// [`Stopped`] when the edge had failed before.
    pub async fn close(&self) -> Result<(), Stopped> {
        self.owner.close().await
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<Answer<T>, replica::Error> + Send + 'static,
    ) -> Answer<T> {
        let reader = self.reader.clone();
        match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(Problem::new(Kind::Internal, error.to_string())),
            Err(_stopping) => Err(Problem::unavailable(Outcome::NotProposed, "the edge is stopping")),
        }
    }
}

impl Documents for Edge {
    fn get(&self, at: Address, _: Consistency) -> impl Future<Output = Answer<Read>> + Send {
        Self::get(self, at)
    }

    fn write(&self, at: Address, request: WriteRequest) -> impl Future<Output = Answer<Written>> + Send {
        Self::write(self, at, request)
    }

    fn scan(&self, collection: CollectionName, scan: Scan) -> impl Future<Output = Answer<Page>> + Send {
        Self::scan(self, collection, scan)
    }

    fn conflicts(&self, at: Address, _: Consistency) -> impl Future<Output = Answer<Conflicts>> + Send {
        Self::conflicts(self, at)
    }
}

/// Looks at the disk again and again, until the edge stops.
async fn watch_disk(headroom: Arc<Headroom>, owner: Owner) {
    let every = async {
        loop {
            tokio::time::sleep(DISK_LOOK_INTERVAL).await;
            let looking = Arc::clone(&headroom);
            if tokio::task::spawn_blocking(move || looking.look()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = owner.stopped().cancelled() => {}
        () = every => {}
    }
}

/// Makes the folder of an edge that is stopped that of another replica: what to do with a copy of a folder, or with one that
/// is held because a copy is at work. What waits in it is sent under the new name. Blocks.
///
/// # Errors
/// [`OpenError`].
pub fn enrol(options: EdgeOptions) -> Result<(), OpenError> {
    let path = options.data.join("edge");
    if !path.exists() {
        return Err(OpenError::NoFolder { path: options.data });
    }
    let headroom = Arc::new(Headroom::new(Arc::new(Folder::new(options.data.clone()))));
    Ok(Replica::enrol(parts(options, headroom)?.replica)?.close()?)
}

/// The parts that the operating system gives.
fn parts(options: EdgeOptions, headroom: Arc<Headroom>) -> Result<Parts, OpenError> {
    let EdgeOptions { replica, cores, data, subscription } = options;
    let wire = Arc::new(Http::new()?);
    let core = CoreClient::new(Arc::clone(&wire) as _, &cores)?.url();
    std::fs::create_dir_all(&data).map_err(|source| OpenError::Folder { path: data.clone(), source })?;
    if data.join("state").exists() {
        return Err(OpenError::CoreFolder { path: data });
    }
    let database = Arc::new(FjallLog::open(&data.join("edge"))?);
    let runtime = Runtime::new(RuntimeProfile::newest()).map_err(OpenError::Runtime)?;
    let replica = replica::Options {
        replica,
        core,
        subscription,
        database,
        clock: Arc::new(SystemClock),
        random: Arc::new(SystemRandom),
        resolvers: Arc::new(CompiledPlugins::new(Plugins::new(runtime))),
    };
    Ok(Parts { replica, cores, wire, runs: Runs::InThread, headroom })
}

fn describe(collection: &message::Collection) -> Answer<Collection> {
    let message::Collection { name, policy, plugin, template, text, settle, inbox, .. } = collection.clone();
    let template = template.map(|template| template.object()).transpose()?;
    Ok(Collection { name, spec: CollectionSpec { policy, template, text, settle, inbox }, plugin })
}
