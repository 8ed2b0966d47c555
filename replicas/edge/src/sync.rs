//! One exchange after the other with the core: hello, push, pull, plugins. What the answers mean is the replica's to
//! say; this only carries them.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use skerry_channel::message::{Answer, Pull, Pulled, Pushed, Refusal, Request};
use skerry_model::env::Clock;
use skerry_model::{ClusterId, PluginDigest, PluginName, ShardId, Timeline};

use crate::core_client::{self, CoreClient};
use crate::limits;
use crate::owner::{Owner, Stopped};
use crate::replica::{Installed, Resolvers, Settled, Welcomed};

/// Why syncing does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The edge has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// No answer.
    #[error(transparent)]
    Core(#[from] core_client::Error),
    /// The core does not take the request.
    #[error("the core refused ({}): {}", .0.kind, .0.detail)]
    Refused(Refusal),
    /// An answer to another question.
    #[error("the core gave an answer that does not belong to the {question}")]
    OutOfPlace {
        /// What was asked.
        question: &'static str,
    },
    /// The core is of another cluster.
    #[error("this edge belongs to cluster {own}, the core is of cluster {found}: name a core of its own cluster")]
    OtherCluster {
        /// The edge's.
        own: ClusterId,
        /// The core's.
        found: ClusterId,
    },
    /// The core has been restored: the next hello follows it.
    #[error("the core has been restored and is on timeline {timeline}: following it")]
    OtherTimeline {
        /// The core's line of history.
        timeline: Timeline,
    },
    /// The core is one that was left behind by a restore.
    #[error(
        "the core at {core} is on timeline {timeline}, which this edge has left for that of a restored core: name one of \
         the restored cluster"
    )]
    Left {
        /// The core.
        core: String,
        /// Its line of history.
        timeline: Timeline,
    },
    /// The core has forgotten what it had acknowledged.
    #[error(
        "the core at {core} no longer has what it acknowledged: where it was put back to an older copy, stop it and run \
         `skerry recover --make-sole-member --older-copy` on that; until then this edge sends nothing there"
    )]
    WentBack {
        /// The core.
        core: String,
    },
    /// Two copies of this edge's folder are at work.
    #[error(
        "another copy of this edge's folder writes to the core too: what is written here is kept and not sent until \
         `skerry-edge enrol` has given this copy a name of its own"
    )]
    Held,
    /// A document came out differently here.
    #[error("a document of shard {shard} did not come out as the core has it: the shard is copied anew")]
    Diverged {
        /// The shard.
        shard: ShardId,
    },
    /// Set offline by the application.
    #[error("this edge is set offline")]
    Offline,
    /// It took too long.
    #[error("the sync was not complete after {} s", .after.as_secs())]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
}

/// Carries messages between one replica and its core.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) owner: Owner,
    pub(crate) core: CoreClient,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolvers: Arc<dyn Resolvers>,
}

/// What became of an answer to a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// There was nothing in it.
    Nothing,
    /// Not all of it: this edge stands elsewhere by now.
    Some,
    /// All of it.
    All,
}

/// What to ask for behind an answer, once all of it is installed; `None` where that is not known yet, or nothing is ready.
fn behind(pull: &Pull, pulled: &Pulled) -> Option<Pull> {
    let is_plain = pull.manifests.is_empty() && pulled.too_old.is_empty() && pulled.catalog.is_none();
    if !is_plain || !pulled.batches.iter().any(|batch| batch.more) {
        return None;
    }
    let mut next = Pull { wait_ms: 0, ..pull.clone() };
    for batch in &pulled.batches {
        let cursor = next.cursors.iter_mut().find(|cursor| **cursor == batch.from)?;
        *cursor = batch.to.clone();
    }
    Some(next)
}

