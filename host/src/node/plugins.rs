//! Plugins on a node: components from shard 0's rows, compiled once and kept.

use std::sync::Arc;

use skerry_api::bodies::PluginCalls;
use skerry_api::problem::{Kind, Outcome, Problem};
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
        // Under another profile it might decide otherwise than on the other nodes.
        let own = &self.plugins.runtime().profile().name;
        if let Some(profile) = self.catalog.catalog().profile(digest).filter(|profile| profile != own) {
            return Err(format!("it runs under profile {profile}, and this program has profile {own}: update it"));
        }
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
    /// it does is not counted among the node's calls. Takes a second or several: not on a tokio worker. Says also how many
    /// live documents there were.
    ///
    /// # Errors
    /// What is wrong with it, or with the live data.
    pub fn check(
        &self,
        component: &[u8],
        samples: impl FnOnce(&CompiledPlugin) -> Result<Samples, Problem>,
    ) -> Result<(Checked, u64), Problem> {
        let unfit = |error: skerry_runtime::Error| unfit(&error.into());
        let checker = LawChecker::new(self.plugins.runtime().profile()).map_err(unfit)?;
        let candidate = checker.compile(component).map_err(unfit)?;
        let samples = samples(candidate.plugin())?;
        let live = (samples.conflicts.len() + samples.states.len()) as u64;
        let checked = checker.try_on(candidate, &samples, LAW_EFFORT).map_err(|refused| self::unfit(&refused))?;
        Ok((checked, live))
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

/// Why a component is not to be deployed, as whoever sent it hears it.
pub(super) fn unfit(refused: &Refused) -> Problem {
    match refused {
        Refused::Component(_) | Refused::TooSlow { .. } => Problem::new(Kind::Refused, refused.to_string()),
        Refused::Law(finding) => Problem::new(Kind::Refused, format!("the plugin breaks a law: {finding}")),
        Refused::Host(_) => Problem::unavailable(Outcome::NotProposed, refused.to_string()),
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
