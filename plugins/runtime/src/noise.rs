//! A function that is not deterministic, for the tests that show how replicas find out that a plugin is not.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wasmtime::component::Linker;

use crate::instance::Limiter;

/// The interface that a component of such a test imports; its function is `next: func() -> u64`.
pub const INTERFACE: &str = "skerry:test/noise";

static ARMED: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);

/// From now on each call in this process gives another number; before, all gave 0, so that the law check lets the plugin
/// pass.
pub fn arm() {
    ARMED.store(true, Ordering::Relaxed);
}

pub(crate) fn link(linker: &mut Linker<Limiter>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap("next", |_, ()| {
        let number = if ARMED.load(Ordering::Relaxed) { CALLS.fetch_add(1, Ordering::Relaxed) } else { 0 };
        Ok((number,))
    })
}
