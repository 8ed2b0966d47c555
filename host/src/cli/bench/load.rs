//! What a connection of a benchmark sends.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde_json::{Map, Value};
use skerry_model::CollectionName;

use super::connection::{Connection, Failure, Target};
use super::report::Stats;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that failed does nothing, so that a node that is down does not make the loop spin.
const FAILURE_PAUSE: Duration = Duration::from_millis(20);
/// Random characters beyond a document's length; each document starts at another one, so that no two are alike.
const PAD_VARIETY: usize = 4096;

const HEAD: &str = r#"{"n":"0123456789abcdef","pad":""#;
const TAIL: &str = r#""}"#;
/// The smallest document there is.
pub(super) const VALUE_BYTES_MIN: usize = HEAD.len() + TAIL.len();

/// Which keys are written and read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys {
    /// As many as this, over and over.
    Shared { count: u64 },
    /// A new one for every put; gets read what their own connection has put.
    Unique { run: u64 },
}

/// Requests of one benchmark.
pub(super) struct Load {
    base: String,
    keys: Keys,
    read_share: f64,
    value_bytes: usize,
    pad: Vec<u8>,
    authorization: Option<String>,
}

impl Load {
    pub(super) fn new(
        collection: &CollectionName,
        keys: Keys,
        read_share: f64,
        value_bytes: usize,
        token: Option<&str>,
    ) -> Self {
        let mut draws = Draws(1);
        let pad = (0..value_bytes + PAD_VARIETY).map(|_| draws.letter()).collect();
        let base = format!("/v1/collections/{collection}/documents/");
        let authorization = token.map(|token| format!("Bearer {token}"));
        Self { base, keys, read_share, value_bytes, pad, authorization }
    }

    /// A document of the size asked for, different for each draw.
    fn value(&self, draw: u64) -> Bytes {
        let start = usize::try_from(draw % PAD_VARIETY as u64).expect("it is below a usize");
        let pad = &self.pad[start..start + self.value_bytes - VALUE_BYTES_MIN];
        let mut value = Vec::with_capacity(self.value_bytes);
        value.extend_from_slice(format!(r#"{{"n":"{draw:016x}","pad":""#).as_bytes());
        value.extend_from_slice(pad);
        value.extend_from_slice(TAIL.as_bytes());
        value.into()
    }

    /// The same as an object.
    pub(super) fn document(&self, draw: u64) -> Result<Map<String, Value>, serde_json::Error> {
        serde_json::from_slice(&self.value(draw))
    }

    /// Sends until the end, one request after another, and records what comes of each.
    pub(super) async fn run(&self, number: u32, target: &Target, stats: &RefCell<Stats>, until: Instant) {
        let mut connection = Connection::new(target);
        let mut draws = Draws(u64::from(number) + 2);
        let mut written = 0;
        loop {
            let began = Instant::now();
            if began >= until {
                return;
            }
            let (kind, request) = self.next(number, &mut draws, written, target);
            let answer = tokio::time::timeout(REQUEST_TIMEOUT, connection.send(request)).await;
            let answer = answer.unwrap_or(Err(Failure::TimedOut));
            let failed = answer.is_err();
            stats.borrow_mut().record(kind, began.elapsed(), answer);
            if failed {
                tokio::time::sleep(FAILURE_PAUSE).await;
            } else if kind == Kind::Put {
                written += 1;
            }
        }
    }

    fn next(&self, number: u32, draws: &mut Draws, written: u64, target: &Target) -> (Kind, Request<Full<Bytes>>) {
        let wants_read = draws.fraction() < self.read_share;
        let (kind, key) = match self.keys {
            Keys::Shared { count } => (if wants_read { Kind::Get } else { Kind::Put }, shared_key(draws.below(count))),
            Keys::Unique { run } if wants_read && written > 0 => {
                (Kind::Get, format!("{run:016x}-{number}-{}", draws.below(written)))
            }
            Keys::Unique { run } => (Kind::Put, format!("{run:016x}-{number}-{written}")),
        };
        let uri = format!("{}{key}", self.base);
        let mut request = Request::builder().uri(uri).header(HOST, &target.authority);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let body = match kind {
            Kind::Get => Bytes::new(),
            Kind::Put => {
                request = request.method(Method::PUT).header(CONTENT_TYPE, "application/json");
                self.value(draws.next())
            }
        };
        (kind, request.body(Full::new(body)).expect("its parts were checked when the benchmark began"))
    }
}

/// The key of this number among those that are shared.
pub(super) fn shared_key(number: u64) -> String {
    format!("key-{number:08}")
}

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Put,
    Get,
}

/// Random numbers, cheap and the same in every run: splitmix64 (Steele, Lea, Flood 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn letter(&mut self) -> u8 {
        b'a' + u8::try_from(self.below(26)).expect("there are 26 letters")
    }

    /// A number below this one.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(keys: Keys, read_share: f64, value_bytes: usize) -> Load {
        Load::new(&"bench".parse().unwrap(), keys, read_share, value_bytes, None)
    }

    #[test]
    fn documents_have_the_size_asked_for_and_differ() {
        for bytes in [VALUE_BYTES_MIN, 200, 10_000] {
            let load = load(Keys::Shared { count: 1 }, 0.0, bytes);
            assert_eq!((load.value(1).len(), load.value(u64::MAX).len()), (bytes, bytes));
            assert_ne!(load.value(1), load.value(2));
            assert!(load.document(7).is_ok());
        }
    }

    #[track_caller]
    fn check_share(read_share: f64, expected: std::ops::RangeInclusive<usize>) {
        let load = load(Keys::Shared { count: 10 }, read_share, 200);
        let (target, mut draws) = (Target::new("http://127.0.0.1:1"), Draws(1));
        let kinds = (0..10_000).map(|_| load.next(0, &mut draws, 0, &target).0);
        let gets = kinds.filter(|kind| *kind == Kind::Get).count();
        assert!(expected.contains(&gets), "{gets}");
    }

    #[test]
    fn gets_have_their_share() {
        check_share(0.0, 0..=0);
        check_share(0.3, 2_800..=3_200);
        check_share(1.0, 10_000..=10_000);
    }

    #[test]
    fn unique_keys_are_written_once_and_read_after() {
        let load = load(Keys::Unique { run: 5 }, 1.0, 200);
        let (target, mut draws) = (Target::new("http://127.0.0.1:1"), Draws(1));
        let (kind, request) = load.next(3, &mut draws, 0, &target);
        assert_eq!(kind, Kind::Put, "there is nothing to read yet");
        assert!(request.uri().path().ends_with("/0000000000000005-3-0"));
        let (kind, request) = load.next(3, &mut draws, 1, &target);
        assert_eq!(kind, Kind::Get);
        assert!(request.uri().path().ends_with("/0000000000000005-3-0"));
    }
}
