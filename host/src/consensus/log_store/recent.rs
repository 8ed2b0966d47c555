//! The last entries of a log in memory: all that are not on the disk yet, and of the others as many as fit.
//! Invariant: the entries are consecutive and end with the log's last; one leaves only when it is on the disk.
//! Pure: knows nothing of stores.

use std::collections::VecDeque;

/// Entries by index, with their sizes.
#[derive(Debug)]
pub(super) struct Recent<E> {
    entries: VecDeque<(E, usize)>,
    /// Index of the first one, meaningless when there is none.
    first: u64,
    /// Sum of the sizes.
    bytes: usize,
    bytes_max: usize,
    /// Every entry below this index is on the disk.
    durable_end: u64,
}

impl<E: Clone> Recent<E> {
    /// No entries; those already in the log, all below `durable_end`, are on the disk.
    pub(super) fn new(durable_end: u64, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), first: 0, bytes: 0, bytes_max, durable_end }
    }

    /// Adds the entry that follows the last one.
    pub(super) fn push(&mut self, index: u64, entry: E, bytes: usize) {
        if self.entries.is_empty() {
            self.first = index;
        }
        assert_eq!(index, self.first + self.entries.len() as u64, "entries are consecutive");
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
    }

    /// Every entry below `end` is on the disk.
    pub(super) fn mark_durable(&mut self, end: u64) {
        self.durable_end = self.durable_end.max(end);
        while self.bytes > self.bytes_max && self.first < self.durable_end && self.pop_first() {}
    }

    /// Forgets every entry from `start` on.
    pub(super) fn truncate(&mut self, start: u64) {
        self.durable_end = self.durable_end.min(start);
        while self.entries.back().is_some() && self.first + self.entries.len() as u64 > start {
            let removed = self.entries.pop_back().map_or(0, |(_, bytes)| bytes);
            self.bytes -= removed;
        }
    }

    /// Forgets every entry below `end`, on the disk or not.
    pub(super) fn purge(&mut self, end: u64) {
        while self.first < end && self.pop_first() {}
    }

    /// Index of the first entry here.
    pub(super) fn first(&self) -> Option<u64> {
        (!self.entries.is_empty()).then_some(self.first)
    }

    /// The entries from `start` up to and without `end` that are here, until their sizes pass `bytes_max`; the first one
    /// however large it is.
    pub(super) fn copy(&self, start: u64, end: u64, bytes_max: usize) -> Vec<E> {
        let skip = usize::try_from(start.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(start.max(self.first))).unwrap_or(usize::MAX);
        let mut copied = Vec::with_capacity(count.min(self.entries.len().saturating_sub(skip)));
        let mut total = 0_usize;
        for (entry, bytes) in self.entries.iter().skip(skip).take(count) {
            total = total.saturating_add(*bytes);
            if total > bytes_max && !copied.is_empty() {
                break;
            }
            copied.push(entry.clone());
        }
        copied
    }

    fn pop_first(&mut self) -> bool {
        let removed = self.entries.pop_front();
        if let Some((_, bytes)) = &removed {
            self.bytes -= bytes;
            self.first += 1;
        }
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: std::ops::Range<u64>, bytes_max: usize) -> Recent<u64> {
        let mut recent = Recent::new(entries.start, bytes_max);
        entries.for_each(|index| recent.push(index, index, 10));
        recent
    }

    #[test]
    fn entries_leave_only_when_they_are_durable() {
        let mut recent = filled(5..10, 20);
        assert_eq!(recent.first(), Some(5));
        recent.mark_durable(7);
        assert_eq!(recent.first(), Some(7));
        recent.mark_durable(10);
        assert_eq!(recent.first(), Some(8));
        assert_eq!(recent.copy(0, 100, usize::MAX), [8, 9]);
    }

    #[test]
    fn what_follows_a_truncation_is_not_durable() {
        let mut recent = filled(5..10, 30);
        recent.mark_durable(10);
        recent.truncate(8);
        recent.push(8, 80, 100);
        recent.mark_durable(8);
        assert_eq!(recent.copy(0, 100, usize::MAX), [80]);
        recent.mark_durable(9);
        assert_eq!(recent.first(), None);
    }

    #[test]
    fn a_copy_is_bounded_but_never_empty() {
        let recent = filled(5..10, 100);
        assert_eq!(recent.copy(6, 9, 100), [6, 7, 8]);
        assert_eq!(recent.copy(6, 9, 20), [6, 7]);
        assert_eq!(recent.copy(6, 9, 1), [6]);
        assert_eq!(recent.copy(0, 6, 100), [5]);
        assert!(recent.copy(10, 12, 100).is_empty());
        assert!(recent.copy(0, 5, 100).is_empty());
    }

    #[test]
    fn purging_takes_from_the_front() {
        let mut recent = filled(5..10, 100);
        recent.purge(8);
        assert_eq!(recent.copy(0, 100, 100), [8, 9]);
        recent.purge(100);
        assert_eq!(recent.first(), None);
    }
}
