//! What a crash leaves: every vote and truncation that returned, every entry whose callback came, no hole.

use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::OneshotReceiverOf;
use parking_lot::Condvar;
use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u64,
        bytes: usize,
    },
    /// Keeps this many hundredths of what is not committed.
    Truncate {
        kept: u64,
    },
    /// Of what is there, this many hundredths.
    Commit {
        share: u64,
    },
    /// Of what is committed, this many hundredths.
    Purge {
        share: u64,
    },
    Vote,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..20_u64, 0..2_000_usize).prop_map(|(count, bytes)| Step::Append { count, bytes }),
        1 => (0..=100_u64).prop_map(|kept| Step::Truncate { kept }),
        2 => (0..=100_u64).prop_map(|share| Step::Commit { share }),
        1 => (0..=100_u64).prop_map(|share| Step::Purge { share }),
        1 => Just(Step::Vote),
        2 => Just(Step::Crash),
    ]
}

/// The dullest log: every entry in a map.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<u64, Entry>,
    end: u64,
    term: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
}

impl Model {
    /// The log id of the last entry that ever was below `end`.
    fn log_id_before(&self, end: u64) -> Option<LogId> {
        let entry = end.checked_sub(1).and_then(|index| self.entries.get(&index));
        entry.map(|entry| entry.log_id).or(self.purged)
    }

    async fn carry_out(&mut self, step: &Step, log: &mut LogStore) {
        let committed_end = next_index::<TypeConfig>(self.committed.as_ref());
        let purged_end = next_index::<TypeConfig>(self.purged.as_ref());
        let share = |from: u64, to: u64, hundredths: u64| from + (to - from) * hundredths / 100;
        match *step {
            Step::Append { count, bytes } => {
                let entries: Vec<_> = (self.end..self.end + count).map(|at| entry(self.term, at, bytes)).collect();
                log.blocking_append(entries.clone()).await.unwrap();
                self.entries.extend(entries.into_iter().map(|entry| (entry.index(), entry)));
                self.end += count;
            }
            Step::Truncate { kept } => {
                let end = share(committed_end, self.end, kept);
                log.truncate_after(self.log_id_before(end)).await.unwrap();
                self.entries.split_off(&end);
                self.end = end;
                self.term += 1;
            }
            Step::Commit { share: hundredths } => {
                let committed = self.log_id_before(share(committed_end, self.end, hundredths)).max(self.committed);
                log.save_committed(committed).await.unwrap();
                self.committed = committed;
            }
            Step::Purge { share: hundredths } => {
                if let Some(purged) = self.log_id_before(share(purged_end, committed_end, hundredths)) {
                    log.purge(purged).await.unwrap();
                    self.entries = self.entries.split_off(&(purged.index + 1));
                    self.purged = Some(purged);
                }
            }
            Step::Vote => {
                self.term += 1;
                self.vote = Some(Vote::new(self.term, NodeId::new(1)));
                log.save_vote(&self.vote.unwrap()).await.unwrap();
            }
            Step::Crash => {}
        }
    }

    /// After a crash a purge may be undone, and `committed` may be older; takes over what is true now.
    async fn check(&mut self, log: &mut LogStore, crashed: bool) {
        let state = log.get_log_state().await.unwrap();
        let committed = log.read_committed().await.unwrap();
        if crashed {
            assert!(state.last_purged_log_id <= self.purged && committed <= self.committed);
            (self.purged, self.committed) = (state.last_purged_log_id, committed);
        }
        assert_eq!((state.last_purged_log_id, committed), (self.purged, self.committed));
        assert_eq!(next_index::<TypeConfig>(state.last_log_id.as_ref()), self.end);
        assert_eq!(log.reader().read_vote().await.unwrap(), self.vote);
        let entries = log.reader().try_get_log_entries(..).await.unwrap();
        let start = next_index::<TypeConfig>(self.purged.as_ref());
        assert_eq!(indexes(&entries), Vec::from_iter(start..self.end));
        for entry in &entries {
            let expected = self.entries.entry(entry.index()).or_insert_with(|| entry.clone());
            assert_eq!(entry, expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn the_log_is_what_was_called_back(
        seed: u64,
        recent_bytes_max in prop_oneof![Just(0), Just(3_000), Just(usize::MAX)],
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let disk = Disk::new(seed);
            let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, recent_bytes_max);
            let mut model = Model::default();
            for step in &steps {
                model.carry_out(step, &mut log).await;
                let crashed = matches!(step, Step::Crash);
                if crashed {
                    disk.crash();
                    log = open(Arc::new(disk.log()), Mode::Inline, recent_bytes_max);
                }
                model.check(&mut log, crashed).await;
            }
        });
    }
}

