//! `GET /v1/sync/events`: server-sent events that announce news, for clients that would rather hear than ask again and again.
//! They say that there is something and up to where, and leave the content to a pull.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::FutureExt;
use futures::stream::{self, Stream};
use serde::Serialize;
use skerry_api::problem::{Kind, Problem};
use skerry_model::{CatalogVersion, ShardId, Timeline};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::consensus::state_machine::Progress;
use crate::limits::{EVENT_INTERVAL, EVENT_SILENCE_MAX, EVENT_STREAMS_MAX};
use crate::node::Node;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct News {
    /// The cluster's line of history.
    timeline: Timeline,
    /// The newest catalog.
    catalog: CatalogVersion,
    /// How far each shard has come.
    shards: Vec<Reached>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Reached {
    shard: ShardId,
    /// As text: a JavaScript number does not hold all of it.
    scn: String,
}

pub(super) fn routes(node: Node) -> Router {
    let streams = Arc::new(Semaphore::new(EVENT_STREAMS_MAX));
    Router::new().route("/v1/sync/events", get(events)).with_state((node, streams))
}

async fn events(
    State((node, streams)): State<(Node, Arc<Semaphore>)>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let permit = streams.try_acquire_owned().map_err(|_| {
        let detail = format!("{EVENT_STREAMS_MAX} streams of events are open here, the limit: ask another node");
        Problem::new(Kind::Overloaded, detail)
    })?;
    node.be_in_touch().await?;
    let progress = node.shards().iter().map(|shard| shard.state.watch()).collect();
    let listener = Listener { node, progress, said: None, next: Instant::now(), _permit: permit };
    Ok(Sse::new(stream::unfold(listener, |listener| async {
        listener.next().await.map(|(event, on)| (Ok(event), on))
    })))
}

/// One client that listens.
struct Listener {
    node: Node,
    progress: Vec<watch::Receiver<Progress>>,
    said: Option<News>,
    /// The earliest moment of the next event.
    next: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event; none from a node that no longer hears what is new, so that the client asks another.
    async fn next(mut self) -> Option<(Event, Self)> {
        sleep_until(self.next).await;
        loop {
            let news = self.news();
            if self.said.as_ref() != Some(&news) {
                self.next = Instant::now() + EVENT_INTERVAL;
                let event = Event::default().event("news").json_data(&news).ok()?;
                self.said = Some(news);
                return Some((event, self));
            }
            let changed = self.progress.iter_mut().map(|progress| progress.changed().boxed());
            if timeout(EVENT_SILENCE_MAX, futures::future::select_all(changed)).await.is_err() {
                self.node.be_in_touch().await.ok()?;
                return Some((Event::default().comment("nothing new"), self));
            }
        }
    }

    fn news(&mut self) -> News {
        let shards = self.node.shards().iter().zip(&mut self.progress);
        let (mut reached, mut catalog) = (Vec::new(), CatalogVersion::default());
        for (shard, progress) in shards {
            let progress = *progress.borrow_and_update();
            catalog = catalog.max(progress.catalog);
            reached.push(Reached { shard: shard.id, scn: progress.scn.to_string() });
        }
        News { timeline: self.node.timeline(), catalog, shards: reached }
    }
}
