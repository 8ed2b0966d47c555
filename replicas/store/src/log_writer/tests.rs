//! Shown with a database that holds writes back: what shares a sync, in which order, and what a failure stops.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::*;
use crate::fjall::FjallLog;
use crate::simulated::Disk;
use crate::testing::{Gate, GatedLog, Passed};
use crate::{Direction, KeyRange, Limit, OrderedStore};

fn put(key: impl Into<String>, value: impl Into<bytes::Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(key.into(), value);
    batch
}

fn gated(disk: &Disk) -> (Arc<Gate>, LogWriter) {
    let log = GatedLog::new(disk);
    (log.gate.clone(), LogWriter::start(Arc::new(log), Mode::Thread).unwrap())
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// While one sync runs, everything submitted by anybody waits for the next, and shares it.
#[tokio::test]
async fn what_is_submitted_during_a_sync_shares_the_next() {
    let (gate, writer) = gated(&Disk::new(0));
    let (heard, hears) = mpsc::channel();
    gate.set_shut(true);
    for number in 0..10 {
        let heard = heard.clone();
        let durability = if number % 3 == 1 { Durability::Buffered } else { Durability::Synced };
        writer.submit(put(format!("{number}"), "v"), durability, move |_| heard.send(number).unwrap()).await;
        if number == 0 {
            gate.await_waiting();
        }
    }
    assert!(hears.try_recv().is_err(), "nobody is called back before the sync");
    gate.set_shut(false);
    assert_eq!(Vec::from_iter((0..10).map(|_| hears.recv().unwrap())), Vec::from_iter(0..10));
    let passed = |rows| Passed { rows, durability: Some(Durability::Synced) };
    assert_eq!(gate.passed(), [passed(1), passed(9)]);
    let counters = writer.counters();
    assert_eq!((load(&counters.syncs), load(&counters.batches), load(&counters.submissions)), (2, 2, 10));
    assert_eq!((load(&counters.entries), load(&counters.bytes)), (10, 20));
    assert!(load(&counters.sync_nanos_last) <= load(&counters.sync_nanos_sum));
}

/// The last submission of a key wins, whether both are in one commit or in two.
#[tokio::test]
async fn later_submissions_lie_on_top() {
    let disk = Disk::new(0);
    let (gate, writer) = gated(&disk);
    gate.set_shut(true);
    for number in 0..5 {
        writer.submit(put("key", format!("{number}")), Durability::Synced, |_| {}).await;
    }
    gate.set_shut(false);
    writer.write(put("other", "")).await.unwrap();
    assert_eq!(disk.log().get(b"key").unwrap().as_deref(), Some(&b"4"[..]));
}

/// A submission that needs no sync waits for one that does; alone, it is written without one.
#[tokio::test]
async fn buffered_rows_ride_along() {
    let disk = Disk::new(0);
    let (gate, writer) = gated(&disk);
    let (heard, hears) = mpsc::channel();
    writer.submit(put("a", "1"), Durability::Buffered, move |result| heard.send(result).unwrap()).await;
    hears.recv().unwrap().unwrap();
    assert_eq!(gate.passed(), [Passed { rows: 1, durability: Some(Durability::Buffered) }]);
    assert_eq!(load(&writer.counters().syncs), 0);
    disk.crash();
}

/// Submitters wait while the queue is full, and go on when it is written; buffered rows cannot fill it for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_submitters_wait() {
    let (gate, writer) = gated(&Disk::new(0));
    let writer = Arc::new(writer);
    gate.set_shut(true);
    let half = put("half", vec![0; LOG_QUEUE_BYTES_MAX / 2]);
    writer.submit(half.clone(), Durability::Buffered, |_| {}).await;
    let waits = tokio::spawn({
        let (writer, batch) = (writer.clone(), half.clone());
        async move { writer.submit(batch, Durability::Buffered, |_| {}).await }
    });
    // The submission that finds no room has the queue written, though nothing in it asks for a sync.
    gate.await_waiting();
    assert!(!waits.is_finished());
    gate.set_shut(false);
    waits.await.unwrap();
    let larger_than_all = put("all", vec![0; LOG_QUEUE_BYTES_MAX + 1]);
    writer.write(larger_than_all).await.unwrap();
    assert_eq!(writer.shared.room.available_permits(), LOG_QUEUE_BYTES_MAX);
}

