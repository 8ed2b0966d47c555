//! `skerry dev`: a whole cluster with two edges on this machine.

use std::path::PathBuf;

use clap::Args;
use skerry_api::cli::Output;

use super::serve::stop_at_signal;
use crate::dev::{self, DevOptions};
use crate::telemetry::logs;

/// Run three core nodes and two edges on loopback, with example data and one conflict
#[derive(Debug, Clone, Args)]
pub(super) struct Dev {
    /// The folder that everything is kept in
    #[arg(long, default_value = "./skerry-data", value_name = "FOLDER")]
    data: PathBuf,
}

/// Why it did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the process cannot wait for signals: {0}")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Dev(#[from] dev::Error),
}

impl Dev {
    pub(super) async fn run(&self, output: Output) -> Result<(), Error> {
        // People read what it prints; what the nodes log would stand in between.
        logs::begin("warn,skerry_edge=error,openraft=error", false);
        let stop = stop_at_signal().map_err(Error::Signals)?;
        let options = DevOptions { data: self.data.clone(), output };
        Ok(Box::pin(dev::run(options, stop)).await?)
    }
}
