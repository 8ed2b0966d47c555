//! Bounds of the json engine alone; what a client meets first is in [`crate::limits`].

use crate::limits::{DOCUMENT_BYTES_MAX, HISTORY_BYTES_MAX};

/// Operations of one change. A document holds at most one character, field or item per byte; the rest is room for what
/// the change removes.
pub(super) const CHANGE_OPERATIONS_MAX: usize = DOCUMENT_BYTES_MAX + DOCUMENT_BYTES_MAX / 2;
/// Field names and mark names of one change, in bytes, each counted as often as it is used.
pub(super) const CHANGE_NAME_BYTES_MAX: usize = 16 * DOCUMENT_BYTES_MAX;
/// Changes that one change builds on directly.
pub(super) const DEPENDENCIES_MAX: usize = 10_000;
/// An actor's id, in bytes.
pub(super) const ACTOR_BYTES_MAX: usize = 64;
/// Operations of one document's whole history.
pub(super) const HISTORY_OPERATIONS_MAX: usize = HISTORY_BYTES_MAX;
/// Operations that are handed to Automerge at once, beyond those of one change: it needs some 200 bytes for each.
pub(super) const BATCH_OPERATIONS_MAX: usize = 1 << 18;
/// Changes of a client of Automerge in one document that wait for what they build on, in bytes.
pub(super) const CLIENT_EARLY_BYTES_MAX: usize = 1 << 20;
/// Changes in one message of a client of Automerge, and entries in a summary of what it has.
pub(super) const CLIENT_CHANGES_MAX: usize = 100_000;
/// What the changes in one message of a client of Automerge take once they are inflated, in bytes.
pub(super) const CLIENT_INFLATED_BYTES_MAX: usize = 2 * HISTORY_BYTES_MAX;
/// Heads and changes asked for in one message of a client of Automerge.
pub(super) const CLIENT_HASHES_MAX: usize = 10_000;
/// Summaries of what a client of Automerge has in one message; clients write one.
pub(super) const CLIENT_SUMMARIES_MAX: usize = 16;
/// The largest operation counter. Automerge keeps counters in 32 bits; one change more always fits.
pub(super) const COUNTER_MAX: u64 = u32::MAX as u64 - CHANGE_OPERATIONS_MAX as u64;
/// How far a change from outside may count ahead of what is here: its writer may have seen changes that were refused.
pub(super) const COUNTER_GAP_MAX: u64 = 1 << 20;
/// What one operation adds to a change at most, in bytes, apart from its value, its field's name and what it replaces.
pub(super) const OPERATION_BYTES_MAX: usize = 64;
/// What one replaced value adds to an operation at most, in bytes. There are about as many as writers at most.
pub(super) const PREDECESSOR_BYTES_MAX: usize = 8;
/// What one writer, or one head, adds to a change at most, in bytes.
pub(super) const ACTOR_SHARE_BYTES_MAX: usize = 2 * ACTOR_BYTES_MAX;
/// How much history may have come in since it was last measured before it is measured again, in bytes.
pub(super) const MEASURE_EVERY_BYTES: usize = 1 << 20;
/// Insertions and removals that a difference is searched for; past it the whole middle counts as replaced.
pub(super) const DIFFERENCE_STEPS_MAX: usize = 512;
/// Characters and items that one change removes one by one; past it the whole field is replaced.
pub(super) const REMOVALS_MAX: usize = 1 << 16;
/// Sets of changes of one document whose common ancestors are kept.
pub(super) const COMMON_MAX: usize = 64;
/// JSON of all candidates of one document, in bytes.
pub(super) const CANDIDATE_BYTES_MAX: usize = HISTORY_BYTES_MAX;

const _: () = assert!(CHANGE_OPERATIONS_MAX >= DOCUMENT_BYTES_MAX + 2 * REMOVALS_MAX);
const _: () = assert!(COUNTER_GAP_MAX < COUNTER_MAX);
