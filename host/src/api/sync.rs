//! `POST /v1/sync`: one frame in, one frame out.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::FutureExt;
use skerry_api::payload::RawBody;
use skerry_api::problem::{Kind, Problem};
use skerry_channel::limits::{
    CHANGE_BYTES_MAX, FRAME_BYTES_MAX, PULL_BYTES_TARGET, PULL_WAIT_MS_MAX, PUSH_CHANGES_MAX,
};
use skerry_channel::message::{
    Answer, Hello, PROTOCOL, Pull, Pulled, Push, Refusal, Request, Restored, Taken, Welcome,
};
use skerry_channel::pull::Cursor;
use skerry_channel::push::receiver::Watermark;
use skerry_channel::push::sender::Confirmed;
use skerry_channel::{frame, message};
use skerry_model::Origin;
use tokio::time::{Instant, timeout_at};

use crate::catalog::Catalog;
use crate::documents::evaluate::storage_problem;
use crate::documents::read;
use crate::env::executor::compute;
use crate::node::Node;
use crate::replication::feed::Feed;
use crate::telemetry::metrics::Metrics;

/// Changes of one push, in bytes; a batch is meant to be far smaller.
const PUSH_BYTES_MAX: usize = 2 * CHANGE_BYTES_MAX;

pub(super) fn routes(node: Node, metrics: Metrics) -> Router {
    let route = Router::new().route("/v1/sync", post(sync));
    route.layer(DefaultBodyLimit::max(FRAME_BYTES_MAX)).with_state((node, metrics))
}

async fn sync(State((node, metrics)): State<(Node, Metrics)>, RawBody(body): RawBody) -> Result<Response, Problem> {
    let answered = answer(&node, &body).await;
    match &answered {
        Ok(Answer::Pushed(pushed)) => metrics.pushed(pushed),
        Ok(Answer::Refused(refusal)) => metrics.refused(&refusal.kind),
        Ok(Answer::Welcome(_) | Answer::Pulled(_)) => {}
        Err(problem) => metrics.refused(problem.kind.name()),
    }
    let frame = frame::encode(&answered?).map_err(|error| Problem::new(Kind::TooLarge, error.to_string()))?;
    Ok(([(CONTENT_TYPE, frame::MEDIA_TYPE)], frame).into_response())
}

async fn answer(node: &Node, body: &[u8]) -> Result<Answer, Problem> {
    let request = frame::decode(body).map_err(|error| {
        let kind = match error {
            frame::Error::TooLarge { .. } | frame::Error::Bomb { .. } => Kind::TooLarge,
            _ => Kind::Malformed,
        };
        Problem::new(kind, error.to_string())
    })?;
    node.sync(request).await
}

impl Node {
    /// Answers one message of an edge.
    ///
    /// # Errors
    /// A [`Problem`]; when it is of a push, nobody may know whether that was taken.
    pub async fn sync(&self, request: Request) -> Result<Answer, Problem> {
        let (Request::Hello(Hello { replica, .. })
        | Request::Push(Push { replica, .. })
        | Request::Pull(Pull { replica, .. })) = &request;
        if *replica == Origin::core() {
            let detail = format!("{replica} is the core's own replica id: give the edge another");
            return Err(Problem::new(Kind::Refused, detail));
        }
        match request {
            Request::Hello(hello) => self.welcome_edge(&hello).await,
            Request::Push(push) => self.push(push).await,
            Request::Pull(pull) => self.pull(pull).await,
        }
    }

