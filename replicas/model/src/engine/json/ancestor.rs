//! What the candidates of a conflict started from: the value at the changes that are ancestors of all of them. Those
//! need no graph of our own: a change that some candidate's change has not seen is not one of them, and Automerge lists
//! these.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use automerge::{ChangeHash, ObjId, Prop};
use parking_lot::Mutex;
use serde_json::Value;

use super::limits::COMMON_MAX;
use super::walk::{Order, Place, Reader};

/// The latest changes that some changes have all seen. That never changes, while finding it takes all that came later: an
/// open conflict would cost each later write more.
#[derive(Debug, Clone, Default)]
pub(super) struct Common(Arc<Mutex<BTreeMap<BTreeSet<ChangeHash>, Vec<ChangeHash>>>>);

impl Common {
    fn heads(&self, reader: Reader<'_>, written: BTreeSet<ChangeHash>) -> Vec<ChangeHash> {
        if let Some(known) = self.0.lock().get(&written) {
            return known.clone();
        }
        let heads = common_heads(reader, &written);
        let mut known = self.0.lock();
        if known.len() >= COMMON_MAX {
            known.clear();
        }
        known.insert(written, heads.clone());
        heads
    }
}

/// Finds ancestors; conflicts in the same list share what they need.
pub(super) struct Ancestors<'a> {
    reader: Reader<'a>,
    items: Option<(ObjId, Vec<String>)>,
}

impl<'a> Ancestors<'a> {
    pub(super) fn new(reader: Reader<'a>) -> Self {
        Self { reader, items: None }
    }

    /// The value that all candidates started from; `None` when there was none, or a conflict already.
    pub(super) fn of(&mut self, place: &Place) -> Option<Value> {
        let reader = self.reader;
        let heads = reader.common.heads(reader, place.changes.iter().copied().collect());
        let before = Reader { heads: Some(&heads), ..reader };
        let property = match place.property {
            Prop::Map(_) => place.property.clone(),
            // Lists shift: the same item is looked for by its id.
            Prop::Seq(index) => {
                let item = self.item(&place.container, index)?;
                Prop::Seq(before.item_ids(&place.container).position(|id| id == item)?)
            }
        };
        let found = before.all(&place.container, &property);
        let [(value, id)] = &*found else { return None };
        before.value(value, id, Order::Lww).ok()
    }

    /// The id of an item as it stands now.
    fn item(&mut self, list: &ObjId, index: usize) -> Option<String> {
        let reader = self.reader;
        let known = self.items.take().filter(|(known, _)| known == list);
        let (_, items) = self.items.insert(known.unwrap_or_else(|| (list.clone(), reader.item_ids(list).collect())));
        items.get(index).cloned()
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
