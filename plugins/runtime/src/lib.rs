//! Runs conflict resolvers and merge policies as WebAssembly components (DESIGN.md, Plugins), the same way in the core and on every edge.
//!
//! A plugin gets no clock, no randomness, no input or output: a component that imports anything but types is refused.
//! Each call runs in a fresh instance under the limits of a [`RuntimeProfile`]. Whatever the plugin does, the outcome is
//! an answer, a failure that is the same on every replica under the same profile, or a word that this host could not
//! run it now. One thing alone depends on the host, how deep calls may nest before the stack is full; a plugin that
//! comes near it can fail on one processor architecture and not on another.

#![forbid(unsafe_code)]

mod alarm;
mod bindings;
mod calls;
mod component;
mod engine;
mod error;
mod instance;
mod laws;
pub mod limits;
#[cfg(feature = "noise")]
pub mod noise;
mod plugins;
mod policy;
mod profile;
mod resolver;
pub mod standard;

pub use calls::Calls;
pub use component::CompiledPlugin;
pub use engine::{Backend, Runtime};
pub use error::Error;
pub use laws::{
    Candidate, Checked, LawChecker, Refused, Samples, guest_conflicts, guest_resolution, handed, model_conflicts,
};
pub use plugins::Plugins;
pub use policy::CompiledPolicy;
pub use profile::{Feature, OperatorCosts, RuntimeProfile};
pub use resolver::{CompiledResolver, Outcome};
