//! A network in virtual time: frames between nodes are delayed, lost, repeated, overtaken and cut off, as one seed
//! decides. It knows the nodes' framing, so that what is lost is always a whole frame, as when a request times out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use futures::future::BoxFuture;
use openraft::raft::VoteResponse;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skerry_host::consensus::network::hello::{Hello, Purpose};
use skerry_host::consensus::network::message::{Call, Lane, Reply, Request, Response};
use skerry_host::consensus::types::Vote;
use skerry_host::env::network::{Listener, Network, Opening, Stream};
use skerry_model::{NodeId, ShardId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::faults::{Counts, Flaw, Kind};

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;

/// What the network does to frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Weather {
    /// How long a frame takes, in microseconds.
    pub delay_us: Range<u64>,
    /// Share of frames that are lost.
    pub lost: f64,
    /// Share of consensus frames that arrive twice.
    pub repeated: f64,
    /// Share of frames that may overtake others.
    pub overtaking: f64,
}

impl Weather {
    /// A healthy local network.
    #[must_use]
    pub fn fair() -> Self {
        Self { delay_us: 100..1_000, lost: 0.0, repeated: 0.0, overtaking: 0.0 }
    }
}

/// The network of one world. Clones are the same network.
#[derive(Clone)]
pub struct Wires(Arc<Mutex<State>>);

struct State {
    now_us: u64,
    random: StdRng,
    weather: Weather,
    /// Frames from the first to the second do not arrive.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose machine has no power: nothing they held is closed towards their peers.
    dark: BTreeSet<NodeId>,
    ports: BTreeMap<String, Port>,
    on_the_way: BTreeMap<(u64, u64), Delivery>,
    sent: u64,
    /// Each open side of a connection, in the order in which they were made.
    open: BTreeMap<u64, Open>,
    opened: u64,
    counts: Counts,
    grants: Vec<Grant>,
    flaw: Flaw,
    trace: blake3::Hasher,
}

struct Port {
    node: NodeId,
    open: bool,
    arrived: VecDeque<End>,
    waker: Option<Waker>,
}

/// What it takes to close a side of a connection.
#[derive(Clone)]
struct Open {
    from: NodeId,
    to: NodeId,
    incoming: Arc<Mutex<Incoming>>,
    outgoing: Arc<Mutex<Incoming>>,
}

struct Delivery {
    from: NodeId,
    to: NodeId,
    into: Arc<Mutex<Incoming>>,
    /// The sender's own side, for the reset that a frame to nobody is answered with.
    back: Arc<Mutex<Incoming>>,
    what: What,
}

enum What {
    Frame(Bytes),
    End,
    /// A connection arrives at a port.
    Connect {
        address: String,
        end: Box<End>,
        told: tokio::sync::oneshot::Sender<bool>,
    },
}

/// One direction of a connection, as its reader sees it.
#[derive(Default)]
struct Incoming {
    bytes: BytesMut,
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
    waker: Option<Waker>,
}

impl Incoming {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What both sides of a connection have in common.
#[derive(Default)]
struct Line {
    lane: Option<Lane>,
    /// Votes asked for on it and not answered yet.
    asked: BTreeMap<u64, (ShardId, Vote)>,
}

/// A vote that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The group.
    pub shard: ShardId,
    /// The term.
    pub term: u64,
    /// Who granted it.
    pub voter: NodeId,
    /// To whom.
    pub candidate: NodeId,
}

/// One side of a connection.
struct End {
    wires: Wires,
    number: u64,
    side: Open,
    /// What was written and is no whole frame yet.
    partial: BytesMut,
    line: Arc<Mutex<Line>>,
    not_before_us: u64,
}

impl Wires {
    /// A network without nodes.
    #[must_use]
    pub fn new(seed: u64, flaw: Flaw) -> Self {
        Self(Arc::new(Mutex::new(State {
            now_us: 0,
            random: StdRng::seed_from_u64(seed),
            weather: Weather::fair(),
            cut: BTreeSet::new(),
            dark: BTreeSet::new(),
            ports: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            open: BTreeMap::new(),
            opened: 0,
            counts: Counts::default(),
            grants: Vec::new(),
            flaw,
            trace: blake3::Hasher::new(),
        })))
    }

