//! What others are told of a shard's documents.

pub mod feed;
