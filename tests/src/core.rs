//! A core without sockets and without Raft: the real evaluation, records, application and feed over simulated storage,
//! one log per shard.

use std::sync::Arc;

use skerry_api::documents::{Address, WriteRequest};
use skerry_api::problem::Problem;
use skerry_channel::message::{Pull, Pulled, Push, Pushed, Welcome};
use skerry_channel::push::receiver::{Judgement, judge};
use skerry_host::catalog::{Catalog, Step};
use skerry_host::consensus::state_machine::Progress;
use skerry_host::documents::apply::apply;
use skerry_host::documents::evaluate::{
    Context, Resolvers, Subject, by_document, check_changes, evaluate_push, evaluate_writes, judge_documents,
};
use skerry_host::documents::keys::header::{self, Header};
use skerry_host::documents::read;
use skerry_host::documents::record::{Applied, Documents, Effect, Record};
use skerry_host::replication::feed::Feed;
use skerry_model::document::View;
use skerry_model::engine::{Author, Write};
use skerry_model::ids::shard_of;
use skerry_model::{ClusterId, DocumentKey, Incarnation, Nonce, Origin, Scn, Timeline};
use skerry_store::simulated::Disk;
use skerry_store::{Keyspace, StateDb};

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const TIMELINE: Timeline = Timeline::from_bytes([2; 16]);

/// The core.
pub struct Core {
    /// Its clock, in milliseconds since 1970.
    pub now_ms: u64,
    shards: Vec<Shard>,
    resolvers: Arc<dyn Resolvers>,
}

struct Shard {
    rows: Arc<dyn Keyspace>,
    header: Header,
    catalog: Catalog,
    index: u64,
}

impl Core {
    /// An empty core.
    ///
    /// # Panics
    /// When simulated storage fails.
    #[must_use]
    pub fn new(shards: u16, resolvers: Arc<dyn Resolvers>) -> Self {
        let disk = Disk::new(0);
        let shards = (0..shards).map(|number| Shard {
            rows: disk.state().keyspace(&number.to_string()).expect("simulated storage works"),
            header: Header::default(),
            catalog: Catalog::default(),
            index: 0,
        });
        Self { now_ms: 1_700_000_000_000, shards: shards.collect(), resolvers }
    }

    /// The catalog's next step, on every shard.
    pub fn step(&mut self, step: &Step) {
        let now_ms = self.now_ms;
        for shard in &mut self.shards {
            let version = shard.catalog.version.next();
            shard.propose(now_ms, Effect::Catalog { version, step: step.clone() });
        }
    }

    /// The end of the rejoin window for all that has happened so far.
    pub fn forget_feed(&mut self) {
        let now_ms = self.now_ms;
        for shard in &mut self.shards {
            let up_to = shard.header.scn;
            shard.propose(now_ms, Effect::ForgetFeed { up_to });
        }
    }

    /// A client's write.
    ///
    /// # Errors
    /// What the client would hear.
    ///
    /// # Panics
    /// When the catalog does not have the collection.
    pub fn write(&mut self, at: &Address, write: Write) -> Result<(), Problem> {
        let context = self.context();
        let number = shard_of(&at.collection, &at.key, self.count());
        let shard = &mut self.shards[usize::from(number.get())];
        let collection = context.catalog.collection(&at.collection).expect("the collection is there");
        let (subject, _) = Subject::load(&*shard.rows, &context, collection, &at.key, None)?;
        let request = WriteRequest::new(write);
        let mut evaluated = evaluate_writes(&*shard.rows, &context, collection, subject, &[&request]);
        if let Some(effect) = evaluated.effect {
            let documents = Documents { catalog: context.catalog.version, documents: vec![effect], push: None };
            shard.propose(self.now_ms, Effect::Documents(vec![documents]));
        }
        evaluated.answers.remove(0).map(|_| ())
    }

    /// What an edge is welcomed with.
    #[must_use]
    pub fn welcome(&self) -> Welcome {
        Welcome {
            cluster: CLUSTER,
            timeline: TIMELINE,
            shards: self.count(),
            now_ms: self.now_ms,
            catalog: self.shards[0].catalog.for_edges(),
            restored: None,
        }
    }

    /// The highest SCN of its shards.
    #[must_use]
    pub fn scn(&self) -> Scn {
        self.shards.iter().map(|shard| shard.header.scn).max().unwrap_or(Scn::ZERO)
    }

