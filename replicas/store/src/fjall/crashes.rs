//! What a power cut leaves of real folders: a copy of the folder of a database that runs, its journal cut at every byte of
//! the last batch, or with pages of it zeroed, is opened again. It holds the batches before and of the last one all or
//! nothing, or it does not open.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use super::*;
use crate::{LogWriter, Mode, StateWriter};

const PAGE_BYTES: u64 = 4_096;
const BATCHES: u8 = 5;
/// No journal here is longer.
const JOURNAL_BYTES_MAX: u64 = 1 << 18;

/// A copied folder with one journal that ends where its last batch does.
struct Copy {
    folder: tempfile::TempDir,
    /// Where the journal's last batch begins and ends, in bytes.
    last: std::ops::Range<u64>,
}

/// How much of the journal is written: fjall makes it 64 MiB of zeros, and no batch ends in one.
fn written(journal: &Path) -> u64 {
    let mut bytes = Vec::new();
    File::open(journal).unwrap().take(JOURNAL_BYTES_MAX).read_to_end(&mut bytes).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
}

/// Cuts off what is not written.
fn shorten(journal: &Path) -> u64 {
    let end = written(journal);
    OpenOptions::new().write(true).open(journal).unwrap().set_len(end).unwrap();
    end
}

fn journal(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let journals: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect();
    assert_eq!(journals.len(), 1, "a short log has one journal");
    journals[0].clone()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Copy {
    /// Of a database that is open, whose last batch began at `start`.
    fn of(open: &Path, start: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(open, folder.path());
        let end = shorten(&journal(folder.path()));
        Self { folder, last: start..end }
    }

    /// Calls `check` with a fresh copy for every power cut: the journal ends at a byte of the last batch, by itself or with
    /// the zeros that were there before.
    fn cut(&self, check: impl Fn(&Path, &str)) {
        for cut in self.last.clone() {
            for zeros in [0, PAGE_BYTES] {
                self.damaged(
                    |journal| {
                        journal.set_len(cut).unwrap();
                        journal.set_len(cut + zeros).unwrap();
                    },
                    |path| check(path, &format!("cut at {cut} of {:?}, {zeros} zeros behind", self.last)),
                );
            }
        }
    }

    /// The same with each page from `start` on that never reached the disk, alone or with all behind it.
    fn zero(&self, start: u64, check: impl Fn(&Path, &str)) {
        for page in start.div_ceil(PAGE_BYTES)..self.last.end.div_ceil(PAGE_BYTES) {
            for pages in [1, self.last.end / PAGE_BYTES + 1 - page] {
                let bytes = (pages * PAGE_BYTES).min(self.last.end - page * PAGE_BYTES);
                let zeros = vec![0; usize::try_from(bytes).unwrap()];
                self.damaged(
                    |journal| journal.write_all_at(&zeros, page * PAGE_BYTES).unwrap(),
                    |path| {
                        check(path, &format!("{pages} pages zeroed from {page} on, the last batch is {:?}", self.last))
                    },
                );
            }
        }
    }

    fn damaged(&self, damage: impl Fn(&File), check: impl Fn(&Path)) {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        damage(&OpenOptions::new().write(true).open(journal(folder.path())).unwrap());
        check(folder.path());
    }
}

/// Batch `number` of several rows; `bytes` is the size of each.
fn batch(number: u8, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for row in 0..4_u8 {
        batch.put(vec![number, row], vec![number + 1; bytes]);
    }
    batch.put("header", vec![number]);
    batch
}

/// How many of the batches are there; panics unless they are whole, a prefix, and as many as the header says.
#[track_caller]
fn prefix(store: &dyn OrderedStore, bytes: usize, how: &str) -> u8 {
    let header = store.get(b"header").unwrap();
    let count = header.map_or(0, |header| header[0] + 1);
    let rows = store.scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).unwrap();
    let mut expected = Batch::new();
    (0..count).for_each(|number| expected.append(batch(number, bytes)));
    let expected: Vec<Row> =
        expected.into_sorted_rows().into_iter().map(|(key, value)| (key, value.unwrap())).collect();
    assert!(rows == expected, "{how}: not a prefix of whole batches");
    count
}

/// A log with batches of rows of this size as the log writer makes them, each synced; and where the second one begins.
async fn log(bytes: usize) -> (Copy, u64) {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(FjallLog::open(folder.path()).unwrap());
    let writer = LogWriter::start(log, Mode::Thread).unwrap();
    let mut starts = Vec::new();
    for number in 0..BATCHES {
        starts.push(written(&journal(folder.path())));
        writer.write(batch(number, bytes)).await.unwrap();
    }
    (Copy::of(folder.path(), starts[usize::from(BATCHES) - 1]), starts[1])
}

/// How many batches a log holds; `None` when it does not open.
#[track_caller]
fn log_prefix(path: &Path, bytes: usize, how: &str) -> Option<u8> {
    match FjallLog::open(path) {
        Ok(log) => Some(prefix(&log, bytes, how)),
        Err(Error::Open { .. }) => None,
        Err(error) => panic!("{how}: {error}"),
    }
}

