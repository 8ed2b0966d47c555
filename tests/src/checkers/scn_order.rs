//! SCNs rise with the index within a shard, whatever clocks do, so what was resolved is never passed (DESIGN.md, Time).

use std::collections::BTreeMap;

use skerry_model::{Scn, ShardId};

use super::{Checker, View};

#[derive(Default)]
pub(super) struct ScnOrder {
    reached: BTreeMap<ShardId, BTreeMap<u64, Scn>>,
}

impl Checker for ScnOrder {
    fn name(&self) -> &'static str {
        "SCN order"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let Some(running) = on_node.running else { continue };
            let reached = self.reached.entry(shard).or_default();
            let (index, scn) = (running.applied, running.scn);
            let before = reached.range(..index).next_back().is_none_or(|(_, before)| *before <= scn);
            let behind = reached.range(index + 1..).next().is_none_or(|(_, behind)| scn <= *behind);
            if !before || !behind {
                return Err(format!("shard {shard}: node {node} is at SCN {scn} at index {index}, out of order"));
            }
            reached.insert(index, scn);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, running, view};
    use super::*;

    #[test]
    fn an_scn_that_falls_is_found() {
        let mut lower = running(1, true, 6);
        if let Some(running) = &mut lower.running {
            running.scn = Scn::from_bits(3);
        }
        refuses(ScnOrder::default(), vec![view(vec![running(1, true, 5)]), view(vec![lower])]);
    }
}
