//! The real pair: one fjall database for the log, one for the state. Two, because fjall holds a database's journal
//! lock through a sync, so that everything else in the same database waits.
//! Invariants: a log commit is one fjall batch, synced by fdatasync where asked; a state commit stays within one
//! keyspace, where fjall batches are atomic after a crash (over several they are not).
//! A write or sync error poisons a fjall database: every later write fails too, and the process stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::fjall::compaction::Leveled;
use ::fjall::config::CompressionPolicy;
use ::fjall::{CompressionType, Database, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable};
use bytes::Bytes;

use crate::range::first_out_of_order;
use crate::{
    Batch, Direction, Durability, Error, KeyRange, Keyspace, Limit, LogDb, OrderedStore, Row, StateDb, limits,
};

#[cfg(test)]
mod crashes;

/// The only keyspace of a log database.
const LOG_KEYSPACE: &str = "log";

/// A log database in a folder of its own.
pub struct FjallLog {
    database: Database,
    log: FjallKeyspace,
}

impl FjallLog {
    /// Opens the database in `path`, and makes it first if there is none. Holds the folder's lock until dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process holds the folder, after trying for 300 ms; [`Error::Open`] when what is
    /// there cannot be read: the node is then replaced, never repaired in place.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // With two workers one is always free to flush: the log must not wait for a compaction.
        let database = open_database(path, |builder| {
            builder
                .cache_size(limits::LOG_CACHE_BYTES)
                .max_journaling_size(limits::LOG_JOURNAL_BYTES_MAX)
                .worker_threads(2)
        })?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(limits::LOG_MEMTABLE_BYTES)
                .data_block_compression_policy(CompressionPolicy::disabled())
        };
        let log = FjallKeyspace::open(&database, LOG_KEYSPACE, options)?;
        Ok(Self { database, log })
    }
}

impl OrderedStore for FjallLog {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.log.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.log.scan(range, limit, direction)
    }
}

impl LogDb for FjallLog {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let mode = match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced if batch.is_empty() => {
                return self
                    .database
                    .persist(PersistMode::SyncData)
                    .map_err(|source| self.log.write_error(0, 0, source));
            }
            Durability::Synced => PersistMode::SyncData,
        };
        self.log.commit_with(&self.database, batch, mode)
    }
}

/// A state database in a folder of its own.
pub struct FjallState {
    path: PathBuf,
    database: Database,
}

impl FjallState {
    /// Opens the database in `path`, and makes it first if there is none. Holds the folder's lock until it and every
    /// keyspace of it are dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process holds the folder, after trying for 300 ms; [`Error::Open`] when what is
    /// there cannot be read: it is then rebuilt from a peer.
    pub fn open(path: &Path) -> Result<Self, Error> {
        // Of several workers the first spins while another compacts, so a small machine gets one: what waits for it is
        // absorbed by memtables and overlay.
        let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(4).min(4));
        let database = open_database(path, |builder| {
            builder
                .cache_size(limits::STATE_CACHE_BYTES)
                .max_journaling_size(limits::STATE_JOURNAL_BYTES_MAX)
                .worker_threads(workers)
        })?;
        Ok(Self { path: path.to_owned(), database })
    }

    /// Values of 1 KiB and more lie in blob files, so that compaction moves keys and not documents.
    fn keyspace_options() -> KeyspaceCreateOptions {
        let blobs = KvSeparationOptions::default()
            .separation_threshold(limits::BLOB_BYTES_MIN)
            .compression(CompressionType::None);
        let levels = Leveled::default()
            .with_table_target_size(limits::STATE_TABLE_BYTES)
            .with_l0_threshold(limits::STATE_TABLES_UNMERGED);
        KeyspaceCreateOptions::default()
            .max_memtable_size(limits::STATE_MEMTABLE_BYTES)
            .compaction_strategy(Arc::new(levels))
            .data_block_compression_policy(CompressionPolicy::disabled())
            .with_kv_separation(Some(blobs))
    }
}

impl StateDb for FjallState {
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error> {
        let keyspace = FjallKeyspace::open(&self.database, name, Self::keyspace_options)?;
        Ok(Arc::new(FjallStateKeyspace { database: self.database.clone(), keyspace }))
    }

    fn keyspaces(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.database.list_keyspace_names().iter().map(|name| (**name).to_owned()).collect();
        names.sort_unstable();
        names
    }

    fn delete_keyspace(&self, name: &str) -> Result<(), Error> {
        if !self.database.keyspace_exists(name) {
            return Ok(());
        }
        let failed = |source| Error::Keyspace { action: "delete", keyspace: name.to_owned(), source: Arc::new(source) };
        let keyspace = self.database.keyspace(name, Self::keyspace_options).map_err(failed)?;
        self.database.delete_keyspace(keyspace).map_err(failed)
    }

