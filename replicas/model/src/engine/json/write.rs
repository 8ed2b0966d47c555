//! Writes a PUT or a merge patch into an Automerge transaction, as little of it as possible: maps that exist on both
//! sides are entered, lists and Text are changed where they differ, scalars are replaced. A conflict is settled only
//! where something in it is written; a value that a resolver made up is in no Automerge field, and is written only when
//! somebody changed it.

use std::collections::{BTreeMap, BTreeSet};

use automerge::transaction::{Transactable, Transaction};
use automerge::{AutomergeError, ObjId, ObjType, Prop, ROOT, ReadDoc, ScalarValue, Value as Found};
use serde_json::{Map, Value, json};

use super::difference::edits;
use super::limits::{DIFFERENCE_STEPS_MAX, REMOVALS_MAX};
use super::splice::{TextSplice, text_at};
use super::table::{same, to_automerge, to_scalar};
use crate::document;

/// What a write starts from and how much of it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A PUT over a document that the writer saw: only what differs.
    Replace,
    /// The first PUT of all. It lies over the template: what the body does not name stays, since a removal would take
    /// away what another writer puts into the same container at the same time.
    Begin,
    /// A PUT after a delete: exactly the body, and its scalars anew.
    Again,
    /// A merge patch: what it names, also where it is equal.
    Patch,
    /// The end of conflicts: what is named, over every candidate.
    Settle,
    /// Characters of Texts.
    Splice,
}

/// How one conflict is to end.
pub(super) struct End {
    /// The map or list it is in.
    pub(super) container: ObjId,
    /// Which field or item of it.
    pub(super) property: Prop,
    /// The steps that lead there.
    pub(super) path: Vec<String>,
    /// What is there afterwards; none for nothing.
    pub(super) value: Option<Value>,
}

/// One write.
pub(super) struct Task<'a> {
    pub(super) kind: Kind,
    /// What the writer saw; where it saw nothing, what is there.
    pub(super) seen: &'a Map<String, Value>,
    /// The body or the patch.
    pub(super) wanted: &'a Map<String, Value>,
    /// JSON Pointers of the fields that are Text.
    pub(super) text: &'a BTreeSet<String>,
    /// The conflicts that end.
    pub(super) ends: &'a [End],
    /// The splices of Texts, which fit what the writer saw.
    pub(super) splices: &'a [TextSplice],
}

impl Task<'_> {
    /// Writes it; the transaction is left to commit or to roll back.
    pub(super) fn write(&self, transaction: &mut Transaction<'_>) -> Result<(), AutomergeError> {
        let mut writer = Writer { task: self, transaction, path: Vec::new(), in_lists: 0, removals: 0 };
        match self.kind {
            Kind::Patch => writer.patch_fields(&ROOT, self.seen, self.wanted),
            Kind::Replace | Kind::Begin | Kind::Again => writer.put_fields(&ROOT, self.seen, self.wanted),
            Kind::Settle => self.ends.iter().try_for_each(|end| writer.end(end)),
            Kind::Splice => writer.splice(),
        }
    }
}

/// What a field or item holds in Automerge.
enum Held {
    Nothing,
    Map(ObjId),
    List(ObjId),
    Text(ObjId),
    /// A scalar, or more than one value; the last is Automerge's own choice.
    Other(Option<ScalarValue>),
}

struct Writer<'t, 'd> {
    task: &'t Task<'t>,
    transaction: &'t mut Transaction<'d>,
    path: Vec<String>,
    /// How many lists lead here. Below one there is no Text, and only differences are written.
    in_lists: usize,
    removals: usize,
}

impl Writer<'_, '_> {
    fn held(&self, container: &ObjId, property: impl Into<Prop>) -> Result<Held, AutomergeError> {
        let mut found = self.transaction.get_all(container, property)?;
        let Some((last, id)) = found.pop() else { return Ok(Held::Nothing) };
        Ok(match last {
            Found::Object(ObjType::Map) if found.is_empty() => Held::Map(id),
            Found::Object(ObjType::List) if found.is_empty() => Held::List(id),
            Found::Object(ObjType::Text) if found.is_empty() => Held::Text(id),
            last => Held::Other(last.into_scalar().ok()),
        })
    }

    fn end(&mut self, end: &End) -> Result<(), AutomergeError> {
        self.path.clone_from(&end.path);
        let (container, value) = (&end.container, end.value.as_ref());
        match (&end.property, value) {
            (Prop::Map(name), None) => self.remove(container, name),
            (Prop::Map(name), Some(value)) => {
                let held = self.held(container, name.as_str())?;
                self.write_field(container, name, &held, value)
            }
            (Prop::Seq(at), None) => self.transaction.delete(container, *at),
            (Prop::Seq(at), Some(value)) => match to_scalar(value) {
                Some(scalar) => {
                    // Automerge drops a put of the value that is there already, or keeps the other writer's.
                    self.transaction.put(container, *at, ScalarValue::Null)?;
                    self.transaction.put(container, *at, scalar)
                }
                None => {
                    let value = self.whole(value);
                    self.transaction.batch_create_object(container, *at, &value, false).map(|_| ())
                }
            },
        }
    }

