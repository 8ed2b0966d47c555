//! The wire between an edge and the nodes, in virtual time: requests and answers are delayed, lost, repeated and cut off, as
//! one seed decides. What a node did for a request whose answer is lost, it has done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skerry_api::problem::Problem;
use skerry_channel::frame;
use skerry_channel::message::{Answer, Push, Request};
use skerry_edge::CoreError;
use skerry_edge::limits::CONNECT_TIMEOUT;
use skerry_edge::wire::Wire;
use skerry_model::{PluginDigest, PluginName};
use tokio::sync::oneshot;

use super::super::faults::{Counts, Kind};

/// How late a repeated request may come, in microseconds.
const REPEATED_US_MAX: u64 = 3_000_000;

/// What the wire does to requests and answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// How long each way takes at most, in microseconds.
    pub(crate) delay_us_max: u64,
    /// Share of requests that are lost.
    pub(crate) requests_lost: f64,
    /// Share of answers that are lost.
    pub(crate) answers_lost: f64,
    /// Share of requests that come once more.
    pub(crate) repeated: f64,
}

impl Manners {
    /// A healthy network.
    pub(crate) const GOOD: Self = Self { delay_us_max: 20_000, requests_lost: 0.0, answers_lost: 0.0, repeated: 0.0 };
}

/// The wire of one edge; it outlives the edge's process. Clones are the same wire.
#[derive(Clone)]
pub(crate) struct EdgeWire(Arc<Mutex<State>>);

struct State {
    now_us: u64,
    random: StdRng,
    manners: Manners,
    cut: bool,
    /// There is no core.
    lost: bool,
    sent: u64,
    /// Requests on their way, by when they arrive.
    on_the_way: BTreeMap<(u64, u64), Letter>,
    /// Requests that a node works on.
    at_nodes: BTreeMap<u64, AtNode>,
    pushes: Vec<Push>,
    counts: Counts,
    trace: blake3::Hasher,
}

type Told = oneshot::Sender<Result<Bytes, Problem>>;

/// A request that has arrived at the node of a URL.
pub(crate) struct Letter {
    pub(crate) number: u64,
    pub(crate) url: String,
    pub(crate) request: Bytes,
    /// `None` for one that comes again: nobody waits for its answer.
    told: Option<Told>,
}

struct AtNode {
    url: String,
    told: Option<Told>,
}

/// What will happen to one request.
struct Fate {
    there: Duration,
    back: Duration,
    request_lost: bool,
    answer_lost: bool,
    again_after_us: Option<u64>,
}

