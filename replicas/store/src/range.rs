//! Which keys, how many of them, and in which order.

use std::ops::{Bound, RangeBounds};

use bytes::Bytes;

/// In which order rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the lowest key up.
    Forward,
    /// From the highest key down.
    Backward,
}

/// Where a scan stops: after the row that reaches either bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Rows.
    pub rows: usize,
    /// Keys and values together, in bytes. The last row may pass it.
    pub bytes: usize,
}

impl Limit {
    /// A number of rows, however large they are.
    #[must_use]
    pub const fn rows(rows: usize) -> Self {
        Self { rows, bytes: usize::MAX }
    }

    /// A number of bytes, however many rows that is.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self { rows: usize::MAX, bytes }
    }

    /// Whether a scan that returned these rows stopped for the limit, so that there may be more.
    #[must_use]
    pub fn is_reached_by(&self, rows: &[(Bytes, Bytes)]) -> bool {
        rows.len() >= self.rows || rows.iter().map(row_bytes).sum::<usize>() >= self.bytes
    }

    /// What is left after one more row.
    pub(crate) fn less(self, row: &(Bytes, Bytes)) -> Self {
        Self { rows: self.rows.saturating_sub(1), bytes: self.bytes.saturating_sub(row_bytes(row)) }
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

/// Where rows to be ingested stop rising, the key `last` before the first of them.
pub(crate) fn first_out_of_order(last: Option<&Bytes>, rows: &[(Bytes, Bytes)]) -> Option<usize> {
    let mut before = last;
    rows.iter().position(|(key, _)| before.replace(key).is_some_and(|before| before >= key))
}

fn row_bytes(row: &(Bytes, Bytes)) -> usize {
    row.0.len() + row.1.len()
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bound<Bytes>,
    end: Bound<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self { start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// The keys between two bounds, as in `KeyRange::new(from..to)`; there are none when they cross.
    #[must_use]
    pub fn new(range: impl RangeBounds<Bytes>) -> Self {
        Self { start: range.start_bound().cloned(), end: range.end_bound().cloned() }
    }

    /// The keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let end = match prefix.iter().rposition(|&byte| byte != u8::MAX) {
            Some(at) => {
                let mut end = prefix[..=at].to_vec();
                end[at] += 1;
                Bound::Excluded(end.into())
            }
            None => Bound::Unbounded,
        };
        Self { start: Bound::Included(prefix), end }
    }

    /// What is left of the range behind `key` in `direction`, without `key` itself.
    #[must_use]
    pub fn behind(mut self, key: Bytes, direction: Direction) -> Self {
        match direction {
            Direction::Forward => self.start = Bound::Excluded(key),
            Direction::Backward => self.end = Bound::Excluded(key),
        }
        self
    }

    /// The range up to `key` in `direction`, `key` included.
    pub(crate) fn up_to(mut self, key: Bytes, direction: Direction) -> Self {
        match direction {
            Direction::Forward => self.end = Bound::Included(key),
            Direction::Backward => self.start = Bound::Included(key),
        }
        self
    }

    /// Whether no key can be in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end) | Bound::Included(end)) => {
                start >= end
            }
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }

    /// The bounds as ordered maps take them. A map panics on an empty range: ask [`Self::is_empty`] first.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(Bytes::as_ref), self.end.as_ref().map(Bytes::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_prefix(prefix: &[u8], end: Bound<&[u8]>) {
        let range = KeyRange::prefix(Bytes::copy_from_slice(prefix));
        assert_eq!(range.bounds(), (Bound::Included(prefix), end));
    }

    #[test]
    fn prefixes_end_before_the_next_prefix() {
        check_prefix(b"ab", Bound::Excluded(b"ac"));
        check_prefix(&[7, 0xff, 0xff], Bound::Excluded(&[8]));
        check_prefix(&[0xff, 0xff], Bound::Unbounded);
        check_prefix(b"", Bound::Unbounded);
    }

    #[test]
    fn crossed_bounds_are_empty() {
        let (a, b) = (Bytes::from("a"), Bytes::from("b"));
        assert!(KeyRange::new(b.clone()..a.clone()).is_empty());
        assert!(KeyRange::new(a.clone()..a.clone()).is_empty());
        assert!(!KeyRange::new(a.clone()..=a.clone()).is_empty());
        assert!(KeyRange::new(a.clone()..=b.clone()).behind(b, Direction::Forward).is_empty());
        assert!(!KeyRange::all().behind(a, Direction::Backward).is_empty());
    }
}
