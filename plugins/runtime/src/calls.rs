//! What became of calls, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that only grow. Each is read on its own, so two reads may be from different moments.
#[derive(Debug, Default)]
pub struct Calls {
    answered: AtomicU64,
    failed: AtomicU64,
    not_run: AtomicU64,
    fuel: AtomicU64,
}

impl Calls {
    /// Calls that gave a resolution.
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

    /// Fuel used by the calls that gave a resolution. What the others used is not exact, and not counted.
    #[must_use]
    pub fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    pub(crate) fn count_answer(&self, fuel: u64) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
    }

    pub(crate) fn count_failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_not_run(&self) {
        self.not_run.fetch_add(1, Ordering::Relaxed);
    }
}
