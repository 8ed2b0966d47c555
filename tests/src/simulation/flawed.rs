//! Parts of a node with a flaw, re-created on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use skerry_store::simulated::{SimulatedLog, SimulatedState};
use skerry_store::{Batch, Direction, Durability, Error, KeyRange, Keyspace, Limit, LogDb, OrderedStore, Row, StateDb};

/// Length of the key of a row that a shard has once: shard and kind.
const SINGLE_KEY_BYTES: usize = 3;
/// The kind of a vote.
const VOTE: u8 = 1;

/// A log that keeps votes in memory alone.
pub(super) struct ForgetfulVotes {
    log: SimulatedLog,
    votes: Mutex<BTreeMap<Bytes, Bytes>>,
}

impl ForgetfulVotes {
    pub(super) fn new(log: SimulatedLog) -> Self {
        Self { log, votes: Mutex::default() }
    }
}

impl OrderedStore for ForgetfulVotes {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let vote = self.votes.lock().get(key).cloned();
        vote.map_or_else(|| self.log.get(key), |vote| Ok(Some(vote)))
    }

    fn scan(&self, range: &KeyRange, limit: Limit, direction: Direction) -> Result<Vec<Row>, Error> {
        self.log.scan(range, limit, direction)
    }
}

impl LogDb for ForgetfulVotes {
    fn commit(&self, batch: Batch, durability: Durability) -> Result<(), Error> {
        let mut durable = Batch::new();
        for (key, value) in batch.into_rows() {
            let is_vote = key.len() == SINGLE_KEY_BYTES && key[2] == VOTE;
            match value {
                Some(value) if is_vote => drop(self.votes.lock().insert(key, value)),
                Some(value) => durable.put(key, value),
                None => durable.delete(key),
            }
        }
        self.log.commit(durable, durability)
    }
}

/// A state database that says it has synced.
pub(super) struct NeverSynced(pub(super) SimulatedState);

impl StateDb for NeverSynced {
    fn keyspace(&self, name: &str) -> Result<Arc<dyn Keyspace>, Error> {
        self.0.keyspace(name)
    }

    fn keyspaces(&self) -> Vec<String> {
        self.0.keyspaces()
    }

    fn delete_keyspace(&self, name: &str) -> Result<(), Error> {
        self.0.delete_keyspace(name)
    }

    fn sync(&self) -> Result<(), Error> {
        Ok(())
    }
}