    async fn welcome_edge(&self, hello: &Hello) -> Result<Answer, Problem> {
        if hello.protocol != PROTOCOL {
            let detail = format!("the core speaks sync protocol {PROTOCOL}, the edge {}", hello.protocol);
            return Ok(Answer::Refused(Refusal { kind: Kind::Refused.name().to_owned(), detail }));
        }
        let founding = self.peers().founding();
        let restored = match hello.timeline {
            Some(known) if known != founding.timeline => {
                let confirmed = self.taken(&hello.replica).await?;
                Some(Restored { replay: founding.replay_edges, confirmed })
            }
            Some(_) | None => None,
        };
        Ok(Answer::Welcome(Welcome {
            cluster: founding.cluster,
            timeline: founding.timeline,
            shards: founding.shards,
            now_ms: self.clock().now_ms(),
            catalog: self.newest_local_catalog().for_edges(),
            restored,
        }))
    }

    /// How far the cluster has come with each of an edge's chains. The edge has sent nothing on this line of history, so
    /// what was there a moment ago is there now.
    async fn taken(&self, replica: &Origin) -> Result<Vec<Option<Taken>>, Problem> {
        self.be_in_touch().await?;
        let taken = |known: Watermark| Taken {
            confirmed: Confirmed { incarnation: known.incarnation, mark: known.mark },
            batch_first: known.batch_first,
            verdicts: known.verdicts,
        };
        let known = self.shards().iter().map(|shard| {
            let known = read::watermark(&shard.state.store(), replica).map_err(|error| storage_problem(&error))?;
            Ok(known.map(taken))
        });
        known.collect()
    }

    async fn push(&self, push: Push) -> Result<Answer, Problem> {
        let count = push.changes.len();
        if count == 0 || count > PUSH_CHANGES_MAX {
            let detail = format!("a push has {count} changes, allowed are 1 to {PUSH_CHANGES_MAX}");
            return Err(Problem::new(Kind::Malformed, detail));
        }
        if push.first == 0 || push.first.checked_add(count as u64).is_none() {
            let detail = format!("first is {}, sequence numbers go from 1 to 2^64 - 1", push.first);
            return Err(Problem::new(Kind::Malformed, detail));
        }
        let bytes: usize = push.changes.iter().map(axum::body::Bytes::len).sum();
        let max = PUSH_BYTES_MAX;
        if bytes > max {
            return Err(Problem::new(
                Kind::TooLarge,
                format!("the push has {bytes} bytes of changes, the limit is {max}"),
            ));
        }
        let Some(shard) = self.shard(push.shard) else {
            let detail = format!("the cluster has no shard {}, it has {}", push.shard, self.shards().len());
            return Err(Problem::new(Kind::Malformed, detail));
        };
        self.push_through(shard, push).await.map(Answer::Pushed)
    }

    async fn pull(&self, pull: Pull) -> Result<Answer, Problem> {
        let timeline = self.timeline();
        if pull.cursors.len() != self.shards().len() {
            let (found, expected) = (pull.cursors.len(), self.shards().len());
            let detail = format!("the pull has {found} cursors, the cluster has {expected} shards");
            return Err(Problem::new(Kind::Malformed, detail));
        }
        if pull.cursors.iter().any(|cursor| cursor.timeline != timeline) {
            return Ok(Answer::Pulled(Pulled::nothing(timeline)));
        }
        let digest = pull.subscription.digest();
        let in_order = |(at, cursor): (usize, &Cursor)| usize::from(cursor.shard.get()) == at;
        if pull.cursors.iter().any(|cursor| cursor.subscription != digest)
            || !pull.cursors.iter().enumerate().all(in_order)
        {
            let detail = "the cursors are not of this subscription, one for each shard in their order";
            return Err(Problem::new(Kind::Malformed, detail));
        }
        if let Some(manifest) = pull.manifests.iter().find(|manifest| !manifest.fits(&pull.cursors)) {
            let detail = format!("the manifest of shard {} is not in order behind the shard's cursor", manifest.shard);
            return Err(Problem::new(Kind::Malformed, detail));
        }
        let deadline = Instant::now() + Duration::from_millis(u64::from(pull.wait_ms.min(PULL_WAIT_MS_MAX)));
        loop {
            // Taken before the reads, so that nothing applied in between is slept through.
            let mut progress: Vec<_> = self.shards().iter().map(|shard| shard.state.watch()).collect();
            progress.iter_mut().for_each(|progress| drop(progress.borrow_and_update()));
            let (batches, too_old) = match self.has_all(&pull)? {
                true => (Vec::new(), Vec::new()),
                false => self.batches_aside(&pull).await?,
            };
            let catalog = self.newest_local_catalog();
            let catalog = (catalog.version > pull.catalog).then(|| catalog.for_edges());
            if !batches.is_empty() || catalog.is_some() || !too_old.is_empty() {
                return Ok(Answer::Pulled(Pulled { batches, too_old, catalog, timeline }));
            }
            // That nothing is new may only be said by a node that hears what is: one that is cut off, or no longer part of
            // the cluster, turns the edge away to another. What was news to this node wakes the wait below.
            self.be_in_touch().await?;
            // A timer takes a millisecond also where it has nothing to wait for.
            let is_news = if Instant::now() < deadline {
                let changed = progress.iter_mut().map(|progress| progress.changed().boxed());
                timeout_at(deadline, futures::future::select_all(changed)).await.is_ok()
            } else {
                progress.iter().any(|progress| progress.has_changed().unwrap_or(false))
            };
            if !is_news {
                return Ok(Answer::Pulled(Pulled::nothing(timeline)));
            }
        }
    }

