//! What the candidates of a conflict started from: the value at the changes that are ancestors of all of them. Those
//! need no graph of our own: a change that some candidate's change has not seen is not one of them, and Automerge lists
//! these.

use std::collections::{BTreeMap, BTreeSet};

use automerge::{ChangeHash, Cursor, ObjId, Prop, ReadDoc};
use serde_json::Value;

use super::walk::{Order, Place, Reader};

/// Finds ancestors; conflicts between the same changes share the search.
pub(super) struct Ancestors<'a> {
    reader: Reader<'a>,
    common: BTreeMap<BTreeSet<ChangeHash>, Vec<ChangeHash>>,
}

impl<'a> Ancestors<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, common: BTreeMap::new() }
    }

    /// The value that all candidates started from; `None` when there was none, or a conflict already.
    pub(super) fn of(&mut self, place: &Place) -> Option<Value> {
        let document = self.reader.document;
        let written: BTreeSet<_> = place.changes.iter().copied().collect();
        let heads = &*self.common.entry(written).or_insert_with_key(|written| common_heads(self.reader, written));
        let before = Reader { document, heads: Some(heads), corrections: self.reader.corrections };
        let property = match &place.property {
            Prop::Map(_) => place.property.clone(),
            Prop::Seq(index) => Prop::Seq(earlier_index(self.reader, before, &place.container, *index)?),
        };
        let found = before.all(&place.container, &property);
        let [(value, id)] = &*found else { return None };
        before.value(value, id, Order::Lww).ok()
    }
}

/// The latest changes that all of these have seen.
fn common_heads(reader: Reader<'_>, written: &BTreeSet<ChangeHash>) -> Vec<ChangeHash> {
    let mut unseen = BTreeMap::new();
    for change in written {
        for later in reader.document.get_changes_meta(&[*change]) {
            unseen.insert(later.hash, later.deps);
        }
    }
    let dependencies: BTreeSet<_> = unseen.values().flatten().copied().collect();
    dependencies.into_iter().filter(|hash| !unseen.contains_key(hash)).collect()
}

/// Where an item stood at earlier heads. Items keep their order, so the last one that now stands at or before the index
/// is it, if it stands there: one that is gone by now counts as standing where the next one does.
fn earlier_index(now: Reader<'_>, before: Reader<'_>, list: &ObjId, index: usize) -> Option<usize> {
    let heads = before.heads?;
    let stands_at = |earlier: usize| {
        let cursor: Cursor = before.document.get_cursor(list, earlier, Some(heads)).ok()?;
        before.document.get_cursor_position(list, &cursor, now.heads).ok()
    };
    let (mut low, mut high) = (0, before.document.length_at(list, heads));
    while low < high {
        let middle = low.midpoint(high);
        if stands_at(middle)? <= index {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let earlier = low.checked_sub(1)?;
    (stands_at(earlier)? == index).then_some(earlier)
}
