//! Connections that were refused: each is counted, and the first of a caller for a reason is logged, since a node that is
//! refused asks again and again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use skerry_model::NodeId;

use crate::limits::REFUSALS_LOGGED_MAX;

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The caller has no certificate that this node's authority signed, or speaks no TLS where it must.
    Certificate,
    /// A frame was larger than any may be.
    Frame,
    /// What was sent is no Hello, or no request.
    Malformed,
    /// The caller speaks another protocol.
    Protocol,
    /// The caller wanted another node.
    Address,
    /// The caller is not part of the cluster, or no longer.
    Member,
    /// The caller is of another cluster.
    Cluster,
    /// The caller is on another timeline.
    Timeline,
    /// The caller's data folder is not the one that is known.
    Folder,
    /// This node cannot take it now.
    Unable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Certificate,
        Self::Frame,
        Self::Malformed,
        Self::Protocol,
        Self::Address,
        Self::Member,
        Self::Cluster,
        Self::Timeline,
        Self::Folder,
        Self::Unable,
    ];

    /// Its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Frame => "frame",
            Self::Malformed => "malformed",
            Self::Protocol => "protocol",
            Self::Address => "address",
            Self::Member => "member",
            Self::Cluster => "cluster",
            Self::Timeline => "timeline",
            Self::Folder => "folder",
            Self::Unable => "unable",
        }
    }
}

/// A refusal, and what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for the count.
    pub reason: Reason,
    /// Why, in a sentence.
    pub detail: String,
}

impl Refusal {
    /// A refusal.
    #[must_use]
    pub const fn new(reason: Reason, detail: String) -> Self {
        Self { reason, detail }
    }
}

/// The refusals of a node since its start.
#[derive(Debug, Default)]
pub struct Refusals {
    counts: [AtomicU64; Reason::ALL.len()],
    logged: Mutex<BTreeSet<(Reason, Option<NodeId>)>>,
}

impl Refusals {
    /// Counts a refusal; `caller` is who the caller says it is, if it came to that.
    pub fn note(&self, refusal: &Refusal, caller: Option<NodeId>) {
        let Refusal { reason, detail } = refusal;
        self.counts[*reason as usize].fetch_add(1, Ordering::Relaxed);
        if self.is_new(*reason, caller) {
            let caller = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.to_string());
            tracing::warn!(
                caller,
                reason = reason.name(),
                detail,
                "a connection was refused; repeats are only counted"
            );
        }
    }

    fn is_new(&self, reason: Reason, caller: Option<NodeId>) -> bool {
        let mut logged = self.logged.lock();
        let has_room = logged.len() < REFUSALS_LOGGED_MAX;
        has_room && logged.insert((reason, caller))
    }

    /// A caller came in: should it be refused again, that is news.
    pub fn forget(&self, caller: NodeId) {
        self.logged.lock().retain(|(_, known)| *known != Some(caller));
    }

    /// How often connections were refused for each reason.
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().map(|reason| (reason, self.counts[reason as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_and_the_first_is_news() {
        let refusals = Refusals::default();
        let (node, refusal) = (NodeId::new(4), Refusal::new(Reason::Cluster, "another".to_owned()));
        (0..3).for_each(|_| refusals.note(&refusal, Some(node)));
        let counted: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Reason::Cluster, 3)]);
        assert!(!refusals.is_new(Reason::Cluster, Some(node)));
        assert!(refusals.is_new(Reason::Timeline, Some(node)));
        refusals.forget(node);
        assert!(refusals.is_new(Reason::Cluster, Some(node)));
    }

    #[test]
    fn callers_cannot_make_it_grow() {
        let refusals = Refusals::default();
        let new = (0..10_000).filter(|id| refusals.is_new(Reason::Member, Some(NodeId::new(*id)))).count();
        assert_eq!(new, REFUSALS_LOGGED_MAX);
    }

    #[test]
    fn every_reason_has_its_count() {
        assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| *reason as usize == at));
    }
}
