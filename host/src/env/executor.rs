//! Where evaluations that may take long run: off the tokio workers really, inline in simulation.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

/// A piece of work.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs.
pub trait Executor: Send + Sync + 'static {
    /// Runs a job to its end; the future resolves when it has ended, also by a panic.
    fn run(&self, job: Job) -> BoxFuture<'_, ()>;

    /// The same for a job that may take long and that the others must not wait for.
    fn run_apart(&self, job: Job) -> BoxFuture<'_, ()> {
        self.run(job)
    }
}

/// Threads, a bounded number of jobs at once; the others wait.
pub struct Threads(Arc<Semaphore>);

impl Threads {
    /// At most `jobs` at once.
    #[must_use]
    pub fn new(jobs: usize) -> Self {
        Self(Arc::new(Semaphore::new(jobs)))
    }
}

impl Executor for Threads {
    fn run(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let permit = Arc::clone(&self.0).acquire_owned().await;
            let job = move || {
                let _running = permit;
                job();
            };
            self.run_apart(Box::new(job)).await;
        })
    }

    fn run_apart(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Err(error) = tokio::task::spawn_blocking(job).await {
                tracing::error!(%error, "a job did not end");
            }
        })
    }
}

/// The caller's own thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

impl Executor for Inline {
    fn run(&self, job: Job) -> BoxFuture<'_, ()> {
        Box::pin(async move { job() })
    }
}

/// Runs a job for its result; `None` when it panicked.
pub async fn compute<T: Send + 'static>(
    executor: &dyn Executor,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (job, result) = with_result(job);
    executor.run(job).await;
    result.await.ok()
}

/// The same for a job that may take long and that the others must not wait for.
pub async fn compute_apart<T: Send + 'static>(
    executor: &dyn Executor,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (job, result) = with_result(job);
    executor.run_apart(job).await;
    result.await.ok()
}

fn with_result<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> (Job, oneshot::Receiver<T>) {
    let (done, result) = oneshot::channel();
    // A requester that is gone needs no result.
    (Box::new(move || drop(done.send(job()))), result)
}
