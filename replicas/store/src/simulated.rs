//! The pair in memory, on a machine that can crash: what was not synced is lost, save for a prefix of random length.
//! Invariants: whole batches only, in the order they were committed; each keyspace keeps a prefix of its own, as
//! fjall's do, which flush to files apart from each other; handles from before a crash fail.
//! One seed gives the same losses for the same calls.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::range::first_out_of_order;
use crate::room::{Room, Space};
use crate::{Batch, Direction, Durability, Error, KeyRange, Keyspace, Limit, LogDb, OrderedStore, Row, StateDb};

/// How much room a disk has while nobody says otherwise, in bytes.
const ROOM_BYTES: u64 = 1 << 40;

/// One machine's disk, with a log and a state database on it. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct Disk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    machine: Mutex<Machine>,
    /// Wakes writes that wait for a disk that is stuck.
    moved: Condvar,
}

/// What a disk is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A commit to the log reaches the operating system.
    LogWrite,
    /// The log is put on the disk, with the commit that asked for it.
    LogSync,
    /// A commit to the state reaches the operating system.
    StateWrite,
    /// The state is put on the disk.
    StateSync,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::LogWrite | Self::StateWrite => "write",
            Self::LogSync | Self::StateSync => "sync",
        }
    }
}

#[derive(Debug)]
struct Machine {
    random: u64,
    /// How often the machine has crashed: what a handle must have been opened under.
    boot: u64,
    full: bool,
    /// Writes and syncs wait.
    is_stuck: bool,
    /// Which operation fails, and how many of them are still done.
    breaks: Option<(Operation, u64)>,
    room: Room,
    log: Rows,
    state: BTreeMap<String, Rows>,
    /// Keyspaces made so far.
    made: u64,
    /// What deleted keyspaces held, for those who still hold one.
    deleted: BTreeMap<u64, Arc<BTreeMap<Bytes, Bytes>>>,
}

/// One ordered set of rows, as readers see it and as the disk holds it.
#[derive(Debug, Clone, Default)]
struct Rows {
    /// Which keyspace, as one that is made again under its name is another.
    number: u64,
    /// Shared with snapshots, copied on the first write after one.
    visible: Arc<BTreeMap<Bytes, Bytes>>,
    durable: BTreeMap<Bytes, Bytes>,
    /// What is in `visible` and not in `durable`, in order.
    unsynced: Vec<Batch>,
}

impl Disk {
    /// An empty disk. The seed decides how much of what was not synced each crash leaves.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (log, state) = (Rows::default(), BTreeMap::new());
        let (made, deleted) = (0, BTreeMap::new());
        let room = Room { free: ROOM_BYTES, total: ROOM_BYTES };
        let (full, is_stuck, breaks) = (false, false, None);
        let machine = Machine { random: seed, boot: 0, full, is_stuck, breaks, room, log, state, made, deleted };
        Self(Arc::new(Shared { machine: Mutex::new(machine), moved: Condvar::new() }))
    }

    /// Opens the log database.
    #[must_use]
    pub fn log(&self) -> SimulatedLog {
        SimulatedLog(Handle { disk: self.clone(), boot: self.machine().boot, part: Part::Log })
    }

    /// Opens the state database.
    #[must_use]
    pub fn state(&self) -> SimulatedState {
        SimulatedState { disk: self.clone(), boot: self.machine().boot }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.machine.lock()
    }

    /// The machine once its disk moves.
    fn moving(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine();
        while machine.is_stuck {
            self.0.moved.wait(&mut machine);
        }
        machine
    }

    /// Stops the machine at once. Of each keyspace, what was synced is left, and a prefix of what was not. Everything
    /// opened before fails from here on.
    pub fn crash(&self) {
        let machine = &mut *self.machine();
        machine.boot += 1;
        machine.breaks = None;
        machine.deleted.clear();
        machine.log.crash(&mut machine.random);
        for rows in machine.state.values_mut() {
            rows.crash(&mut machine.random);
        }
    }

    /// Another disk with what this one holds at this moment, as a copy of a folder has it: what was synced, and a prefix of
    /// what was not.
    #[must_use]
    pub fn copy(&self) -> Self {
        let machine = self.machine();
        let copy = Self::new(machine.random);
        {
            let copied = &mut *copy.machine();
            copied.made = machine.made;
            copied.log = machine.log.clone();
            copied.state.clone_from(&machine.state);
        }
        copy.crash();
        copy
    }

    /// The state database is empty from here on, as when it was damaged and moved aside. For a machine that has crashed.
    pub fn lose_state(&self) {
        self.machine().state.clear();
    }

    /// From here on every write fails with [`Error::Full`], or no longer does.
    pub fn set_full(&self, full: bool) {
        self.machine().full = full;
    }

    /// From here on every write and sync waits, on the thread that asks for it, or no longer does.
    pub fn set_stuck(&self, is_stuck: bool) {
        self.machine().is_stuck = is_stuck;
        self.0.moved.notify_all();
    }

    /// So many more operations of a kind are done, then each fails with [`Error::Broken`], until the machine crashes. What
    /// was to be synced by one that fails is as if it had never been asked for.
    pub fn break_after(&self, operation: Operation, done: u64) {
        self.machine().breaks = Some((operation, done));
    }

    /// From here on the disk says that it has this much room, whatever is written.
    pub fn set_room(&self, room: Room) {
        self.machine().room = room;
    }
}

