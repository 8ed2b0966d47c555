//! What a quorum is: a majority of the voters of every configuration, two of them while a membership change is under way
//! (joint consensus; Ongaro 2014, section 4.3). Counted against all that are configured, never those that answer.

use std::collections::BTreeSet;

use skerry_model::NodeId;

/// How many of `voters` are a majority.
#[must_use]
pub const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether `nodes` are a quorum of each configuration. Without voters there is none.
#[must_use]
pub fn is_quorum(configurations: &[BTreeSet<NodeId>], nodes: &BTreeSet<NodeId>) -> bool {
    !configurations.is_empty()
        && configurations.iter().all(|voters| voters.intersection(nodes).count() >= majority(voters.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majorities() {
        let expected = [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)];
        for (voters, of_them) in expected {
            assert_eq!(majority(voters), of_them, "{voters}");
        }
    }

    #[test]
    fn nobody_is_no_quorum() {
        assert!(!is_quorum(&[], &BTreeSet::new()));
        assert!(!is_quorum(&[BTreeSet::new()], &BTreeSet::new()));
    }
}
