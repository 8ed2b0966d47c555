//! How many bytes the entries of a log take, and where the last so many of them begin.
//! Counts exactly while there are few, and the longer the log the coarser. Pure: knows nothing of stores.

use std::collections::VecDeque;

/// Marks of a log; past it neighbours are counted together.
const MARKS_MAX: usize = 1_024;

/// Sizes of consecutive entries.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    marks: VecDeque<Mark>,
    bytes: u64,
    /// Entries are counted together while they take no more bytes.
    grain: u64,
}

/// Entries counted together.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Index of the first of them.
    first: u64,
    bytes: u64,
}

impl Sizes {
    /// Counts the entry that follows the last one.
    pub(super) fn push(&mut self, index: u64, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        self.add(Mark { first: index, bytes });
        if self.marks.len() > MARKS_MAX {
            self.grain = 2 * self.bytes / MARKS_MAX as u64;
            std::mem::take(&mut self.marks).into_iter().for_each(|mark| self.add(mark));
        }
    }

    fn add(&mut self, mark: Mark) {
        match self.marks.back_mut().filter(|last| last.bytes + mark.bytes <= self.grain) {
            Some(last) => last.bytes += mark.bytes,
            None => self.marks.push_back(mark),
        }
    }

    /// Forgets every entry from `start` on.
    pub(super) fn truncate(&mut self, start: u64) {
        while let Some(mark) = self.marks.pop_back_if(|mark| mark.first >= start) {
            self.bytes -= mark.bytes;
        }
    }

    /// Forgets every entry below `end`, where `behind` is the index after the last one.
    pub(super) fn purge(&mut self, end: u64, behind: u64) {
        while let Some(first) = self.marks.front()
            && self.marks.get(1).map_or(behind, |next| next.first) <= end
        {
            self.bytes -= first.bytes;
            self.marks.pop_front();
        }
    }

    /// Bytes of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The index below which entries must go so that the others take at most `kept` bytes; the last ones stay, however many
    /// bytes they take.
    pub(super) fn excess(&self, kept: u64) -> Option<u64> {
        let mut bytes = 0;
        let mut marks = self.marks.iter().rev().peekable();
        let mut begin = None;
        while let Some(mark) = marks.next_if(|mark| bytes + mark.bytes <= kept || begin.is_none()) {
            bytes += mark.bytes;
            begin = Some(mark.first);
        }
        begin.filter(|_| marks.peek().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(entries: std::ops::Range<u64>) -> Sizes {
        let mut sizes = Sizes::default();
        entries.for_each(|index| sizes.push(index, 10));
        sizes
    }

    #[test]
    fn what_is_kept_ends_with_the_log() {
        let sizes = filled(10..20);
        assert_eq!(sizes.bytes(), 100);
        assert_eq!(sizes.excess(100), None);
        assert_eq!(sizes.excess(99), Some(11));
        assert_eq!(sizes.excess(20), Some(18));
        assert_eq!(sizes.excess(0), Some(19));
        assert_eq!(filled(10..11).excess(0), None);
        assert_eq!(Sizes::default().excess(0), None);
    }

    #[test]
    fn what_left_is_not_counted() {
        let mut sizes = filled(10..20);
        sizes.purge(13, 20);
        assert_eq!(sizes.bytes(), 70);
        sizes.truncate(17);
        assert_eq!(sizes.bytes(), 40);
        sizes.push(17, 30);
        assert_eq!((sizes.bytes(), sizes.excess(30)), (70, Some(17)));
        sizes.purge(18, 18);
        assert_eq!((sizes.bytes(), sizes.excess(0)), (0, None));
    }

    #[test]
    fn a_long_log_is_counted_with_few_marks() {
        let entries = 100 * MARKS_MAX as u64;
        let mut sizes = filled(0..entries);
        assert!(sizes.marks.len() <= MARKS_MAX);
        assert_eq!(sizes.bytes(), 10 * entries);
        let end = sizes.excess(5 * entries).unwrap();
        assert!((entries / 2..entries / 2 + entries / 100).contains(&end), "{end}");
        sizes.purge(end, entries);
        assert_eq!(sizes.bytes(), 10 * (entries - end));
    }
}
