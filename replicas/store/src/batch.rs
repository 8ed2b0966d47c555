//! What is written at once.

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, ROW_OVERHEAD_BYTES};

/// Puts and deletes that become visible and durable together. A key named more than once takes its last value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    rows: Vec<(Bytes, Option<Bytes>)>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch with room for `rows` rows.
    #[must_use]
    pub fn with_capacity(rows: usize) -> Self {
        Self { rows: Vec::with_capacity(rows), bytes: 0 }
    }

    /// Sets the value of a key.
    ///
    /// # Panics
    /// Unless the key has 1 to [`KEY_BYTES_MAX`] bytes.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.push(key.into(), Some(value.into()));
    }

    /// Removes a key, if it is there.
    ///
    /// # Panics
    /// Unless the key has 1 to [`KEY_BYTES_MAX`] bytes.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.push(key.into(), None);
    }

    /// A put where there is a value, a delete where there is none.
    ///
    /// # Panics
    /// Unless the key has 1 to [`KEY_BYTES_MAX`] bytes.
    pub fn push(&mut self, key: Bytes, value: Option<Bytes>) {
        assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX, "a key has 1 to {KEY_BYTES_MAX} bytes");
        self.bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
        self.rows.push((key, value));
    }

    /// Adds everything of `later` after what is here.
    pub fn append(&mut self, mut later: Self) {
        self.bytes += later.bytes;
        self.rows.append(&mut later.rows);
    }

    /// How many puts and deletes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Keys and values together, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the batch costs in memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.rows.len() * ROW_OVERHEAD_BYTES
    }

    /// The rows in the order they were added, without taking them: a value, or none where the key is removed.
    pub fn rows(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.rows.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// The rows in the order they were added.
    #[must_use]
    pub fn into_rows(self) -> Vec<(Bytes, Option<Bytes>)> {
        self.rows
    }

    /// The rows in order of their keys, each key once with its last value. Costs one pass when they are in order.
    #[must_use]
    pub fn into_sorted_rows(self) -> Vec<(Bytes, Option<Bytes>)> {
        let mut rows = self.rows;
        if rows.is_sorted_by(|left, right| left.0 < right.0) {
            return rows;
        }
        rows.sort_by(|left, right| left.0.cmp(&right.0));
        // The sort is stable, so of equal keys the last one is the latest: its value moves forward over the others.
        rows.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                kept.1 = later.1.take();
            }
            same
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_key_wins() {
        let mut batch = Batch::new();
        batch.put("b", "1");
        batch.put("a", "2");
        batch.delete("b");
        batch.put("c", "3");
        batch.put("b", "4");
        batch.delete("c");
        assert_eq!((batch.len(), batch.bytes()), (6, 10));
        let expected: Vec<(Bytes, Option<Bytes>)> =
            vec![("a".into(), Some("2".into())), ("b".into(), Some("4".into())), ("c".into(), None)];
        assert_eq!(batch.into_sorted_rows(), expected);
    }

    #[test]
    fn appended_rows_come_after() {
        let mut first = Batch::new();
        first.put("a", "1");
        let mut second = Batch::new();
        second.delete("a");
        first.append(second);
        assert_eq!(first.bytes(), 3);
        assert_eq!(first.into_sorted_rows(), vec![(Bytes::from("a"), None)]);
    }
}