    fn sync(&self) -> Result<(), Error> {
        let failed = |source| Error::Sync { path: self.path.clone(), source: Arc::new(source) };
        self.database.persist(PersistMode::SyncData).map_err(failed)
    }
}

/// One keyspace with its name for errors.
#[derive(Clone)]
struct FjallKeyspace {
    name: Arc<str>,
    keyspace: ::fjall::Keyspace,
}

impl FjallKeyspace {
    fn open(database: &Database, name: &str, options: impl FnOnce() -> KeyspaceCreateOptions) -> Result<Self, Error> {
        if name.is_empty() || name.len() > usize::from(u8::MAX) {
            return Err(Error::KeyspaceName { name: name.to_owned() });
        }
        let failed = |source| Error::Keyspace { action: "open", keyspace: name.to_owned(), source: Arc::new(source) };
        let keyspace = database.keyspace(name, options).map_err(failed)?;
        Ok(Self { name: name.into(), keyspace })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.keyspace.get(key).map_err(|source| self.read_error(source))?.map(Bytes::from))
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.collect(self.keyspace.range::<&[u8], _>(range.bounds()), limit, direction)
    }

    fn collect(&self, rows: ::fjall::Iter, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        match direction {
            Direction::Forward => self.take(rows, limit),
            Direction::Backward => self.take(rows.rev(), limit),
        }
    }

    fn take(&self, rows: impl Iterator<Item = ::fjall::Guard>, limit: Limit) -> Result<Vec<Row>, Error> {
        let mut taken = Vec::new();
        let mut left = limit;
        let mut rows = rows;
        while !left.is_spent() {
            let Some(guard) = rows.next() else { break };
            let (key, value) = guard.into_inner().map_err(|source| self.read_error(source))?;
            let row = (Bytes::from(key), Bytes::from(value));
            left = left.less(&row);
            taken.push(row);
        }
        Ok(taken)
    }

    fn commit_with(&self, database: &Database, batch: Batch, mode: PersistMode) -> Result<(), Error> {
        let (rows, bytes) = (batch.len(), batch.bytes());
        let mut write = ::fjall::OwnedWriteBatch::with_capacity(database.clone(), rows).durability(Some(mode));
        // All rows of a fjall batch carry one sequence number: which value of a key named twice stands is not promised.
        for (key, value) in batch.into_sorted_rows() {
            match value {
                Some(value) => write.insert(&self.keyspace, key, value),
                None => write.remove(&self.keyspace, key),
            }
        }
        write.commit().map_err(|source| self.write_error(rows, bytes, source))
    }

    /// fjall syncs the files of an ingestion before they become part of the keyspace.
    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error> {
        let last = self.scan(&KeyRange::all(), Limit::rows(1), Direction::Backward)?.pop();
        // fjall panics where keys do not rise, and takes rows below what is there for newer ones.
        if let Some(row) = first_out_of_order(last.as_ref().map(|(key, _)| key), &rows) {
            return Err(Error::Order { keyspace: self.name.to_string(), row, rows: rows.len() });
        }
        if rows.is_empty() {
            return Ok(());
        }
        let count = rows.len();
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
        let ingest = || {
            let mut ingestion = self.keyspace.start_ingestion()?;
            for (key, value) in rows {
                ingestion.write(key, value)?;
            }
            ingestion.finish()
        };
        ingest().map_err(|source| self.write_error(count, bytes, source))
    }

    fn read_error(&self, source: ::fjall::Error) -> Error {
        Error::Read { keyspace: self.name.to_string(), source: Arc::new(source) }
    }

    fn write_error(&self, rows: usize, bytes: usize, source: ::fjall::Error) -> Error {
        Error::Write { keyspace: self.name.to_string(), rows, bytes, source: Arc::new(source) }
    }
}

/// A keyspace that can be written.
struct FjallStateKeyspace {
    database: Database,
    keyspace: FjallKeyspace,
}

impl OrderedStore for FjallStateKeyspace {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.keyspace.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.keyspace.scan(range, limit, direction)
    }
}

impl Keyspace for FjallStateKeyspace {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.keyspace.commit_with(&self.database, batch, PersistMode::Buffer)
    }

    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error> {
        self.keyspace.ingest(rows)
    }

    fn snapshot(&self) -> Box<dyn OrderedStore> {
        Box::new(FjallSnapshot { snapshot: self.database.snapshot(), keyspace: self.keyspace.clone() })
    }
}

/// A keyspace as it was.
struct FjallSnapshot {
    snapshot: ::fjall::Snapshot,
    keyspace: FjallKeyspace,
}

