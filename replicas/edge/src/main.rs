//! `skerry-edge`: an edge replica, and the commands that talk to one.

use std::process::ExitCode;

use clap::Parser;
use skerry_edge::cli::{Cli, run};

fn main() -> ExitCode {
    run(&Cli::parse())
}
