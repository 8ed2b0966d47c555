//! Components from JavaScript, by jco and the QuickJS engine that it brings.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use skerry_toolchain::program::{execute, search_path};

use crate::project::{Error, Kind, read};

/// Builds the component of a folder. Two builds of the same sources differ: the engine's seeds are in the component.
pub(crate) fn build(folder: &Path, kind: Kind) -> Result<Vec<u8>, Error> {
    let jco = folder.join("node_modules/.bin/jco");
    if !jco.is_file() {
        if !search_path().iter().any(|folder| folder.join("npm").is_file()) {
            return Err(Error::NoNode);
        }
        execute(
            Command::new("npm").args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(folder),
        )?;
    }
    let (adapter, world) = match kind {
        Kind::Resolver => (".skerry/resolver.js", "resolver"),
        Kind::MergePolicy => (".skerry/merge-policy.js", "merge-policy"),
    };
    let built = folder.join("node_modules/.skerry-plugin.wasm");
    let mut command = Command::new(&jco);
    command.current_dir(folder).args(["componentize", adapter, "--wit", ".skerry/plugins/wit", "--world-name", world]);
    command.args(["--backend", "quickjs", "--backend-qjs-disable-async", "--backend-qjs-stub-wasi"]);
    // Without a folder of its own it looks for the adapter beside the adapter. What it prints beside errors is chatter.
    command.args(["--cwd", ".", "-o"]).arg(&built).stdout(Stdio::null());
    execute(&mut command)?;
    let component = read(&built)?;
    fs::remove_file(&built).map_err(|source| Error::Write { path: built, source })?;
    Ok(component)
}

/// Runs the author's own tests in Node.
pub(crate) fn test(folder: &Path) -> Result<(), Error> {
    Ok(execute(Command::new("npm").args(["test", "--silent"]).current_dir(folder))?)
}
