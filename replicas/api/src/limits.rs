//! Bounds of the HTTP contract, for server and client.

use std::time::Duration;

use skerry_model::limits::{DOCUMENT_BYTES_MAX, PLUGIN_BYTES_MAX};

use crate::documents::SCAN_BYTES_TARGET;

/// Body of a document request, in bytes: room for white space and escapes that the canonical form does without.
pub const DOCUMENT_BODY_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;
/// Entity tags that one `If-Match` or `If-None-Match` may list.
pub const CONDITION_TAGS_MAX: usize = 64;
/// Values that a CBOR body nests, arrays and objects; enough for every document and for a sentence about one too deep.
pub const CBOR_DEPTH_MAX: usize = 128;
/// `Skerry-Fallback`, in bytes before escaping; a longer reason is cut.
pub const FALLBACK_BYTES_MAX: usize = 1 << 10;
/// `Retry-After` of a 429 or 503, in seconds.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// An answer that the client takes into memory, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How long the client waits for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the client waits for an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the client waits for a deploy, which compiles the plugin on every node, and for a collection.
pub const CATALOG_TIMEOUT: Duration = Duration::from_secs(120);
/// How often a client that may repeat does so.
pub const RETRIES_MAX: usize = 3;
/// The first pause before it repeats; each is twice the one before.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(50);
/// The longest pause before it repeats.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(DOCUMENT_BODY_BYTES_MAX > DOCUMENT_BYTES_MAX);
const _: () = assert!(CBOR_DEPTH_MAX > skerry_model::limits::DOCUMENT_DEPTH_MAX);
// A page ends with the document that passes the target; JSON around the documents is less than they are at most.
const _: () = assert!(ANSWER_BYTES_MAX > 2 * (SCAN_BYTES_TARGET + DOCUMENT_BYTES_MAX));
const _: () = assert!(ANSWER_BYTES_MAX > PLUGIN_BYTES_MAX);

/// The ETag in `?base=`, in bytes.
pub const BASE_BYTES_MAX: usize = 1_024;