impl Exchange {
    /// Says who is there, and takes the welcome.
    pub(crate) async fn hello(&self) -> Result<(), Error> {
        let hello = self.owner.run(|replica| Ok(replica.hello())).await?;
        if self.owner.counts().borrow().held {
            return Err(Error::Held);
        }
        let sent_ms = self.clock.now_ms();
        let welcome = match self.core.exchange(&Request::Hello(hello), Duration::ZERO).await? {
            Answer::Welcome(welcome) => welcome,
            Answer::Refused(refusal) => return Err(Error::Refused(refusal)),
            Answer::Pushed(_) | Answer::Pulled(_) => return Err(Error::OutOfPlace { question: "hello" }),
        };
        match self.owner.run(move |replica| replica.welcomed(welcome, sent_ms)).await? {
            Welcomed::Home | Welcomed::Returning => Ok(()),
            Welcomed::Left(timeline) => {
                let core = self.core.url();
                self.core.turn_away();
                Err(Error::Left { core, timeline })
            }
            Welcomed::OtherCluster { own, found } => {
                self.core.turn_away();
                Err(Error::OtherCluster { own, found })
            }
            Welcomed::OtherTimeline(timeline) => Err(Error::OtherTimeline { timeline }),
        }
    }

    /// Shards with changes that can be sent now.
    pub(crate) async fn ready_shards(&self) -> Result<Vec<ShardId>, Error> {
        Ok(self.owner.run(|replica| Ok(replica.ready_shards())).await?)
    }

    /// Sends one batch of a shard, if there is one, and takes the verdicts.
    pub(crate) async fn push(&self, shard: ShardId) -> Result<(), Error> {
        let Some(push) = self.owner.run(move |replica| replica.next_push(shard)).await? else { return Ok(()) };
        let changes = push.changes.len();
        match self.core.exchange(&Request::Push(push), Duration::ZERO).await {
            Ok(Answer::Pushed(answer)) => self.take_verdicts(shard, answer, changes).await,
            other => {
                self.owner
                    .run(move |replica| {
                        replica.push_lost(shard);
                        Ok(())
                    })
                    .await?;
                match other {
                    Err(error) => Err(error.into()),
                    Ok(Answer::Refused(refusal)) => Err(Error::Refused(refusal)),
                    Ok(_) => Err(Error::OutOfPlace { question: "push" }),
                }
            }
        }
    }

    async fn take_verdicts(&self, shard: ShardId, answer: Pushed, changes: usize) -> Result<(), Error> {
        let settled = self.owner.run(move |replica| replica.pushed(shard, answer)).await?;
        tracing::debug!(shard = shard.get(), changes, ?settled, "pushed");
        match settled {
            Settled::OtherTimeline(timeline) => Err(Error::OtherTimeline { timeline }),
            Settled::WentBack => {
                let core = self.core.url();
                self.core.turn_away();
                Err(Error::WentBack { core })
            }
            Settled::Held => Err(Error::Held),
            Settled::Nothing | Settled::Judged { .. } | Settled::Forked { .. } => Ok(()),
        }
    }

    /// Asks for news, and goes on while there is more at once. `true` when there was any.
    pub(crate) async fn pull(&self, wait_ms: u32) -> Result<bool, Error> {
        let Some(mut pull) = self.owner.run(move |replica| replica.pull_request(wait_ms)).await? else {
            return Ok(false);
        };
        let mut pulled = self.ask(pull.clone()).await?;
        let mut news = false;
        loop {
            // Two feeds take turns.
            let is_alone = !self.owner.counts().borrow().joining;
            let (taken, fetched) = match behind(&pull, &pulled).filter(|_| is_alone) {
                // What comes behind is fetched while this is installed.
                Some(next) => {
                    pull = next.clone();
                    let (taken, fetched) = tokio::join!(self.take(pulled), self.ask(next));
                    (taken?, Some(fetched?))
                }
                None => (self.take(pulled).await?, None),
            };
            news |= taken != Taken::Nothing;
            pulled = match fetched {
                Some(fetched) if taken == Taken::All => fetched,
                _ => break,
            };
        }
        let counts = *self.owner.counts().borrow();
        if !news && (counts.joining || counts.returning) {
            // The node is behind the one where the copy began.
            tokio::time::sleep(limits::COPY_PAUSE).await;
        }
        // With two feeds that take turns, one that is silent says nothing of the other.
        Ok(news || counts.joining)
    }

    async fn ask(&self, pull: Pull) -> Result<Pulled, Error> {
        let waiting = Duration::from_millis(u64::from(pull.wait_ms));
        match self.core.exchange(&Request::Pull(pull), waiting).await? {
            Answer::Pulled(pulled) => Ok(pulled),
            Answer::Refused(refusal) => Err(Error::Refused(refusal)),
            Answer::Welcome(_) | Answer::Pushed(_) => Err(Error::OutOfPlace { question: "pull" }),
        }
    }

