//! All nodes apply the same record at the same index, and to the same effect (Ongaro 2014, figure 3.2, State Machine
//! Safety): the SCN and the hash of effects that a node has reached at an index are the same on all of them.

use std::collections::BTreeMap;

use skerry_host::documents::effects::EffectHash;
use skerry_model::{Scn, ShardId};

use super::{Checker, View};

#[derive(Default)]
pub(super) struct StateMachineSafety {
    reached: BTreeMap<(ShardId, u64), (Scn, EffectHash)>,
}

impl Checker for StateMachineSafety {
    fn name(&self) -> &'static str {
        "state machine safety"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let Some(running) = on_node.running else { continue };
            let now = (running.scn, running.effects);
            let known = *self.reached.entry((shard, running.applied)).or_insert(now);
            if known != now || running.divergences > 0 {
                let at = running.applied;
                return Err(format!(
                    "shard {shard}: at index {at} node {node} is at {now:?}, another was at {known:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{refuses, running, view};
    use super::*;

    #[test]
    fn two_states_at_one_index_are_found() {
        let mut other = running(1, false, 5);
        if let Some(running) = &mut other.running {
            running.scn = Scn::from_bits(9);
        }
        refuses(StateMachineSafety::default(), vec![view(vec![running(1, true, 5), other])]);
        let mut alarmed = running(1, false, 5);
        if let Some(running) = &mut alarmed.running {
            running.divergences = 1;
        }
        refuses(StateMachineSafety::default(), vec![view(vec![alarmed])]);
    }
}
