//! The wall-clock alarm: a thread that moves the engine's epoch on while calls run, and sleeps for good while none do.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wasmtime::{Engine, EngineWeak};

use crate::limits::ALARM_TICK_MS;

/// Counts the calls that run. Dropping the last one ends the thread.
#[derive(Debug)]
pub(crate) struct Alarm(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    asleep: bool,
    ended: bool,
}

/// A call that runs.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Shared);

impl Alarm {
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let (engine, theirs) = (engine.weak(), shared.clone());
        std::thread::Builder::new().name("plugin-alarm".to_owned()).spawn(move || tick(&theirs, &engine))?;
        Ok(Self(shared))
    }

    /// Keeps the epoch moving until the guard is dropped.
    pub(crate) fn watch(&self) -> Running<'_> {
        let mut state = self.0.state.lock();
        state.running += 1;
        if state.asleep {
            self.0.changed.notify_one();
        }
        Running(&self.0)
    }

    /// Epochs after which a call is past this time, at least one.
    pub(crate) fn epochs(alarm_ms: u64) -> u64 {
        alarm_ms.div_ceil(ALARM_TICK_MS).max(1)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state.lock().running -= 1;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.state.lock().ended = true;
        self.0.changed.notify_one();
    }
}

/// Looks only once a tick whether calls run, so that call after call wakes it seldom.
fn tick(shared: &Shared, engine: &EngineWeak) {
    let mut state = shared.state.lock();
    while !state.ended {
        if state.running == 0 {
            state.asleep = true;
            shared.changed.wait(&mut state);
            state.asleep = false;
        }
        let slept = shared.changed.wait_for(&mut state, Duration::from_millis(ALARM_TICK_MS));
        if slept.timed_out()
            && let Some(engine) = engine.upgrade()
        {
            engine.increment_epoch();
        }
    }
}