    /// A node's access to it.
    #[must_use]
    pub fn plug(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(Plug { wires: self.clone(), node })
    }

    /// From here on the network is like this.
    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    /// From here on nothing sent by `from` reaches `to`, what is on the way included.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.0.lock().cut.insert((from, to));
    }

    /// Takes back a [`Self::cut`].
    pub fn mend(&self, from: NodeId, to: NodeId) {
        self.0.lock().cut.remove(&(from, to));
    }

    /// Stops a node's process by way of `stop`. Its peers see their connections closed, one after the other in the order in
    /// which they were made, whatever order the process is taken apart in.
    pub fn kill(&self, node: NodeId, stop: impl FnOnce()) {
        let open: Vec<Open> = self.0.lock().open.values().filter(|side| side.from == node).cloned().collect();
        self.set_dark(node, true);
        stop();
        self.set_dark(node, false);
        for side in open {
            self.send(&side, &mut 0, None, What::End);
        }
    }

    /// The node's machine loses its power (its peers hear nothing), or has it again.
    pub fn set_dark(&self, node: NodeId, dark: bool) {
        let state = &mut *self.0.lock();
        if dark {
            state.dark.insert(node);
        } else {
            state.dark.remove(&node);
        }
    }

    fn granted(&self, shard: ShardId, vote: Vote, voter: NodeId) {
        let (term, candidate) = (vote.leader_id.term, vote.leader_id.voted_for);
        self.0.lock().grants.push(Grant { shard, term, voter, candidate });
    }

    /// The votes that were granted since the last call.
    #[must_use]
    pub fn take_grants(&self) -> Vec<Grant> {
        std::mem::take(&mut self.0.lock().grants)
    }

    /// What was done to frames.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.lock().counts.clone()
    }

    /// A digest of everything that was delivered, when and to whom.
    #[must_use]
    pub fn trace(&self) -> String {
        self.0.lock().trace.finalize().to_hex()[..16].to_owned()
    }

    /// Lets time go on, and delivers what arrives by then.
    pub fn advance_to(&self, now_us: u64) {
        loop {
            let delivery = {
                let state = &mut *self.0.lock();
                state.now_us = now_us;
                match state.on_the_way.first_entry() {
                    Some(first) if first.key().0 <= now_us => Some(first.remove_entry()),
                    _ => None,
                }
            };
            // The guard is gone: what is dropped or woken below may send again.
            match delivery {
                Some((at, delivery)) => self.deliver(at, delivery),
                None => return,
            }
        }
    }

    fn deliver(&self, (at, number): (u64, u64), Delivery { from, to, into, back, what }: Delivery) {
        {
            let state = &mut *self.0.lock();
            if state.cut.contains(&(from, to)) || state.dark.contains(&to) {
                state.counts.add(Kind::CutOff);
                return;
            }
            let size = if let What::Frame(frame) = &what { frame.len() } else { 0 };
            for part in [at, number, from.get(), to.get(), size as u64] {
                state.trace.update(&part.to_le_bytes());
            }
        }
        match what {
            What::Frame(frame) => {
                let mut incoming = into.lock();
                if incoming.abandoned {
                    drop(incoming);
                    // Nobody has this connection any more: the sender is told.
                    let mut back = back.lock();
                    back.ended = true;
                    back.wake();
                } else {
                    incoming.bytes.extend_from_slice(&frame);
                    incoming.wake();
                }
            }
            What::End => {
                let mut incoming = into.lock();
                incoming.ended = true;
                incoming.wake();
            }
            What::Connect { address, end, told } => {
                let taken = {
                    let state = &mut *self.0.lock();
                    match state.ports.get_mut(&address).filter(|port| port.open) {
                        Some(port) => {
                            port.arrived.push_back(*end);
                            if let Some(waker) = port.waker.take() {
                                waker.wake();
                            }
                            None
                        }
                        None => Some(end),
                    }
                };
                let _ = told.send(taken.is_none());
            }
        }
    }

    /// Sends on a connection; no frame but an overtaking one arrives before `not_before_us`.
    fn send(&self, side: &Open, not_before_us: &mut u64, lane: Option<Lane>, what: What) {
        let state = &mut *self.0.lock();
        let weather = state.weather.clone();
        let is_consensus = matches!(lane, Some(Lane::Control | Lane::Append));
        let is_frame = matches!(what, What::Frame(_));
        let delay = state.random.random_range(weather.delay_us.clone());
        // Requests that stand for themselves are handled side by side, so any of them may be the first; appends rely on the
        // order of their connection.
        let overtakes = is_frame && lane != Some(Lane::Append) && state.random.random_bool(weather.overtaking);
        let lost = is_frame && state.random.random_bool(weather.lost);
        // Only consensus takes the same frame twice in its stride; a stream of clients' requests never repeats itself.
        let repeated = is_frame && is_consensus && state.random.random_bool(weather.repeated);
        let mut at = state.now_us + delay;
        if overtakes {
            state.counts.add(Kind::Overtaken);
        } else {
            at = at.max(*not_before_us);
            *not_before_us = at;
        }
        if lost {
            state.counts.add(Kind::Lost);
            return;
        }
        let again = match &what {
            What::Frame(frame) if repeated => Some(What::Frame(frame.clone())),
            _ => None,
        };
        if again.is_some() {
            state.counts.add(Kind::Repeated);
        }
        for what in std::iter::once(what).chain(again) {
            state.sent += 1;
            let (into, back) = (Arc::clone(&side.outgoing), Arc::clone(&side.incoming));
            let delivery = Delivery { from: side.from, to: side.to, into, back, what };
            state.on_the_way.insert((at, state.sent), delivery);
            if lane == Some(Lane::Append) {
                // When a cut swallows the first of two, the second stands for it: it must not be behind what was sent later.
                *not_before_us = at;
            }
            at += delay;
        }
    }
}

