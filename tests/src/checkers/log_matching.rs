//! Two logs with an entry of the same index and term are the same up to it (Ongaro 2014, figure 3.2, Log Matching). By
//! induction it is enough that index and term decide an entry's contents and the term before it.

use std::collections::BTreeMap;

use skerry_model::ShardId;

use super::{Checker, View};

/// The entry's digest, and the term of the entry before it.
type Contents = ([u8; 32], Option<u64>);

#[derive(Default)]
pub(super) struct LogMatching {
    entries: BTreeMap<(ShardId, u64, u64), Contents>,
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        "log matching"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let mut before: Option<(u64, u64)> = None;
            for line in &on_node.log {
                let (index, term) = (line.index, line.term);
                let previous = before.filter(|(at, _)| at + 1 == index).map(|(_, term)| term);
                if previous.is_some_and(|previous| previous > term) {
                    return Err(format!("shard {shard}: on node {node} the term falls to {term} at index {index}"));
                }
                before = Some((index, term));
                let known = self.entries.entry((shard, index, term)).or_insert((line.digest, previous));
                let differs = known.0 != line.digest || matches!((known.1, previous), (Some(a), Some(b)) if a != b);
                if differs {
                    let contents = if known.0 == line.digest { "follows another term" } else { "is another one" };
                    return Err(format!(
                        "shard {shard}: entry {index} of term {term} {contents} on node {node}: {previous:?} is before \
                         it, {:?} elsewhere",
                        known.1
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ShardView;
    use super::super::testing::{line, refuses, running, view, with_log};
    use super::*;

    #[test]
    fn logs_that_do_not_match_are_found() {
        let other_contents = [line(1, 1, 0), line(1, 1, 9)];
        let logs = other_contents.map(|line| ShardView { log: vec![line], ..ShardView::default() });
        refuses(LogMatching::default(), vec![view(logs.to_vec())]);
        let other_past = [&[1, 3][..], &[2, 3][..]].map(|terms| with_log(running(3, false, 0), terms));
        refuses(LogMatching::default(), vec![view(other_past.to_vec())]);
    }
}
