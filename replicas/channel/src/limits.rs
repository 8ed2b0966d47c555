//! Bounds of the channel.

use skerry_model::limits::{DOCUMENT_BYTES_MAX, HISTORY_BYTES_MAX};

/// A frame as it travels, compressed.
pub const FRAME_BYTES_MAX: usize = 24 << 20;
/// A frame once inflated. Past it the frame is refused before more memory is taken.
pub const FRAME_INFLATED_BYTES_MAX: usize = 40 << 20;
/// Changes in one push batch; a watermark keeps a verdict for each until the next batch.
pub const PUSH_CHANGES_MAX: usize = 1_000;
/// Change frames of one push batch, in bytes: what one log record can carry. A single change may be larger, up to
/// [`CHANGE_BYTES_MAX`].
pub const PUSH_BYTES_TARGET: usize = 1 << 20;
/// One change frame.
pub const CHANGE_BYTES_MAX: usize = 4 << 20;
/// Documents in one pull batch.
pub const PULL_DOCUMENTS_MAX: usize = 2_000;
/// Contents of one pull batch, in bytes; a single document may be larger.
pub const PULL_BYTES_TARGET: usize = 4 << 20;
/// Documents that one manifest lists.
pub const MANIFEST_ENTRIES_MAX: usize = 5_000;
/// Shards of a cluster.
pub const SHARDS_MAX: usize = 64;
/// Deltas of one document in a pull batch.
pub const DELTAS_MAX: usize = 500_000;
/// Collections that one subscription names.
pub const SUBSCRIPTION_ENTRIES_MAX: usize = 256;
/// The longest that a pull waits for news, in milliseconds.
pub const PULL_WAIT_MS_MAX: u32 = 30_000;
/// Text of one refusal, in characters.
pub const REFUSAL_CHARS_MAX: usize = 500;

/// A name in a message of automerge-repo's protocol, in characters.
pub const CLIENT_NAME_CHARS_MAX: usize = 200;
/// Protocol versions that a client of automerge-repo's protocol names.
pub const CLIENT_VERSIONS_MAX: usize = 16;

const _: () = assert!(FRAME_INFLATED_BYTES_MAX >= PULL_BYTES_TARGET + HISTORY_BYTES_MAX + DOCUMENT_BYTES_MAX);
const _: () = assert!(CHANGE_BYTES_MAX > DOCUMENT_BYTES_MAX);
