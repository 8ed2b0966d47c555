//! Reads of a shard's rows: heads, views put together from their splices, pages.

use bytes::Bytes;
use skerry_channel::push::receiver::Watermark;
use skerry_model::automerge_id::AutomergeId;
use skerry_model::document::{SpliceMismatch, View};
use skerry_model::engine::Delta;
use skerry_model::{CollectionId, DocumentKey, Epoch, Origin, PluginDigest, VersionId};
use skerry_store::{Direction, KeyRange, Limit, OrderedStore};

use super::keys::fold::Fold;
use super::keys::head::{Head, Stored};
use super::keys::version::{Body, Version};
use super::keys::{self, automerge, change, fold, head, plugin, version, watermark};
use crate::limits::{SPLICES_MAX, VIEW_WHOLE_BYTES};

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state database.
    #[error(transparent)]
    Store(#[from] skerry_store::Error),
    /// A row.
    #[error(transparent)]
    Unreadable(#[from] keys::Unreadable),
    /// A row that others point to is not there.
    #[error("version {version} of document {key} is missing")]
    Missing {
        /// The document.
        key: DocumentKey,
        /// The version.
        version: VersionId,
    },
    /// A splice that does not fit the version before it.
    #[error("version {version} of document {key} cannot be put together: {source}")]
    Splice {
        /// The document.
        key: DocumentKey,
        /// The version.
        version: VersionId,
        /// What does not fit.
        source: SpliceMismatch,
    },
}

/// The head of a document.
///
/// # Errors
/// [`Error`].
pub fn head(rows: &dyn OrderedStore, collection: CollectionId, key: &DocumentKey) -> Result<Option<Head>, Error> {
    let row = rows.get(&head::key(collection, key))?;
    Ok(row.map(|row| head::decode(&row)).transpose()?)
}

/// The watermark of a replica.
///
/// # Errors
/// [`Error`].
pub fn watermark(rows: &dyn OrderedStore, replica: &Origin) -> Result<Option<Watermark>, Error> {
    let row = rows.get(&watermark::key(replica))?;
    Ok(row.map(|row| watermark::decode(&row)).transpose()?)
}

/// A version and what it reads as.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Which version.
    pub id: VersionId,
    /// Its row.
    pub version: Version,
    /// The view; `None` when the document is deleted.
    pub view: Option<View>,
}

/// A version with its view, put together from at most [`SPLICES_MAX`] splices and one whole copy.
///
/// # Errors
/// [`Error`]; [`Error::Missing`] when it is not kept.
pub fn version(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    epoch: Epoch,
    id: VersionId,
) -> Result<Seen, Error> {
    let missing = || Error::Missing { key: key.clone(), version: id };
    let first = rows.get(&version::key(collection, key, epoch, id))?.ok_or_else(missing)?;
    let first = version::decode(&first)?;
    let view = match &first.body {
        Body::Deleted => None,
        Body::Whole(bytes) => Some(bytes.clone()),
        Body::Splice(_) => Some(put_together(rows, collection, key, epoch, id)?),
    };
    Ok(Seen { id, version: first, view: view.map(View::from_canonical) })
}

fn put_together(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    epoch: Epoch,
    id: VersionId,
) -> Result<Bytes, Error> {
    let range = version::from(collection, key, epoch, id);
    let stored = rows.scan(&range, Limit::rows(usize::from(SPLICES_MAX) + 1), Direction::Forward)?;
    let mut splices = Vec::new();
    for (_, row) in stored {
        match version::decode(&row)?.body {
            Body::Splice(splice) => splices.push(splice),
            Body::Deleted => break,
            Body::Whole(whole) => {
                let mut newest_last = splices.iter().rev();
                return newest_last
                    .try_fold(whole, |view, splice| splice.apply(&view))
                    .map_err(|source| Error::Splice { key: key.clone(), version: id, source });
            }
        }
    }
    Err(Error::Missing { key: key.clone(), version: id })
}

/// The document that an Automerge id names, if it is in this shard.
///
/// # Errors
/// [`Error`].
pub fn automerge(rows: &dyn OrderedStore, id: &AutomergeId) -> Result<Option<(CollectionId, DocumentKey)>, Error> {
    Ok(rows.get(&automerge::key(id))?.map(|row| automerge::decode(&row)).transpose()?)
}

/// The newest version of a document with its view, or `None` when there never was one.
///
/// # Errors
/// [`Error`].
pub fn newest(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
) -> Result<Option<(Head, Seen)>, Error> {
    let Some(head) = head(rows, collection, key)? else { return Ok(None) };
    Ok(Some((head, version(rows, collection, key, head.epoch, head.version)?)))
}

/// How a new view is stored over the one before: whole when it is small or the splices have become many, else as what
/// differs.
#[must_use]
pub fn body(before: Option<(&View, Stored)>, view: Option<&View>) -> (Body, Stored) {
    let Some(view) = view else { return (Body::Deleted, Stored::default()) };
    let bytes = u32::try_from(view.bytes().len()).expect("a view is at most 1 MiB");
    let whole = || (Body::Whole(view.bytes().clone()), Stored { bytes, ..Stored::default() });
    let Some((old, stored)) = before.filter(|_| view.bytes().len() > VIEW_WHOLE_BYTES) else { return whole() };
    let splice = skerry_model::document::Splice::between(old.bytes(), view.bytes());
    let splice_bytes = stored.splice_bytes as usize + splice.inserted.len();
    if stored.splices >= SPLICES_MAX || splice_bytes > view.bytes().len() {
        return whole();
    }
    let splice_bytes = u32::try_from(splice_bytes).expect("they are no longer than the view");
    (Body::Splice(splice), Stored { bytes, splices: stored.splices + 1, splice_bytes })
}

