//! The compiled plugins of a process, by digest: the one place that the core and an edge take them from.

use bytes::Bytes;
use quick_cache::sync::Cache;
use skerry_model::PluginDigest;

use crate::component::CompiledPlugin;
use crate::engine::Runtime;
use crate::error::Error;
use crate::limits::PLUGINS_COMPILED_MAX;

/// At most [`PLUGINS_COMPILED_MAX`] compiled plugins. One that is dropped to make room lives on where it is in use.
#[derive(Debug)]
pub struct Plugins {
    runtime: Runtime,
    compiled: Cache<PluginDigest, CompiledPlugin>,
}

impl Plugins {
    /// None yet.
    #[must_use]
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, compiled: Cache::new(PLUGINS_COMPILED_MAX) }
    }

    /// The runtime that compiles and runs them.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A version, if it is compiled already.
    #[must_use]
    pub fn compiled(&self, digest: PluginDigest) -> Option<CompiledPlugin> {
        self.compiled.get(&digest)
    }

    /// A version, compiled now if need be: `load` brings its component, or `None` where it is not stored. Compiling takes
    /// from tens of milliseconds to seconds and blocks; threads that want the same version wait for one of them.
    ///
    /// # Errors
    /// [`Error`]; it is not remembered, so the next caller tries again.
    pub fn get(&self, digest: PluginDigest, load: impl FnOnce() -> Option<Bytes>) -> Result<CompiledPlugin, Error> {
        self.compiled.get_or_insert_with(&digest, || {
            let component = load().ok_or(Error::NotStored { digest })?;
            let found = PluginDigest::of(&component);
            if found != digest {
                return Err(Error::Digest { expected: digest, found });
            }
            self.runtime.compile(&component)
        })
    }
}