impl Space for Disk {
    fn room(&self) -> io::Result<Room> {
        Ok(self.machine().room)
    }
}

impl Rows {
    fn commit(&mut self, batch: Batch) {
        apply(Arc::make_mut(&mut self.visible), batch.clone());
        self.unsynced.push(batch);
    }

    fn sync(&mut self) {
        for batch in self.unsynced.drain(..) {
            apply(&mut self.durable, batch);
        }
    }

    fn crash(&mut self, random: &mut u64) {
        let kept = draw(random, self.unsynced.len());
        self.unsynced.truncate(kept);
        self.sync();
        self.visible = Arc::new(self.durable.clone());
    }
}

fn apply(rows: &mut BTreeMap<Bytes, Bytes>, batch: Batch) {
    for (key, value) in batch.into_rows() {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(&key),
        };
    }
}

/// A number from 0 to `max`, by SplitMix64 (Steele, Lea and Flood 2014).
fn draw(random: &mut u64, max: usize) -> usize {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *random;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let choices = u64::try_from(max).expect("a length fits in 64 bits") + 1;
    usize::try_from(mixed % choices).expect("at most max")
}

fn scan(rows: &BTreeMap<Bytes, Bytes>, range: &KeyRange, limit: Limit, direction: Direction) -> Vec<Row> {
    if range.is_empty() {
        return Vec::new();
    }
    let found = rows.range::<[u8], _>(range.bounds());
    match direction {
        Direction::Forward => take(found, limit),
        Direction::Backward => take(found.rev(), limit),
    }
}

fn take<'a>(mut rows: impl Iterator<Item = (&'a Bytes, &'a Bytes)>, limit: Limit) -> Vec<Row> {
    let mut taken = Vec::new();
    let mut left = limit;
    while !left.is_spent() {
        let Some((key, value)) = rows.next() else { break };
        let row = (key.clone(), value.clone());
        left = left.less(&row);
        taken.push(row);
    }
    taken
}

/// Which rows of a machine.
#[derive(Debug, Clone)]
enum Part {
    Log,
    Keyspace { name: Arc<str>, number: u64 },
}

