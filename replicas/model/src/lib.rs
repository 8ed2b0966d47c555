//! What every replica of Skerry agrees on: ids, documents, merge engines, policies, views, and the small traits through
//! which time and randomness come (DESIGN.md, Words and Collections). Knows Automerge and no other crate of ours.

pub mod automerge_id;
pub mod document;
pub mod engine;
pub mod env;
pub mod ids;
pub mod limits;
pub mod policy;

pub use ids::{
    CatalogVersion, ClusterId, CollectionId, CollectionName, DocumentKey, Epoch, Incarnation, NodeId, Nonce, Ordinal,
    Origin, PluginDigest, PluginName, Scn, ShardId, Term, Timeline, VersionId,
};
