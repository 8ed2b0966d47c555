//! The sync protocol between an edge and its core: frames, and push and pull as pure machines (DESIGN.md, Channel).
//! Knows nothing of HTTP, storage, tokio or merge engines; deltas and versions are bytes here.

pub mod automerge;
mod bounded;
pub mod change;
pub mod frame;
#[cfg(test)]
mod golden;
pub mod limits;
pub mod message;
pub mod pull;
pub mod push;
#[cfg(test)]
mod script;
pub mod subscription;