impl Machine {
    /// Whether an operation is done.
    fn operate(&mut self, operation: Operation, keyspace: impl FnOnce() -> String) -> Result<(), Error> {
        match &mut self.breaks {
            Some((breaks, 0)) if *breaks == operation => {
                Err(Error::Broken { verb: operation.verb(), keyspace: keyspace() })
            }
            Some((breaks, left)) if *breaks == operation => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The rows, unless they are of a keyspace that was deleted.
    fn rows(&mut self, part: &Part) -> Option<&mut Rows> {
        match part {
            Part::Log => Some(&mut self.log),
            Part::Keyspace { name, number } => self.state.get_mut(&**name).filter(|rows| rows.number == *number),
        }
    }
}

/// Rows as opened by a process that dies with the machine.
#[derive(Debug, Clone)]
struct Handle {
    disk: Disk,
    boot: u64,
    part: Part,
}

impl Handle {
    fn name(&self) -> String {
        match &self.part {
            Part::Log => "log".to_owned(),
            Part::Keyspace { name, .. } => name.to_string(),
        }
    }

    fn visible(&self) -> Result<Arc<BTreeMap<Bytes, Bytes>>, Error> {
        let machine = &mut *self.disk.machine();
        if machine.boot != self.boot {
            return Err(Error::Crashed { keyspace: self.name() });
        }
        if let Some(rows) = machine.rows(&self.part) {
            return Ok(rows.visible.clone());
        }
        let left = match &self.part {
            Part::Log => None,
            Part::Keyspace { number, .. } => machine.deleted.get(number).cloned(),
        };
        Ok(left.unwrap_or_default())
    }

    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let machine = &mut *self.disk.moving();
        if machine.boot != self.boot {
            return Err(Error::Crashed { keyspace: self.name() });
        }
        if machine.full {
            return Err(Error::Full { keyspace: self.name(), rows: batch.len(), bytes: batch.bytes() });
        }
        let write = if matches!(self.part, Part::Log) { Operation::LogWrite } else { Operation::StateWrite };
        machine.operate(write, || self.name())?;
        // What is written to a deleted keyspace is lost.
        if let Some(rows) = machine.rows(&self.part) {
            rows.commit(batch);
        }
        if durability == Durability::Synced {
            machine.operate(Operation::LogSync, || self.name())?;
            machine.log.sync();
        }
        Ok(())
    }
}

impl OrderedStore for Handle {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.visible()?.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        Ok(scan(&*self.visible()?, range, limit, direction))
    }
}

/// The log database of a [`Disk`].
#[derive(Debug, Clone)]
pub struct SimulatedLog(Handle);

impl OrderedStore for SimulatedLog {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.0.get(key)
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.0.scan(range, limit, direction)
    }
}

impl LogDb for SimulatedLog {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        self.0.commit(batch, durability)
    }
}

/// The state database of a [`Disk`].
#[derive(Debug, Clone)]
pub struct SimulatedState {
    disk: Disk,
    boot: u64,
}

impl StateDb for SimulatedState {
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error> {
        if name.is_empty() || name.len() > usize::from(u8::MAX) {
            return Err(Error::KeyspaceName { name: name.to_owned() });
        }
        let machine = &mut *self.disk.machine();
        if machine.boot != self.boot {
            return Err(Error::Crashed { keyspace: name.to_owned() });
        }
        let number = match machine.state.get(name) {
            Some(rows) => rows.number,
            None => {
                machine.made += 1;
                machine.state.insert(name.to_owned(), Rows { number: machine.made, ..Rows::default() });
                machine.made
            }
        };
        let part = Part::Keyspace { name: name.into(), number };
        Ok(Arc::new(Handle { disk: self.disk.clone(), boot: self.boot, part }))
    }

    fn keyspaces(&self) -> Vec<String> {
        self.disk.machine().state.keys().cloned().collect()
    }

