//! The first storage error of a writer, for good: whoever asks later hears the same.

use tokio::sync::{Semaphore, watch};

use crate::Error;

/// Holds the first error and wakes who waits for it.
#[derive(Debug)]
pub(crate) struct Failure(watch::Sender<Option<Error>>);

impl Failure {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Keeps the error unless there is one already, and closes `room`, so that nobody waits for what will not come.
    /// Whoever sees one of the two sees the other.
    pub(crate) fn record(&self, error: &Error, room: &Semaphore) {
        self.0.send_if_modified(|first| {
            room.close();
            let is_first = first.is_none();
            if is_first {
                *first = Some(error.clone());
            }
            is_first
        });
    }

    /// The first error, if there was one.
    pub(crate) fn get(&self) -> Option<Error> {
        self.0.borrow().clone()
    }

    /// Returns with the first error once there is one.
    pub(crate) async fn wait(&self) -> Error {
        let mut failed = self.0.subscribe();
        let first = failed.wait_for(Option::is_some).await.expect("the sender lives as long as self");
        first.clone().expect("waited until there is one")
    }
}
