//! The `skerry-edge` command line, built for the tests.

use std::process::ExitCode;

use clap::Parser;
use skerry_edge::cli::{Cli, run};

fn main() -> ExitCode {
    run(&Cli::parse())
}
