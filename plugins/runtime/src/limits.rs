//! Bounds that hold under every runtime profile. Those of a call are the profile's.

use skerry_model::limits::CONFLICTS_MAX;

use crate::bindings::{Choice, Note};

/// Notes of one resolution.
pub const NOTES_MAX: usize = 32;
/// A note's name, in bytes.
pub const NOTE_NAME_BYTES_MAX: usize = 64;
/// Paths that a resolver may ask for.
pub const PATHS_MAX: usize = 64;
/// One of these paths, in bytes.
pub const PATH_BYTES_MAX: usize = 1_024;
/// What is kept of a plugin's own words when it fails, in bytes.
pub const REASON_BYTES_MAX: usize = 512;
/// Compiled plugins that one process holds; past it the ones that were not asked for lately go, and are compiled again
/// when they are.
pub const PLUGINS_COMPILED_MAX: usize = 32;
/// Examples that a merge policy gives.
pub const EXAMPLES_MAX: usize = 256;
/// How exact the wall-clock alarm is, in milliseconds.
pub const ALARM_TICK_MS: u64 = 50;

/// What wasmtime counts, beside the text itself, for the lists of an answer that keeps to the contract.
pub(crate) const ANSWER_OVERHEAD_BYTES: usize =
    CONFLICTS_MAX * size_of::<Choice>() + NOTES_MAX * size_of::<Note>() + PATHS_MAX * size_of::<String>();
