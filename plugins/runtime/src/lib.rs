//! Runs conflict resolvers as WebAssembly components (DESIGN.md, Plugins), the same way in the core and on every edge.
//!
//! A plugin gets no clock, no randomness, no input or output: a component that imports anything but types is refused.
//! Each call runs in a fresh instance under the limits of a [`RuntimeProfile`]. Whatever the plugin does, the outcome is
//! a resolution, a failure that is the same on every replica under the same profile, or a word that this host could not
//! run it now. One thing alone depends on the host, how deep calls may nest before the stack is full; a plugin that
//! comes near it can fail on one processor architecture and not on another.

#![forbid(unsafe_code)]

mod alarm;
mod bindings;
mod calls;
mod engine;
mod error;
mod instance;
pub mod limits;
mod plugins;
mod profile;
mod resolver;
pub mod standard;

pub use calls::Calls;
pub use engine::{Backend, Runtime};
pub use error::Error;
pub use plugins::Plugins;
pub use profile::{Feature, OperatorCosts, RuntimeProfile};
pub use resolver::{CompiledResolver, Outcome};
