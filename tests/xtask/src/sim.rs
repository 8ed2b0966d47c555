//! `cargo xtask sim`: more seeds of the simulation than an ordinary test run has, or one again.

use std::process::Command;

/// Which seeds.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Replay this one, with its logs (SKERRY_LOG says which)
    #[arg(long, conflicts_with_all = ["seeds", "from", "minutes"])]
    seed: Option<u64>,
    /// How many to run
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How long at most, in minutes
    #[arg(long, default_value_t = 600)]
    minutes: u64,
}

/// Why it did not go well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Cargo.
    #[error("cannot run cargo")]
    Cargo(#[source] std::io::Error),
    /// A seed.
    #[error("a seed did not hold: what is printed above says which, and how to replay it")]
    Failed,
}

/// Runs the seeds.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Error> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--workspace", "--test", "simulation", "--"]);
    cargo.args(["--exact", "--nocapture", "seeds::every_seed_holds"]);
    match arguments.seed {
        Some(seed) => cargo.env("SKERRY_SEED", seed.to_string()),
        None => cargo
            .env("SKERRY_SEEDS", arguments.seeds.to_string())
            .env("SKERRY_FROM", arguments.from.to_string())
            .env("SKERRY_MINUTES", arguments.minutes.to_string()),
    };
    let status = cargo.status().map_err(Error::Cargo)?;
    if status.success() { Ok("the seeds hold".to_owned()) } else { Err(Error::Failed) }
}
