//! The edge's database with what is staged for the next commit laid over it. One owner stages and commits; whoever else
//! reads the database sees whole commits only.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skerry_store::{Batch, Direction, Durability, Error, KeyRange, Limit, LogDb, Row};

use crate::limits;

/// The database and what is staged.
pub(crate) struct Table {
    database: Arc<dyn LogDb>,
    staged: BTreeMap<Bytes, Option<Bytes>>,
    staged_bytes: usize,
}

impl Table {
    pub(crate) fn new(database: Arc<dyn LogDb>) -> Self {
        Self { database, staged: BTreeMap::new(), staged_bytes: 0 }
    }

    pub(crate) fn database(&self) -> &Arc<dyn LogDb> {
        &self.database
    }

    pub(crate) fn get(&self, key: &Bytes) -> Result<Option<Bytes>, Error> {
        match self.staged.get(key) {
            Some(staged) => Ok(staged.clone()),
            None => self.database.get(key),
        }
    }

    /// The first rows of a range, until `limit` is reached.
    pub(crate) fn scan(&self, range: &KeyRange, limit: Limit) -> Result<Vec<Row>, Error> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        let mut left = range.clone();
        loop {
            let (step, end) = self.step(&left)?;
            for row in step {
                if rows.len() >= limit.rows || bytes >= limit.bytes {
                    return Ok(rows);
                }
                bytes += row.0.len() + row.1.len();
                rows.push(row);
            }
            match end {
                Some(end) => left = left.behind(end, Direction::Forward),
                None => return Ok(rows),
            }
        }
    }

    /// Every row of a range, in steps of bounded size. `each` may not stage rows.
    pub(crate) fn for_each<E: From<Error>>(
        &self,
        range: KeyRange,
        mut each: impl FnMut(Bytes, Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = range;
        loop {
            let (step, end) = self.step(&left)?;
            step.into_iter().try_for_each(|(key, value)| each(key, value))?;
            match end {
                Some(end) => left = left.behind(end, Direction::Forward),
                None => return Ok(()),
            }
        }
    }

    /// One step of a scan, and the key it has come to when there may be more.
    fn step(&self, range: &KeyRange) -> Result<(Vec<Row>, Option<Bytes>), Error> {
        let limit = Limit { rows: limits::SCAN_STEP_ROWS, bytes: limits::SCAN_STEP_BYTES };
        let stored = self.database.scan(range, limit, Direction::Forward)?;
        let end = limit.is_reached_by(&stored).then(|| stored.last().map(|row| row.0.clone())).flatten();
        let mut rows: BTreeMap<Bytes, Bytes> = stored.into_iter().collect();
        if !range.is_empty() {
            let staged = self.staged.range::<[u8], _>(range.bounds());
            for (key, value) in staged.take_while(|(key, _)| end.as_ref().is_none_or(|end| *key <= end)) {
                match value {
                    Some(value) => rows.insert(key.clone(), value.clone()),
                    None => rows.remove(key),
                };
            }
        }
        Ok((rows.into_iter().collect(), end))
    }

    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        self.staged_bytes += key.len() + value.len();
        self.staged.insert(key, Some(value));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.staged_bytes += key.len();
        self.staged.insert(key, None);
    }

    /// Keys and values staged since the last commit, in bytes.
    pub(crate) fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Writes what is staged in one batch, with one fsync.
    pub(crate) fn commit(&mut self) -> Result<(), Error> {
        if self.staged.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::with_capacity(self.staged.len());
        std::mem::take(&mut self.staged).into_iter().for_each(|(key, value)| batch.push(key, value));
        self.staged_bytes = 0;
        self.database.commit(batch, Durability::Synced)
    }
}

#[cfg(test)]
mod tests {
    use skerry_store::simulated::Disk;

    use super::*;

    fn key(number: u32) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn what_is_staged_lies_over_what_is_stored() {
        let disk = Disk::new(1);
        let mut table = Table::new(Arc::new(disk.log()));
        let stored = u32::try_from(limits::SCAN_STEP_ROWS).unwrap() * 2;
        (0..stored).for_each(|number| table.put(key(number * 2), "stored".into()));
        table.commit().unwrap();
        table.put(key(1), "staged".into());
        table.put(key(stored * 2 - 1), "staged".into());
        (0..stored).filter(|number| *number != 5).for_each(|number| table.delete(key(number * 2)));
        let expected: Vec<Row> =
            vec![(key(1), "staged".into()), (key(10), "stored".into()), (key(stored * 2 - 1), "staged".into())];
        assert_eq!(table.scan(&KeyRange::all(), Limit::rows(9)).unwrap(), expected);
        assert_eq!(table.scan(&KeyRange::all(), Limit::rows(2)).unwrap(), expected[..2]);
        assert_eq!(table.get(&key(0)).unwrap(), None);
        let mut seen = Vec::new();
        table
            .for_each::<Error>(KeyRange::all(), |key, value| {
                seen.push((key, value));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_not_committed_is_lost() {
        let disk = Disk::new(1);
        let mut table = Table::new(Arc::new(disk.log()));
        table.put(key(1), "one".into());
        table.commit().unwrap();
        table.put(key(2), "two".into());
        disk.crash();
        let table = Table::new(Arc::new(disk.log()));
        assert_eq!(table.scan(&KeyRange::all(), Limit::rows(9)).unwrap(), vec![(key(1), "one".into())]);
    }
}