    /// Splices each Text that reads as the writer saw it. Another, as where several are in conflict or a resolver made one
    /// up, is written whole.
    fn splice(&mut self) -> Result<(), AutomergeError> {
        let (mut texts, mut whole) = (BTreeMap::new(), BTreeSet::new());
        for splice in self.task.splices {
            let steps = splice.steps();
            if !texts.contains_key(&steps) {
                let text = self.text_at(&steps)?;
                let as_seen = match &text {
                    Some(text) => Some(&*self.transaction.text(text)?) == text_at(self.task.seen, &steps),
                    None => false,
                };
                texts.insert(steps.clone(), text.filter(|_| as_seen));
            }
            match texts.get(&steps) {
                Some(Some(text)) => {
                    let removed = splice.remove.try_into().expect("it fits a Text that was read");
                    self.transaction.splice_text(text, splice.at, removed, &splice.insert)?;
                }
                _ => drop(whole.insert(steps)),
            }
        }
        for steps in whole {
            let Some(text) = text_at(self.task.wanted, &steps) else { continue };
            let patch = steps.iter().rev().fold(Value::from(text), |inner, step| json!({ step: inner }));
            if let Value::Object(patch) = patch {
                self.patch_fields(&ROOT, self.task.seen, &patch)?;
            }
        }
        Ok(())
    }

    /// The only Text at the end of these steps, where there is one.
    fn text_at(&self, steps: &[String]) -> Result<Option<ObjId>, AutomergeError> {
        let Some((last, before)) = steps.split_last() else { return Ok(None) };
        let mut container = ROOT;
        for step in before {
            match self.held(&container, step.as_str())? {
                Held::Map(map) => container = map,
                _ => return Ok(None),
            }
        }
        Ok(match self.held(&container, last.as_str())? {
            Held::Text(text) => Some(text),
            _ => None,
        })
    }

    fn is_text(&self) -> bool {
        self.in_lists == 0 && self.task.text.contains(&document::pointer(&self.path))
    }

    fn put_fields(
        &mut self,
        map: &ObjId,
        seen: &Map<String, Value>,
        wanted: &Map<String, Value>,
    ) -> Result<(), AutomergeError> {
        if self.task.kind != Kind::Begin || self.in_lists > 0 {
            let gone: BTreeSet<_> = seen.keys().filter(|name| !wanted.contains_key(*name)).collect();
            gone.into_iter().try_for_each(|name| self.remove(map, name))?;
        }
        let ordered: BTreeSet<_> = wanted.keys().collect();
        for name in ordered {
            self.path.push(name.clone());
            self.put_field(map, name, seen.get(name), &wanted[name])?;
            self.path.pop();
        }
        Ok(())
    }

    fn put_field(
        &mut self,
        map: &ObjId,
        name: &str,
        seen: Option<&Value>,
        wanted: &Value,
    ) -> Result<(), AutomergeError> {
        let equal = seen.is_some_and(|seen| same(seen, wanted));
        let anew = self.in_lists == 0 && matches!(self.task.kind, Kind::Again | Kind::Patch);
        if equal && !anew {
            return Ok(());
        }
        match (self.held(map, name)?, wanted, seen) {
            (Held::Map(id), Value::Object(wanted), Some(Value::Object(seen))) => self.put_fields(&id, seen, wanted),
            (Held::List(id), Value::Array(wanted), Some(Value::Array(seen)))
                if self.transaction.length(&id) == seen.len() && !(equal && self.task.kind == Kind::Patch) =>
            {
                self.put_items(&id, seen, wanted, map, name)
            }
            (Held::Text(id), Value::String(wanted), _) if self.is_text() => self.put_text(&id, wanted, map, name),
            (held, wanted, _) => self.write_field(map, name, &held, wanted),
        }
    }

