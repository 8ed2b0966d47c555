//! Plugin components on shard 0, in chunks, so that none makes a log record large.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use skerry_model::PluginDigest;
use skerry_store::KeyRange;

use super::{Kind, Unreadable};

/// A component whose chunks are all here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    /// Size of the component, in bytes.
    pub bytes: u64,
    /// How many chunks it has.
    pub chunks: u32,
}

/// The key of a complete component.
#[must_use]
pub fn key(digest: PluginDigest) -> Bytes {
    [&[Kind::Plugin as u8][..], digest.as_bytes()].concat().into()
}

/// The key of a chunk.
#[must_use]
pub fn chunk_key(digest: PluginDigest, chunk: u32) -> Bytes {
    [&[Kind::PluginChunk as u8][..], digest.as_bytes(), &chunk.to_be_bytes()].concat().into()
}

/// All chunks of a component, in their order.
#[must_use]
pub fn chunks(digest: PluginDigest) -> KeyRange {
    KeyRange::prefix([&[Kind::PluginChunk as u8][..], digest.as_bytes()].concat())
}

/// The stored form.
#[must_use]
pub fn encode(plugin: &Plugin) -> Bytes {
    super::encode(plugin)
}

/// The plugin of its stored form.
///
/// # Errors
/// [`Unreadable`].
pub fn decode(value: &[u8]) -> Result<Plugin, Unreadable> {
    super::decode("plugin", value)
}
