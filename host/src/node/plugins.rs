//! Plugins on a node: components from shard 0's rows, compiled once and kept.

use std::sync::Arc;

use skerry_model::PluginDigest;
use skerry_model::policy::{MergePolicy, Resolver, World};
use skerry_runtime::{CompiledPlugin, Plugins};

use crate::consensus::state_machine::ShardState;
use crate::documents::evaluate::Resolvers;
use crate::documents::read;

/// The plugins of a node.
pub struct NodePlugins {
    plugins: Plugins,
    catalog: Arc<ShardState>,
}

impl NodePlugins {
    /// Plugins whose components lie in shard 0's replica.
    #[must_use]
    pub fn new(plugins: Plugins, catalog: Arc<ShardState>) -> Self {
        Self { plugins, catalog }
    }

    /// The compiled plugin of a digest. Compiling may take seconds: not on a tokio worker.
    ///
    /// # Errors
    /// A sentence about why it cannot run here.
    pub fn compiled(&self, digest: PluginDigest) -> Result<CompiledPlugin, String> {
        let mut failure = None;
        let load = || {
            read::plugin(&self.catalog.store(), digest).unwrap_or_else(|error| {
                failure = Some(error.to_string());
                None
            })
        };
        let compiled = self.plugins.get(digest, load);
        compiled.map_err(|error| failure.unwrap_or_else(|| error.to_string()))
    }

    /// Checks a component that is not stored yet: that it compiles and describes itself. Answers what it is.
    ///
    /// # Errors
    /// A sentence about why it is refused.
    pub fn check(&self, component: &[u8]) -> Result<World, String> {
        let compiled = self.plugins.runtime().compile(component);
        compiled.map(|plugin| plugin.world()).map_err(|error| error.to_string())
    }
}

impl Resolvers for NodePlugins {
    fn resolver(&self, digest: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
        self.compiled(digest)?.resolver().map_err(|why| format!("plugin {digest} {why}"))
    }

    fn merge_policy(&self, digest: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
        self.compiled(digest)?.merge_policy().map_err(|why| format!("plugin {digest} {why}"))
    }
}
