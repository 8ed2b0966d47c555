//! Documents of one shard: the keys they lie under, the log record that changes them, its evaluation on the leader and
//! its application on every replica (DESIGN.md, Effects in the log).

pub mod apply;
pub mod effects;
pub mod evaluate;
pub mod keys;
pub mod live;
pub mod read;
pub mod record;