    /// Judges a batch.
    ///
    /// # Panics
    /// When simulated storage fails.
    pub fn push(&mut self, push: &Push) -> Pushed {
        let context = self.context();
        let shard = &mut self.shards[usize::from(push.shard.get())];
        let known = read::watermark(&*shard.rows, &push.replica).expect("simulated storage works");
        let end = match judge(known.as_ref(), push) {
            Judgement::Take(end) => end,
            Judgement::Answer(answer) => return answer,
        };
        let (changes, refused) = by_document(check_changes(&context, push).expect("its catalog is never behind"));
        let load = |((id, key), changes): ((_, DocumentKey), _)| {
            let (_, collection) = context.catalog.collection_by_id(id).expect("it was just found");
            let loaded = Subject::load(&*shard.rows, &context, collection, &key, None);
            (loaded.expect("simulated storage works").0, changes)
        };
        let documents = changes.into_iter().map(load).collect();
        let judged = judge_documents(&context, push, documents).expect("the resolver runs");
        let evaluated = evaluate_push(&context, known.as_ref(), push, end, vec![refused, judged]);
        let effect = evaluated.documents.push.clone().expect("a push moves its watermark");
        shard.propose(self.now_ms, Effect::Documents(vec![evaluated.documents]));
        Pushed::Judged { mark: effect.watermark.mark, verdicts: effect.watermark.verdicts }
    }

    /// What is new for an edge.
    ///
    /// # Panics
    /// When simulated storage fails.
    #[must_use]
    pub fn pull(&self, pull: &Pull) -> Pulled {
        let (mut batches, mut too_old) = (Vec::new(), Vec::new());
        for (shard, cursor) in self.shards.iter().zip(&pull.cursors) {
            let (index, header, catalog) = (shard.index, &shard.header, shard.catalog.version);
            let progress = Progress { index, scn: header.scn, catalog, effects: header.effects };
            let feed = Feed::new(&*shard.rows, &shard.catalog, progress);
            let manifest = pull.manifests.iter().find(|manifest| manifest.shard == cursor.shard);
            if feed.reaches(cursor).expect("simulated storage works") {
                batches.extend(feed.batch(cursor, &pull.subscription, manifest).expect("simulated storage works"));
            } else {
                too_old.push(cursor.clone());
            }
        }
        let catalog = &self.shards[0].catalog;
        let catalog = (catalog.version > pull.catalog).then(|| catalog.for_edges());
        Pulled { batches, too_old, catalog, timeline: TIMELINE }
    }

    /// What a reader sees, and how many conflicts are open in it.
    ///
    /// # Panics
    /// When simulated storage fails or the catalog does not have the collection.
    #[must_use]
    pub fn view(&self, at: &Address) -> Option<(View, u32)> {
        let shard = &self.shards[usize::from(shard_of(&at.collection, &at.key, self.count()).get())];
        let collection = shard.catalog.collection(&at.collection).expect("the collection is there");
        let newest = read::newest(&*shard.rows, collection.id, &at.key).expect("simulated storage works");
        newest.and_then(|(head, seen)| seen.view.map(|view| (view, head.conflicts)))
    }

    /// Reads a document at any moment, also while the core is at work.
    ///
    /// # Panics
    /// When simulated storage fails or the catalog does not have the collection.
    pub fn reader(&self, at: &Address) -> impl Fn() -> Option<View> + Send + use<> {
        let shard = &self.shards[usize::from(shard_of(&at.collection, &at.key, self.count()).get())];
        let collection = shard.catalog.collection(&at.collection).expect("the collection is there").id;
        let (rows, key) = (Arc::clone(&shard.rows), at.key.clone());
        move || {
            let newest = read::newest(&*rows, collection, &key).expect("simulated storage works");
            newest.and_then(|(_, seen)| seen.view)
        }
    }

    fn context(&self) -> Context {
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes(*TIMELINE.as_bytes()) };
        Context {
            catalog: Arc::new(self.shards[0].catalog.clone()),
            cluster: CLUSTER,
            shards: self.count(),
            timeline: TIMELINE,
            core: Author::new(Origin::core(), &incarnation),
            now_ms: self.now_ms,
            resolvers: Arc::clone(&self.resolvers),
            health: Arc::default(),
        }
    }

    fn count(&self) -> u16 {
        u16::try_from(self.shards.len()).expect("a core has few shards")
    }
}

impl Shard {
    /// Encodes, decodes and applies a record, as log and state machine do.
    fn propose(&mut self, now_ms: u64, effect: Effect) {
        self.index += 1;
        let command = Record::new(Scn::at_millis(now_ms), effect).encode();
        let record = Record::decode(&command).expect("it was just encoded");
        let applied = apply(&self.header, &self.catalog, &*self.rows, self.index, &record);
        let application = applied.expect("simulated storage works");
        let is_installed = match &application.applied {
            Applied::Documents { first, .. } => first.iter().all(Option::is_some),
            applied => matches!(applied, Applied::Installed { .. }),
        };
        assert!(is_installed, "nothing else proposes");
        self.header.scn = application.scn;
        if let Some(catalog) = application.catalog {
            self.catalog = catalog;
        }
        let mut batch = application.batch;
        batch.put(header::key(), header::encode(&self.header));
        self.rows.commit(batch).expect("simulated storage works");
    }
}
