//! One Raft group per shard on openraft (DESIGN.md, Consensus).

pub mod log_store;
pub mod network;
pub mod quorum;
pub mod snapshot;
pub mod state_machine;
pub mod types;