struct Plug {
    wires: Wires,
    node: NodeId,
}

impl Network for Plug {
    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let to = self.wires.0.lock().ports.get(address).map(|port| port.node);
            let to = to.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (here, there) = (Arc::<Mutex<Incoming>>::default(), Arc::<Mutex<Incoming>>::default());
            let line = Arc::<Mutex<Line>>::default();
            let end = |from, to, incoming: &Arc<_>, outgoing: &Arc<_>| {
                let side = Open { from, to, incoming: Arc::clone(incoming), outgoing: Arc::clone(outgoing) };
                let state = &mut *self.wires.0.lock();
                state.opened += 1;
                state.open.insert(state.opened, side.clone());
                let (wires, partial) = (self.wires.clone(), BytesMut::new());
                End { wires, number: state.opened, side, partial, line: Arc::clone(&line), not_before_us: 0 }
            };
            let mut mine = end(self.node, to, &here, &there);
            let theirs = Box::new(end(to, self.node, &there, &here));
            let (told, taken) = tokio::sync::oneshot::channel();
            mine.send(What::Connect { address: address.to_owned(), end: theirs, told });
            match taken.await {
                Ok(true) => Ok(Box::new(mine) as Box<dyn Stream>),
                Ok(false) => Err(io::ErrorKind::ConnectionRefused.into()),
                // Cut off: a connection attempt then hears nothing at all.
                Err(_lost) => std::future::pending().await,
            }
        })
    }

    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let port = Port { node: self.node, open: true, arrived: VecDeque::new(), waker: None };
            self.wires.0.lock().ports.insert(address.to_owned(), port);
            Ok(Box::new(Taking { wires: self.wires.clone(), address: address.to_owned() }) as Box<dyn Listener>)
        })
    }
}

