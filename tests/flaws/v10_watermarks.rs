//! V10: what recognises duplicates stays as small as the number of replicas, however many changes they have sent and
//! however often they were started anew.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Serialize;
use skerry_channel::change::Mark;
use skerry_channel::message::{Push, Pushed, Verdict};
use skerry_channel::push::receiver::{Judgement, Watermark, judge};
use skerry_model::{Incarnation, Nonce, Origin, ShardId, Timeline};

const SHARD: ShardId = ShardId::new(0);
const BATCH: usize = 1_000;
/// How much it may have grown when ten times as many changes have come.
const GROWTH_MAX: f64 = 1.05;
const HELD_BYTES_MAX: usize = 64 << 20;
/// Changes of the first count; SKERRY_OPERATIONS says another, and 10,000,000 is what the requirement names.
const OPERATIONS: usize = 1_000_000;
/// Replicas that restart ten times a day; SKERRY_DAYS says for how long, and 365 is what the requirement names.
const REPLICAS: usize = 10_000;
const RESTARTS_A_DAY: u32 = 10;
const DAYS: u32 = 7;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Something that takes pushes and recognises repeats.
trait Receiver {
    /// How many changes of a batch were new to it.
    fn take(&mut self, push: &Push) -> usize;
    /// What it keeps to recognise repeats, in bytes as it is stored.
    fn held_bytes(&self) -> usize;
    /// How many rows that is.
    fn rows(&self) -> usize;
}

fn stored(value: &impl Serialize) -> usize {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).unwrap();
    bytes.len()
}

/// The channel's own receiver: a watermark for each replica.
#[derive(Default)]
struct Watermarks(BTreeMap<Origin, Watermark>);

impl Receiver for Watermarks {
    fn take(&mut self, push: &Push) -> usize {
        match judge(self.0.get(&push.replica), push) {
            Judgement::Take(mark) => {
                let verdicts = vec![Verdict::Accepted; push.changes.len()];
                let (incarnation, batch_first, batch_before) = (push.incarnation, push.first, push.before);
                let watermark = Watermark { incarnation, mark, batch_first, batch_before, verdicts };
                self.0.insert(push.replica.clone(), watermark);
                push.changes.len()
            }
            Judgement::Answer(Pushed::Judged { .. }) => 0,
            Judgement::Answer(answer) => panic!("not on the chain: {answer:?}"),
        }
    }

    fn held_bytes(&self) -> usize {
        self.0.iter().map(|(origin, watermark)| stored(origin) + stored(watermark)).sum()
    }

    fn rows(&self) -> usize {
        self.0.len()
    }
}

/// The flaw: every change ever taken is remembered.
#[derive(Default)]
struct Applied(BTreeSet<(Origin, Written, u64)>);

/// The number of an incarnation, and its nonce.
type Written = (u32, [u8; 16]);

impl Receiver for Applied {
    fn take(&mut self, push: &Push) -> usize {
        let incarnation = (push.incarnation.number, [0; 16]);
        let numbers = push.first..push.first + push.changes.len() as u64;
        numbers.filter(|number| self.0.insert((push.replica.clone(), incarnation, *number))).count()
    }

    fn held_bytes(&self) -> usize {
        self.0.iter().map(stored).sum()
    }

    fn rows(&self) -> usize {
        self.0.len()
    }
}

/// A replica that pushes.
struct Sender {
    replica: Origin,
    incarnation: Incarnation,
    mark: Mark,
}

impl Sender {
    fn new(number: usize) -> Self {
        let replica: Origin = format!("edge-{number}").parse().unwrap();
        let incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };
        let mark = Mark::start(&replica, &incarnation, SHARD);
        Self { replica, incarnation, mark }
    }

    /// Goes on under the next incarnation.
    fn restart(&mut self) {
        self.incarnation.number += 1;
        self.mark = Mark::start(&self.replica, &self.incarnation, SHARD);
    }

    fn push(&mut self, changes: &[Bytes]) -> Push {
        let push = Push {
            replica: self.replica.clone(),
            incarnation: self.incarnation,
            timeline: Timeline::from_bytes([1; 16]),
            shard: SHARD,
            first: self.mark.sequence + 1,
            before: self.mark.chain,
            changes: changes.to_vec(),
        };
        self.mark = changes.iter().fold(self.mark, |mark, change| mark.then(change));
        push
    }
}

/// Whether what it keeps after ten times as many changes is about what it kept before, and within the bound.
fn is_flat(receiver: &mut impl Receiver, operations: usize) -> bool {
    let mut senders: Vec<_> = (0..10).map(Sender::new).collect();
    let changes: Vec<_> = (0..BATCH).map(|_| Bytes::from_static(b"change")).collect();
    let mut send = |count: usize| {
        for at in 0..count / BATCH {
            let among = senders.len();
            let push = senders[at % among].push(&changes);
            assert_eq!(receiver.take(&push), BATCH);
            // Each comes twice.
            assert_eq!(receiver.take(&push), 0);
        }
        receiver.held_bytes()
    };
    let before = send(operations);
    let after = send(operations * 9);
    #[expect(clippy::cast_precision_loss, reason = "a ratio of sizes")]
    let growth = after as f64 / before as f64;
    growth <= GROWTH_MAX && after <= HELD_BYTES_MAX
}

#[test]
fn what_recognises_repeats_does_not_grow() {
    assert!(is_flat(&mut Watermarks::default(), setting("SKERRY_OPERATIONS", OPERATIONS)));
    assert!(!is_flat(&mut Applied::default(), 10 * BATCH), "the check does not see the flaw");
}

/// Rows after each of the replicas was started anew so often and has pushed each time.
fn rows_after(receiver: &mut impl Receiver, replicas: usize, restarts: u32) -> usize {
    let mut senders: Vec<_> = (0..replicas).map(Sender::new).collect();
    let change = [Bytes::from_static(b"change")];
    for _ in 0..restarts {
        for sender in &mut senders {
            let push = sender.push(&change);
            assert_eq!(receiver.take(&push), 1);
            sender.restart();
        }
    }
    receiver.rows()
}

#[test]
fn ten_thousand_edges_that_restart_keep_ten_thousand_watermarks() {
    let restarts = setting("SKERRY_DAYS", DAYS) * RESTARTS_A_DAY;
    assert_eq!(rows_after(&mut Watermarks::default(), REPLICAS, restarts), REPLICAS);
    assert!(rows_after(&mut Applied::default(), 100, restarts) > 100, "the check does not see the flaw");
}
