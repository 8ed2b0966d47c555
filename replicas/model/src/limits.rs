//! Every bound on what a client may hand in, by name. Past a bound the answer is an error that names the field and the
//! limit.

/// A document's canonical JSON, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// A document key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;
/// A collection's or plugin's name, in characters.
pub const NAME_CHARS_MAX: usize = 64;
/// A replica's id, in characters.
pub const ORIGIN_CHARS_MAX: usize = 64;
/// How deep arrays and objects of a document nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// The saved history of one json document, in bytes.
pub const HISTORY_BYTES_MAX: usize = 16 << 20;
/// The state of one document of a state policy, in bytes.
pub const STATE_BYTES_MAX: usize = 16 << 20;
/// Replicas that have ever written one document of a state policy.
pub const WRITERS_MAX: usize = 10_000;
/// Conflicts of one document that are handed to a resolver; a document with more is viewed in the built-in order.
pub const CONFLICTS_MAX: usize = 1_000;
/// How far the time of a change from outside may lie ahead of the core's clock, in milliseconds; past it that counts.
pub const CLIENT_AHEAD_MS_MAX: i64 = 60_000;
/// What one write takes of the changes that a client of Automerge sends, in bytes beyond the last of them.
pub const CLIENT_DELTA_BYTES: usize = 256 << 10;
/// What one write takes of the changes that a client of Automerge sends.
pub const CLIENT_DELTA_CHANGES: usize = 5_000;
/// Changes in one delta that came from outside.
pub const DELTA_CHANGES_MAX: usize = 10_000;
/// The largest integer that RFC 8785 can carry without loss: 2^53 - 1.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Collections of one cluster.
pub const COLLECTIONS_MAX: usize = 10_000;
/// A collection's template, in bytes of canonical JSON.
pub const TEMPLATE_BYTES_MAX: usize = 64 << 10;
/// Text fields that a collection may declare.
pub const TEXT_FIELDS_MAX: usize = 32;
/// Splices of text in one operation.
pub const TEXT_SPLICES_MAX: usize = 1_000;
/// Texts that one operation splices, each counted for every splice of it, in bytes.
pub const SPLICED_BYTES_MAX: usize = 64 << 20;
/// Branches of a document's history up to which it is written at a base; the next write of now joins them all.
pub const BRANCHES_MAX: usize = 64;
/// A plugin component's binary, in bytes.
pub const PLUGIN_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(HISTORY_BYTES_MAX > DOCUMENT_BYTES_MAX);
const _: () = assert!(CLIENT_DELTA_CHANGES <= DELTA_CHANGES_MAX);
