//! Keeps an edge in step with its core for as long as it runs: says hello, pushes what waits as soon as it is written,
//! waits for news in a long poll beside that, and after any failure begins again with growing, jittered pauses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::stream::{FuturesUnordered, StreamExt};
use skerry_model::env::Random;
use tokio::sync::watch;

use crate::limits;
use crate::sync::{Error, Exchange};

/// How the connection to the core is, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Whether the last exchange worked.
    pub(crate) connected: bool,
    /// Why not.
    pub(crate) error: Option<String>,
}

impl Link {
    pub(crate) fn up() -> Self {
        Self { connected: true, error: None }
    }

    pub(crate) fn down(error: &Error) -> Self {
        Self { connected: false, error: Some(sentence(error)) }
    }
}

/// An error with what caused it.
pub(crate) fn sentence(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut parts: Vec<String> = causes.map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ")
}

/// The loop.
pub(crate) struct SyncLoop {
    pub(crate) exchange: Exchange,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) link: watch::Sender<Link>,
    /// Whether the application wants to be connected.
    pub(crate) online: watch::Receiver<bool>,
    /// Counts up to end a pause early.
    pub(crate) retry: watch::Receiver<u64>,
}

impl SyncLoop {
    /// Runs until the edge stops.
    pub(crate) async fn run(mut self) {
        let stopped = self.exchange.owner.stopped().clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = self.sessions() => {}
        }
    }

    async fn sessions(&mut self) {
        let mut pauses = pauses(&*self.random);
        while self.online.wait_for(|online| *online).await.is_ok() {
            let began = tokio::time::Instant::now();
            let error = self.session().await;
            // Answers that are still under way are not waited for.
            let forget = self.exchange.owner.run(|replica| {
                replica.connection_lost();
                Ok(())
            });
            if forget.await.is_err() {
                return;
            }
            // A core that says hello and then fails is not asked again at once for ever.
            if began.elapsed() >= limits::RETRY_DELAY_MAX {
                pauses = self::pauses(&*self.random);
            }
            let link = Link::down(&error);
            tracing::warn!(core = self.exchange.core.url(), error = link.error, "not in step with the core");
            self.link.send_replace(link);
            if !matches!(error, Error::Offline) {
                self.pause(pauses.next().unwrap_or(limits::RETRY_DELAY_MAX)).await;
            }
        }
    }

    /// Waits, unless something happens that makes another attempt worth while.
    async fn pause(&mut self, pause: Duration) {
        self.retry.mark_unchanged();
        let (mut retry, mut online) = (self.retry.clone(), self.online.clone());
        tokio::select! {
            biased;
            _ = retry.changed() => {}
            _ = online.wait_for(|online| !*online) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// One connection, and why it ended.
    async fn session(&self) -> Error {
        let mut online = self.online.clone();
        tokio::select! {
            biased;
            _ = online.wait_for(|online| !*online) => Error::Offline,
            error = self.connect() => error,
        }
    }

    async fn connect(&self) -> Error {
        if let Err(error) = self.exchange.hello().await {
            return error;
        }
        self.link.send_replace(Link::up());
        tracing::info!(core = self.exchange.core.url(), "in touch with the core");
        let outcome = tokio::select! {
            pushing = self.push() => pushing,
            pulling = self.pull() => pulling,
        };
        match outcome {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    /// Pushes whatever waits, one batch a shard at a time, and wakes with every write.
    async fn push(&self) -> Result<std::convert::Infallible, Error> {
        let mut counts = self.exchange.owner.counts();
        let (mut busy, mut pushes) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            if counts.borrow_and_update().unsent > 0 {
                for shard in self.exchange.ready_shards().await? {
                    if busy.insert(shard) {
                        pushes.push(async move { (shard, self.exchange.push(shard).await) });
                    }
                }
            }
            tokio::select! {
                biased;
                Some((shard, pushed)) = pushes.next(), if !pushes.is_empty() => {
                    pushed?;
                    busy.remove(&shard);
                }
                changed = counts.changed() => changed.map_err(|_| self.exchange.owner.stopped_error())?,
            }
        }
    }

    /// Waits for news, again and again.
    async fn pull(&self) -> Result<std::convert::Infallible, Error> {
        self.exchange.fetch_components().await?;
        let mut counts = self.exchange.owner.counts();
        loop {
            let was_joining = counts.borrow_and_update().joining;
            tokio::select! {
                biased;
                pulled = self.exchange.pull(limits::PULL_WAIT_MS) => drop(pulled?),
                // What is to join is asked for at once, not when the wait for other news is over.
                _ = counts.wait_for(|counts| counts.joining), if !was_joining => {}
            }
        }
    }
}

/// Growing pauses without end, each with jitter, so that the edges of a core that comes back do not all come at once.
fn pauses(random: &dyn Random) -> impl Iterator<Item = Duration> + use<> {
    let mut seed = [0; 8];
    random.fill(&mut seed);
    ExponentialBuilder::default()
        .with_min_delay(limits::RETRY_DELAY_MIN)
        .with_max_delay(limits::RETRY_DELAY_MAX)
        .with_jitter()
        .with_jitter_seed(u64::from_le_bytes(seed))
        .without_max_times()
        .build()
}