/// Heads of a collection in the order of keys, behind `after`.
///
/// # Errors
/// [`Error`].
pub fn heads(
    rows: &dyn OrderedStore,
    range: &KeyRange,
    limit: usize,
) -> Result<Vec<(CollectionId, DocumentKey, Head)>, Error> {
    let found = rows.scan(range, Limit::rows(limit), Direction::Forward)?;
    let decoded = found.into_iter().map(|(key, row)| {
        let (collection, document) = head::decode_key(&key)?;
        Ok((collection, document, head::decode(&row)?))
    });
    decoded.collect()
}

/// What a merge document is made of: its fold, if there is one, and the deltas of versions after it, oldest first.
///
/// # Errors
/// [`Error`].
pub fn merge_parts(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    head: &Head,
) -> Result<(Option<Fold>, Vec<Delta>), Error> {
    let fold = rows.get(&fold::key(collection, key, head.epoch))?.map(|row| fold::decode(&row)).transpose()?;
    let fold = fold.filter(|fold| fold.through <= head.version);
    let after = fold.as_ref().map_or(VersionId::ZERO, |fold| fold.through);
    let deltas = deltas(rows, collection, key, head, after)?;
    Ok((fold, deltas))
}

/// The deltas of a document's versions after `after`, oldest first.
///
/// # Errors
/// [`Error`].
pub fn deltas(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    head: &Head,
    after: VersionId,
) -> Result<Vec<Delta>, Error> {
    if after >= head.version {
        return Ok(Vec::new());
    }
    let range = change::between(collection, key, head.epoch, after, head.version);
    let newest_first = rows.scan(&range, Limit::rows(usize::MAX), Direction::Forward)?;
    let mut deltas = Vec::with_capacity(newest_first.len());
    for (_, row) in newest_first.into_iter().rev() {
        deltas.extend(change::decode(&row)?);
    }
    Ok(deltas)
}

/// The deltas of a document's newest version.
///
/// # Errors
/// [`Error`].
pub fn deltas_of(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    head: &Head,
) -> Result<Vec<Delta>, Error> {
    let row = rows.get(&change::key(collection, key, head.epoch, head.version))?;
    Ok(row.map(|row| change::decode(&row)).transpose()?.unwrap_or_default())
}

/// The last delta of a document's newest version: where each holds everything, the document.
///
/// # Errors
/// [`Error`].
pub fn newest_delta(
    rows: &dyn OrderedStore,
    collection: CollectionId,
    key: &DocumentKey,
    head: &Head,
) -> Result<Option<Delta>, Error> {
    let range = change::between(collection, key, head.epoch, VersionId::ZERO, head.version);
    let newest = rows.scan(&range, Limit::rows(1), Direction::Forward)?;
    Ok(newest.first().map(|(_, row)| change::decode(row)).transpose()?.and_then(|mut deltas| deltas.pop()))
}

/// Whether all chunks of a plugin's component are here.
///
/// # Errors
/// [`Error`].
pub fn has_plugin(rows: &dyn OrderedStore, digest: PluginDigest) -> Result<bool, Error> {
    let Some(row) = rows.get(&plugin::key(digest))? else { return Ok(false) };
    let chunks = plugin::decode(&row)?.chunks as usize;
    Ok(rows.scan(&plugin::chunks(digest), Limit::rows(chunks), Direction::Forward)?.len() == chunks)
}

/// A plugin's component, once all its chunks are here.
///
/// # Errors
/// [`Error`].
pub fn plugin(rows: &dyn OrderedStore, digest: PluginDigest) -> Result<Option<Bytes>, Error> {
    let Some(row) = rows.get(&plugin::key(digest))? else { return Ok(None) };
    let whole = plugin::decode(&row)?.bytes;
    let chunks = rows.scan(&plugin::chunks(digest), Limit::rows(usize::MAX), Direction::Forward)?;
    let component: Vec<u8> = chunks.into_iter().flat_map(|(_, chunk)| chunk).collect();
    // Parts that were taken away while it was stored again come with the next deployment.
    Ok((component.len() as u64 == whole).then(|| component.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> View {
        View::from_canonical(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn an_edit_of_a_large_view_costs_the_edit() {
        let old = view(&format!("{{\"a\":\"{}\"}}", "x".repeat(5_000)));
        let new = view(&format!("{{\"a\":\"{}y\"}}", "x".repeat(5_000)));
        let (body, stored) = body(Some((&old, Stored::default())), Some(&new));
        assert!(matches!(&body, Body::Splice(splice) if splice.inserted == "y"), "{body:?}");
        assert_eq!(stored, Stored { bytes: 5_009, splices: 1, splice_bytes: 1 });
    }

    #[test]
    fn splices_are_bounded_by_number_and_by_bytes() {
        let large = view(&"x".repeat(2_000));
        let many = Stored { bytes: 2_000, splices: SPLICES_MAX, splice_bytes: 0 };
        assert!(matches!(body(Some((&large, many)), Some(&large)).0, Body::Whole(_)));
        let long = Stored { bytes: 2_000, splices: 1, splice_bytes: 2_001 };
        assert!(matches!(body(Some((&large, long)), Some(&large)).0, Body::Whole(_)));
        assert!(matches!(body(None, Some(&large)).0, Body::Whole(_)));
        assert!(matches!(body(Some((&large, many)), Some(&view("{}"))).0, Body::Whole(_)));
    }
}