    fn patch_fields(
        &mut self,
        map: &ObjId,
        seen: &Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Result<(), AutomergeError> {
        let ordered: BTreeSet<_> = patch.keys().collect();
        for name in ordered {
            self.path.push(name.clone());
            self.patch_field(map, name, seen.get(name), &patch[name])?;
            self.path.pop();
        }
        Ok(())
    }

    fn patch_field(
        &mut self,
        map: &ObjId,
        name: &str,
        seen: Option<&Value>,
        patch: &Value,
    ) -> Result<(), AutomergeError> {
        let Value::Object(fields) = patch else {
            return if patch.is_null() { self.remove(map, name) } else { self.put_field(map, name, seen, patch) };
        };
        let empty = Map::new();
        match (self.held(map, name)?, seen) {
            (Held::Map(id), seen) => self.patch_fields(&id, seen.and_then(Value::as_object).unwrap_or(&empty), fields),
            (held, seen) => {
                let mut merged = seen.filter(|seen| seen.is_object()).cloned().unwrap_or(Value::Object(empty));
                json_patch::merge(&mut merged, patch);
                self.write_field(map, name, &held, &merged)
            }
        }
    }

    fn remove(&mut self, map: &ObjId, name: &str) -> Result<(), AutomergeError> {
        match self.held(map, name)? {
            Held::Nothing => Ok(()),
            _ => self.transaction.delete(map, name),
        }
    }

    fn write_field(&mut self, map: &ObjId, name: &str, held: &Held, wanted: &Value) -> Result<(), AutomergeError> {
        if let Some(scalar) = self.scalar(wanted) {
            // Automerge drops a put of the value that is there already, or keeps the other writer's.
            if matches!(held, Held::Other(Some(last)) if *last == scalar) {
                self.transaction.delete(map, name)?;
            }
            return self.transaction.put(map, name, scalar);
        }
        let value = self.whole(wanted);
        self.transaction.batch_create_object(map, name, &value, false).map(|_| ())
    }

    /// The scalar to write; `None` for arrays, objects and Text.
    fn scalar(&self, wanted: &Value) -> Option<ScalarValue> {
        if wanted.is_string() && self.is_text() { None } else { to_scalar(wanted) }
    }

    fn whole(&self, wanted: &Value) -> automerge::hydrate::Value {
        let (text, in_lists) = (self.task.text, self.in_lists > 0);
        let is_text = |path: &[String]| !in_lists && text.contains(&document::pointer(path));
        to_automerge(wanted, &mut self.path.clone(), &is_text)
    }

    /// Whether this many single removals more are still cheaper than a new container.
    fn may_remove(&mut self, removals: usize) -> bool {
        let fits = self.removals + removals <= REMOVALS_MAX;
        if fits {
            self.removals += removals;
        }
        fits
    }

    fn put_items(
        &mut self,
        list: &ObjId,
        seen: &[Value],
        wanted: &[Value],
        map: &ObjId,
        name: &str,
    ) -> Result<(), AutomergeError> {
        if self.change_items(list, seen, wanted)? {
            return Ok(());
        }
        let wanted = Value::Array(wanted.to_vec());
        self.write_field(map, name, &Held::Nothing, &wanted)
    }

    /// Changes a list where it differs; `false`, and nothing done, when too much would have to go one by one.
    fn change_items(&mut self, list: &ObjId, seen: &[Value], wanted: &[Value]) -> Result<bool, AutomergeError> {
        let (before, after) = (tokens(seen), tokens(wanted));
        let edits = edits(&before, &after, DIFFERENCE_STEPS_MAX);
        let removals = edits.iter().map(|edit| edit.old.len().saturating_sub(edit.new.len())).sum();
        if !self.may_remove(removals) {
            return Ok(false);
        }
        self.in_lists += 1;
        for edit in edits.into_iter().rev() {
            let paired = edit.old.len().min(edit.new.len());
            let at = edit.old.start + paired;
            for _ in at..edit.old.end {
                self.transaction.delete(list, at)?;
            }
            if edit.new.len() > paired {
                let added: Vec<_> =
                    wanted[edit.new.start + paired..edit.new.end].iter().map(|item| self.whole(item)).collect();
                self.transaction.splice(list, at, 0, added)?;
            }
            for step in (0..paired).rev() {
                let (old, new) = (edit.old.start + step, edit.new.start + step);
                self.put_item(list, old, &seen[old], &wanted[new])?;
            }
        }
        self.in_lists -= 1;
        Ok(true)
    }

    fn put_item(&mut self, list: &ObjId, at: usize, seen: &Value, wanted: &Value) -> Result<(), AutomergeError> {
        match (self.held(list, at)?, seen, wanted) {
            (Held::Map(id), Value::Object(seen), Value::Object(wanted)) => self.put_fields(&id, seen, wanted),
            (Held::List(id), Value::Array(seen), Value::Array(wanted))
                if self.transaction.length(&id) == seen.len() && self.change_items(&id, seen, wanted)? =>
            {
                Ok(())
            }
            (_, _, wanted) => match to_scalar(wanted) {
                Some(scalar) => self.transaction.put(list, at, scalar),
                None => {
                    let value = self.whole(wanted);
                    self.transaction.batch_create_object(list, at, &value, false).map(|_| ())
                }
            },
        }
    }

    fn put_text(&mut self, text: &ObjId, wanted: &str, map: &ObjId, name: &str) -> Result<(), AutomergeError> {
        let (before, after): (Vec<_>, Vec<_>) =
            (self.transaction.text(text)?.chars().collect(), wanted.chars().collect());
        let edits = edits(&before, &after, DIFFERENCE_STEPS_MAX);
        if !self.may_remove(edits.iter().map(|edit| edit.old.len()).sum()) {
            return self.write_field(map, name, &Held::Nothing, &Value::String(wanted.to_owned()));
        }
        for edit in edits.into_iter().rev() {
            let inserted: String = after[edit.new].iter().collect();
            let removed = edit.old.len().try_into().expect("a Text that was read has fewer characters than isize::MAX");
            self.transaction.splice_text(text, edit.old.start, removed, &inserted)?;
        }
        Ok(())
    }
}

/// Items in a form whose equality is cheap and means that they read the same.
fn tokens(items: &[Value]) -> Vec<String> {
    let token = |item| serde_json_canonicalizer::to_string(item).expect("JSON values always have a canonical form");
    items.iter().map(token).collect()
}
