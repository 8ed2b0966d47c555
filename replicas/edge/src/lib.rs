//! The edge replica: an embeddable library, and the binary `skerry-edge` (DESIGN.md, Channel). It reads and writes while
//! offline, and syncs with its core over HTTP.
//!
//! [`replica`] is the edge as a pure machine; around it lies a thin shell of one owner thread, a sync loop and HTTP.

#![forbid(unsafe_code)]

mod keys;
pub mod limits;
pub mod replica;
mod table;

pub use keys::Error as RowError;
pub use keys::outbox::Operation;