/// A log database whose commits wait while it is shut.
struct Gate {
    database: skerry_store::simulated::SimulatedLog,
    is_shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set_shut(&self, is_shut: bool) {
        *self.is_shut.lock() = is_shut;
        self.opened.notify_all();
    }
}

impl OrderedStore for Gate {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, skerry_store::Error> {
        self.database.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, skerry_store::Error> {
        self.database.scan(range, limit, direction)
    }
}

impl LogDb for Gate {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), skerry_store::Error> {
        let mut is_shut = self.is_shut.lock();
        while *is_shut {
            self.opened.wait(&mut is_shut);
        }
        self.database.commit(batch, durability)
    }
}

/// Appends, and gives what the callback will be told.
async fn append(log: &mut LogStore, index: u64) -> OneshotReceiverOf<TypeConfig, Result<(), io::Error>> {
    let (answer, answered) = TypeConfig::oneshot();
    log.append([entry(1, index, 10)], IOFlushed::signal(answer)).await.unwrap();
    answered
}

/// Shown with a database that holds back its commits: what is appended meanwhile is readable, is not called back, and is
/// not there after the crash; what was called back before is.
#[tokio::test]
async fn a_crash_loses_only_what_was_not_called_back() {
    let disk = Disk::new(0);
    let gate = Arc::new(Gate { database: disk.log(), is_shut: Mutex::new(false), opened: Condvar::new() });
    let mut log: LogStore = open(gate.clone(), Mode::Thread, 0);
    for index in 0..3 {
        append(&mut log, index).await.await.unwrap().unwrap();
    }
    gate.set_shut(true);
    let mut waiting = Vec::new();
    for index in 3..6 {
        waiting.push(append(&mut log, index).await);
    }
    assert_eq!(indexes(&log.reader().try_get_log_entries(..).await.unwrap()), [0, 1, 2, 3, 4, 5]);
    assert!(waiting.iter_mut().all(|answered| answered.try_recv().is_err()), "nothing is called back yet");
    disk.crash();
    gate.set_shut(false);
    for answered in waiting {
        let error = answered.await.unwrap().unwrap_err().to_string();
        assert_eq!(error, "the simulated machine has crashed since log was opened");
    }
    let log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    assert_eq!(log.reader().log_state().last_log_id, Some(log_id(1, 2)));
}

/// A purge goes to the disk in steps. When a crash leaves the first only, the rest is deleted at the next start.
#[tokio::test]
async fn a_purge_that_was_cut_short_is_finished() {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    log.blocking_append((0..10).map(|index| entry(1, index, 10))).await.unwrap();
    let mut first_step = Batch::new();
    first_step.put(rows::key(SHARD, Kind::Purged), rows::encode(&log_id(1, 7)));
    first_step.delete(rows::entry_key(SHARD, 0));
    disk.log().commit(first_step, Durability::Synced).unwrap();
    let log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    assert_eq!(indexes(&log.reader().try_get_log_entries(..).await.unwrap()), [8, 9]);
    let left = disk.log().scan(&rows::all_entries(SHARD), Limit::rows(99), Direction::Forward).unwrap();
    assert_eq!(left.len(), 2);
}

/// A purge of many entries takes several steps, and the log can be used on.
#[tokio::test]
async fn a_long_purge_takes_steps() {
    let disk = Disk::new(0);
    let mut log: LogStore = open(Arc::new(disk.log()), Mode::Inline, 0);
    let count = 2 * PURGE_STEP_ROWS as u64 + 10;
    log.blocking_append((0..count).map(|index| entry(1, index, 0))).await.unwrap();
    log.purge(log_id(1, count - 5)).await.unwrap();
    assert_eq!(log.log.writer.counters().batches.load(std::sync::atomic::Ordering::Relaxed), 4);
    log.blocking_append([entry(1, count, 0)]).await.unwrap();
    let left = disk.log().scan(&rows::all_entries(SHARD), Limit::rows(99), Direction::Forward).unwrap();
    assert_eq!(left.len(), 5);
}
