//! Application of a log record: checks the preconditions, assigns the SCN, installs bytes. Total, cheap, and the same on
//! every node: it never parses a client's bytes, runs no engine and no plugin, and reads no clock.

use std::collections::BTreeSet;

use skerry_model::ids::ScnExhausted;
use skerry_model::{Ordinal, PluginDigest, Scn, VersionId};
use skerry_store::{Batch, Direction, Limit, OrderedStore};

use super::keys::{automerge, catalog, change, feed, head, plugin, version, watermark};
use super::read;
use super::record::{Applied, DocumentEffect, Documents, Effect, PushEffect, Record};
use crate::catalog::Catalog;
use crate::documents::keys::header::Header;
use crate::limits::FEED_STEP;

/// Why the node must stop: what it holds is damaged, or the shard is at its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rows.
    #[error(transparent)]
    Read(#[from] read::Error),
    /// The SCN.
    #[error(transparent)]
    Exhausted(#[from] ScnExhausted),
}

/// What a record does to a shard.
#[derive(Debug)]
pub struct Application {
    /// The rows to install, without the header's.
    pub batch: Batch,
    /// What the proposer hears.
    pub applied: Applied,
    /// The SCN of the record.
    pub scn: Scn,
    /// The catalog, when the record moved it.
    pub catalog: Option<Catalog>,
    /// The cluster and timeline, when the record named them.
    pub founded: Option<(skerry_model::ClusterId, skerry_model::Timeline)>,
}

/// Applies one record at `index` over what `rows` hold.
///
/// # Errors
/// [`Error`]: the node must stop.
pub fn apply(
    header: &Header,
    known: &Catalog,
    rows: &dyn OrderedStore,
    index: u64,
    record: &Record,
) -> Result<Application, Error> {
    let scn = Scn::assign(header.scn, record.proposed)?;
    let mut batch = Batch::new();
    let mut moved = None;
    let mut founded = None;
    let installed = match &record.effect {
        Effect::Found { cluster, timeline } => {
            let line = (*cluster, *timeline);
            let begins = header.cluster != Some(line);
            founded = begins.then_some(line);
            begins
        }
        Effect::Documents(changes) => {
            let first = install_changes(&mut batch, known, rows, changes, (scn, index))?;
            let applied = Applied::Documents { scn, first };
            return Ok(Application { batch, applied, scn, catalog: None, founded: None });
        }
        Effect::Catalog { version, step } => {
            let holds = *version == known.version.next();
            if holds {
                let next = known.after(step);
                for digest in next.gone_since(known) {
                    forget_component(&mut batch, rows, digest)?;
                }
                batch.put(catalog::key(), catalog::encode(&next));
                batch.put(catalog::step_key(*version), catalog::encode_step(step));
                moved = Some(next);
            }
            holds
        }
        Effect::Compare { .. } => true,
        Effect::ForgetFeed { up_to } => {
            let holds = *up_to > feed::floor::<read::Error>(rows)?;
            if holds {
                forget_feed(&mut batch, rows, *up_to)?;
                batch.put(feed::floor_key(), feed::encode_floor(*up_to));
            }
            holds
        }
        Effect::PluginChunk { digest, chunk, chunks, bytes } => {
            batch.put(plugin::chunk_key(*digest, *chunk), bytes.clone());
            if chunk + 1 == *chunks {
                let size = u64::from(*chunk) * crate::limits::PLUGIN_CHUNK_BYTES as u64 + bytes.len() as u64;
                batch.put(plugin::key(*digest), plugin::encode(&plugin::Plugin { bytes: size, chunks: *chunks }));
            }
            true
        }
    };
    let applied = if installed { Applied::Installed { scn } } else { Applied::Stale };
    Ok(Application { batch, applied, scn, catalog: moved, founded })
}

/// Takes away the entries up to an SCN; the leader has named one that few of them lie below.
fn forget_feed(batch: &mut Batch, rows: &dyn OrderedStore, up_to: Scn) -> Result<(), Error> {
    let mut range = feed::all();
    loop {
        let step = rows.scan(&range, Limit::rows(FEED_STEP), Direction::Forward).map_err(read::Error::from)?;
        let Some((last, _)) = step.last() else { return Ok(()) };
        range = range.behind(last.clone(), Direction::Forward);
        for (key, _) in step {
            if feed::decode_key(&key).map_err(read::Error::from)?.scn > up_to {
                return Ok(());
            }
            batch.delete(key);
        }
    }
}

/// Takes away the rows of a component; on shards other than 0 there are none.
fn forget_component(batch: &mut Batch, rows: &dyn OrderedStore, digest: PluginDigest) -> Result<(), Error> {
    let Some(row) = rows.get(&plugin::key(digest)).map_err(read::Error::from)? else { return Ok(()) };
    let plugin::Plugin { chunks, .. } = plugin::decode(&row).map_err(read::Error::from)?;
    batch.delete(plugin::key(digest));
    (0..chunks).for_each(|chunk| batch.delete(plugin::chunk_key(digest, chunk)));
    Ok(())
}

/// Installs those whose preconditions hold; answers where the versions of each begin.
fn install_changes(
    batch: &mut Batch,
    known: &Catalog,
    rows: &dyn OrderedStore,
    changes: &[Documents],
    (scn, index): (Scn, u64),
) -> Result<Vec<Option<u32>>, Error> {
    let mut position = 0;
    let (mut touched, mut pushed) = (BTreeSet::new(), BTreeSet::new());
    let mut first = Vec::with_capacity(changes.len());
    for change in changes {
        let places = || change.documents.iter().map(|effect| (effect.collection, &effect.key));
        let replica = change.push.as_ref().map(|push| &push.replica);
        let is_apart = !places().any(|place| touched.contains(&place)) && replica.is_none_or(|it| !pushed.contains(it));
        if is_apart && change.catalog == known.version && preconditions_hold(rows, change)? {
            first.push(Some(position));
            touched.extend(places());
            pushed.extend(replica);
            install_documents(batch, change, (scn, index), &mut position);
        } else {
            first.push(None);
        }
    }
    Ok(first)
}

fn preconditions_hold(rows: &dyn OrderedStore, documents: &Documents) -> Result<bool, Error> {
    for effect in &documents.documents {
        let head = read::head(rows, effect.collection, &effect.key)?;
        if head.map(|head| head.version) != effect.expected {
            return Ok(false);
        }
    }
    match &documents.push {
        Some(push) => {
            let known = read::watermark(rows, &push.replica)?;
            Ok(known.map(|known| (known.incarnation, known.mark)) == push.expected)
        }
        None => Ok(true),
    }
}

fn install_documents(batch: &mut Batch, documents: &Documents, (scn, index): (Scn, u64), position: &mut u32) {
    for effect in &documents.documents {
        install_document(batch, effect, scn, index, position);
    }
    if let Some(PushEffect { replica, watermark: moved, .. }) = &documents.push {
        batch.put(watermark::key(replica), watermark::encode(moved));
    }
}

fn install_document(batch: &mut Batch, effect: &DocumentEffect, scn: Scn, index: u64, position: &mut u32) {
    let DocumentEffect { collection, key, epoch, .. } = effect;
    if let Some(id) = &effect.automerge {
        batch.put(automerge::key(id), automerge::encode(*collection, key));
    }
    let mut previous = effect.expected;
    for (at, made) in effect.versions.iter().enumerate() {
        let id = VersionId { scn, ordinal: Ordinal { index, position: *position } };
        *position += 1;
        let stored = version::Version {
            previous,
            origin: made.origin.clone(),
            time_ms: made.time_ms,
            body: made.body.clone(),
            plugin: made.plugin,
            conflicts: made.conflicts,
            fallback: made.fallback.clone(),
            seen: made.merge.as_ref().map(|merge| merge.seen.clone()),
        };
        batch.put(version::key(*collection, key, *epoch, id), version::encode(&stored));
        if let Some(merge) = &made.merge {
            batch.put(change::key(*collection, key, *epoch, id), change::encode(&merge.deltas));
        }
        let entry = feed::Entry { collection: *collection, key: key.clone(), epoch: *epoch };
        batch.put(feed::key(id), feed::encode(&entry));
        if at + 1 == effect.versions.len() {
            let live = !matches!(made.body, version::Body::Deleted);
            let newest =
                head::Head { version: id, epoch: *epoch, live, conflicts: made.conflicts, stored: made.stored };
            batch.put(head::key(*collection, key), head::encode(&newest));
        }
        previous = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use skerry_model::{CollectionId, DocumentKey, Epoch, Origin};
    use skerry_store::StateDb;
    use skerry_store::simulated::Disk;

    use super::*;
    use crate::documents::keys::head::Stored;
    use crate::documents::keys::version::Body;
    use crate::documents::record::VersionEffect;

    fn version() -> VersionEffect {
        VersionEffect {
            origin: Origin::core(),
            time_ms: 0,
            body: Body::Deleted,
            stored: Stored::default(),
            plugin: None,
            conflicts: 0,
            fallback: None,
            merge: None,
        }
    }

    /// A change of one document by so many versions, over nothing.
    fn change(key: &str, versions: usize) -> Documents {
        let effect = DocumentEffect {
            collection: CollectionId::new(1),
            key: DocumentKey::new(key).unwrap(),
            epoch: Epoch::new(0),
            expected: None,
            automerge: None,
            versions: (0..versions).map(|_| version()).collect(),
        };
        Documents { catalog: Catalog::default().version, documents: vec![effect], push: None }
    }

    fn first(changes: Vec<Documents>) -> Vec<Option<u32>> {
        let rows = Disk::new(0).state().keyspace("0").unwrap();
        let record = Record::new(Scn::at_millis(1), Effect::Documents(changes));
        let application = apply(&Header::default(), &Catalog::default(), &*rows, 7, &record).unwrap();
        match application.applied {
            Applied::Documents { first, .. } => first,
            applied => panic!("{applied:?}"),
        }
    }

    #[test]
    fn changes_of_one_record_number_their_versions_behind_each_other() {
        assert_eq!(first(vec![change("a", 2), change("b", 1), change("c", 1)]), [Some(0), Some(2), Some(3)]);
    }

    #[test]
    fn a_stale_change_takes_no_other_with_it() {
        let mut stale = change("b", 3);
        stale.documents[0].expected = Some(VersionId::ZERO);
        assert_eq!(first(vec![change("a", 1), stale, change("c", 1)]), [Some(0), None, Some(1)]);
    }

    #[test]
    fn the_second_change_of_a_document_is_stale() {
        assert_eq!(first(vec![change("a", 1), change("a", 1)]), [Some(0), None]);
    }
}
