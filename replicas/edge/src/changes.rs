//! Changes as an application hears of them: which document reads otherwise, whoever wrote it.

use skerry_api::documents::Address;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Documents that change at this edge, by a write here or by news of the core, from the moment of [`crate::Edge::changes`]
/// on. Each is told once its change is stored; a document that changes twice in one commit is told once.
pub struct Changes {
    changed: broadcast::Receiver<Address>,
    stopped: CancellationToken,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// This document may read otherwise: read it.
    Changed(Address),
    /// The listener was too slow, and so many changes were not told: read everything of interest.
    Missed(u64),
}

impl Changes {
    pub(crate) fn new(changed: broadcast::Receiver<Address>, stopped: CancellationToken) -> Self {
        Self { changed, stopped }
    }

    /// The next one; `None` once the edge has stopped.
    pub async fn next(&mut self) -> Option<Heard> {
        let heard = tokio::select! {
            biased;
            heard = self.changed.recv() => heard,
            () = self.stopped.cancelled() => return None,
        };
        match heard {
            Ok(changed) => Some(Heard::Changed(changed)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