/// One failed write fails everything in it, everything queued and everything after, even when the disk is well again.
#[tokio::test]
async fn the_first_error_is_for_good() {
    let disk = Disk::new(0);
    let (gate, writer) = gated(&disk);
    let (heard, hears) = mpsc::channel();
    writer.write(put("before", "")).await.unwrap();
    gate.set_shut(true);
    for number in 0..3 {
        let heard = heard.clone();
        let told = move |result: Result<(), Error>| heard.send((number, result.unwrap_err().to_string())).unwrap();
        writer.submit(put(format!("{number}"), ""), Durability::Synced, told).await;
        if number == 0 {
            gate.await_waiting();
        }
    }
    disk.set_full(true);
    gate.set_shut(false);
    let expected = "the simulated disk is full: cannot write 1 rows of 1 bytes to log".to_owned();
    for number in 0..3 {
        assert_eq!(hears.recv().unwrap(), (number, expected.clone()));
    }
    assert_eq!(writer.failed().await.to_string(), expected);
    disk.set_full(false);
    assert_eq!(writer.write(put("after", "")).await.unwrap_err().to_string(), expected);
    let rows = disk.log().scan(&KeyRange::all(), Limit::rows(9), Direction::Forward).unwrap();
    assert_eq!(rows.len(), 1, "nothing is written after the error");
}

/// Closing writes what was submitted and calls everybody back.
#[tokio::test]
async fn closing_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(FjallLog::open(folder.path()).unwrap());
    let writer = LogWriter::start(log.clone(), Mode::Thread).unwrap();
    let (heard, hears) = mpsc::channel();
    for number in 0..100 {
        let heard = heard.clone();
        let durability = if number % 2 == 1 { Durability::Buffered } else { Durability::Synced };
        let told = move |result: Result<(), Error>| heard.send((number, result.is_ok())).unwrap();
        writer.submit(put(format!("{number:02}"), ""), durability, told).await;
    }
    drop(writer);
    assert_eq!(Vec::from_iter(hears.try_iter()), Vec::from_iter((0..100).map(|number| (number, true))));
    assert_eq!(log.scan(&KeyRange::all(), Limit::rows(200), Direction::Forward).unwrap().len(), 100);
}

/// Inline, the rows are on the disk and the callback has come when the call returns.
#[tokio::test]
async fn inline_everything_is_done_on_return() {
    let disk = Disk::new(0);
    let writer = LogWriter::start(Arc::new(disk.log()), Mode::Inline).unwrap();
    let (heard, hears) = mpsc::channel();
    writer.submit(put("key", "1"), Durability::Synced, move |result| heard.send(result.is_ok()).unwrap()).await;
    assert_eq!(hears.try_recv(), Ok(true));
    disk.crash();
    assert_eq!(disk.log().get(b"key").unwrap().as_deref(), Some(&b"1"[..]));
    writer.write(put("key", "2")).await.unwrap_err();
}

/// A callback that panics takes the thread with it; whoever waits or comes later hears so.
#[tokio::test]
async fn a_panic_is_heard() {
    let (gate, writer) = gated(&Disk::new(0));
    let (heard, hears) = mpsc::channel();
    gate.set_shut(true);
    writer.submit(put("a", ""), Durability::Synced, |_| panic!("a callback that panics")).await;
    gate.await_waiting();
    writer.submit(put("b", ""), Durability::Synced, move |result| heard.send(result).unwrap()).await;
    gate.set_shut(false);
    assert_eq!(hears.recv().unwrap().unwrap_err().to_string(), "the log writer has panicked");
    assert!(matches!(writer.failed().await, Error::Panicked { .. }));
    writer.write(put("c", "")).await.unwrap_err();
}
