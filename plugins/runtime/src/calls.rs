//! What became of calls, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Failure;

/// Counters that only grow. Each is read on its own, so two reads may be from different moments.
#[derive(Debug, Default)]
pub struct Calls {
    answered: AtomicU64,
    failed: AtomicU64,
    not_run: AtomicU64,
    fuel: AtomicU64,
}

impl Calls {
    /// Calls that gave an answer, be it a refusal in the plugin's own words.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Calls that failed by the plugin's own fault.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Calls that this host could not run.
    #[must_use]
    pub fn not_run(&self) -> u64 {
        self.not_run.load(Ordering::Relaxed)
    }

    /// Fuel used by the calls that gave an answer. What the others used is not exact, and not counted.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// Counts a call that took so much fuel, or failed.
    pub(crate) fn count(&self, fuel: Result<u64, &Failure>) {
        let called = match fuel {
            Ok(fuel) => {
                self.fuel.fetch_add(fuel, Ordering::Relaxed);
                &self.answered
            }
            Err(Failure::Refused(_)) => &self.answered,
            Err(Failure::Plugin(_)) => &self.failed,
            Err(Failure::Host(_)) => &self.not_run,
        };
        called.fetch_add(1, Ordering::Relaxed);
    }
}
