//! One wasmtime engine under one profile.

use std::sync::Arc;

use wasmtime::{Config, Engine, OptLevel, WasmFeatures};

use crate::alarm::Alarm;
use crate::calls::Calls;
use crate::error::Error;
use crate::profile::{RuntimeProfile, WASMTIME_MAJOR};

/// How plugins are executed. Results and fuel are the same under both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Compiled by Cranelift to the processor's own code.
    Native,
    /// Compiled to Pulley's byte code and interpreted: where the processor is not Cranelift's, and for comparison.
    Pulley,
}

/// Compiles and runs plugins under one profile. Clones share everything.
#[derive(Debug, Clone)]
pub struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) profile: Arc<RuntimeProfile>,
    pub(crate) alarm: Arc<Alarm>,
    pub(crate) calls: Arc<Calls>,
}

impl Runtime {
    /// A runtime that executes natively where Cranelift can, else on Pulley.
    ///
    /// # Errors
    /// [`Error`] when the profile does not fit this build, or the system gives no thread.
    pub fn new(profile: RuntimeProfile) -> Result<Self, Error> {
        Self::start(profile, &mut Config::new())
    }

    /// A runtime on one back end.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with_backend(profile: RuntimeProfile, backend: Backend) -> Result<Self, Error> {
        let mut config = match backend {
            Backend::Native => Config::new(),
            Backend::Pulley => pulley(&profile)?,
        };
        Self::start(profile, &mut config)
    }

    /// A runtime on Pulley that compiles without optimization: for comparison with another, which differs from it in as much
    /// as can be, and in less time.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub(crate) fn for_comparison(profile: RuntimeProfile) -> Result<Self, Error> {
        let mut config = pulley(&profile)?;
        Self::start(profile, config.cranelift_opt_level(OptLevel::None))
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> &RuntimeProfile {
        &self.profile
    }

    /// What became of the calls to all its plugins together.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    fn start(profile: RuntimeProfile, config: &mut Config) -> Result<Self, Error> {
        if profile.wasmtime != WASMTIME_MAJOR {
            let RuntimeProfile { name, wasmtime, .. } = profile;
            return Err(Error::Wasmtime { profile: name, expected: wasmtime, found: WASMTIME_MAJOR });
        }
        config
            .wasm_features(WasmFeatures::all(), false)
            .wasm_features(profile.wasm_features(), true)
            .consume_fuel(true)
            .operator_cost(profile.operator_cost()?)
            .cranelift_nan_canonicalization(true)
            .max_wasm_stack(profile.stack_bytes)
            .epoch_interruption(true)
            .wasm_backtrace_max_frames(None);
        let engine = Engine::new(config).map_err(|error| refused(&profile, &error))?;
        let alarm = Alarm::start(&engine).map_err(Error::Thread)?;
        Ok(Self { engine, profile: Arc::new(profile), alarm: Arc::new(alarm), calls: Arc::default() })
    }
}

fn pulley(profile: &RuntimeProfile) -> Result<Config, Error> {
    let mut config = Config::new();
    let target = if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };
    config.target(target).map_err(|error| refused(profile, &error))?;
    Ok(config)
}

fn refused(profile: &RuntimeProfile, error: &wasmtime::Error) -> Error {
    Error::Profile { profile: profile.name.clone(), reason: format!("{error:#}") }
}
