//! A database for tests whose writes wait while it is shut.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::simulated::{Disk, SimulatedLog, SimulatedState};
use crate::{Batch, Direction, Durability, Error, KeyRange, Keyspace, Limit, LogDb, OrderedStore, Row, StateDb};

/// Lets writes through, or holds them back, and keeps what got through.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    is_shut: bool,
    /// Whether the next write panics.
    panics: bool,
    /// Writes that wait.
    waiting: usize,
    passed: Vec<Passed>,
}

/// A write that got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) rows: usize,
    /// `None` for a sync of the state database.
    pub(crate) durability: Option<Durability>,
}

impl Gate {
    pub(crate) fn set_shut(&self, is_shut: bool) {
        self.state.lock().is_shut = is_shut;
        self.changed.notify_all();
    }

    pub(crate) fn panic_at_next(&self) {
        self.state.lock().panics = true;
    }

    /// Returns when a write waits at the gate.
    pub(crate) fn await_waiting(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            self.changed.wait(&mut state);
        }
    }

    pub(crate) fn passed(&self) -> Vec<Passed> {
        self.state.lock().passed.clone()
    }

    fn pass(&self, rows: usize, durability: Option<Durability>) {
        let mut state: MutexGuard<'_, GateState> = self.state.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while state.is_shut {
            self.changed.wait(&mut state);
        }
        state.waiting -= 1;
        assert!(!state.panics, "a write that panics");
        state.passed.push(Passed { rows, durability });
    }
}

/// A simulated log behind a gate.
pub(crate) struct GatedLog {
    pub(crate) gate: Arc<Gate>,
    log: SimulatedLog,
}

impl GatedLog {
    pub(crate) fn new(disk: &Disk) -> Self {
        Self { gate: Arc::default(), log: disk.log() }
    }
}

impl OrderedStore for GatedLog {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.log.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.log.scan(range, limit, direction)
    }
}

impl LogDb for GatedLog {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        self.gate.pass(batch.len(), Some(durability));
        self.log.commit(batch, durability)
    }
}

/// A simulated state database behind a gate.
pub(crate) struct GatedState {
    pub(crate) gate: Arc<Gate>,
    state: SimulatedState,
}

impl GatedState {
    pub(crate) fn new(disk: &Disk) -> Self {
        Self { gate: Arc::default(), state: disk.state() }
    }
}

impl StateDb for GatedState {
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error> {
        Ok(Arc::new(GatedKeyspace { gate: self.gate.clone(), keyspace: self.state.keyspace(name)? }))
    }

    fn keyspaces(&self) -> Vec<String> {
        self.state.keyspaces()
    }

    fn delete_keyspace(&self, name: &str) -> Result<(), Error> {
        self.state.delete_keyspace(name)
    }

    fn sync(&self) -> Result<(), Error> {
        self.gate.pass(0, None);
        self.state.sync()
    }
}

struct GatedKeyspace {
    gate: Arc<Gate>,
    keyspace: Arc<dyn Keyspace>,
}

impl OrderedStore for GatedKeyspace {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.keyspace.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.keyspace.scan(range, limit, direction)
    }
}

impl Keyspace for GatedKeyspace {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        self.gate.pass(batch.len(), Some(Durability::Buffered));
        self.keyspace.commit(batch)
    }

    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error> {
        self.gate.pass(rows.len(), Some(Durability::Buffered));
        self.keyspace.ingest(rows)
    }

    fn snapshot(&self) -> Box<dyn OrderedStore> {
        self.keyspace.snapshot()
    }
}