    fn delete_keyspace(&self, name: &str) -> Result<(), Error> {
        let machine = &mut *self.disk.machine();
        if machine.boot != self.boot {
            return Err(Error::Crashed { keyspace: name.to_owned() });
        }
        if let Some(rows) = machine.state.remove(name) {
            machine.deleted.insert(rows.number, rows.visible);
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), Error> {
        let machine = &mut *self.disk.moving();
        let name = || "the state database".to_owned();
        if machine.boot != self.boot {
            return Err(Error::Crashed { keyspace: name() });
        }
        machine.operate(Operation::StateSync, name)?;
        machine.state.values_mut().for_each(Rows::sync);
        Ok(())
    }
}

impl Keyspace for Handle {
    fn commit(&self, batch: Batch) -> Result<(), Error> {
        Handle::commit(self, batch, Durability::Buffered)
    }

    fn ingest(&self, rows: Vec<Row>) -> Result<(), Error> {
        let visible = self.visible()?;
        let last = visible.last_key_value().map(|(key, _)| key);
        if let Some(row) = first_out_of_order(last, &rows) {
            return Err(Error::Order { keyspace: self.name(), row, rows: rows.len() });
        }
        let mut batch = Batch::with_capacity(rows.len());
        rows.into_iter().for_each(|(key, value)| batch.put(key, value));
        drop(visible);
        Handle::commit(self, batch, Durability::Buffered)
    }

    fn snapshot(&self) -> Box<dyn OrderedStore> {
        Box::new(Snapshot { handle: self.clone(), rows: self.visible().unwrap_or_default() })
    }
}

/// A keyspace as it was.
#[derive(Debug)]
struct Snapshot {
    handle: Handle,
    rows: Arc<BTreeMap<Bytes, Bytes>>,
}

impl OrderedStore for Snapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.handle.visible()?;
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.handle.visible()?;
        Ok(scan(&self.rows, range, limit, direction))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conformance;

    #[test]
    fn the_log_conforms() {
        conformance::check_log(&Disk::new(1).log());
    }

    #[test]
    fn the_state_conforms() {
        conformance::check_state(&Disk::new(1).state());
    }

    fn one(key: u8) -> Batch {
        let mut batch = Batch::new();
        batch.put(vec![key], vec![key]);
        batch.put(vec![key, key], vec![key]);
        batch
    }

    /// How many of the batches `one(0)`, `one(1)` … are there; panics unless they are whole and a prefix.
    fn prefix(store: &dyn OrderedStore) -> u8 {
        let rows = store.scan(&KeyRange::all(), Limit::rows(usize::MAX), Direction::Forward).unwrap();
        let count = u8::try_from(rows.len() / 2).unwrap();
        let expected: Vec<Row> =
            (0..count).flat_map(|key| one(key).into_sorted_rows()).map(|(key, value)| (key, value.unwrap())).collect();
        assert_eq!(rows, expected);
        count
    }

    proptest! {
        /// What a crash leaves is a prefix in whole batches, with everything synced; of each keyspace by itself.
        #[test]
        fn a_crash_leaves_a_prefix_that_holds_what_was_synced(seed: u64, synced in 0_u8..20, unsynced in 0_u8..20) {
            let disk = Disk::new(seed);
            let (log, state) = (disk.log(), disk.state());
            let keyspaces = [state.keyspace("a").unwrap(), state.keyspace("b").unwrap()];
            for key in 0..synced + unsynced {
                let durability = if key + 1 == synced { Durability::Synced } else { Durability::Buffered };
                log.commit(one(key), durability).unwrap();
                keyspaces.iter().for_each(|keyspace| keyspace.commit(one(key)).unwrap());
                if key + 1 == synced {
                    state.sync().unwrap();
                }
            }
            disk.crash();
            let left = synced..=synced + unsynced;
            prop_assert!(left.contains(&prefix(&disk.log())));
            for name in ["a", "b"] {
                prop_assert!(left.contains(&prefix(&*disk.state().keyspace(name).unwrap())));
            }
            // What is left does not get less by itself.
            let log_before = prefix(&disk.log());
            disk.crash();
            prop_assert_eq!(prefix(&disk.log()), log_before);
        }
    }

