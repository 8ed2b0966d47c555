//! What goes wrong in a simulation, and how often it did.

use std::collections::BTreeMap;
use std::fmt;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A frame met a cut wire or a machine without power.
    CutOff,
    /// A frame was lost.
    Lost,
    /// A frame arrived twice.
    Repeated,
    /// A frame could overtake others.
    Overtaken,
    /// Nodes were divided, both ways.
    Partition,
    /// A node was heard but heard nothing, or the other way round.
    OneWay,
    /// The network was slow.
    SlowNetwork,
    /// A process was killed; its peers' connections were closed.
    Kill,
    /// A machine lost its power: peers heard nothing, and what its disk had not synced was gone.
    PowerLoss,
    /// A process stood still while time went on.
    Pause,
    /// A clock was off from the beginning.
    Skew,
    /// A clock made a step, forwards or backwards.
    ClockJump,
    /// A disk was slow.
    SlowDisk,
    /// A disk was full.
    FullDisk,
    /// Leadership was handed over.
    Transfer,
    /// A node was put in another one's place.
    Replace,
    /// A node came beside the others.
    Add,
    /// A node left.
    Remove,
    /// The core was lost, and put back to an older copy of a node's folder.
    Restore,
    /// An edge's process was killed.
    EdgeCrash,
    /// An edge's machine stopped in the middle of a commit.
    EdgeCommitCut,
    /// An edge was cut off from every node.
    EdgeCutOff,
    /// An edge's clock jumped, by decades as like as not.
    EdgeClock,
    /// A request of an edge was lost.
    RequestLost,
    /// A node had done what an edge asked, and the answer was lost.
    AnswerLost,
    /// A request of an edge came once more, and later.
    RequestRepeated,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 26] = [
        Self::CutOff,
        Self::Lost,
        Self::Repeated,
        Self::Overtaken,
        Self::Partition,
        Self::OneWay,
        Self::SlowNetwork,
        Self::Kill,
        Self::PowerLoss,
        Self::Pause,
        Self::Skew,
        Self::ClockJump,
        Self::SlowDisk,
        Self::FullDisk,
        Self::Transfer,
        Self::Replace,
        Self::Add,
        Self::Remove,
        Self::Restore,
        Self::EdgeCrash,
        Self::EdgeCommitCut,
        Self::EdgeCutOff,
        Self::EdgeClock,
        Self::RequestLost,
        Self::AnswerLost,
        Self::RequestRepeated,
    ];
}

/// A flaw re-created on purpose, to see that a checker finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flaw {
    /// Skerry as it is.
    #[default]
    None,
    /// A vote is answered before it is on the disk, so that a crash forgets it.
    VoteNotDurable,
    /// The network adapter grants pre-votes itself instead of asking the peer.
    NoPreVote,
    /// A node that restarts votes at once, in spite of the lease that it may have acknowledged.
    NoWaitAfterRestart,
    /// The state is not put on the disk before the log is purged.
    StateNotSynced,
}

/// How often each kind of fault happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Kind, u64>);

impl Counts {
    /// One more.
    pub fn add(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }

    /// Those of another world as well.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(*kind).or_default() += count;
        }
    }

    /// How often a kind happened.
    #[must_use]
    pub fn of(&self, kind: Kind) -> u64 {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// Kinds that never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| !self.0.contains_key(kind)).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, kind) in Kind::ALL.into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{kind:?} {}", self.of(kind))?;
        }
        Ok(())
    }
}
