//! Checks and chores of the repository: `cargo xtask help` lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod check;
mod flaws;
mod load;
mod prebuilt;
mod sim;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and chores of the repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check formatting, lints, documentation, bundled plugins and tidiness; changes nothing
    Check,
    /// Build the bundled plugins into plugins/prebuilt and write down their digests
    Prebuilt(prebuilt::Arguments),
    /// List the fifteen flaws, and which are shown absent
    Flaws,
    /// Measure Skerry beside etcd on this machine
    Load(load::Arguments),
    /// Run simulated clusters, many seeds or one again
    Sim(sim::Arguments),
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the program's own output")]
fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Check => check::run().map_err(|error| sentence(&error)),
        Command::Prebuilt(arguments) => prebuilt::run(&arguments).map_err(|error| sentence(&error)),
        Command::Flaws => flaws::run().map_err(|error| sentence(&error)),
        Command::Load(arguments) => load::run(&arguments).map_err(|error| sentence(&error)),
        Command::Sim(arguments) => sim::run(&arguments).map_err(|error| sentence(&error)),
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, on one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |sentence, cause| format!("{sentence}: {cause}"))
}
