//! The document routes on a core node: a read waits for the read index and reads here, a write goes to the leader.

use std::sync::Arc;

use skerry_api::documents::{
    Address, Conflicts, Consistency, Documents, OpenConflict, Page, Read, Scan, Stamp, State, WriteRequest, Written,
};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_channel::message::{Push, Pushed};
use skerry_model::engine::{Open, Settled, Settlement, Write};
use skerry_model::limits::DOCUMENT_BYTES_MAX;
use skerry_model::{CollectionName, DocumentKey, NodeId};

use super::Node;
use super::shard::{Refused, Shard};
use crate::catalog::{Catalog, Collection};
use crate::consensus::network::message::{Lane, Request, Response};
use crate::consensus::network::peers;
use crate::documents::evaluate::{Subject, automerge_id, etag, storage_problem};
use crate::documents::read::{self, Seen};
use crate::limits::PROPOSAL_TIMEOUT;

impl Documents for Node {
    async fn get(&self, at: Address, consistency: Consistency) -> Result<Read, Problem> {
        let shard = self.shard_of(&at.collection, &at.key);
        self.be_as_fresh_as(shard, consistency).await?;
        let catalog = shard.state.catalog();
        let collection = known(&catalog, &at.collection)?;
        let newest =
            read::newest(&shard.state.store(), collection.id, &at.key).map_err(|error| storage_problem(&error))?;
        newest.and_then(|(_, seen)| self.read_of(&catalog, collection, &at.key, seen)).ok_or_else(|| not_found(&at))
    }

    async fn write(&self, at: Address, request: WriteRequest) -> Result<Written, Problem> {
        let shard = self.shard_of(&at.collection, &at.key);
        self.with_leader(shard, |leader| self.write_at(leader, shard, at.clone(), request.clone())).await
    }

    async fn scan(&self, collection: CollectionName, scan: Scan) -> Result<Page, Problem> {
        self.page(&collection, &scan).await
    }

    async fn conflicts(&self, at: Address, consistency: Consistency) -> Result<Conflicts, Problem> {
        let shard = Arc::clone(self.shard_of(&at.collection, &at.key));
        self.be_as_fresh_as(&shard, consistency).await?;
        let catalog = shard.state.catalog();
        let collection = known(&catalog, &at.collection)?.clone();
        let rows = shard.state.store();
        let newest = read::newest(&rows, collection.id, &at.key).map_err(|error| storage_problem(&error))?;
        let Some((_, seen)) = newest else { return Err(not_found(&at)) };
        let fallback = seen.version.fallback.clone();
        let read = self.read_of(&catalog, &collection, &at.key, seen).ok_or_else(|| not_found(&at))?;
        let plugin = catalog.digest(&collection.policy).into_iter().collect();
        let (context, key) = (self.context(&shard), at.key.clone());
        let job = move || {
            let (subject, _) = Subject::load(&rows, &context, &collection, &key, None)?;
            subject.open(&context, &collection)
        };
        let computed = self.compute_in_turn(plugin, job).await;
        let failed = || Problem::new(Kind::Internal, "the conflicts could not be listed; the log has the details");
        let open = computed.ok_or_else(failed)??.unwrap_or_default();
        let listed = |open: Open| OpenConflict { conflict: open.conflict, shown: open.shown };
        let conflicts = open.conflicts.into_iter().map(listed).collect();
        Ok(Conflicts { policy: read.stamp.policy, fallback, etag: read.stamp.etag, conflicts })
    }
}

impl Node {
    /// Waits for what a read's consistency demands.
    pub(crate) async fn be_as_fresh_as(&self, shard: &Shard, consistency: Consistency) -> Result<(), Problem> {
        match consistency {
            Consistency::Linearizable => self.read_index(shard).await,
            Consistency::Local => Ok(()),
        }
    }

    /// A version as an answer; `None` when it is a deletion.
    pub(super) fn read_of(
        &self,
        catalog: &Catalog,
        collection: &Collection,
        key: &DocumentKey,
        seen: Seen,
    ) -> Option<Read> {
        let stamp = Stamp {
            etag: etag(self.timeline(), seen.id, seen.version.plugin),
            scn: Some(format!("{}.{}", self.timeline(), seen.id.scn)),
            policy: catalog.describe(&collection.policy),
            state: State::Committed,
            automerge: automerge_id(self.peers().founding().cluster, catalog, collection, key),
        };
        let (conflicts, fallback) = (seen.version.conflicts, seen.version.fallback);
        seen.view.map(|view| Read { view, stamp, conflicts, fallback })
    }