    async fn take(&self, pulled: Pulled) -> Result<Taken, Error> {
        let (timeline, catalog, too_old) = (pulled.timeline, pulled.catalog, pulled.too_old);
        let news = catalog.is_some() || !too_old.is_empty() || !pulled.batches.is_empty();
        let mut taken = if news { Taken::All } else { Taken::Nothing };
        let taking = self.owner.run(move |replica| {
            let taken = replica.pulled(timeline, catalog, &too_old)?;
            Ok((taken, replica.missing_components()))
        });
        let (is_ours, missing) = taking.await?;
        if !is_ours {
            return Err(Error::OtherTimeline { timeline });
        }
        self.fetch(missing).await?;
        // One batch at a time, so that a write need not wait for all of them.
        for batch in pulled.batches {
            let shard = batch.to.shard;
            let installed = self.owner.run(move |replica| replica.install(batch)).await?;
            tracing::debug!(shard = shard.get(), ?installed, "pulled");
            match installed {
                Installed::Taken { .. } => {}
                Installed::Ignored => taken = Taken::Some,
                Installed::Diverged => return Err(Error::Diverged { shard }),
            }
        }
        Ok(taken)
    }

    /// Fetches the plugins that the catalog names and this edge lacks. One that cannot be had is tried again later, and
    /// views do without it meanwhile.
    pub(crate) async fn fetch_components(&self) -> Result<(), Error> {
        let missing = self.owner.run(|replica| Ok(replica.missing_components())).await?;
        self.fetch(missing).await
    }

    async fn fetch(&self, missing: Vec<(PluginName, PluginDigest)>) -> Result<(), Error> {
        for (name, digest) in missing {
            if let Err(reason) = self.fetch_component(&name, digest).await? {
                tracing::warn!(plugin = %name, %digest, reason, "a plugin cannot be fetched now");
            }
        }
        Ok(())
    }

    /// The inner error is a reason to do without the plugin for now.
    async fn fetch_component(&self, name: &PluginName, digest: PluginDigest) -> Result<Result<(), String>, Error> {
        let component = match self.core.component(name, &digest).await {
            Ok(component) => component,
            Err(error) => return Ok(Err(error.to_string())),
        };
        // Compiled here, so that the owner of the replica does not have to wait for that.
        let (resolvers, bytes) = (Arc::clone(&self.resolvers), component.clone());
        let compiling = tokio::task::spawn_blocking(move || {
            let component = || Some(bytes.clone());
            let is_resolver = resolvers.resolver(digest, &component).map(drop);
            is_resolver.or_else(|_| resolvers.merge_policy(digest, &component).map(drop))
        });
        match compiling.await {
            Ok(Ok(_compiled)) => {}
            // It is stored all the same: views fall back until there is one that compiles.
            Ok(Err(reason)) => tracing::error!(%digest, reason, "a plugin cannot be used here"),
            Err(_stopping) => return Ok(Err("the edge is stopping".to_owned())),
        }
        let taken = self.owner.run(move |replica| Ok(replica.take_component(digest, &component))).await?;
        Ok(if taken { Ok(()) } else { Err("its bytes are not what its digest names".to_owned()) })
    }

    /// Pushes everything and pulls until nothing is new. Says hello first, or once more where the core is not as it was when
    /// this edge came in touch with it.
    pub(crate) async fn everything(&self, is_in_touch: bool) -> Result<(), Error> {
        if is_in_touch {
            match self.all_that_waits().await {
                Err(Error::OtherTimeline { .. } | Error::Core(_)) => {}
                done => return done,
            }
        }
        self.hello().await?;
        self.fetch_components().await?;
        self.all_that_waits().await
    }

    async fn all_that_waits(&self) -> Result<(), Error> {
        let mut counts = self.owner.counts();
        // What waits for a restored core is made again on its content first.
        while counts.borrow_and_update().returning {
            self.pull(0).await?;
        }
        while counts.borrow_and_update().unsent > 0 {
            let ready = self.ready_shards().await?;
            if ready.is_empty() {
                // Another exchange has them under way.
                counts.changed().await.map_err(|_| self.owner.stopped_error())?;
                continue;
            }
            let mut pushes: FuturesUnordered<_> = ready.into_iter().map(|shard| self.push(shard)).collect();
            while let Some(pushed) = pushes.next().await {
                pushed?;
            }
        }
        while self.pull(0).await? {}
        Ok(())
    }
}