/// A port that takes connections.
struct Taking {
    wires: Wires,
    address: String,
}

impl Listener for Taking {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Opening>> {
        Box::pin(std::future::poll_fn(|context| {
            let state = &mut *self.wires.0.lock();
            let port = state.ports.get_mut(&self.address).ok_or(io::ErrorKind::NotConnected)?;
            match port.arrived.pop_front() {
                Some(end) => {
                    let open: Opening = Box::pin(std::future::ready(Ok(Box::new(end) as Box<dyn Stream>)));
                    Poll::Ready(Ok(open))
                }
                None => {
                    port.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let port = self.wires.0.lock().ports.remove(&self.address);
        // Behind the guard: what had arrived is closed as it is dropped.
        drop(port);
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut incoming = self.side.incoming.lock();
        if incoming.bytes.is_empty() {
            if incoming.ended {
                return Poll::Ready(Ok(()));
            }
            incoming.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = incoming.bytes.len().min(buffer.remaining());
        buffer.put_slice(&incoming.bytes[..count]);
        incoming.bytes.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.side.incoming.lock().ended {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        self.partial.extend_from_slice(bytes);
        while let Some(length) = self.partial.first_chunk::<LENGTH_BYTES>() {
            let whole = LENGTH_BYTES + u32::from_be_bytes(*length) as usize;
            if self.partial.len() < whole {
                break;
            }
            let frame = self.partial.split_to(whole).freeze();
            if !self.note(&frame) {
                self.send(What::Frame(frame));
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl End {
    /// Looks at a frame: the first of a connection says what it carries, votes are written down. `true` when the frame
    /// goes no further, because a flaw answers it in place of the peer.
    fn note(&self, frame: &Bytes) -> bool {
        let body = &frame[LENGTH_BYTES..];
        let mut line = self.line.lock();
        let Some(lane) = line.lane else {
            let hello: Option<Hello> = ciborium::from_reader(body).ok();
            line.lane = Some(match hello.map(|hello| hello.purpose) {
                Some(Purpose::Traffic { lane, .. }) => lane,
                _ => Lane::Bulk,
            });
            return false;
        };
        if lane != Lane::Control {
            return false;
        }
        if let Ok(Call { id, shard, request }) = ciborium::from_reader(body) {
            match request {
                Request::Vote(request) => {
                    line.asked.insert(id, (shard, request.vote));
                    drop(line);
                    // Whoever asks for votes has voted for itself.
                    self.wires.granted(shard, request.vote, self.side.from);
                }
                Request::PreVote(request) if self.wires.0.lock().flaw == Flaw::NoPreVote => {
                    let granted = VoteResponse { vote: request.vote, vote_granted: true, last_log_id: None };
                    let mut answer = Vec::new();
                    let reply = Reply { id, response: Response::Vote(granted) };
                    ciborium::into_writer(&reply, &mut answer).expect("memory takes every write");
                    let mut incoming = self.side.incoming.lock();
                    incoming.bytes.extend_from_slice(&u32::try_from(answer.len()).expect("it is short").to_be_bytes());
                    incoming.bytes.extend_from_slice(&answer);
                    incoming.wake();
                    return true;
                }
                _ => {}
            }
        } else if let Ok(Reply { id, response: Response::Vote(answer) }) = ciborium::from_reader(body)
            && let Some((shard, vote)) = line.asked.remove(&id)
            && answer.vote_granted
        {
            drop(line);
            self.wires.granted(shard, vote, self.side.from);
        }
        false
    }

    fn send(&mut self, what: What) {
        let lane = self.line.lock().lane;
        self.wires.send(&self.side, &mut self.not_before_us, lane, what);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.side.incoming.lock().abandoned = true;
        let is_dark = {
            let state = &mut *self.wires.0.lock();
            state.open.remove(&self.number);
            state.dark.contains(&self.side.from)
        };
        if !is_dark {
            self.send(What::End);
        }
    }
}
