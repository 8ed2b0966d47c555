//! A shard's keyspaces on this node, one a generation: which one is current, and how the next one is filled and takes its
//! place.
//! The current generation is the highest one with a header row, else 0. The header is committed behind all other rows of
//! its generation, and a keyspace keeps a prefix of its commits, so a header that a crash leaves has all its rows with it;
//! the generation before is deleted only once the header is on the disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skerry_model::ShardId;
use skerry_store::{Batch, Keyspace, Row, ShardStore, StateDb, StateWriter};

use super::Error;
use crate::documents::keys::header;
use crate::env::executor::{Executor, compute};

/// The generations of one shard on this node. Clones are the same.
#[derive(Clone)]
pub struct Generations {
    shard: ShardId,
    writer: Arc<StateWriter>,
    executor: Arc<dyn Executor>,
}

impl Generations {
    /// Those of a shard in the database that `writer` writes to. What blocks for the disk runs on `executor`.
    #[must_use]
    pub fn new(shard: ShardId, writer: Arc<StateWriter>, executor: Arc<dyn Executor>) -> Self {
        Self { shard, writer, executor }
    }

    /// The shard.
    #[must_use]
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Opens the current generation and deletes the others, which a crash has left. Blocks for the disk.
    ///
    /// # Errors
    /// When the database fails.
    pub fn open(&self) -> Result<(u64, ShardStore), Error> {
        let database = self.writer.database();
        let found = find(database, self.shard)?;
        let current = current(&found);
        for generation in found.into_keys().filter(|generation| *generation != current) {
            tracing::info!(shard = %self.shard, generation, current, "a generation that a crash has left is deleted");
            database.delete_keyspace(&name(self.shard, generation))?;
        }
        Ok((current, self.writer.shard(&name(self.shard, current))?))
    }

    /// Makes the empty keyspace of a new generation, in the place of one that was never completed.
    pub(super) async fn make(&self, generation: u64) -> Result<Arc<dyn Keyspace>, Error> {
        self.aside(generation, |writer, name| {
            writer.database().delete_keyspace(name)?;
            writer.database().keyspace(name)
        })
        .await
    }

    /// Adds rows behind those there are.
    pub(super) async fn fill(&self, keyspace: Arc<dyn Keyspace>, rows: Vec<Row>) -> Result<(), Error> {
        let filled = compute(&*self.executor, move || keyspace.ingest(rows)).await;
        Ok(filled.ok_or(Error::Aborted)??)
    }

    /// Completes a generation with its header: it is the current one after a restart when this returns.
    pub(crate) async fn complete(&self, generation: u64, header: Bytes) -> Result<ShardStore, Error> {
        let store = self.writer.shard(&name(self.shard, generation))?;
        let mut batch = Batch::new();
        batch.put(header::received_key(), header.clone());
        batch.put(header::key(), header);
        store.install(batch).await?;
        store.flush().await?;
        Ok(store)
    }

    /// Deletes a generation, the current one only behind a higher one that is complete.
    pub(crate) async fn delete(&self, generation: u64) -> Result<(), Error> {
        self.aside(generation, |writer, name| {
            writer.retire(name);
            writer.database().delete_keyspace(name)
        })
        .await
    }

    /// Does something with a generation's keyspace off the tokio workers.
    async fn aside<T: Send + 'static>(
        &self,
        generation: u64,
        work: impl FnOnce(&StateWriter, &str) -> Result<T, skerry_store::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (writer, name) = (Arc::clone(&self.writer), name(self.shard, generation));
        let done = compute(&*self.executor, move || work(&writer, &name)).await;
        Ok(done.ok_or(Error::Aborted)??)
    }
}

/// The rows of a shard's current generation; none where it has no keyspace yet. Changes nothing.
///
/// # Errors
/// When the database fails.
pub fn current_rows(database: &dyn StateDb, shard: ShardId) -> Result<Option<Arc<dyn Keyspace>>, Error> {
    let found = find(database, shard)?;
    let current = current(&found);
    Ok(found.contains_key(&current).then(|| database.keyspace(&name(shard, current))).transpose()?)
}

/// The generations of a shard, each with whether it has its header.
fn find(database: &dyn StateDb, shard: ShardId) -> Result<BTreeMap<u64, bool>, Error> {
    let mut found = BTreeMap::new();
    for name in database.keyspaces() {
        if let Some(generation) = parse(shard, &name) {
            found.insert(generation, database.keyspace(&name)?.get(&header::key())?.is_some());
        }
    }
    Ok(found)
}

/// The name of a generation's keyspace.
fn name(shard: ShardId, generation: u64) -> String {
    format!("shard-{:05}-{generation}", shard.get())
}

/// The generation of a keyspace, if it is one of the shard's.
fn parse(shard: ShardId, name: &str) -> Option<u64> {
    let generation = name.strip_prefix(&format!("shard-{:05}-", shard.get()))?.parse().ok()?;
    (self::name(shard, generation) == name).then_some(generation)
}

/// The current one of some generations, each with whether it has its header.
fn current(found: &BTreeMap<u64, bool>) -> u64 {
    found.iter().rev().find(|(_, has_header)| **has_header).map_or(0, |(generation, _)| *generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let shard = ShardId::new(7);
        assert_eq!(name(shard, 12), "shard-00007-12");
        assert_eq!(parse(shard, "shard-00007-12"), Some(12));
        for other in ["shard-00007-", "shard-00007-012", "shard-00007-+1", "shard-00070-1", "shard-7-1", "other"] {
            assert_eq!(parse(shard, other), None, "{other}");
        }
    }

    #[test]
    fn the_highest_complete_generation_is_current() {
        let check = |found: &[(u64, bool)], expected: u64| {
            assert_eq!(current(&found.iter().copied().collect()), expected, "{found:?}");
        };
        check(&[], 0);
        check(&[(0, false)], 0);
        check(&[(0, true)], 0);
        check(&[(0, false), (1, false)], 0);
        check(&[(0, true), (1, false)], 0);
        check(&[(0, true), (1, true)], 1);
        check(&[(1, true)], 1);
        check(&[(3, true), (4, false)], 3);
    }
}