    /// What was ingested is lost like a commit: each ingestion whole, and none behind one that is missing.
    #[test]
    fn a_crash_leaves_a_prefix_of_ingestions() {
        let rows = |key: u8| {
            let rows = one(key).into_sorted_rows().into_iter();
            rows.map(|(key, value)| (key, value.unwrap())).collect::<Vec<Row>>()
        };
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let disk = Disk::new(seed);
            let (state, name) = (disk.state(), "a");
            state.keyspace(name).unwrap().ingest(rows(0)).unwrap();
            state.sync().unwrap();
            (1..4).for_each(|key| state.keyspace(name).unwrap().ingest(rows(key)).unwrap());
            disk.crash();
            seen.insert(prefix(&*disk.state().keyspace(name).unwrap()));
        }
        assert_eq!(Vec::from_iter(seen), [1, 2, 3, 4]);
    }

    /// Over many seeds a crash leaves nothing of what was unsynced, some of it, and all of it.
    #[test]
    fn a_crash_leaves_any_prefix() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let disk = Disk::new(seed);
            (0..3).for_each(|key| disk.log().commit(one(key), Durability::Buffered).unwrap());
            disk.crash();
            seen.insert(prefix(&disk.log()));
        }
        assert_eq!(Vec::from_iter(seen), [0, 1, 2, 3]);
    }

    #[test]
    fn handles_from_before_a_crash_fail() {
        let disk = Disk::new(1);
        let (log, state) = (disk.log(), disk.state());
        let keyspace = state.keyspace("a").unwrap();
        disk.crash();
        let is_crashed = |result: Result<(), Error>| matches!(result, Err(Error::Crashed { .. }));
        assert!(is_crashed(log.commit(one(1), Durability::Synced)));
        assert!(is_crashed(keyspace.commit(one(1))));
        assert!(is_crashed(state.sync()));
        assert!(is_crashed(state.delete_keyspace("a")));
        assert!(is_crashed(log.get(b"key").map(drop)));
        assert!(is_crashed(keyspace.snapshot().get(b"key").map(drop)));
        assert_eq!(prefix(&disk.log()), 0);
    }

    /// Which of five synced commits, and syncs of the state, fail, and what a crash leaves of those before.
    #[test]
    fn a_broken_disk_fails_from_one_operation_on() {
        for operation in [Operation::LogWrite, Operation::LogSync, Operation::StateWrite, Operation::StateSync] {
            let disk = Disk::new(1);
            let (log, state) = (disk.log(), disk.state());
            let keyspace = state.keyspace("a").unwrap();
            disk.break_after(operation, 2);
            let committed = (0..5).map(|key| log.commit(one(key), Durability::Synced));
            let log_done = committed.take_while(Result::is_ok).count();
            let written = (0..5).map(|key| keyspace.commit(one(key)).and_then(|()| state.sync()));
            let state_done = written.take_while(Result::is_ok).count();
            let is_log = matches!(operation, Operation::LogWrite | Operation::LogSync);
            assert_eq!((log_done, state_done), if is_log { (2, 5) } else { (5, 2) }, "{operation:?}");
            disk.crash();
            assert!((log_done..6).contains(&usize::from(prefix(&disk.log()))));
            assert!((state_done..6).contains(&usize::from(prefix(&*disk.state().keyspace("a").unwrap()))));
            disk.log().commit(one(9), Durability::Synced).unwrap();
        }
    }

    #[test]
    fn a_full_disk_refuses_writes_and_keeps_what_it_has() {
        let disk = Disk::new(1);
        let log = disk.log();
        log.commit(one(0), Durability::Synced).unwrap();
        disk.set_full(true);
        let error = log.commit(one(1), Durability::Synced).unwrap_err();
        assert_eq!(error.to_string(), "the simulated disk is full: cannot write 2 rows of 5 bytes to log");
        assert_eq!(prefix(&log), 1);
        disk.set_full(false);
        log.commit(one(1), Durability::Synced).unwrap();
        assert_eq!(prefix(&log), 2);
    }
}
