//! Programs of the system.

use std::process::Command;

/// Runs one to its end; answers stdout, or stderr when it failed.
pub(super) fn command(program: &str, arguments: &[&str]) -> Result<String, String> {
    let ran = Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(format!("{program}: {}", text(&ran.stderr))) }
}
