//! A merge policy that is compiled: each call runs on a fresh instance, and what it hands back is checked for size before
//! anybody keeps it.

use bytes::Bytes;
use serde_json::{Map, Value};
use skerry_model::PluginDigest;
use skerry_model::document;
use skerry_model::policy::{MergePolicy, OperationContext, PluginError};
use wasmtime::Store;
use wasmtime::component::Component;

use crate::bindings;
use crate::calls::Calls;
use crate::engine::Runtime;
use crate::error::{Error, Failure, beginning};
use crate::instance::{Limiter, call, too_much};
use crate::limits::{EXAMPLES_MAX, REASON_BYTES_MAX};

/// A merge policy that is ready to be called, by any number of threads at once.
pub struct CompiledPolicy {
    digest: PluginDigest,
    state_version: u32,
    runtime: Runtime,
    instance: bindings::MergePolicyPre<Limiter>,
    calls: Calls,
}

impl Runtime {
    /// Compiles a component that is a merge policy, and asks for the version of its encoding.
    ///
    /// # Errors
    /// [`Error`]: too large, no component, imports something, no merge policy, or state-version() failed.
    pub fn compile_policy(&self, component: &[u8]) -> Result<CompiledPolicy, Error> {
        self.policy_of(PluginDigest::of(component), &self.compile_component(component)?)
    }

    pub(crate) fn policy_of(&self, digest: PluginDigest, compiled: &Component) -> Result<CompiledPolicy, Error> {
        let unlike = |error: wasmtime::Error| Error::World { reason: format!("{error:#}") };
        let instance = self.linker().instantiate_pre(compiled).map_err(unlike)?;
        let instance = bindings::MergePolicyPre::new(instance).map_err(unlike)?;
        let output_bytes = self.profile.output_bytes;
        let version = call(
            self,
            output_bytes,
            |store| instance.instantiate(store),
            |policy, store| policy.call_state_version(store),
        );
        let (state_version, _) = version.map_err(|failure| failure.of("state-version"))?;
        if state_version == 0 {
            return Err(Error::StateVersion);
        }
        Ok(CompiledPolicy { digest, state_version, runtime: self.clone(), instance, calls: Calls::default() })
    }
}

impl CompiledPolicy {
    /// The version of the plugin.
    #[must_use]
    pub fn plugin(&self) -> PluginDigest {
        self.digest
    }

    /// What became of the calls to it.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Operations that it accepts on the empty state and after one another.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn examples(&self) -> Result<Vec<Value>, PluginError> {
        let examples = self.run(0, self.runtime.profile.output_bytes, |policy, store| policy.call_examples(store))?;
        if examples.is_empty() || examples.len() > EXAMPLES_MAX {
            let found = examples.len();
            return Err(self.breach(format!("examples() gives {found} operations, it must give 1 to {EXAMPLES_MAX}")));
        }
        let value = |text: &String| {
            serde_json::from_str(text).map_err(|error| self.breach(format!("an example is not JSON: {error}")))
        };
        examples.iter().map(value).collect()
    }

    /// Runs one call that is handed so many bytes and may hand back so many.
    fn run<T>(
        &self,
        input_bytes: usize,
        output_bytes: usize,
        work: impl FnOnce(&bindings::MergePolicy, &mut Store<Limiter>) -> wasmtime::Result<T>,
    ) -> Result<T, PluginError> {
        let max = self.runtime.profile.input_bytes.max(2 * self.runtime.profile.state_bytes);
        let outcome = if input_bytes > max {
            Err(Failure::Plugin(format!("what it is handed is {input_bytes} bytes, the limit is {max}")))
        } else {
            call(&self.runtime, output_bytes, |store| self.instance.instantiate(store), work)
        };
        let fuel = outcome.as_ref().map(|(_, fuel)| *fuel);
        [&self.calls, &*self.runtime.calls].into_iter().for_each(|calls| calls.count(fuel));
        outcome.map(|(answer, _)| answer).map_err(|failure| failure.by(self.digest))
    }

    fn breach(&self, reason: String) -> PluginError {
        PluginError::Plugin { digest: self.digest, reason }
    }

    /// A state that came back, if it is within its limit.
    fn state(&self, bytes: Vec<u8>) -> Result<Bytes, PluginError> {
        let max = self.runtime.profile.state_bytes;
        if bytes.len() > max { Err(self.breach(too_much(max))) } else { Ok(bytes.into()) }
    }

    /// The policy's own words, for whoever sent the operation.
    fn refused(&self, words: &str) -> PluginError {
        PluginError::Refused { reason: beginning(words, REASON_BYTES_MAX).to_owned() }
    }

    fn state_bytes(&self) -> usize {
        self.runtime.profile.state_bytes
    }
}

impl MergePolicy for CompiledPolicy {
    fn digest(&self) -> Option<PluginDigest> {
        Some(self.digest)
    }

    fn state_version(&self) -> u32 {
        self.state_version
    }

    fn empty(&self) -> Result<Bytes, PluginError> {
        self.run(0, self.state_bytes(), |policy, store| policy.call_empty(store)).and_then(|state| self.state(state))
    }

    fn apply(&self, state: &Bytes, operation: &Value, context: &OperationContext<'_>) -> Result<Bytes, PluginError> {
        let text = serde_json_canonicalizer::to_string(operation);
        let text = text.map_err(|error| self.refused(&format!("the operation has no canonical JSON: {error}")))?;
        let context = bindings::Context {
            origin: context.origin.to_string(),
            incarnation: context.incarnation,
            sequence: context.sequence,
            time: context.time_ms,
        };
        let applied = self.run(state.len() + text.len(), self.state_bytes(), |policy, store| {
            policy.call_apply(store, state, &text, &context)
        })?;
        applied.map_err(|words| self.refused(&words)).and_then(|state| self.state(state))
    }

    fn merge(&self, a: &Bytes, b: &Bytes) -> Result<Bytes, PluginError> {
        let merged = self.run(a.len() + b.len(), self.state_bytes(), |policy, store| policy.call_merge(store, a, b))?;
        self.state(merged)
    }

    fn view(&self, state: &Bytes) -> Result<Map<String, Value>, PluginError> {
        let max = self.runtime.profile.output_bytes;
        let text = self.run(state.len(), max, |policy, store| policy.call_view(store, state))?;
        if text.len() > max {
            return Err(self.breach(too_much(max)));
        }
        document::parse(text.as_bytes()).map_err(|error| self.breach(format!("its view is no document: {error}")))
    }

    fn migrate(&self, from: u32, state: &Bytes) -> Result<Bytes, PluginError> {
        let migrated =
            self.run(state.len(), self.state_bytes(), |policy, store| policy.call_migrate(store, from, state))?;
        migrated.map_err(|words| self.refused(&words)).and_then(|state| self.state(state))
    }
}

impl std::fmt::Debug for CompiledPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledPolicy")
            .field("digest", &self.digest)
            .field("state_version", &self.state_version)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}
