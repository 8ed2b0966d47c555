//! `skerry bench`: a closed loop of puts and gets over connections that each wait for their answer.

mod connection;
mod load;
mod report;

use std::time::{Duration, Instant};

use clap::Args;
use futures::{StreamExt, TryStreamExt, future, stream};
use indicatif::ProgressBar;
use serde_json::{Map, Value};
use skerry_api::bodies::CollectionSpec;
use skerry_api::cli::{Output, Remote};
use skerry_api::client::{self, Client};
use skerry_api::documents::{Address, Conditions};
use skerry_api::problem::Kind;
use skerry_model::env::{Random, SystemRandom};
use skerry_model::limits::DOCUMENT_BYTES_MAX;
use skerry_model::policy::Policy;
use skerry_model::{CollectionName, DocumentKey};

use self::connection::Target;
use self::load::{Keys, Load, VALUE_BYTES_MIN};
use self::report::{Report, Stats};
use super::DEFAULT_URL;

/// Connections that are opened at most.
const CONNECTIONS_MAX: i64 = 10_000;
/// Keys when nothing is said.
const KEYS_DEFAULT: u64 = 10_000;
/// Documents on their way at once while keys are filled.
const FILL_IN_FLIGHT: usize = 64;
const PROGRESS_TICK: Duration = Duration::from_secs(1);

const _: () = assert!(VALUE_BYTES_MIN < 200);

/// Measure how many puts and gets a second the nodes take
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Bench {
    /// Connections, spread over the nodes; each waits for its answer before it sends again
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    connections: u32,
    /// How long, in seconds
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many of the requests are gets, 0.0 to 1.0
    #[arg(long, default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    read_share: f64,
    /// Keys that are written and read [default: 10000]; all are filled before gets are measured
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    keys: Option<u64>,
    /// Write every key once only
    #[arg(long, conflicts_with = "keys")]
    unique: bool,
    /// Size of a document, in bytes of JSON
    #[arg(long, default_value_t = 200, value_name = "B", value_parser = value_bytes)]
    value_bytes: usize,
    /// The collection; it is created as a strict one where there is none
    #[arg(long, default_value = "bench", value_name = "NAME")]
    collection: CollectionName,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    #[error(transparent)]
    Client(#[from] client::Error),
    #[error("not one request in {seconds} s was answered as it should: {errors}")]
    Nothing { seconds: u32, errors: String },
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
}

impl Bench {
    pub(in crate::cli) async fn run(&self, remote: &Remote, output: Output) -> Result<(), Error> {
        let client = remote.client(DEFAULT_URL)?;
        self.create_collection(&client).await?;
        let keys = match self.keys {
            _ if self.unique => Keys::Unique { run: u64::from_le_bytes(seed()) },
            keys => Keys::Shared { count: keys.unwrap_or(KEYS_DEFAULT) },
        };
        let load = Load::new(&self.collection, keys, self.read_share, self.value_bytes, remote.token.as_deref());
        if let (Keys::Shared { count }, true) = (keys, self.read_share > 0.0) {
            self.fill(&client, &load, count).await?;
        }
        let targets: Vec<_> = client.nodes().iter().map(|node| Target::new(node)).collect();
        let report = self.measure(&load, &targets).await?;
        output.show(&report, Report::to_string).map_err(Error::Output)
    }

    async fn create_collection(&self, client: &Client) -> Result<(), Error> {
        match client.collection(&self.collection).await {
            Ok(_) => Ok(()),
            Err(error) if error.problem().is_some_and(|problem| problem.kind == Kind::CollectionNotFound) => {
                let spec = CollectionSpec {
                    policy: Policy::Strict,
                    template: None,
                    text: Vec::new(),
                    settle: false,
                    inbox: None,
                };
                client.put_collection(&self.collection, &spec).await?;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn fill(&self, client: &Client, load: &Load, count: u64) -> Result<(), Error> {
        let bar = ProgressBar::new(count).with_message("filling keys");
        let puts = stream::iter(0..count).map(|number| {
            let key = DocumentKey::new(load::shared_key(number)).expect("the benchmark's keys are short and not empty");
            let at = Address { collection: self.collection.clone(), key };
            let document: Map<String, Value> =
                load.document(number).expect("the benchmark's documents are JSON objects");
            async move { client.put(&at, &document, &Conditions::default()).await }
        });
        let filled = puts.buffer_unordered(FILL_IN_FLIGHT).map_ok(|_| bar.inc(1)).try_for_each(future::ok).await;
        bar.finish_and_clear();
        Ok(filled?)
    }

    async fn measure(&self, load: &Load, targets: &[Target]) -> Result<Report, Error> {
        let stats = Stats::shared();
        let began = Instant::now();
        let until = began + Duration::from_secs(self.seconds.into());
        let loops = (0..self.connections).map(|number| {
            let target = &targets[number as usize % targets.len()];
            load.run(number, target, &stats, until)
        });
        let bar = ProgressBar::new(self.seconds.into()).with_message("measuring");
        let progress = async {
            loop {
                tokio::time::sleep(PROGRESS_TICK).await;
                bar.inc(1);
                bar.set_message(stats.borrow().so_far(began.elapsed()));
            }
        };
        tokio::select! {
            biased;
            _ = future::join_all(loops) => {}
            () = progress => {}
        }
        bar.finish_and_clear();
        let stats = stats.take();
        if stats.answered() == 0 {
            return Err(Error::Nothing { seconds: self.seconds, errors: stats.errors_in_words() });
        }
        Ok(stats.report(self.connections, began.elapsed()))
    }
}

/// Tells the unique keys of one run from those of another.
fn seed() -> [u8; 8] {
    let mut seed = [0; 8];
    SystemRandom.fill(&mut seed);
    seed
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it must be a number from 0.0 to 1.0".to_owned())
}

fn value_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| (VALUE_BYTES_MIN..=DOCUMENT_BYTES_MAX).contains(bytes));
    bytes.ok_or_else(|| format!("it must be {VALUE_BYTES_MIN} to {DOCUMENT_BYTES_MAX}"))
}
