//! A hash over everything that a shard's log has done to its rows. Replicas that applied the same log have the same one;
//! where they do not, one of them is damaged or differs in its code, and the next snapshot or leader would spread it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use skerry_store::Batch;

/// Places that a replica can still compare.
pub const MARKS_MAX: usize = 8;

/// The hash: BLAKE3 over the one before, the record's index, and the rows that it put and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EffectHash(#[serde(with = "serde_bytes")] [u8; 32]);

impl EffectHash {
    /// The hash after a record at `index`.
    #[must_use]
    pub fn after(self, index: u64, batch: &Batch) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0).update(&index.to_le_bytes());
        for (key, value) in batch.rows() {
            hasher.update(&(key.len() as u64).to_le_bytes()).update(key);
            if let Some(value) = value {
                hasher.update(&(value.len() as u64).to_le_bytes()).update(value);
            }
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// The newest places where a replica noted its hash; in memory, since a replica that restarts compares at the next one.
#[derive(Debug, Default)]
pub struct Marks(VecDeque<(u64, EffectHash)>);

impl Marks {
    /// Notes the hash at an index.
    pub fn note(&mut self, index: u64, effects: EffectHash) {
        self.0.push_back((index, effects));
        if self.0.len() > MARKS_MAX {
            self.0.pop_front();
        }
    }

    /// The newest place.
    #[must_use]
    pub fn newest(&self) -> Option<(u64, EffectHash)> {
        self.0.back().copied()
    }

    /// Whether this replica's hash at an index is another one; `false` where it is not known any more.
    #[must_use]
    pub fn differs(&self, index: u64, effects: EffectHash) -> bool {
        self.0.iter().any(|(at, known)| *at == index && *known != effects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(rows: &[(&str, Option<&str>)]) -> Batch {
        let mut batch = Batch::new();
        for (key, value) in rows {
            batch.push(bytes::Bytes::copy_from_slice(key.as_bytes()), value.map(|value| value.to_owned().into()));
        }
        batch
    }

    #[test]
    fn every_difference_shows() {
        let hash = |index, rows: &[_]| EffectHash::default().after(index, &batch(rows));
        let all = [
            hash(1, &[("a", Some("b"))]),
            hash(2, &[("a", Some("b"))]),
            hash(1, &[("ab", Some(""))]),
            hash(1, &[("a", None)]),
            hash(1, &[]),
            hash(1, &[("a", Some("b"))]).after(1, &batch(&[("a", Some("b"))])),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn marks_are_few_and_found_by_index() {
        let mut marks = Marks::default();
        let hash = |index| EffectHash::default().after(index, &Batch::new());
        (1..=20).for_each(|index| marks.note(index, hash(index)));
        assert_eq!(marks.newest(), Some((20, hash(20))));
        assert!(marks.differs(20, hash(1)) && !marks.differs(20, hash(20)));
        assert!(!marks.differs(1, hash(2)), "it is forgotten");
    }
}
