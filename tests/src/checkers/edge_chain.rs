//! An edge's changes are judged once each and without gaps: every watermark stands on the hash chain of what the edge has
//! sent (Haber and Stornetta 1991), batches follow each other densely, and a sequence number names one change for good
//! (at most once by sequence numbers: Birrell and Nelson 1984).

use std::collections::BTreeMap;

use bytes::Bytes;
use skerry_channel::change::Mark;
use skerry_channel::message::Push;
use skerry_channel::push::receiver::Watermark;
use skerry_model::{Incarnation, Origin, ShardId};

use super::{Checker, View};

/// One chain: an edge's changes to a shard under one incarnation.
type Chain = (ShardId, Origin, Incarnation);

#[derive(Default)]
pub(super) struct EdgeChain {
    /// What was sent, by sequence number.
    sent: BTreeMap<Chain, BTreeMap<u64, Bytes>>,
    /// Every watermark that was seen, by where it stands.
    seen: BTreeMap<Chain, BTreeMap<u64, Watermark>>,
}

impl Checker for EdgeChain {
    fn name(&self) -> &'static str {
        "dense chain of an edge"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        view.pushes.iter().try_for_each(|push| self.note(push))?;
        for (node, shard, on_node) in view.shards() {
            for (replica, watermark) in &on_node.watermarks {
                let chain = (shard, replica.clone(), watermark.incarnation);
                self.check(chain, watermark).map_err(|wrong| {
                    format!("shard {shard}: {replica} on node {node}: {wrong}; it is {watermark:?}")
                })?;
            }
        }
        Ok(())
    }
}

impl EdgeChain {
    fn note(&mut self, push: &Push) -> Result<(), String> {
        let sent = self.sent.entry((push.shard, push.replica.clone(), push.incarnation)).or_default();
        for (sequence, change) in (push.first..).zip(&push.changes) {
            let known = sent.entry(sequence).or_insert_with(|| change.clone());
            if known != change {
                return Err(format!("shard {}: {} has sent two changes {sequence}", push.shard, push.replica));
            }
        }
        Ok(())
    }

    fn check(&mut self, chain: Chain, watermark: &Watermark) -> Result<(), String> {
        let at = watermark.mark.sequence;
        let seen = self.seen.entry(chain.clone()).or_default();
        if let Some(known) = seen.get(&at) {
            return if known == watermark { Ok(()) } else { Err(format!("elsewhere {at} was judged as {known:?}")) };
        }
        if watermark.batch_first + watermark.verdicts.len() as u64 != at + 1 {
            return Err("its verdicts are not one for each change of its batch".to_owned());
        }
        if let Some((before, _)) = seen.range(..at).next_back().filter(|(before, _)| **before >= watermark.batch_first)
        {
            return Err(format!("its batch judges again what ended at {before}"));
        }
        if let Some((after, next)) = seen.range(at..).next().filter(|(_, next)| next.batch_first <= at) {
            return Err(format!("the batch that ends at {after} begins at {}", next.batch_first));
        }
        let start = Mark::start(&chain.1, &chain.2, chain.0);
        let sent = self.sent.entry(chain.clone()).or_default();
        let (mut mark, mut before) = (start, start);
        for sequence in 1..=at {
            if sequence == watermark.batch_first {
                before = mark;
            }
            let change = sent.get(&sequence).ok_or_else(|| format!("change {sequence} was never sent"))?;
            mark = mark.then(change);
        }
        if mark != watermark.mark || before.chain != watermark.batch_before {
            return Err("it does not stand on the chain of what was sent".to_owned());
        }
        seen.insert(at, watermark.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skerry_channel::message::Verdict;
    use skerry_model::{Nonce, Timeline};

    use super::super::ShardView;
    use super::super::testing::{refuses, view};
    use super::*;

    const INCARNATION: Incarnation = Incarnation { number: 1, nonce: Nonce::from_bytes([1; 16]) };

    fn shop() -> Origin {
        "shop".parse().unwrap()
    }

    fn mark(changes: &[&'static str]) -> Mark {
        let start = Mark::start(&shop(), &INCARNATION, ShardId::new(0));
        changes.iter().fold(start, |mark, change| mark.then(change.as_bytes()))
    }

    fn sends(first: u64, before: &[&'static str], changes: &[&'static str]) -> View {
        let push = Push {
            replica: shop(),
            incarnation: INCARNATION,
            timeline: Timeline::from_bytes([2; 16]),
            shard: ShardId::new(0),
            first,
            before: mark(before).chain,
            changes: changes.iter().map(|change| Bytes::from_static(change.as_bytes())).collect(),
        };
        View { pushes: vec![push], ..View::default() }
    }

    /// A node whose last batch began behind the first `before` of these changes.
    fn judged(before: usize, changes: &[&'static str]) -> View {
        let watermark = Watermark {
            incarnation: INCARNATION,
            mark: mark(changes),
            batch_first: before as u64 + 1,
            batch_before: mark(&changes[..before]).chain,
            verdicts: vec![Verdict::Accepted; changes.len() - before],
        };
        view(vec![ShardView { watermarks: vec![(shop(), watermark)], ..ShardView::default() }])
    }

    #[test]
    fn a_batch_after_the_other_is_taken() {
        let mut checker = EdgeChain::default();
        let moments = [sends(1, &[], &["a", "b"]), judged(0, &["a", "b"]), sends(3, &["a", "b"], &["c"])];
        for moment in moments.into_iter().chain([judged(2, &["a", "b", "c"]), judged(0, &["a", "b"])]) {
            checker.look(&moment).unwrap();
        }
    }

    #[test]
    fn what_is_judged_twice_is_found() {
        let sent = sends(1, &[], &["a", "b", "c"]);
        refuses(EdgeChain::default(), vec![sent.clone(), judged(0, &["a", "b"]), judged(1, &["a", "b", "c"])]);
        refuses(EdgeChain::default(), vec![sent, judged(1, &["a", "b", "c"]), judged(0, &["a", "b"])]);
    }

    #[test]
    fn gaps_are_found() {
        refuses(EdgeChain::default(), vec![sends(2, &["a"], &["b"]), judged(1, &["a", "b"])]);
        let mut short = judged(0, &["a", "b"]);
        short.nodes[0].1[0].watermarks[0].1.verdicts.pop();
        refuses(EdgeChain::default(), vec![sends(1, &[], &["a", "b"]), short]);
    }

    #[test]
    fn what_was_never_sent_is_found() {
        refuses(EdgeChain::default(), vec![sends(1, &[], &["a", "b"]), judged(0, &["a", "x"])]);
        refuses(EdgeChain::default(), vec![sends(1, &[], &["a"]), sends(1, &[], &["x"])]);
    }
}
