//! Everything that only reads: formatting, lints, documentation, the bundled plugins, and tidiness.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::prebuilt;

/// Words that stand where something is unfinished. Put together here, so that this file does not name them.
const MARKERS: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("todo", "!(")];
/// Past so many lines a file has more than one subject.
const FILE_LINES_MAX: usize = 1_000;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot run {program}")]
    Run { program: &'static str, source: io::Error },
    #[error("{what} failed")]
    Failed { what: &'static str },
    #[error(transparent)]
    Prebuilt(#[from] prebuilt::Error),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("untidy:\n  {}", .0.join("\n  "))]
    Untidy(Vec<String>),
}

/// Runs all checks, cheapest first.
///
/// # Errors
/// The first check that fails.
pub(crate) fn run() -> Result<String, Error> {
    tidy()?;
    prebuilt::run(&prebuilt::Arguments { check: true })?;
    cargo("formatting (run `cargo fmt`)", &["fmt", "--check"], None)?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    cargo("clippy", &clippy, None)?;
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
    cargo("rustdoc", &doc, Some(("RUSTDOCFLAGS", "-D warnings")))?;
    Ok("all checks pass".to_owned())
}

fn cargo(what: &'static str, arguments: &[&str], variable: Option<(&str, &str)>) -> Result<(), Error> {
    let status = Command::new("cargo")
        .args(arguments)
        .envs(variable)
        .status()
        .map_err(|source| Error::Run { program: "cargo", source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { what }) }
}

/// No leftovers, no overlong files, among what git tracks.
fn tidy() -> Result<(), Error> {
    let listed = Command::new("git")
        .args(["ls-files", "*.rs", "*.md", "*.toml", "*.wit"])
        .output()
        .map_err(|source| Error::Run { program: "git", source })?;
    let mut untidy = Vec::new();
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter(|name| Path::new(name).exists()) {
        let text = fs::read_to_string(name).map_err(|source| Error::Read { path: name.into(), source })?;
        for (number, line) in text.lines().enumerate() {
            if let Some(marker) = MARKERS.iter().find(|marker| line.contains(**marker)) {
                untidy.push(format!("{name}:{}: {marker}", number + 1));
            }
        }
        let lines = text.lines().count();
        if name.ends_with(".rs") && lines > FILE_LINES_MAX {
            untidy.push(format!("{name}: {lines} lines, the limit is {FILE_LINES_MAX}"));
        }
    }
    if untidy.is_empty() { Ok(()) } else { Err(Error::Untidy(untidy)) }
}
