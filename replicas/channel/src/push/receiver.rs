//! The core's side of a push: one watermark per replica and shard recognises repeats, gaps and forks in constant memory
//! (DESIGN.md, Channel). Invariant: a chain only ever grows by the changes of one folder, each judged once.

use serde::{Deserialize, Serialize};
use skerry_model::Incarnation;

use crate::change::{Chain, Mark};
use crate::message::{Push, Pushed, Verdict};

/// What the core keeps of a replica in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The incarnation it has last taken changes of.
    pub incarnation: Incarnation,
    /// How far that one's chain has come.
    pub mark: Mark,
    /// Sequence number of the last batch's first change.
    pub batch_first: u64,
    /// The chain before that change.
    pub batch_before: Chain,
    /// That batch's verdicts, kept until the next batch names where it ended.
    pub verdicts: Vec<Verdict>,
}

/// What to do with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// Judge each change, and log effects, verdicts and a watermark that ends at this mark, in one record.
    Take(Mark),
    /// Answer this; nothing is logged.
    Answer(Pushed),
}

/// Judges a batch by its place on the chain.
#[must_use]
pub fn judge(watermark: Option<&Watermark>, push: &Push) -> Judgement {
    let start = Mark::start(&push.replica, &push.incarnation, push.shard);
    let before = Mark { sequence: push.first.saturating_sub(1), chain: push.before };
    let mut end = before;
    // A batch that was taken and grew behind its lost answer is a repeat of its beginning.
    let mut begins_with_last = false;
    for change in &push.changes {
        end = end.then(change);
        begins_with_last |= watermark.is_some_and(|known| known.mark == end);
    }
    let elsewhere = || {
        Judgement::Answer(Pushed::Elsewhere {
            incarnation: watermark.map(|known| known.incarnation),
            mark: watermark.map(|known| known.mark),
        })
    };
    let newest = watermark.is_none_or(|known| known.incarnation.number < push.incarnation.number);
    match watermark {
        _ if newest && before == start => Judgement::Take(end),
        Some(known) if known.incarnation == push.incarnation => {
            if before == known.mark {
                Judgement::Take(end)
            } else if begins_with_last && push.first == known.batch_first && push.before == known.batch_before {
                Judgement::Answer(Pushed::Judged { mark: known.mark, verdicts: known.verdicts.clone() })
            } else if before.sequence == known.mark.sequence {
                Judgement::Answer(Pushed::Fork { incarnation: known.incarnation })
            } else {
                elsewhere()
            }
        }
        Some(known) if !newest => Judgement::Answer(Pushed::Fork { incarnation: known.incarnation }),
        _ => elsewhere(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skerry_model::{Nonce, Origin, ShardId, Timeline};

    use super::*;

    const SHARD: ShardId = ShardId::new(0);

    fn shop() -> Origin {
        Origin::new("shop").unwrap()
    }

    fn incarnation(number: u32, nonce: u8) -> Incarnation {
        Incarnation { number, nonce: Nonce::from_bytes([nonce; 16]) }
    }

    fn push(incarnation: Incarnation, before: Mark, changes: &[&'static str]) -> Push {
        Push {
            replica: shop(),
            incarnation,
            timeline: Timeline::from_bytes([9; 16]),
            shard: SHARD,
            first: before.sequence + 1,
            before: before.chain,
            changes: changes.iter().map(|change| Bytes::from_static(change.as_bytes())).collect(),
        }
    }

    fn start(incarnation: Incarnation) -> Mark {
        Mark::start(&shop(), &incarnation, SHARD)
    }

    fn take(push: &Push, watermark: Option<&Watermark>) -> Watermark {
        let Judgement::Take(mark) = judge(watermark, push) else { panic!("not taken: {:?}", judge(watermark, push)) };
        let verdicts = vec![Verdict::Accepted; push.changes.len()];
        let (batch_first, batch_before) = (push.first, push.before);
        Watermark { incarnation: push.incarnation, mark, batch_first, batch_before, verdicts }
    }

    #[test]
    fn a_chain_grows_batch_by_batch() {
        let first = incarnation(1, 0);
        let one = take(&push(first, start(first), &["a", "b"]), None);
        assert_eq!(one.mark.sequence, 2);
        let two = take(&push(first, one.mark, &["c"]), Some(&one));
        assert_eq!(two.mark, start(first).then(b"a").then(b"b").then(b"c"));
    }

    #[test]
    fn a_repeat_gets_the_same_verdicts() {
        let first = incarnation(1, 0);
        let batch = push(first, start(first), &["a", "b"]);
        let known = take(&batch, None);
        let expected = Pushed::Judged { mark: known.mark, verdicts: known.verdicts.clone() };
        assert_eq!(judge(Some(&known), &batch), Judgement::Answer(expected));
    }

    #[test]
    fn gaps_and_old_batches_are_told_where_the_core_stands() {
        let first = incarnation(1, 0);
        let batch = push(first, start(first), &["a", "b"]);
        let known = take(&push(first, take(&batch, None).mark, &["c"]), Some(&take(&batch, None)));
        let elsewhere = Judgement::Answer(Pushed::Elsewhere { incarnation: Some(first), mark: Some(known.mark) });
        assert_eq!(judge(Some(&known), &batch), elsewhere);
        let ahead = known.mark.then(b"d");
        assert_eq!(judge(Some(&known), &push(first, ahead, &["e"])), elsewhere);
        let nothing = Judgement::Answer(Pushed::Elsewhere { incarnation: None, mark: None });
        assert_eq!(judge(None, &push(first, ahead, &["e"])), nothing);
    }

    #[test]
    fn a_copied_folder_is_a_fork() {
        let first = incarnation(1, 0);
        let known = take(&push(first, start(first), &["a"]), None);
        let fork = Judgement::Answer(Pushed::Fork { incarnation: first });
        let other_tail = push(first, start(first).then(b"x"), &["y"]);
        assert_eq!(judge(Some(&known), &other_tail), fork);
        let same_number = incarnation(1, 7);
        assert_eq!(judge(Some(&known), &push(same_number, start(same_number), &["x"])), fork);
        let second = incarnation(2, 3);
        let later = take(&push(second, start(second), &["a"]), Some(&known));
        let fork = Judgement::Answer(Pushed::Fork { incarnation: second });
        assert_eq!(judge(Some(&later), &push(first, known.mark, &["b"])), fork);
    }
}