#[tokio::test]
async fn a_log_cut_in_its_last_batch_holds_the_others() {
    let (copy, _) = log(10).await;
    copy.damaged(|_| {}, |path| assert_eq!(log_prefix(path, 10, "whole"), Some(BATCHES)));
    copy.cut(|path, how| assert_eq!(log_prefix(path, 10, how), Some(BATCHES - 1), "{how}"));
}

#[tokio::test]
async fn a_log_whose_last_batch_lacks_pages_holds_the_others_or_does_not_open() {
    let (copy, _) = log(3_000).await;
    let start = copy.last.start;
    copy.zero(start, |path, how| assert!(matches!(log_prefix(path, 3_000, how), None | Some(4)), "{how}"));
}

/// Outside the fault model: pages of what was synced. Nothing but a prefix is ever read, but fjall takes some of these for
/// shorter logs without a word, which is why a node compares its log with what it has applied.
#[tokio::test]
async fn a_log_that_lacks_synced_pages_holds_a_prefix_or_does_not_open() {
    let (copy, second) = log(3_000).await;
    let is_shorter = std::cell::Cell::new(false);
    copy.zero(second, |path, how| {
        let found = log_prefix(path, 3_000, how);
        is_shorter.set(is_shorter.get() || found.is_some_and(|found| found < BATCHES - 1));
    });
    assert!(is_shorter.get(), "then the node need not compare any more");
}

/// A state with two keyspaces, each of whose batches has its header in it.
async fn state(bytes: usize) -> Copy {
    let folder = tempfile::tempdir().unwrap();
    let state = FjallState::open(folder.path()).unwrap();
    let writer = StateWriter::start(Arc::new(state), Mode::Thread).unwrap();
    let shards = ["a", "b"].map(|name| writer.shard(name).unwrap());
    let mut start = 0;
    for number in 0..BATCHES {
        for shard in &shards {
            start = written(&journal(folder.path()));
            shard.install(batch(number, bytes)).await.unwrap();
            writer.flush().await.unwrap();
        }
    }
    Copy::of(folder.path(), start)
}

/// How many batches each keyspace holds; `None` when the database does not open.
#[track_caller]
fn state_prefixes(path: &Path, bytes: usize, how: &str) -> Option<[u8; 2]> {
    match FjallState::open(path) {
        Ok(state) => Some(["a", "b"].map(|name| prefix(&*state.keyspace(name).unwrap(), bytes, how))),
        Err(Error::Open { .. }) => None,
        Err(error) => panic!("{how}: {error}"),
    }
}

#[tokio::test]
async fn a_state_cut_in_its_last_batch_holds_the_others() {
    let copy = state(10).await;
    copy.damaged(|_| {}, |path| assert_eq!(state_prefixes(path, 10, "whole"), Some([BATCHES, BATCHES])));
    copy.cut(|path, how| assert_eq!(state_prefixes(path, 10, how), Some([BATCHES, BATCHES - 1]), "{how}"));
}

#[tokio::test]
async fn a_state_whose_last_batch_lacks_pages_holds_the_others_or_does_not_open() {
    let copy = state(3_000).await;
    let start = copy.last.start;
    copy.zero(start, |path, how| {
        assert!(matches!(state_prefixes(path, 3_000, how), None | Some([BATCHES, 4])), "{how}");
    });
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

type Damage = fn(&Path) -> std::io::Result<()>;

const DAMAGES: [(&str, Damage); 4] = [
    ("lost", |file| std::fs::remove_file(file)),
    ("empty", |file| std::fs::write(file, [])),
    ("half", |file| {
        let file = File::options().write(true).open(file)?;
        file.set_len(file.metadata()?.len() / 2)
    }),
    ("other", |file| std::fs::write(file, vec![0xa5; std::fs::read(file)?.len()])),
];

/// Each file of a state database is lost, empty, half there, or full of other bytes: the database opens, or says that it is
/// damaged, so that the node can rebuild it. Nothing panics, and what is read is what was written or an error.
#[test]
fn a_damaged_state_opens_or_says_so() {
    let whole = tempfile::tempdir().unwrap();
    let state = FjallState::open(whole.path()).unwrap();
    let keyspace = state.keyspace("a").unwrap();
    for number in 0..BATCHES {
        keyspace.commit(batch(number, 2_000)).unwrap();
        let inner = state.database.keyspace("a", FjallState::keyspace_options).unwrap();
        inner.rotate_memtable_and_wait().unwrap();
    }
    state.sync().unwrap();
    drop((keyspace, state));
    shorten(&journal(whole.path()));
    let mut refused = 0;
    for file in files(whole.path()) {
        let name = file.strip_prefix(whole.path()).unwrap();
        for (how, damage) in DAMAGES {
            let copied = tempfile::tempdir().unwrap();
            copy(whole.path(), copied.path());
            damage(&copied.path().join(name)).unwrap();
            match FjallState::open(copied.path()) {
                Ok(state) => match state.keyspace("a") {
                    Ok(keyspace) => drop(prefix(&*keyspace, 2_000, how)),
                    Err(error) => assert!(matches!(error, Error::Keyspace { .. }), "{name:?} {how}: {error}"),
                },
                Err(error) => {
                    assert!(error.is_damage(), "{name:?} {how}: {error:?}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 10, "{refused}");
}
