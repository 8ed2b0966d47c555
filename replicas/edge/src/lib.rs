//! The edge replica: an embeddable library, and the binary `skerry-edge` (DESIGN.md, Channel). It reads and writes while
//! offline, and syncs with its core over HTTP.
//!
//! [`replica`] is the edge as a pure machine; around it lies a thin shell: one thread that owns it (owner.rs), the
//! exchanges with the core (sync.rs, sync_loop.rs, core_client.rs, wire.rs), and [`Edge`], the handle that the HTTP API and
//! applications hold.

#![forbid(unsafe_code)]

pub mod blocking;
mod changes;
pub mod cli;
mod core_client;
mod edge;
pub mod http;
mod keys;
pub mod limits;
mod owner;
mod plugins;
pub mod replica;
mod sync;
mod sync_loop;
mod table;
pub mod wire;

pub use changes::{Changes, Heard};
pub use core_client::Error as CoreError;
pub use edge::{Edge, EdgeOptions, OpenError, Parts, enrol};
pub use keys::Error as RowError;
pub use keys::outbox::Operation;
pub use owner::{Runs, Stopped};
pub use sync::Error as SyncError;
