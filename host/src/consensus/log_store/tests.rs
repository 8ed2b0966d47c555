//! openraft's own suite over both log databases, a model of the log under random use and crashes, and what is bounded.

mod crashes;
mod suite;

use openraft::EntryPayload;
use openraft::storage::RaftLogStorageExt;
use skerry_model::ids::NodeId;
use skerry_store::simulated::Disk;
use skerry_store::{KeyRange, Mode, OrderedStore, Row};

use super::*;
use crate::consensus::types::{Command, Entry, LogId, Vote};

const SHARD: ShardId = ShardId::new(1);

fn open<C>(database: Arc<dyn LogDb>, mode: Mode, recent_bytes_max: usize) -> LogStore<C>
where
    C: RaftTypeConfig,
    C::Entry: Clone,
{
    let writer = Arc::new(LogWriter::start(database.clone(), mode).unwrap());
    LogStore::open_with(SHARD, database, writer, recent_bytes_max).unwrap()
}

fn log_id(term: u64, index: u64) -> LogId {
    openraft::testing::log_id::<TypeConfig>(term, NodeId::new(1), index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let filler = u8::try_from(index % 251).unwrap();
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(Command::new(vec![filler; bytes])) }
}

/// A log of `count` entries of `bytes` bytes, all on the disk, none in memory.
async fn on_disk(count: u64, bytes: usize) -> LogStore {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    log.blocking_append((0..count).map(|index| entry(1, index, bytes))).await.unwrap();
    open(Arc::new(disk.log()), Mode::Inline, 0)
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(RaftEntry::index).collect()
}

/// An append to a peer carries at most 1 MiB or one record, from the disk as from memory.
#[tokio::test]
async fn an_append_to_a_peer_is_bounded() {
    let mut from_disk = on_disk(6, 400 << 10).await;
    let mut from_memory: LogStore = open(Arc::new(Disk::new(0).log()), Mode::Inline, usize::MAX);
    from_memory.blocking_append((0..6).map(|index| entry(1, index, 400 << 10))).await.unwrap();
    for log in [&mut from_disk, &mut from_memory] {
        let mut reader = log.reader();
        assert_eq!(indexes(&reader.limited_get_log_entries(1, 6).await.unwrap()), [1, 2]);
        log.blocking_append([entry(1, 6, 5 << 20), entry(1, 7, 1)]).await.unwrap();
        assert_eq!(indexes(&reader.limited_get_log_entries(6, 8).await.unwrap()), [6]);
        assert_eq!(indexes(&reader.limited_get_log_entries(7, 9).await.unwrap()), [7]);
        assert_eq!(indexes(&reader.try_get_log_entries(..).await.unwrap()), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}

/// Apply reads in steps, and each entry once, in order, wherever it is.
#[tokio::test]
async fn apply_reads_through_disk_and_memory() {
    let mut log = on_disk(30, 300 << 10).await;
    log.log.state.lock().recent = Recent::new(30, usize::MAX);
    log.blocking_append((30..60).map(|index| entry(1, index, 300 << 10))).await.unwrap();
    assert_eq!(log.log.state.lock().recent.first(), Some(30));
    let mut reader = log.reader();
    let entries: Vec<_> = futures::TryStreamExt::try_collect(reader.entries_stream(5..=57).await).await.unwrap();
    assert_eq!(indexes(&entries), Vec::from_iter(5..=57));
    assert_eq!(entries[2], entry(1, 7, 300 << 10));
}

/// Only what is on the disk leaves memory: a reader sees every entry while its append is still on the way.
#[tokio::test]
async fn entries_can_be_read_before_they_are_written() {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    log.blocking_append((0..3).map(|index| entry(1, index, 10))).await.unwrap();
    let batch = log.log.remember((3..6).map(|index| entry(1, index, 10)).collect()).unwrap();
    let mut reader = log.reader();
    assert_eq!(indexes(&reader.try_get_log_entries(0..9).await.unwrap()), [0, 1, 2, 3, 4, 5]);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 5)));
    assert_eq!(disk.log().last(&rows::all_entries(SHARD)).unwrap().unwrap().0, rows::entry_key(SHARD, 2));
    assert_eq!(batch.len(), 3);
}

#[tokio::test]
async fn holes_and_overwriting_are_refused() {
    let mut log = on_disk(3, 10).await;
    let error = log.blocking_append([entry(1, 4, 10)]).await.unwrap_err().to_string();
    assert!(error.contains("entry 4 cannot follow entry 2 in the log of shard 1"), "{error}");
    log.blocking_append([entry(2, 2, 10)]).await.unwrap_err();
    log.blocking_append([entry(2, 3, 10)]).await.unwrap();
}