    async fn write_at(
        &self,
        leader: NodeId,
        shard: &Arc<Shard>,
        at: Address,
        request: WriteRequest,
    ) -> Result<Written, Refused> {
        if leader == self.0.id {
            return self.write_here(shard, at, request).await;
        }
        let asked = Request::Write(at, request);
        match self.0.peers.call(leader, Lane::Bulk, shard.id, asked, PROPOSAL_TIMEOUT).await {
            Ok(Response::Written(written)) => written.map_err(Refused::from),
            other => Err(refused(other)),
        }
    }

    /// Takes an edge's push to the leader of its shard.
    pub(crate) async fn push_through(&self, shard: &Arc<Shard>, push: Push) -> Result<Pushed, Problem> {
        self.with_leader(shard, |leader| {
            let (shard, push) = (shard, push.clone());
            async move {
                if leader == self.0.id {
                    return self.push_here(shard, &push).await;
                }
                match self.0.peers.call(leader, Lane::Bulk, shard.id, Request::Push(push), PROPOSAL_TIMEOUT).await {
                    Ok(Response::Pushed(pushed)) => pushed.map_err(Refused::from),
                    other => Err(refused(other)),
                }
            }
        })
        .await
    }

    /// Takes a write on the leader: it waits its turn with the document's other writes.
    pub(super) async fn write_here(
        &self,
        shard: &Arc<Shard>,
        at: Address,
        request: WriteRequest,
    ) -> Result<Written, Refused> {
        self.has_room(shard)?;
        let collection = self.collection_here(shard, &at.collection).await?;
        let place = (collection, at.key);
        let bytes = size_of(&request.write);
        let (answer, idle) = shard.enqueue(place.clone(), request, bytes)?;
        if idle {
            // Of its own task, so that a client that goes away does not stop the others' work.
            tokio::spawn(self.clone().work(Arc::clone(shard), place));
        }
        answer.await.unwrap_or_else(|_dropped| Err(unknown_outcome().into()))
    }

    /// A collection's id under the catalog that this shard has reached. That there is none is an answer, and waits for
    /// the read index.
    async fn collection_here(
        &self,
        shard: &Shard,
        name: &CollectionName,
    ) -> Result<skerry_model::CollectionId, Refused> {
        if let Some(collection) = shard.state.catalog().collection(name) {
            return Ok(collection.id);
        }
        self.local_read_index(shard).await?;
        Ok(known(&shard.state.catalog(), name)?.id)
    }
}

/// The collection of a name.
pub(crate) fn known<'a>(catalog: &'a Catalog, name: &CollectionName) -> Result<&'a Collection, Problem> {
    let missing = || {
        let detail = format!("there is no collection {name}: make it with skerry collection create {name}");
        Problem::new(Kind::CollectionNotFound, detail)
    };
    catalog.collection(name).ok_or_else(missing)
}

fn not_found(at: &Address) -> Problem {
    let detail = format!("there is no document {} in collection {}", at.key, at.collection);
    Problem::new(Kind::DocumentNotFound, detail)
}

/// What a leader's answer that is not the expected one comes to.
pub(super) fn refused(answer: Result<Response, peers::Error>) -> Refused {
    match answer {
        Ok(Response::NotLeader(other)) => Refused::NotLeader(other),
        Err(peers::Error::Unreachable { .. }) => Refused::NotLeader(None),
        Ok(_) | Err(peers::Error::NoAnswer { .. }) => unknown_outcome().into(),
    }
}

fn unknown_outcome() -> Problem {
    Problem::unavailable(Outcome::Unknown, "the leader gave no answer: read before sending the write again")
}

/// About how many bytes a write takes while it waits.
fn size_of(write: &Write) -> usize {
    let size = match write {
        Write::Put(object) => object.iter().map(|(name, value)| name.len() + value_size(value)).sum(),
        Write::Patch(value) | Write::Operation(value) => value_size(value),
        Write::Settle(Settlement { conflicts, notes }) => {
            let settled = |settled: &Settled| match settled {
                Settled::Value(value) => value_size(value),
                Settled::Removed => 0,
            };
            let noted = notes.iter().map(|(name, note)| name.len() + value_size(note));
            conflicts.iter().map(|(path, end)| path.len() + settled(end)).chain(noted).sum()
        }
        Write::Merge(delta) => delta.0.len(),
        Write::Delete => 0,
    };
    size.min(2 * DOCUMENT_BYTES_MAX)
}

fn value_size(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len() + 2,
        serde_json::Value::Array(items) => items.iter().map(value_size).sum::<usize>() + 2,
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(name, value)| name.len() + 3 + value_size(value)).sum::<usize>() + 2
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => 8,
    }
}
