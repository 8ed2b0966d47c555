//! From bytes to a component that may run here, and to the plugin that it is.

use std::sync::Arc;

use skerry_model::PluginDigest;
use skerry_model::policy::{MergePolicy, Resolver, World};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use crate::calls::Calls;
use crate::engine::Runtime;
use crate::error::Error;
use crate::instance::Limiter;
use crate::policy::CompiledPolicy;
use crate::resolver::CompiledResolver;

/// What only a resolver exports.
const OF_A_RESOLVER: &str = "resolve";
/// What only a merge policy exports.
const OF_A_POLICY: &str = "merge";

/// A plugin that is ready to be called. Clones are the same one.
#[derive(Debug, Clone)]
pub enum CompiledPlugin {
    /// It decides where writes met.
    Resolver(Arc<CompiledResolver>),
    /// It defines a kind of document.
    MergePolicy(Arc<CompiledPolicy>),
}

impl CompiledPlugin {
    /// Its version.
    #[must_use]
    pub fn digest(&self) -> PluginDigest {
        match self {
            Self::Resolver(resolver) => resolver.digest(),
            Self::MergePolicy(policy) => policy.plugin(),
        }
    }

    /// What it exports.
    #[must_use]
    pub fn world(&self) -> World {
        match self {
            Self::Resolver(_) => World::Resolver,
            Self::MergePolicy(_) => World::MergePolicy,
        }
    }

    /// What became of the calls to it.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        match self {
            Self::Resolver(resolver) => resolver.calls(),
            Self::MergePolicy(policy) => policy.calls(),
        }
    }

    /// For a merge policy, the version of its states.
    #[must_use]
    pub fn state_version(&self) -> Option<u32> {
        match self {
            Self::Resolver(_) => None,
            Self::MergePolicy(policy) => Some(policy.state_version()),
        }
    }

    /// It as a resolver.
    ///
    /// # Errors
    /// A sentence, when it is something else.
    pub fn resolver(self) -> Result<Arc<dyn Resolver>, String> {
        match self {
            Self::Resolver(resolver) => Ok(resolver),
            Self::MergePolicy(_) => Err("is a merge policy and no resolver".to_owned()),
        }
    }

    /// It as a merge policy.
    ///
    /// # Errors
    /// A sentence, when it is something else.
    pub fn merge_policy(self) -> Result<Arc<dyn MergePolicy>, String> {
        match self {
            Self::Resolver(_) => Err("is a resolver and no merge policy".to_owned()),
            Self::MergePolicy(policy) => Ok(policy),
        }
    }
}

impl Runtime {
    /// Compiles a component, and finds out which of the worlds it exports. Takes tens of milliseconds for a guest in Rust,
    /// seconds for one that brings a JavaScript engine.
    ///
    /// # Errors
    /// [`Error`]: too large, no component, imports something, exports neither world, or does not describe itself.
    pub fn compile(&self, component: &[u8]) -> Result<CompiledPlugin, Error> {
        let digest = PluginDigest::of(component);
        let compiled = self.compile_component(component)?;
        let exports = |name| compiled.component_type().get_export(compiled.engine(), name).is_some();
        match (exports(OF_A_RESOLVER), exports(OF_A_POLICY)) {
            (true, false) => Ok(CompiledPlugin::Resolver(Arc::new(self.resolver_of(digest, &compiled)?))),
            (false, true) => Ok(CompiledPlugin::MergePolicy(Arc::new(self.policy_of(digest, &compiled)?))),
            (true, true) => Err(Error::World { reason: format!("it exports `{OF_A_RESOLVER}` and `{OF_A_POLICY}`") }),
            (false, false) => {
                Err(Error::World { reason: format!("it exports neither `{OF_A_RESOLVER}` nor `{OF_A_POLICY}`") })
            }
        }
    }

    /// What components are given: nothing.
    #[cfg_attr(not(feature = "noise"), allow(clippy::let_and_return, unused_mut, reason = "the feature adds to it"))]
    pub(crate) fn linker(&self) -> Linker<Limiter> {
        let mut linker = Linker::new(&self.engine);
        #[cfg(feature = "noise")]
        crate::noise::link(&mut linker).expect("nothing else is linked");
        linker
    }

    pub(crate) fn compile_component(&self, component: &[u8]) -> Result<Component, Error> {
        let max = self.profile.binary_bytes;
        if component.len() > max {
            return Err(Error::TooLarge { bytes: component.len(), max });
        }
        let compiled = Component::from_binary(&self.engine, component);
        let compiled = compiled.map_err(|error| Error::Invalid { reason: format!("{error:#}") })?;
        refuse_imports(&compiled)?;
        Ok(compiled)
    }
}

/// A world's `use` of an interface shows as an import of an instance that has only types; nothing else is let in.
fn refuse_imports(component: &Component) -> Result<(), Error> {
    let engine = component.engine();
    for (name, import) in component.component_type().imports(engine) {
        match import.ty {
            ComponentItem::Type(_) => {}
            #[cfg(feature = "noise")]
            ComponentItem::ComponentInstance(_) if name == crate::noise::INTERFACE => {}
            ComponentItem::ComponentInstance(instance) => {
                let beyond_types =
                    instance.exports(engine).find(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)));
                if let Some((item, _)) = beyond_types {
                    return Err(Error::Import { import: format!("`{item}` of `{name}`") });
                }
            }
            _ => return Err(Error::Import { import: format!("`{name}`") }),
        }
    }
    Ok(())
}
