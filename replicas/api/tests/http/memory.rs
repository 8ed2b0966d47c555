//! The dullest [`Documents`] there can be: a map. Its one collection is `items`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use skerry_api::documents::{
    Address, Change, Conflicts, Consistency, Documents, ETag, Listed, OpenConflict, Page, Read, Scan, Stamp, State,
    WriteRequest, Written,
};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_model::document::{self, View};
use skerry_model::engine::{Settled, Write};
use skerry_model::policy::{Candidate, Conflict};
use skerry_model::{CollectionName, DocumentKey};

/// Documents of this key have one open conflict, and a plugin that failed with these words.
pub(crate) const TROUBLED: &str = "troubled";
pub(crate) const REASON: &str = "fuel ran out\nat 100 % of it, é";

#[derive(Clone, Default)]
pub(crate) struct Memory {
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    documents: BTreeMap<DocumentKey, (u64, View)>,
    version: u64,
    failures: Vec<Problem>,
    requests: usize,
}

impl Memory {
    /// The next requests fail, one with each of these.
    pub(crate) fn fail_with(&self, failures: impl IntoIterator<Item = Problem>) {
        self.held.lock().failures = failures.into_iter().collect::<Vec<_>>().into_iter().rev().collect();
    }

    /// How many requests have come this far.
    pub(crate) fn requests(&self) -> usize {
        self.held.lock().requests
    }

    fn begin(&self, collection: &CollectionName) -> Result<parking_lot::MutexGuard<'_, Held>, Problem> {
        let mut held = self.held.lock();
        held.requests += 1;
        match held.failures.pop() {
            Some(problem) => Err(problem),
            None if collection.as_str() != "items" => {
                Err(Problem::new(Kind::CollectionNotFound, format!("there is no collection {collection}")))
            }
            None => Ok(held),
        }
    }

    fn read(&self, at: &Address) -> Result<Read, Problem> {
        let held = self.begin(&at.collection)?;
        let missing = || Problem::new(Kind::DocumentNotFound, format!("there is no document {}", at.key));
        let (version, view) = held.documents.get(&at.key).cloned().ok_or_else(missing)?;
        let troubled = at.key.as_str() == TROUBLED;
        let fallback = troubled.then(|| REASON.to_owned());
        Ok(Read { view, stamp: stamp(version), conflicts: u32::from(troubled), fallback })
    }

    fn apply(&self, at: Address, request: WriteRequest) -> Result<Written, Problem> {
        let mut held = self.begin(&at.collection)?;
        let old = held.documents.get(&at.key).cloned();
        if !request.conditions.hold(old.as_ref().map(|(version, _)| etag(*version)).as_ref()) {
            return Err(Problem::new(Kind::PreconditionFailed, "the document is at another version"));
        }
        let object = match request.write {
            Write::Delete => {
                let change = if held.documents.remove(&at.key).is_some() { Change::Deleted } else { Change::Unchanged };
                return Ok(Written { change, stamp: None });
            }
            Write::Put(object) => object,
            // What was done last, for a test to look at.
            Write::Operation(operation) => Map::from_iter([("operation".to_owned(), operation)]),
            Write::Merge(_) => return Err(Problem::new(Kind::Refused, "no HTTP route makes one")),
            Write::Settle(settlement) => {
                let settled = settlement.conflicts.into_iter().map(|(path, settled)| match settled {
                    Settled::Value(value) => (path, value),
                    Settled::Removed => (path, Value::Null),
                });
                Map::from_iter([("settled".to_owned(), Value::Object(settled.collect()))])
            }
            Write::Patch(patch) => {
                let mut value = old.as_ref().map_or(Value::Null, |(_, view)| Value::Object(view.object().unwrap()));
                json_patch::merge(&mut value, &patch);
                document::check(value)?
            }
        };
        let view = View::of(&object)?;
        held.version += 1;
        let version = held.version;
        held.documents.insert(at.key, (version, view));
        let change = if old.is_some() { Change::Updated } else { Change::Created };
        Ok(Written { change, stamp: Some(stamp(version)) })
    }

    fn list(&self, collection: &CollectionName, scan: &Scan) -> Result<Page, Problem> {
        let held = self.begin(collection)?;
        let after: Option<DocumentKey> = scan.cursor.as_ref().map(|cursor| cursor.parse()).transpose()?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = held
            .documents
            .range((from, Bound::Unbounded))
            .filter(|(key, _)| key.as_str().starts_with(&scan.prefix))
            .map(|(key, (version, view))| {
                let conflicts = u32::from(key.as_str() == TROUBLED);
                Listed { key: key.clone(), etag: etag(*version), conflicts, view: view.clone() }
            });
        let documents: Vec<_> = found.by_ref().take(scan.limit as usize).collect();
        let more = found.next().is_some();
        let cursor = documents.last().filter(|_| more).map(|last| last.key.to_string());
        Ok(Page { documents, cursor })
    }
}

fn etag(version: u64) -> ETag {
    ETag(format!("t1.{version}.0-ab"))
}

fn stamp(version: u64) -> Stamp {
    let state = State::Committed;
    Stamp {
        etag: etag(version),
        scn: Some(format!("t1.{version}")),
        policy: "plugin:stock".to_owned(),
        state,
        automerge: None,
    }
}

/// A refusal of a write, with what is known of its outcome.
pub(crate) fn unavailable(outcome: Outcome) -> Problem {
    Problem::unavailable(outcome, "there is no leader")
}

impl Documents for Memory {
    async fn get(&self, at: Address, _: Consistency) -> Result<Read, Problem> {
        self.read(&at)
    }

    async fn write(&self, at: Address, request: WriteRequest) -> Result<Written, Problem> {
        self.apply(at, request)
    }

    async fn scan(&self, collection: CollectionName, scan: Scan) -> Result<Page, Problem> {
        self.list(&collection, &scan)
    }

    async fn conflicts(&self, at: Address, _: Consistency) -> Result<Conflicts, Problem> {
        let Read { stamp, conflicts, fallback, .. } = self.read(&at)?;
        let candidate = |value: i64, origin: &str| Candidate {
            value: value.into(),
            origin: origin.to_owned(),
            sequence: 3,
            time: 1_700_000_000_000,
        };
        let candidates = vec![candidate(8, "shop-a"), candidate(9, "shop-b")];
        let conflict = Conflict { path: "/stock".to_owned(), ancestor: Some(10.into()), candidates };
        let open = OpenConflict { conflict, shown: Some(9.into()) };
        let conflicts = if conflicts > 0 { vec![open] } else { Vec::new() };
        Ok(Conflicts { policy: stamp.policy, fallback, etag: stamp.etag, conflicts })
    }
}
