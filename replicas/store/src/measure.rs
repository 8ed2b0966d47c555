//! What the two writers cost on this machine, on fjall. Ignored by default:
//! `cargo test --release -p skerry-store measure -- --ignored --nocapture --test-threads=1`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::fjall::{FjallLog, FjallState};
use crate::{Batch, Durability, LogWriter, Mode, StateWriter};

const SHARDS: u64 = 4;

/// Processor time of this process, of all its threads. Linux counts it in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

fn report(name: &str, count: u64, started: Instant, processor: Duration) {
    let (elapsed, processor) = (started.elapsed(), processor_time() - processor);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{name}: {:.0}/s, {:.1} us of processor time each", 1e6 / each(elapsed), each(processor));
}

/// Six rows as a put of one document installs them: three under the document's key, one in the feed, two that every
/// install writes again.
fn install(number: u64, value: &Bytes) -> Batch {
    let mut arena = BytesMut::new();
    let mut key = |kind: u8, low: u64, high: u64| {
        arena.extend_from_slice(&[kind, 0, 0, 0, 7]);
        arena.extend_from_slice(&low.to_be_bytes());
        arena.extend_from_slice(&high.to_be_bytes());
        arena.split().freeze()
    };
    // Keys in no order, as documents are written.
    let document = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut batch = Batch::with_capacity(6);
    batch.put(key(1, document, 0), value.slice(..24));
    batch.put(key(2, document, u64::MAX - number), value.clone());
    batch.put(key(3, document, number), value.slice(..16));
    batch.put(key(4, number, 0), value.slice(..40));
    batch.put(key(5, 0, 0), value.slice(..16));
    batch.put(key(6, 0, 0), value.slice(..16));
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, takes seconds"]
async fn measure_installs() {
    let folder = tempfile::tempdir().unwrap();
    let writer = StateWriter::start(Arc::new(FjallState::open(folder.path()).unwrap()), Mode::Thread).unwrap();
    let value = Bytes::from(vec![7; 200]);
    let installs = 100_000;
    // `SKERRY_PACE=25000` installs so many a second, as a busy node does; else as many as go.
    let pace: Option<f64> = std::env::var("SKERRY_PACE").ok().map(|pace| pace.parse().unwrap());
    let (started, processor) = (Instant::now(), processor_time());
    let tasks: Vec<_> = (0..SHARDS)
        .map(|shard| {
            let (store, value) = (writer.shard(&format!("shard-{shard}")).unwrap(), value.clone());
            tokio::spawn(async move {
                for number in 0..installs {
                    if let Some(pace) = pace.filter(|_| number % 50 == 0) {
                        let due = started + Duration::from_secs_f64((number * SHARDS) as f64 / pace);
                        tokio::time::sleep_until(due.into()).await;
                    }
                    store.install(install(number, &value)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    writer.flush().await.unwrap();
    report("installs of 6 rows", SHARDS * installs, started, processor);
    let counters = writer.counters();
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (batches, rows, nanos) =
        (load(&counters.batches), load(&counters.rows_written), load(&counters.write_nanos_sum));
    println!(
        "  {batches} batches of {} rows, {} ns a row, {} syncs",
        rows / batches,
        nanos / rows,
        load(&counters.syncs)
    );
    let store = writer.shard("shard-0").unwrap();
    let (started, processor) = (Instant::now(), processor_time());
    for number in 0..installs {
        let rows = install(number, &value).into_rows();
        assert!(store.get(&rows[0].0).unwrap().is_some());
    }
    report("gets from the keyspace", installs, started, processor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, takes seconds"]
async fn measure_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(FjallLog::open(folder.path()).unwrap());
    let writer = Arc::new(LogWriter::start(log, Mode::Thread).unwrap());
    let record = Bytes::from(vec![7; 300]);
    let (entries, in_flight) = (20_000_u64, 16_u64);
    let (started, processor) = (Instant::now(), processor_time());
    let tasks: Vec<_> = (0..SHARDS * in_flight)
        .map(|task| {
            let (writer, record) = (writer.clone(), record.clone());
            tokio::spawn(async move {
                for index in (task / SHARDS..entries).step_by(usize::try_from(in_flight).unwrap()) {
                    let mut batch = Batch::new();
                    batch.put([(task % SHARDS).to_be_bytes(), index.to_be_bytes()].concat(), record.clone());
                    writer.write(batch).await.unwrap();
                    let mut committed = Batch::new();
                    committed.put((task % SHARDS).to_be_bytes().to_vec(), record.slice(..16));
                    writer.submit(committed, Durability::Buffered, |_| {}).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    report("synced log entries, 64 in flight", SHARDS * entries, started, processor);
    let counters = writer.counters();
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let syncs = load(&counters.syncs);
    println!(
        "  {syncs} syncs of {} submissions, {} us each",
        load(&counters.submissions) / syncs,
        load(&counters.sync_nanos_sum) / syncs / 1_000
    );
}
