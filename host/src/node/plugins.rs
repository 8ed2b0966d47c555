//! Plugins on a node: components from shard 0's rows, compiled once and kept.

use std::sync::Arc;

use skerry_api::bodies::PluginCalls;
use skerry_model::PluginDigest;
use skerry_model::policy::{MergePolicy, Resolver};
use skerry_runtime::{Calls, Checked, CompiledPlugin, LawChecker, Plugins, Refused, Samples};

use crate::consensus::state_machine::ShardState;
use crate::documents::evaluate::Resolvers;
use crate::documents::read;
use crate::limits::LAW_EFFORT;

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

    /// Tries a component that is not stored yet with cases made from live data too, on engines of its own, so that what
    /// it does is not counted among the node's calls. Takes a second or several: not on a tokio worker.
    ///
    /// # Errors
    /// [`laws::Refused`](Refused).
    pub fn check(&self, component: &[u8], samples: &Samples) -> Result<Checked, Refused> {
        let checker = LawChecker::new(self.plugins.runtime().profile())?;
        checker.check(component, samples, LAW_EFFORT)
    }

    /// A component that is not stored yet, compiled and not kept.
    ///
    /// # Errors
    /// Why it cannot run here.
    pub fn compile(&self, component: &[u8]) -> Result<CompiledPlugin, skerry_runtime::Error> {
        self.plugins.runtime().compile(component)
    }

    /// What became of all this node's calls.
    #[must_use]
    pub fn all_calls(&self) -> PluginCalls {
        counted(self.plugins.runtime().calls())
    }

    /// What became of this node's calls to some versions.
    #[must_use]
    pub fn calls(&self, digests: &[PluginDigest]) -> Vec<PluginCalls> {
        let counted = |digest: &PluginDigest| {
            self.plugins.compiled(*digest).map_or_else(PluginCalls::default, |plugin| counted(plugin.calls()))
        };
        digests.iter().map(counted).collect()
    }
}

fn counted(calls: &Calls) -> PluginCalls {
    let (answered, failed, not_run) = (calls.answered(), calls.failed(), calls.not_run());
    PluginCalls { answered, failed, not_run, fuel: calls.fuel() }
}

impl Resolvers for NodePlugins {
    fn resolver(&self, digest: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
        self.compiled(digest)?.resolver().map_err(|why| format!("plugin {digest} {why}"))
    }

    fn merge_policy(&self, digest: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
        self.compiled(digest)?.merge_policy().map_err(|why| format!("plugin {digest} {why}"))
    }
}
