//! Refused work, as a person sees it: listed, made again, or given up. It goes by such a word alone.

use std::fmt;
use std::str::FromStr;

use skerry_api::documents::Address;
use skerry_api::problem::{Kind, Problem};
use skerry_channel::message::Refusal;
use skerry_model::{CollectionName, DocumentKey, ShardId};
use skerry_store::{Direction, KeyRange, Limit};

use super::fork::Again;
use super::{Answer, Error, Replica};
use crate::keys::outbox::Operation;
use crate::keys::stranded::Stranded;
use crate::keys::{self, Place, Slot};
use crate::limits::STRANDED_PAGE_BYTES;

/// Names refused work at one edge for good: its shard, and its place in the edge's order, as in `3.17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StrandedId {
    shard: ShardId,
    position: u64,
}

impl fmt::Display for StrandedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.shard.get(), self.position)
    }
}

/// What does not name refused work.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{found:?} names no refused work: it takes SHARD.POSITION, as `skerry-edge stranded list` shows it")]
pub struct BadId {
    found: String,
}

impl FromStr for StrandedId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let numbers =
            text.split_once('.').and_then(|(shard, position)| Some((shard.parse().ok()?, position.parse().ok()?)));
        let named = numbers.map(|(shard, position)| Self { shard: ShardId::new(shard), position });
        named.ok_or_else(|| BadId { found: text.to_owned() })
    }
}

impl From<Slot> for StrandedId {
    fn from(Slot { shard, position }: Slot) -> Self {
        Self { shard, position }
    }
}

impl From<StrandedId> for Slot {
    fn from(StrandedId { shard, position }: StrandedId) -> Self {
        Self { shard, position }
    }
}

/// Refused work, for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrandedChange {
    /// Its name.
    pub id: StrandedId,
    /// The collection, when it still exists.
    pub collection: Option<CollectionName>,
    /// The document.
    pub key: DocumentKey,
    /// When it was written, in milliseconds since 1970.
    pub time_ms: i64,
    /// What the write wanted.
    pub operation: Operation,
    /// Why it was not taken.
    pub refusal: Refusal,
}

/// What became of work that was made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retried {
    /// It is in the outbox as a write of now, on the document as it is now.
    MadeAgain,
    /// The document reads like that already.
    Moot,
}

impl Replica {
    /// At most `limit` of what was refused, and no more than a few MiB, in the order of shards and positions, behind `after`;
    /// none only at the end.
    ///
    /// # Errors
    /// [`Error`].
    pub fn stranded(&self, after: Option<StrandedId>, limit: usize) -> Result<Vec<StrandedChange>, Error> {
        let range = match after {
            Some(after) => keys::stranded::all().behind(keys::stranded::key(after.into()), Direction::Forward),
            None => keys::stranded::all(),
        };
        self.stranded_in(&range, limit)
    }

    /// One of them.
    ///
    /// # Errors
    /// [`Error`]; a [`Problem`] when there is none of that name.
    pub fn stranded_one(&self, id: StrandedId) -> Result<Answer<StrandedChange>, Error> {
        let found = self.stranded_in(&KeyRange::prefix(keys::stranded::key(id.into())), 1)?.pop();
        Ok(found.ok_or_else(|| unknown(id)))
    }

    fn stranded_in(&self, range: &KeyRange, limit: usize) -> Result<Vec<StrandedChange>, Error> {
        let listed = self.table.scan(range, Limit { rows: limit, bytes: STRANDED_PAGE_BYTES })?.into_iter().map(
            |(key, value)| {
                let (slot, Stranded { entry, refusal }) =
                    (keys::stranded::decode_key(&key)?, keys::stranded::decode(&value)?);
                let change = entry.change()?;
                Ok(StrandedChange {
                    id: slot.into(),
                    collection: self.known.by_id(change.collection).map(|collection| collection.name.clone()),
                    key: change.key,
                    time_ms: change.time_ms,
                    operation: entry.operation,
                    refusal,
                })
            },
        );
        listed.collect()
    }

    /// Makes refused work again, on the document as it is shown here now, and takes it into the outbox as the newest write.
    /// What is refused once more stays as it was.
    ///
    /// # Errors
    /// [`Error`]; a [`Problem`] changed nothing.
    pub fn retry_stranded(&mut self, id: StrandedId) -> Result<Answer<Retried>, Error> {
        let Some(Stranded { entry, .. }) = self.stranded_row(id)? else { return Ok(Err(unknown(id))) };
        let change = entry.change()?;
        let Some(collection) = self.known.by_id(change.collection).cloned() else {
            let detail = format!("the collection of {id} is gone: export it, and write it elsewhere");
            return Ok(Err(Problem::new(Kind::CollectionNotFound, detail)));
        };
        // It is a write like any other, with the same bounds.
        let at = Address { collection: collection.name.clone(), key: change.key.clone() };
        if let Err(problem) = self.target(&at) {
            return Ok(Err(problem));
        }
        let place = Place { collection: change.collection, key: change.key };
        match self.make_again(id.shard, &place, None, &entry, self.now_ms())? {
            Again::Made(document, made) => {
                if let Err(error) = self.outcome(&collection, document.as_ref()) {
                    return Ok(Err(error.into()));
                }
                self.enqueue(id.shard, &place, &made);
                self.unstrand(id);
                self.rebuild(&place)?;
                Ok(Ok(Retried::MadeAgain))
            }
            Again::Moot => {
                self.unstrand(id);
                Ok(Ok(Retried::Moot))
            }
            Again::Stranded(refusal) => {
                let detail = format!("it cannot be made again: {}", refusal.detail);
                Ok(Err(Problem::new(Kind::Refused, detail)))
            }
        }
    }

    /// Gives refused work up.
    ///
    /// # Errors
    /// [`Error`]; a [`Problem`] when there is none of that name.
    pub fn discard_stranded(&mut self, id: StrandedId) -> Result<Answer<()>, Error> {
        if self.stranded_row(id)?.is_none() {
            return Ok(Err(unknown(id)));
        }
        tracing::info!(%id, "refused work was given up");
        self.unstrand(id);
        Ok(Ok(()))
    }

    fn stranded_row(&self, id: StrandedId) -> Result<Option<Stranded>, Error> {
        let row = self.table.get(&keys::stranded::key(id.into()))?;
        Ok(row.map(|row| keys::stranded::decode(&row)).transpose()?)
    }

    fn unstrand(&mut self, id: StrandedId) {
        self.table.delete(keys::stranded::key(id.into()));
        self.stranded = self.stranded.saturating_sub(1);
    }
}

fn unknown(id: StrandedId) -> Problem {
    Problem::new(Kind::StrandedNotFound, format!("no refused work is called {id} here"))
}