impl EdgeWire {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_us: 0,
            random: StdRng::seed_from_u64(seed),
            manners: Manners::GOOD,
            cut: false,
            lost: false,
            sent: 0,
            on_the_way: BTreeMap::new(),
            at_nodes: BTreeMap::new(),
            pushes: Vec::new(),
            counts: Counts::default(),
            trace: blake3::Hasher::new(),
        })))
    }

    pub(crate) fn set_manners(&self, manners: Manners) {
        self.0.lock().manners = manners;
    }

    /// Cuts the edge off from every node, or mends that.
    pub(crate) fn set_cut(&self, cut: bool) {
        self.0.lock().cut = cut;
    }

    /// There is no core any more, or there is one again.
    pub(crate) fn set_lost(&self, lost: bool) {
        self.0.lock().lost = lost;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }

    /// What was sent since the last call, whether it arrived or not.
    pub(crate) fn take_pushes(&self) -> Vec<Push> {
        std::mem::take(&mut self.0.lock().pushes)
    }

    /// A digest of every request that arrived and every answer that was given.
    pub(crate) fn trace(&self) -> blake3::Hash {
        self.0.lock().trace.finalize()
    }

    /// Lets time go on, and gives what has arrived.
    pub(crate) fn advance_to(&self, now_us: u64) -> Vec<Letter> {
        let state = &mut *self.0.lock();
        state.now_us = now_us;
        let late = state.on_the_way.split_off(&(now_us + 1, 0));
        let arrived = std::mem::replace(&mut state.on_the_way, late);
        if state.cut || state.lost {
            return Vec::new();
        }
        for letter in arrived.values() {
            state.trace.update(&now_us.to_le_bytes()).update(letter.url.as_bytes()).update(&letter.request);
        }
        arrived.into_values().collect()
    }

    /// A node begins to work on a request.
    pub(crate) fn taken(&self, letter: Letter) {
        let Letter { number, url, told, .. } = letter;
        self.0.lock().at_nodes.insert(number, AtNode { url, told });
    }

    /// A node has answered.
    pub(crate) fn answered(&self, number: u64, answer: Result<Bytes, Problem>) {
        let at_node = {
            let state = &mut *self.0.lock();
            let frame = answer.as_ref().map_or(&b"problem"[..], |frame| frame);
            state.trace.update(&number.to_le_bytes()).update(frame);
            state.at_nodes.remove(&number)
        };
        if let Some(told) = at_node.and_then(|at_node| at_node.told) {
            // An edge that is gone hears nothing.
            drop(told.send(answer));
        }
    }

    /// The process at a URL is gone: connections to it are reset, in their order.
    pub(crate) fn reset(&self, url: &str) {
        let gone: Vec<AtNode> = {
            let state = &mut *self.0.lock();
            state.at_nodes.extract_if(.., |_, at_node| at_node.url == url).map(|(_, at_node)| at_node).collect()
        };
        // Behind the guard: whoever waits is woken.
        drop(gone);
    }

    fn fate(&self) -> Fate {
        let state = &mut *self.0.lock();
        let Manners { delay_us_max, requests_lost, answers_lost, repeated } = state.manners;
        let random = &mut state.random;
        let mut delay = || Duration::from_micros(random.random_range(100..delay_us_max));
        let (there, back) = (delay(), delay());
        Fate {
            there,
            back,
            request_lost: random.random_bool(requests_lost),
            answer_lost: random.random_bool(answers_lost),
            again_after_us: random.random_bool(repeated).then(|| random.random_range(0..REPEATED_US_MAX)),
        }
    }

    fn send(&self, url: &str, request: &Bytes, again_after_us: Option<u64>, told: Told) {
        let state = &mut *self.0.lock();
        if let Ok(Request::Push(push)) = frame::decode(request) {
            state.pushes.push(push);
        }
        let now_us = state.now_us;
        let mut post = |at_us: u64, told: Option<Told>| {
            state.sent += 1;
            let (number, url, request) = (state.sent, url.to_owned(), request.clone());
            state.on_the_way.insert((at_us, number), Letter { number, url, request, told });
        };
        post(now_us, Some(told));
        if let Some(after_us) = again_after_us {
            post(now_us + after_us, None);
            state.counts.add(Kind::RequestRepeated);
        }
    }

    /// Whether something on this wire is lost, because it was to be or because the edge is cut off.
    fn loses(&self, lost: bool, kind: Kind) -> bool {
        let state = &mut *self.0.lock();
        if lost {
            state.counts.add(kind);
        }
        lost || state.cut || state.lost
    }

    async fn travel(&self, url: &str, request: Bytes) -> Result<Answer, CoreError> {
        let unreachable = |kind: std::io::ErrorKind| CoreError::Unreachable {
            url: url.to_owned(),
            source: Box::new(std::io::Error::from(kind)),
        };
        let fate = self.fate();
        tokio::time::sleep(fate.there).await;
        if self.loses(fate.request_lost, Kind::RequestLost) {
            tokio::time::sleep(CONNECT_TIMEOUT).await;
            return Err(unreachable(std::io::ErrorKind::TimedOut));
        }
        let (told, hears) = oneshot::channel();
        self.send(url, &request, fate.again_after_us, told);
        let answer = hears.await.map_err(|_| unreachable(std::io::ErrorKind::ConnectionReset))?;
        tokio::time::sleep(fate.back).await;
        if self.loses(fate.answer_lost, Kind::AnswerLost) {
            return Err(unreachable(std::io::ErrorKind::ConnectionReset));
        }
        let answer = answer.map_err(|problem| CoreError::Status {
            url: url.to_owned(),
            status: problem.kind.status(),
            detail: problem.detail,
        })?;
        Ok(frame::decode(&answer)?)
    }
}

impl fmt::Debug for EdgeWire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeWire")
    }
}

impl Wire for EdgeWire {
    fn exchange<'a>(
        &'a self,
        url: &'a str,
        request: Bytes,
        most: Duration,
    ) -> BoxFuture<'a, Result<Answer, CoreError>> {
        Box::pin(async move {
            let travelling = tokio::time::timeout(most, self.travel(url, request)).await;
            travelling.unwrap_or_else(|elapsed| {
                Err(CoreError::Unreachable { url: url.to_owned(), source: Box::new(elapsed) })
            })
        })
    }

    fn component<'a>(
        &'a self,
        url: &'a str,
        _: &'a PluginName,
        _: &'a PluginDigest,
    ) -> BoxFuture<'a, Result<Bytes, CoreError>> {
        // No collection of a world has a plugin.
        Box::pin(async move { Err(CoreError::Status { url: url.to_owned(), status: 404, detail: String::new() }) })
    }
}
