//! Pages of a collection, put together from all shards in the order of keys.

use std::collections::BTreeMap;

use skerry_api::documents::{Listed, Page, SCAN_BYTES_TARGET, Scan};
use skerry_api::problem::{Kind, Problem};
use skerry_model::{CollectionName, DocumentKey};
use skerry_store::{Direction, ShardStore};

use super::Node;
use super::documents::known;
use crate::documents::evaluate::{etag, storage_problem};
use crate::documents::keys::head::{self, Head};
use crate::documents::read;
use crate::limits::SCAN_STEP;

impl Node {
    pub(super) async fn page(&self, name: &CollectionName, scan: &Scan) -> Result<Page, Problem> {
        for shard in self.shards() {
            self.be_as_fresh_as(shard, scan.consistency).await?;
        }
        let collection = known(&self.catalog_shard().state.catalog(), name)?.clone();
        // One store for each shard, so that the page is of one generation of its rows.
        let stores: Vec<ShardStore> = self.shards().iter().map(|shard| shard.state.store()).collect();
        let mut after = scan.cursor.as_deref().map(decode_cursor).transpose()?;
        let limit = scan.limit as usize;
        let mut documents = Vec::new();
        let mut bytes = 0;
        loop {
            let (heads, more) = heads_after(&stores, collection.id, &scan.prefix, after.as_ref())?;
            for (key, (shard, head)) in heads {
                after = Some(key.clone());
                if !head.live {
                    continue;
                }
                let seen = read::version(&stores[shard], collection.id, &key, head.epoch, head.version)
                    .map_err(|error| storage_problem(&error))?;
                let Some(view) = seen.view else { continue };
                bytes += view.bytes().len();
                let etag = etag(self.timeline(), head.version, seen.version.plugin);
                documents.push(Listed { key, etag, conflicts: head.conflicts, view });
                if documents.len() >= limit || bytes >= SCAN_BYTES_TARGET {
                    let cursor = after.as_ref().map(encode_cursor);
                    return Ok(Page { documents, cursor });
                }
            }
            if !more {
                return Ok(Page { documents, cursor: None });
            }
            // Long runs of deleted documents must not hold a worker.
            tokio::task::yield_now().await;
        }
    }
}

/// The next heads of all shards in the order of keys, as far as every shard has been read; and whether there are
/// more.
#[expect(clippy::type_complexity, reason = "a sorted step of the scan, used in one place")]
fn heads_after(
    stores: &[ShardStore],
    collection: skerry_model::CollectionId,
    prefix: &str,
    after: Option<&DocumentKey>,
) -> Result<(BTreeMap<DocumentKey, (usize, Head)>, bool), Problem> {
    let mut merged = BTreeMap::new();
    let mut read_to: Option<DocumentKey> = None;
    for (at, rows) in stores.iter().enumerate() {
        let mut range = head::range(collection, prefix);
        if let Some(after) = after {
            range = range.behind(head::key(collection, after), Direction::Forward);
        }
        let heads = read::heads(rows, &range, SCAN_STEP).map_err(|error| storage_problem(&error))?;
        if heads.len() == SCAN_STEP {
            let last = heads.last().map(|(_, key, _)| key.clone());
            read_to = match (read_to, last) {
                (Some(known), Some(last)) => Some(known.min(last)),
                (known, last) => known.or(last),
            };
        }
        merged.extend(heads.into_iter().map(|(_, key, head)| (key, (at, head))));
    }
    if let Some(read_to) = &read_to {
        merged.retain(|key, _| key <= read_to);
    }
    Ok((merged, read_to.is_some()))
}

fn encode_cursor(after: &DocumentKey) -> String {
    hex::encode(after.as_str())
}

fn decode_cursor(cursor: &str) -> Result<DocumentKey, Problem> {
    let malformed = || Problem::new(Kind::Malformed, "cursor is not one that a page ended with");
    let bytes = hex::decode(cursor).map_err(|_| malformed())?;
    let key = String::from_utf8(bytes).map_err(|_| malformed())?;
    Ok(DocumentKey::new(key)?)
}
