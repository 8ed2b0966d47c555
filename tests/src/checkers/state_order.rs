//! A node applies only what it knows to be committed (openraft's order of I/O: applied, committed).

use super::{Checker, View};

pub(super) struct StateOrder;

impl Checker for StateOrder {
    fn name(&self) -> &'static str {
        "state ordering"
    }

    fn look(&mut self, view: &View) -> Result<(), String> {
        for (node, shard, on_node) in view.shards() {
            let Some(running) = on_node.running else { continue };
            if running.reported > running.committed {
                let (applied, committed) = (running.reported, running.committed);
                return Err(format!("shard {shard}: node {node} has applied {applied}, committed is {committed}"));
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
    fn applying_what_is_not_committed_is_found() {
        let mut early = running(1, true, 5);
        if let Some(running) = &mut early.running {
            running.committed = 4;
        }
        refuses(StateOrder, vec![view(vec![early])]);
    }
}
