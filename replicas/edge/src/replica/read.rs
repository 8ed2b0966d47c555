//! Reads. They look at committed rows alone and need no owner, so that no read waits for a write or an fsync.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use skerry_api::documents::{Address, Listed, Page, Read, SCAN_BYTES_TARGET, Scan};
use skerry_api::problem::{Kind, Problem};
use skerry_channel::message::Collection;
use skerry_model::{CollectionId, CollectionName, DocumentKey};
use skerry_store::{Direction, KeyRange, Limit, LogDb, Row};

use super::known::{Known, Shared};
use super::shown::Shown;
use super::{Answer, Error};
use crate::keys::{Place, head, provisional};

/// Reads documents of an edge from any thread. Each call may touch the disk.
#[derive(Clone)]
pub struct Reader {
    database: Arc<dyn LogDb>,
    known: Shared,
}

impl Reader {
    pub(super) fn new(database: Arc<dyn LogDb>, known: Shared) -> Self {
        Self { database, known }
    }

    pub(crate) fn known(&self) -> Arc<Known> {
        self.known.read().clone()
    }

    /// The document.
    ///
    /// # Errors
    /// [`Error`] when the database fails; a [`Problem`] is an answer.
    pub fn get(&self, at: &Address) -> Result<Answer<Read>, Error> {
        let known = self.known();
        let collection = match known.collection(&at.collection) {
            Ok(collection) => collection,
            Err(problem) => return Ok(Err(problem)),
        };
        let place = Place { collection: collection.id, key: at.key.clone() };
        let read = self.shown(&place)?.and_then(|shown| shown.read(&known, collection));
        Ok(read.ok_or_else(|| {
            if known.subscription.covers(&at.collection, &at.key) {
                return document_not_found(at);
            }
            let detail = format!(
                "{} in {} is not in what this edge subscribes to, read it at {}",
                at.key, at.collection, known.core
            );
            Problem::new(Kind::DocumentNotFound, detail)
        }))
    }

    /// What is shown of a document. The provisional row is read first: if a commit between the two reads replaces it by
    /// a newer head, the reader still sees one of the two, and a head read second is never older than the row was.
    fn shown(&self, place: &Place) -> Result<Option<Shown>, Error> {
        if let Some(row) = self.database.get(&provisional::key(place))? {
            return Ok(Some(provisional::decode(&row)?.into()));
        }
        let row = self.database.get(&head::key(place))?;
        Ok(row.map(|row| head::decode(&row)).transpose()?.map(Shown::from))
    }

    /// A page of a collection, in the order of keys.
    ///
    /// # Errors
    /// As [`Reader::get`].
    pub fn scan(&self, name: &CollectionName, scan: &Scan) -> Result<Answer<Page>, Error> {
        let known = self.known();
        let collection = match known.collection(name) {
            Ok(collection) => collection,
            Err(problem) => return Ok(Err(problem)),
        };
        let after = match scan.cursor.as_deref().map(decode_cursor).transpose() {
            Ok(after) => after,
            Err(problem) => return Ok(Err(problem)),
        };
        Ok(Ok(self.page(&known, collection, scan, after)?))
    }

    fn page(
        &self,
        known: &Known,
        collection: &Collection,
        scan: &Scan,
        mut after: Option<DocumentKey>,
    ) -> Result<Page, Error> {
        let limit = usize::try_from(scan.limit).unwrap_or(usize::MAX).max(1);
        let (mut documents, mut bytes) = (Vec::new(), 0);
        loop {
            let step = self.step(collection.id, &scan.prefix, after.as_ref(), limit - documents.len())?;
            for (key, shown) in step.shown {
                after = Some(key.clone());
                if let (Some(view), Some(etag)) = (shown.view.clone(), shown.etag(known)) {
                    bytes += view.bytes().len();
                    documents.push(Listed { key, etag, conflicts: shown.conflicts, view });
                }
                if documents.len() >= limit || bytes >= SCAN_BYTES_TARGET {
                    return Ok(Page { documents, cursor: after.as_ref().map(encode_cursor) });
                }
            }
            match step.end {
                Some(end) => after = Some(end),
                None => return Ok(Page { documents, cursor: None }),
            }
        }
    }

    /// The next documents, deleted ones included, up to where both kinds of row have been read.
    fn step(
        &self,
        collection: CollectionId,
        prefix: &str,
        after: Option<&DocumentKey>,
        rows: usize,
    ) -> Result<Step, Error> {
        let limit = Limit { rows: rows.max(1), bytes: SCAN_BYTES_TARGET };
        let read = |start: Bytes| {
            let mut range = KeyRange::prefix([&start, prefix.as_bytes()].concat());
            if let Some(after) = after.filter(|after| after.as_str() >= prefix) {
                range = range.behind([&start, after.as_str().as_bytes()].concat().into(), Direction::Forward);
            }
            self.database.scan(&range, limit, Direction::Forward)
        };
        // In this order for the reason given at `shown`.
        let provisional_rows = read(provisional::of_collection(collection))?;
        let head_rows = read(head::of_collection(collection))?;
        let end_of = |rows: &[Row], decode: fn(&[u8]) -> Result<Place, crate::keys::Error>| match rows.last() {
            Some((key, _)) if limit.is_reached_by(rows) => decode(key).map(|place| Some(place.key)),
            _ => Ok(None),
        };
        let ends = [end_of(&provisional_rows, provisional::decode_key)?, end_of(&head_rows, head::decode_key)?];
        let end = ends.into_iter().flatten().min();
        let mut shown = BTreeMap::new();
        for (key, value) in head_rows {
            shown.insert(head::decode_key(&key)?.key, Shown::from(head::decode(&value)?));
        }
        for (key, value) in provisional_rows {
            shown.insert(provisional::decode_key(&key)?.key, Shown::from(provisional::decode(&value)?));
        }
        let within = |key: &DocumentKey| end.as_ref().is_none_or(|end| key <= end);
        Ok(Step { shown: shown.into_iter().filter(|(key, _)| within(key)).collect(), end })
    }
}

struct Step {
    shown: Vec<(DocumentKey, Shown)>,
    /// The last key that was read of both kinds, when there may be more.
    end: Option<DocumentKey>,
}

pub(super) fn document_not_found(at: &Address) -> Problem {
    Problem::new(Kind::DocumentNotFound, format!("there is no document {} in {}", at.key, at.collection))
}

fn encode_cursor(key: &DocumentKey) -> String {
    hex::encode(key.as_str())
}

fn decode_cursor(cursor: &str) -> Answer<DocumentKey> {
    let refused = || Problem::new(Kind::Malformed, "the cursor is not one that this edge has given out");
    let bytes = hex::decode(cursor).map_err(|_| refused())?;
    let text = String::from_utf8(bytes).map_err(|_| refused())?;
    DocumentKey::new(text).map_err(|_| refused())
}
