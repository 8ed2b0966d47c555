//! One Raft group per shard on openraft (DESIGN.md, Consensus).

pub mod log_store;
pub mod types;
