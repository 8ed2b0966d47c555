//! `cargo xtask load`: Skerry beside etcd, failover, and what an idle cluster uses; each printed, none asserted.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The etcd binary [default: the one on the PATH]
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// The profile that Skerry is built with
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Only what has this in its name: against_etcd, failover or idle
    #[arg(default_value = "measure")]
    only: String,
}

/// Why it did not go well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Cargo.
    #[error("cannot run cargo")]
    Cargo(#[source] std::io::Error),
    /// A build.
    #[error("the build failed")]
    Build,
    /// A measurement.
    #[error("a measurement failed: what is printed above says which")]
    Failed,
}

/// Builds and measures.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Error> {
    let Arguments { etcd, profile, only } = arguments;
    let cargo = |arguments: &[&str], variables: &[(&str, &Path)]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).envs(variables.iter().copied()).status().map_err(Error::Cargo)
    };
    if !cargo(&["build", "--workspace", "--profile", profile, "--bin", "skerry"], &[])?.success() {
        return Err(Error::Build);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies two folders deep");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let binary = target.join(if profile == "dev" { "debug" } else { profile }).join("skerry");
    let mut variables = vec![("SKERRY_BINARY", binary.as_path())];
    variables.extend(etcd.as_deref().map(|etcd| ("SKERRY_ETCD", etcd)));
    let tests = ["test", "--workspace", "--test", "load", "--", "--ignored", "--nocapture", "--test-threads=1", only];
    let measured = cargo(&tests, &variables)?;
    if measured.success() { Ok("measured".to_owned()) } else { Err(Error::Failed) }
}
