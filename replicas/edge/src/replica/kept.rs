//! Acknowledged changes, kept for a day in case the core is restored to a moment before it took them. The day is the core's:
//! a clock of this edge that jumps makes none of them older.

use bytes::Bytes;
use skerry_channel::change::Change;
use skerry_model::engine::Delta;
use skerry_store::Limit;

use super::{Error, Replica};
use crate::keys::outbox::Entry;
use crate::keys::{self, Slot};
use crate::limits;

impl Replica {
    /// Keeps what it takes to make an acknowledged change again.
    pub(super) fn keep(&mut self, slot: Slot, entry: &Entry) {
        let now = self.core_ms;
        let row = keys::kept::encode(&Entry {
            change: without_delta(entry),
            covered: true,
            replayed: false,
            ..entry.clone()
        });
        self.tally.kept_bytes += row.len() as u64;
        self.table.put(keys::kept::key(now, slot), row);
        self.put_tally();
        self.oldest_kept_ms.get_or_insert(now);
    }

    /// Lets go of some that are too old, or too many. `true` when more of them are.
    pub(super) fn let_go_of_kept(&mut self) -> Result<bool, Error> {
        let now = self.core_ms;
        // A restored core's clock may be behind that of the one before.
        let is_old = |at: u64| now.saturating_sub(at) >= limits::KEPT_MS;
        let too_many = |tally: &keys::tally::Tally| tally.kept_bytes > limits::KEPT_BYTES_MAX;
        if !self.oldest_kept_ms.is_some_and(is_old) && !too_many(&self.tally) {
            return Ok(false);
        }
        let limit = Limit { rows: limits::UPKEEP_STEPS_MAX, bytes: limits::SCAN_STEP_BYTES };
        let rows = self.table.scan(&keys::kept::all(), limit)?;
        let mut left = None;
        let mut went = false;
        for (key, row) in &rows {
            let (at, _) = keys::kept::decode_key(key)?;
            if !is_old(at) && !too_many(&self.tally) {
                left = Some(at);
                break;
            }
            self.forget_kept(key.clone(), row);
            went = true;
        }
        self.oldest_kept_ms = left.or_else(|| rows.last().filter(|_| went).map(|_| 0));
        Ok(went && left.is_none())
    }

    /// The core has named this time, in milliseconds since 1970.
    pub(super) fn hear_time(&mut self, core_ms: u64) {
        self.core_ms = self.core_ms.max(core_ms);
    }

    pub(super) fn forget_kept(&mut self, key: Bytes, row: &Bytes) {
        self.table.delete(key);
        self.tally.kept_bytes = self.tally.kept_bytes.saturating_sub(row.len() as u64);
        self.put_tally();
    }
}

/// The change's frame without the bytes that were merged: the core has them, or they mean nothing to it any more.
fn without_delta(entry: &Entry) -> Bytes {
    let stripped = entry.change().ok().and_then(|change| Change { delta: Delta::default(), ..change }.encode().ok());
    stripped.unwrap_or_else(|| entry.change.clone())
}