/// A snapshot from behind the log's end replaces all of it, also a tail whose term is above the snapshot's.
#[tokio::test]
async fn a_log_reaches_a_snapshot_by_index() {
    for term in [1, 6] {
        let disk = Disk::new(0);
        let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, usize::MAX);
        log.blocking_append((0..6).map(|index| entry(term, index, 10))).await.unwrap();
        log.reach(log_id(5, 5)).await.unwrap();
        assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, None, "the log goes that far");
        log.reach(log_id(5, 9)).await.unwrap();
        let replaced = LogState { last_purged_log_id: Some(log_id(5, 9)), last_log_id: Some(log_id(5, 9)) };
        assert_eq!(log.get_log_state().await.unwrap(), replaced);
        log.save_vote(&Vote::new(7, NodeId::new(1))).await.unwrap();
        let mut again: LogStore = open(Arc::new(disk.log()), Mode::Inline, usize::MAX);
        assert_eq!(again.get_log_state().await.unwrap(), replaced);
        again.blocking_append([entry(7, 10, 10)]).await.unwrap();
        log.blocking_append([entry(7, 10, 10)]).await.unwrap();
    }
}

/// Two shards on one database see their own rows only.
#[tokio::test]
async fn shards_do_not_meet() {
    let database: Arc<dyn LogDb> = Arc::new(Disk::new(0).log());
    let writer = Arc::new(LogWriter::start(database.clone(), Mode::Inline).unwrap());
    let open =
        |shard: u16| -> LogStore { LogStore::open(ShardId::new(shard), database.clone(), writer.clone()).unwrap() };
    for shard in [0, 1, 255, 256, u16::MAX] {
        let mut log = open(shard);
        assert_eq!(log.get_log_state().await.unwrap(), LogState::default());
        let vote = Vote::new(u64::from(shard) + 1, NodeId::new(1));
        log.save_vote(&vote).await.unwrap();
        log.blocking_append((0..u64::from(shard % 7) + 1).map(|index| entry(1, index, 10))).await.unwrap();
    }
    for shard in [0, 1, 255, 256, u16::MAX] {
        let mut log = open(shard);
        assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, u64::from(shard % 7))));
        let vote = log.reader().read_vote().await.unwrap();
        assert_eq!(vote, Some(Vote::new(u64::from(shard) + 1, NodeId::new(1))));
    }
}

#[track_caller]
fn check_open_fails(key: Bytes, value: impl Into<Bytes>, expected: &str) {
    let database: Arc<dyn LogDb> = Arc::new(Disk::new(0).log());
    let mut batch = Batch::new();
    batch.put(key, value);
    database.commit(batch, Durability::Synced).unwrap();
    let writer = Arc::new(LogWriter::start(database.clone(), Mode::Inline).unwrap());
    let error = LogStore::<TypeConfig>::open(SHARD, database, writer).err().expect("the log does not open");
    assert_eq!(error.to_string(), expected);
}

/// What cannot be read stops the node with the row's key: it is neither skipped nor a panic.
#[test]
fn rows_that_cannot_be_read_are_named() {
    check_open_fails(rows::key(SHARD, Kind::Vote), vec![1, 0xff], "row 000101 of the log cannot be decoded");
    let format = "row 000102 of the log has format 2, this version reads format 1";
    check_open_fails(rows::key(SHARD, Kind::Committed), vec![2, 0], format);
    let empty = "row 000103 of the log is empty, this version reads format 1";
    check_open_fails(rows::key(SHARD, Kind::Purged), Bytes::new(), empty);
    let entry = "row 0001040000000000000007 of the log cannot be decoded";
    check_open_fails(rows::entry_key(SHARD, 7), vec![1, 0x20], entry);
    check_open_fails(Bytes::from_static(&[0, 1, 4, 9]), vec![1, 0], "key 00010409 is not one of the log's");
}

/// A row that is gone from the middle of the log is an error, never a shorter answer.
#[tokio::test]
async fn a_missing_entry_is_an_error() {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    log.blocking_append((0..6).map(|index| entry(1, index, 10))).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(rows::entry_key(SHARD, 3));
    disk.log().commit(batch, Durability::Synced).unwrap();
    let mut reader = log.reader();
    assert_eq!(indexes(&reader.try_get_log_entries(0..3).await.unwrap()), [0, 1, 2]);
    let error = reader.try_get_log_entries(1..6).await.unwrap_err().to_string();
    assert_eq!(error, "the log of shard 1 holds 0 to 5, but entry 3 is missing");
    reader.try_get_log_entries(3..4).await.unwrap_err();
}

/// Once a write has failed, everything after fails: votes, truncations and appends.
#[tokio::test]
async fn a_full_disk_stops_the_log() {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Thread, usize::MAX);
    log.blocking_append([entry(1, 0, 10), entry(1, 1, 10)]).await.unwrap();
    disk.set_full(true);
    let error = log.blocking_append([entry(1, 2, 10)]).await.unwrap_err().to_string();
    assert!(error.contains("the simulated disk is full"), "{error}");
    disk.set_full(false);
    log.save_vote(&Vote::new(2, NodeId::new(1))).await.unwrap_err();
    log.truncate_after(Some(log_id(1, 0))).await.unwrap_err();
    log.blocking_append([entry(1, 3, 10)]).await.unwrap_err();
}
