//! What a node tells its operator.

pub mod logs;
pub mod metrics;
