//! The Skerry core node and the `skerry` command line (ARCHITECTURE.md has the map).

pub mod api;
pub mod catalog;
pub mod cli;
pub mod consensus;
pub mod dev;
pub mod documents;
pub mod env;
pub mod identity;
pub mod limits;
pub mod node;
pub mod recovery;
pub mod replication;
pub mod server;
pub mod telemetry;