impl OrderedStore for FjallSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.snapshot.get(&self.keyspace.keyspace, key);
        Ok(value.map_err(|source| self.keyspace.read_error(source))?.map(Bytes::from))
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.keyspace.collect(
            self.snapshot.range::<&[u8], _>(&self.keyspace.keyspace, range.bounds()),
            limit,
            direction,
        )
    }
}

fn open_database(
    path: &Path,
    configure: impl FnOnce(::fjall::DatabaseBuilder<Database>) -> ::fjall::DatabaseBuilder<Database>,
) -> Result<Database, Error> {
    configure(Database::builder(path)).open().map_err(|error| match error {
        ::fjall::Error::Locked => Error::Locked { path: path.to_owned() },
        source => Error::Open { path: path.to_owned(), source: Arc::new(source) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[test]
    fn the_log_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance::check_log(&FjallLog::open(folder.path()).unwrap());
    }

    #[test]
    fn the_state_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance::check_state(&FjallState::open(folder.path()).unwrap());
    }

    /// Opened again, both hold what was committed, synced or not: the process stopped, the machine did not.
    #[test]
    fn a_restart_keeps_everything() {
        let folder = tempfile::tempdir().unwrap();
        let mut batch = Batch::new();
        batch.put("key", "value");
        let log = FjallLog::open(&folder.path().join("log")).unwrap();
        log.commit(batch.clone(), Durability::Buffered).unwrap();
        let state = FjallState::open(&folder.path().join("state")).unwrap();
        state.keyspace("shard").unwrap().commit(batch).unwrap();
        drop((log, state));
        let log = FjallLog::open(&folder.path().join("log")).unwrap();
        assert_eq!(log.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
        let state = FjallState::open(&folder.path().join("state")).unwrap();
        assert_eq!(state.keyspaces(), ["shard"]);
        assert_eq!(state.keyspace("shard").unwrap().get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
    }

    /// What was ingested is there after a restart, below what was committed on top of it, in tables and in blob files.
    #[test]
    fn a_restart_keeps_what_was_ingested() {
        let folder = tempfile::tempdir().unwrap();
        let row = |key: u8, length: usize| (Bytes::from(vec![key; 3]), Bytes::from(vec![key; length]));
        let state = FjallState::open(folder.path()).unwrap();
        let keyspace = state.keyspace("shard").unwrap();
        keyspace.ingest(vec![row(1, 10), row(2, 100_000)]).unwrap();
        keyspace.ingest((3..=200).map(|key| row(key, 2_000)).collect()).unwrap();
        let mut batch = Batch::new();
        batch.put(vec![0], "header");
        batch.put(vec![3; 3], "newer");
        keyspace.commit(batch).unwrap();
        drop((keyspace, state));
        let state = FjallState::open(folder.path()).unwrap();
        let keyspace = state.keyspace("shard").unwrap();
        let rows = keyspace.scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).unwrap();
        assert_eq!(rows.len(), 201);
        assert_eq!(rows[0], (Bytes::from(vec![0]), Bytes::from("header")));
        assert_eq!(rows[3].1, "newer");
        assert!(rows[4..].iter().all(|(key, value)| *value == vec![key[0]; 2_000]));
        assert_eq!(rows[2], row(2, 100_000));
    }

    #[test]
    fn a_second_open_names_the_folder_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let first = FjallLog::open(folder.path()).unwrap();
        let error = FjallLog::open(folder.path()).err().unwrap();
        assert!(matches!(error, Error::Locked { .. }), "{error}");
        let expected = format!(
            "the database in {} is in use by another process: stop that process or name another data folder",
            folder.path().display()
        );
        assert_eq!(error.to_string(), expected);
        drop(first);
        FjallLog::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_of_something_else_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("version"), b"not a database").unwrap();
        let error = FjallState::open(folder.path()).err().unwrap();
        assert!(matches!(error, Error::Open { .. }), "{error}");
    }

    #[test]
    fn large_values_lie_in_blob_files() {
        let folder = tempfile::tempdir().unwrap();
        let state = FjallState::open(folder.path()).unwrap();
        let keyspace = state.keyspace("shard").unwrap();
        let mut batch = Batch::new();
        batch.put("large", vec![7; 1 << 20]);
        batch.put("small", vec![7; 100]);
        keyspace.commit(batch).unwrap();
        let inner = state.database.keyspace("shard", FjallState::keyspace_options).unwrap();
        inner.rotate_memtable_and_wait().unwrap();
        assert_eq!(inner.blob_file_count(), 1);
        assert_eq!(keyspace.get(b"large").unwrap().unwrap().len(), 1 << 20);
    }
}
