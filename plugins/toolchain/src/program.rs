//! Other people's programs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not start.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It says no; its own words went to the terminal.
    #[error("{program} failed with {status}; what it said stands above")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
    },
}

/// Runs a program to its end, with the terminal.
///
/// # Errors
/// [`Error`].
pub fn execute(command: &mut Command) -> Result<(), Error> {
    let program = name(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed { program, status }),
        Err(source) => Err(Error::Run { program, source }),
    }
}

/// What a program prints.
///
/// # Errors
/// [`Error`].
pub fn output(command: &mut Command) -> Result<String, Error> {
    let program = name(command);
    match command.output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(Error::Failed { program, status: output.status }),
        Err(source) => Err(Error::Run { program, source }),
    }
}

fn name(command: &Command) -> String {
    Path::new(command.get_program()).file_name().unwrap_or(command.get_program()).display().to_string()
}

/// The folders of PATH.
#[must_use]
pub fn search_path() -> Vec<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect()
}
