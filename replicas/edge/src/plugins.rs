//! Plugins for the replica: compiled once by the plugin runtime, from components that the edge has fetched and stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use skerry_model::PluginDigest;
use skerry_model::policy::{MergePolicy, Resolver};
use skerry_runtime::{CompiledPlugin, Error, Plugins};

use crate::limits::PLUGIN_FAILURES_MAX;
use crate::replica::Resolvers;

/// The process's compiled plugins, and why others did not compile: trying takes up to seconds.
#[derive(Debug, Clone)]
pub(crate) struct CompiledPlugins {
    plugins: Arc<Plugins>,
    failures: Arc<Mutex<BTreeMap<PluginDigest, String>>>,
}

impl CompiledPlugins {
    pub(crate) fn new(plugins: Plugins) -> Self {
        Self { plugins: Arc::new(plugins), failures: Arc::default() }
    }
}

impl Resolvers for CompiledPlugins {
    fn resolver(
        &self,
        digest: PluginDigest,
        component: &dyn Fn() -> Option<Bytes>,
    ) -> Result<Arc<dyn Resolver>, String> {
        self.compiled(digest, component)?.resolver()
    }

    fn merge_policy(
        &self,
        digest: PluginDigest,
        component: &dyn Fn() -> Option<Bytes>,
    ) -> Result<Arc<dyn MergePolicy>, String> {
        self.compiled(digest, component)?.merge_policy()
    }
}

impl CompiledPlugins {
    fn compiled(&self, digest: PluginDigest, component: &dyn Fn() -> Option<Bytes>) -> Result<CompiledPlugin, String> {
        if let Some(reason) = self.failures.lock().get(&digest) {
            return Err(reason.clone());
        }
        match self.plugins.get(digest, component) {
            Ok(plugin) => Ok(plugin),
            Err(Error::NotStored { .. }) => Err("is not here yet".to_owned()),
            Err(Error::Host { reason }) => Err(format!("cannot run here now: {reason}")),
            Err(error) => {
                let reason = format!("does not compile here: {error}");
                let mut failures = self.failures.lock();
                if failures.len() >= PLUGIN_FAILURES_MAX {
                    failures.pop_first();
                }
                failures.insert(digest, reason.clone());
                Err(reason)
            }
        }
    }
}
