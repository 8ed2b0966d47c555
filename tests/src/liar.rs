//! An edge without a replica behind it, which sends a core node what it likes.

use bytes::Bytes;
use skerry_channel::change::{Change, Mark};
use skerry_channel::frame;
use skerry_channel::message::{Answer, Hello, PROTOCOL, Push, Pushed, Request, Verdict, Welcome};
use skerry_model::engine::json::{JsonEngine, JsonSettings};
use skerry_model::engine::{Author, Delta, Engine, MergeDocument, Write, WriteContext};
use skerry_model::{CollectionId, Epoch, Incarnation, Nonce, Origin, ShardId};

const SHARD: ShardId = ShardId::new(0);

fn incarnation() -> Incarnation {
    Incarnation { number: 1, nonce: Nonce::from_bytes([7; 16]) }
}

/// A document that somebody begins and writes alone.
pub struct Draft {
    author: Author,
    document: Box<dyn MergeDocument>,
}

impl Draft {
    /// Nothing yet.
    ///
    /// # Panics
    /// Never: there is no template to refuse.
    #[must_use]
    pub fn of(replica: &Origin) -> Self {
        let engine = JsonEngine::new(JsonSettings::default()).expect("there is no template to refuse");
        Self { author: Author::new(replica.clone(), &incarnation()), document: engine.empty() }
    }

    /// A write, and what others take of it.
    ///
    /// # Panics
    /// When it changes nothing, or is past a limit.
    pub fn write(&mut self, write: &Write) -> Delta {
        let context = WriteContext { author: &self.author, time_ms: 0, number: None, base: None, seen: None };
        self.document.apply(write, &context).expect("it is within the limits").expect("it changes something")
    }
}

/// An edge that sends what it likes.
pub struct Liar {
    core: String,
    /// Who it says that it is.
    pub replica: Origin,
    /// What it writes under.
    pub incarnation: Incarnation,
    welcome: Welcome,
    /// How far its chain has come.
    pub mark: Mark,
}

impl Liar {
    /// One that has said hello.
    ///
    /// # Panics
    /// When it is not welcome.
    #[must_use]
    pub fn new(core: &str, name: &str) -> Self {
        let (replica, incarnation): (Origin, _) = (name.parse().expect("it is a valid name"), incarnation());
        let mark = Mark::start(&replica, &incarnation, SHARD);
        let hello = Hello { protocol: PROTOCOL, replica: replica.clone(), incarnation, timeline: None };
        let answer = post(core, frame::encode(&Request::Hello(hello)).expect("a hello is small"));
        let welcome = match answer {
            Ok(Answer::Welcome(welcome)) => Some(welcome),
            _ => None,
        };
        let welcome = welcome.expect("whoever says hello is welcome");
        Self { core: core.to_owned(), replica, incarnation, welcome, mark }
    }

    fn collection(&self) -> CollectionId {
        self.welcome.catalog.collections[0].id
    }

    /// A change of the first collection, `at` places behind the next.
    ///
    /// # Panics
    /// When the key is none.
    #[must_use]
    pub fn change(&self, at: u64, key: &str, delta: Delta) -> Change {
        let (collection, epoch) = (self.collection(), Epoch::new(0));
        Change {
            sequence: self.mark.sequence + 1 + at,
            collection,
            key: key.parse().expect("it is a valid key"),
            epoch,
            time_ms: 0,
            delta,
        }
    }

    /// A batch at the end of its chain.
    #[must_use]
    pub fn push(&self, changes: Vec<Bytes>) -> Push {
        Push {
            replica: self.replica.clone(),
            incarnation: self.incarnation,
            timeline: self.welcome.timeline,
            shard: SHARD,
            first: self.mark.sequence + 1,
            before: self.mark.chain,
            changes,
        }
    }

    /// Sends a push, and gives the answer or the status of an error.
    ///
    /// # Errors
    /// The status of an error.
    ///
    /// # Panics
    /// When the core is not there.
    pub fn send(&self, push: Push) -> Result<Answer, u16> {
        post(&self.core, frame::encode(&Request::Push(push)).expect("it fits into a frame"))
    }

    /// Sends changes where they belong, and gives their verdicts.
    ///
    /// # Panics
    /// When they are not judged.
    pub fn told(&mut self, changes: Vec<Bytes>) -> Vec<Verdict> {
        let judged = match self.send(self.push(changes)) {
            Ok(Answer::Pushed(Pushed::Judged { mark, verdicts })) => Some((mark, verdicts)),
            _ => None,
        };
        let (mark, verdicts) = judged.expect("what is in its place is judged");
        self.mark = mark;
        verdicts
    }

    /// The kind of refusal of one change.
    ///
    /// # Panics
    /// When it is taken.
    pub fn refused(&mut self, change: &Change) -> String {
        let frame = change.encode().expect("it fits into a frame");
        let refusal = match self.told(vec![frame]).pop() {
            Some(Verdict::Refused(refusal)) => Some(refusal.kind),
            _ => None,
        };
        refusal.expect("the change is refused")
    }
}

/// The answer to a frame, or the status of an error.
///
/// # Errors
/// The status of an error.
///
/// # Panics
/// When the core is not there.
pub fn post(core: &str, frame: Bytes) -> Result<Answer, u16> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (status, body) = runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a runtime");
        let answer = client.post(format!("{core}/v1/sync")).body(frame).send().await.expect("the core is there");
        (answer.status().as_u16(), answer.bytes().await.expect("an answer has a body"))
    });
    if status == 200 { Ok(frame::decode(&body).expect("the core sends frames")) } else { Err(status) }
}
