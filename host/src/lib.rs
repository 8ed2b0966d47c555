//! The Skerry core node and the `skerry` command line (ARCHITECTURE.md has the map).

pub mod consensus;
