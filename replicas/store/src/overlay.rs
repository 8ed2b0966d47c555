//! What a shard has installed and its keyspace does not hold yet (DESIGN.md, Storage): two maps, one that takes what is
//! installed and one that is being written.
//! Invariants: a row leaves only after the keyspace has it; what is handed out to be written is everything installed
//! until then, so the keyspace always holds a prefix of the installs.
//! Pure: knows nothing of threads or stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::{Batch, Direction, KeyRange, Limit, Row};

/// Rows by key; `None` is a delete.
pub(crate) type Rows = BTreeMap<Bytes, Option<Bytes>>;

/// A shard's rows that are not in its keyspace yet.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// What was installed since the last handing over.
    active: Rows,
    /// What the installs in `active` took of the room.
    active_room: usize,
    /// What is being written. `active` lies on top of it.
    writing: Option<Arc<Rows>>,
}

/// What is handed over to be written.
pub(crate) struct Handover {
    /// The rows.
    pub(crate) rows: Arc<Rows>,
    /// What they took of the room.
    pub(crate) room: usize,
}

impl Overlay {
    /// Makes a batch visible that took `room` of the room.
    pub(crate) fn install(&mut self, batch: Batch, room: usize) {
        self.active.extend(batch.into_rows());
        self.active_room += room;
    }

    /// What is known of a key: a value, a delete, or nothing, when the keyspace must be asked.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.active.get(key).or_else(|| self.writing.as_ref()?.get(key))
    }

    /// Hands over everything installed. Nothing else is handed over until [`Self::written`].
    pub(crate) fn hand_over(&mut self) -> Option<Handover> {
        assert!(self.writing.is_none(), "what was handed over before is still being written");
        if self.active.is_empty() {
            return None;
        }
        let rows = Arc::new(std::mem::take(&mut self.active));
        self.writing = Some(rows.clone());
        Some(Handover { rows, room: std::mem::take(&mut self.active_room) })
    }

    /// What was handed over is in the keyspace. The caller drops what it gets, when no guard is held: that takes long.
    pub(crate) fn written(&mut self) -> Option<Arc<Rows>> {
        self.writing.take()
    }

    /// Gives back the room of what was installed and will not be handed over. It stays readable: a reader that was given
    /// an install must not see it vanish.
    pub(crate) fn abandon(&mut self) -> usize {
        std::mem::take(&mut self.active_room)
    }

    /// The first rows and deletes of a range in order of `direction`, at most `count`.
    pub(crate) fn capture(&self, range: &KeyRange, count: usize, direction: Direction) -> Captured {
        if range.is_empty() {
            return Captured { rows: Vec::new(), is_whole: true };
        }
        let active = self.active.range::<[u8], _>(range.bounds());
        let writing = self.writing.iter().flat_map(|rows| rows.range::<[u8], _>(range.bounds()));
        match direction {
            Direction::Forward => Captured::take(layer(active, writing, direction), count),
            Direction::Backward => Captured::take(layer(active.rev(), writing.rev(), direction), count),
        }
    }
}

/// Rows and deletes of the overlay, in order.
#[derive(Debug)]
pub(crate) struct Captured {
    rows: Vec<(Bytes, Option<Bytes>)>,
    /// Whether nothing else of the range is in the overlay.
    is_whole: bool,
}

impl Captured {
    fn take<'a>(mut rows: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>, count: usize) -> Self {
        let taken: Vec<_> = rows.by_ref().take(count).map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { is_whole: taken.len() < count, rows: taken }
    }

    /// The part of `range` for which the captured rows are all there are.
    pub(crate) fn window(&self, range: &KeyRange, direction: Direction) -> KeyRange {
        match self.rows.last() {
            Some((last, _)) if !self.is_whole => range.clone().up_to(last.clone(), direction),
            _ => range.clone(),
        }
    }

    /// Lays the captured rows over the ones `stored` in the window, which the keyspace returned under `limit`.
    pub(crate) fn over(self, stored: Vec<Row>, limit: Limit, direction: Direction) -> Merged {
        let stored_is_whole = !limit.is_reached_by(&stored);
        // Up to here both sides are known.
        let end = match (stored.last(), self.rows.last()) {
            (Some((last, _)), _) if !stored_is_whole => Some(last.clone()),
            (_, Some((last, _))) if !self.is_whole => Some(last.clone()),
            _ => None,
        };
        let known = |key: &Bytes| end.as_ref().is_none_or(|end| key == end || comes_before(key, end, direction));
        let captured = self.rows.iter().map(|(key, value)| (key, value)).filter(|(key, _)| known(key));
        let stored: Vec<_> = stored.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let stored = stored.iter().map(|(key, value)| (key, value));
        let rows =
            layer(captured, stored, direction).filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        Merged { rows, end }
    }
}

/// Rows of overlay and keyspace together.
#[derive(Debug)]
pub(crate) struct Merged {
    /// The rows, in order.
    pub(crate) rows: Vec<Row>,
    /// Up to where; `None` is the end of the range.
    pub(crate) end: Option<Bytes>,
}

/// Whether `left` comes strictly before `right` in `direction`.
fn comes_before(left: &Bytes, right: &Bytes, direction: Direction) -> bool {
    match direction {
        Direction::Forward => left < right,
        Direction::Backward => left > right,
    }
}

/// Two ordered runs as one; where both have a key, the upper one's value stands.
fn layer<'a>(
    upper: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    lower: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
    direction: Direction,
) -> impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    std::iter::from_fn(move || match (upper.peek(), lower.peek()) {
        (Some((above, _)), Some((below, _))) => {
            if comes_before(below, above, direction) {
                return lower.next();
            }
            if above == below {
                lower.next();
            }
            upper.next()
        }
        (Some(_), None) => upper.next(),
        (None, _) => lower.next(),
    })
}