    /// The newest catalog that any shard here has reached: never older than a batch of one of them.
    fn newest_local_catalog(&self) -> Arc<Catalog> {
        let catalogs = self.shards().iter().map(|shard| shard.state.catalog());
        catalogs.max_by_key(|catalog| catalog.version).expect("a cluster has at least one shard")
    }

    /// Whether an edge plainly has all there is here.
    fn has_all(&self, pull: &Pull) -> Result<bool, Problem> {
        for (shard, cursor) in self.shards().iter().zip(&pull.cursors) {
            let progress = shard.state.progress();
            let (rows, catalog) = (shard.state.store(), shard.state.catalog());
            let ends = Feed::new(&rows, &catalog, progress).ends_at(cursor).map_err(|error| storage_problem(&error))?;
            if !ends {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads batches off the tokio workers.
    async fn batches_aside(&self, pull: &Pull) -> Result<(Vec<message::Batch>, Vec<Cursor>), Problem> {
        let (node, pull) = (self.clone(), pull.clone());
        let read = compute(self.executor(), move || node.batches(&pull)).await;
        read.unwrap_or_else(|| Err(Problem::new(Kind::Internal, "the feed could not be read; the log has the details")))
    }

    /// What is new, and the cursors that the feed does not reach back to.
    fn batches(&self, pull: &Pull) -> Result<(Vec<message::Batch>, Vec<Cursor>), Problem> {
        let (mut batches, mut too_old) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        // Another shard comes first each time, so that one with much to say does not starve the others.
        let shards = self.shards().iter().zip(&pull.cursors);
        let shards = shards.cycle().skip(self.next_turn()).take(self.shards().len());
        for (shard, cursor) in shards {
            // The progress first: rows beyond it may be there, and are left for the next batch.
            let progress = shard.state.progress();
            let catalog = shard.state.catalog();
            let rows = shard.state.store();
            let feed = Feed::new(&rows, &catalog, progress);
            let manifest = pull.manifests.iter().find(|manifest| manifest.shard == cursor.shard);
            let batch = feed.batch(cursor, &pull.subscription, manifest).map_err(|error| storage_problem(&error))?;
            // Asked last: what goes from the feed while it is read is not left out of what was read.
            if !feed.reaches(cursor).map_err(|error| storage_problem(&error))? {
                too_old.push(cursor.clone());
                continue;
            }
            let documents = batch.iter().flat_map(|batch| &batch.documents);
            bytes += documents.map(message::Document::content_bytes).sum::<usize>();
            batches.extend(batch);
            if bytes >= PULL_BYTES_TARGET {
                break;
            }
        }
        Ok((batches, too_old))
    }
}
