//! Components from Rust: the compiler that can make them, and the build. The same sources and toolchain give the same bytes
//! in any folder of any machine: every path in the compiler's view is renamed.

#![forbid(unsafe_code)]

pub mod program;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::program::{execute, output, search_path};

const TARGET: &str = "wasm32-unknown-unknown";

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No compiler.
    #[error(
        "no Rust compiler for {TARGET} was found: `rustup target add {TARGET}`, or Debian's `rustc-web` and `rust-web-src`"
    )]
    Toolchain,
    /// No linker.
    #[error("no linker for {TARGET} was found: rust-lld comes with rustup's toolchains, wasm-ld with LLVM")]
    Linker,
    /// A program.
    #[error(transparent)]
    Program(#[from] program::Error),
    /// A file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was built is no component.
    #[error("the module cannot be made a component: {reason}")]
    Component {
        /// Why.
        reason: String,
    },
    /// The component would differ on another machine.
    #[error("the component contains the path {path} of this machine")]
    MachinePath {
        /// The path.
        path: String,
    },
}

/// What decides a component's bytes beside the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// What `rustc --version` says.
    pub rustc: String,
    /// What `cargo --version` says.
    pub cargo: String,
    /// What the linker says.
    pub linker: String,
    /// Whether the standard library is built from source too.
    pub build_std: bool,
}

/// A compiler that can build a plugin here.
#[derive(Debug, Clone)]
pub struct Toolchain {
    rustc: PathBuf,
    linker: PathBuf,
    /// The standard library's sources, when it has to be built.
    std_sources: Option<PathBuf>,
    /// Its versions.
    pub versions: Versions,
}

/// A crate to make a component of.
#[derive(Debug, Clone, Copy)]
pub struct Crate<'a> {
    /// The folder that cargo runs in.
    pub folder: &'a Path,
    /// What the component calls that folder.
    pub folder_name: &'a str,
    /// The package.
    pub package: &'a str,
    /// Where the build's files go.
    pub target: &'a Path,
    /// Whether Cargo.lock must stay as it is.
    pub locked: bool,
}

/// The compilers on PATH that can build for WebAssembly, those that bring its standard library first.
///
/// # Errors
/// [`Error::Toolchain`] when there is none, [`Error::Linker`].
pub fn toolchains() -> Result<Vec<Toolchain>, Error> {
    let folders = search_path();
    let mut compilers: Vec<_> =
        folders.iter().map(|folder| folder.join("rustc")).filter(|path| path.is_file()).collect();
    compilers.dedup();
    let linker = linker(&folders, &compilers)?;
    let linker_version = output(Command::new(&linker).args(["-flavor", "wasm", "--version"]))?;
    let cargo_version = output(Command::new(cargo()).arg("--version"))?;

    let mut found = Vec::new();
    for rustc in compilers {
        let library = print(&rustc, "target-libdir", TARGET)?;
        let sources = print(&rustc, "sysroot", TARGET)?.join("lib/rustlib/src/rust");
        let build_std = !library.is_dir();
        if build_std && !sources.join("library/std/Cargo.toml").is_file() {
            continue;
        }
        let versions = Versions {
            rustc: output(Command::new(&rustc).arg("--version"))?,
            cargo: cargo_version.clone(),
            linker: linker_version.clone(),
            build_std,
        };
        found.push(Toolchain { rustc, linker: linker.clone(), std_sources: build_std.then_some(sources), versions });
    }
    found.sort_by_key(|toolchain| toolchain.versions.build_std);
    if found.is_empty() { Err(Error::Toolchain) } else { Ok(found) }
}

/// `rust-lld` beside one of the compilers, or LLVM's own on PATH.
fn linker(folders: &[PathBuf], compilers: &[PathBuf]) -> Result<PathBuf, Error> {
    for rustc in compilers {
        let library = PathBuf::from(output(Command::new(rustc).args(["--print", "target-libdir"]))?);
        let beside = library.with_file_name("bin").join("rust-lld");
        if beside.is_file() {
            return Ok(beside);
        }
    }
    let on_path = folders.iter().map(|folder| folder.join("wasm-ld"));
    on_path.into_iter().find(|path| path.is_file()).ok_or(Error::Linker)
}

fn print(rustc: &Path, what: &str, target: &str) -> Result<PathBuf, Error> {
    Ok(output(Command::new(rustc).args(["--print", what, "--target", target])).map(PathBuf::from)?)
}

/// Builds a component, cargo's words going to the terminal.
///
/// # Errors
/// [`Error`].
pub fn build(krate: Crate<'_>, toolchain: &Toolchain) -> Result<Vec<u8>, Error> {
    let renamed = renamed_paths(krate, toolchain)?;
    let flags: Vec<_> =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let mut cargo = Command::new(cargo());
    cargo.current_dir(krate.folder).args(["build", "--release", "--quiet", "--lib", "--target", TARGET]);
    cargo.args(krate.locked.then_some("--locked"));
    cargo.args(["--package", krate.package]).arg("--target-dir").arg(krate.target);
    if toolchain.std_sources.is_some() {
        cargo.arg("-Zbuild-std=std,panic_abort").env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.env("RUSTC", &toolchain.rustc).env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &toolchain.linker);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).env_remove("RUSTC_WRAPPER");
    let profile =
        [("OPT_LEVEL", "s"), ("LTO", "fat"), ("CODEGEN_UNITS", "1"), ("PANIC", "abort"), ("STRIP", "symbols")];
    for (key, value) in profile.into_iter().chain([("DEBUG", "0"), ("INCREMENTAL", "false")]) {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    execute(&mut cargo)?;

    let module = format!("{}.wasm", krate.package.replace('-', "_"));
    let module = krate.target.join(TARGET).join("release").join(module);
    let module = fs::read(&module).map_err(|source| Error::Read { path: module, source })?;
    let component = component(&module)?;
    for (path, _) in &renamed {
        let path = path.display().to_string();
        if component.windows(path.len()).any(|window| window == path.as_bytes()) {
            return Err(Error::MachinePath { path });
        }
    }
    Ok(component)
}

fn component(module: &[u8]) -> Result<Vec<u8>, Error> {
    let mut encoder = wit_component::ComponentEncoder::default();
    let component = encoder.validate(true).module(module).and_then(|encoder| encoder.encode());
    component.map_err(|error| Error::Component { reason: format!("{error:#}") })
}

/// Every folder that the compiler sees, and what the component calls it. Of several that match, the last one counts.
fn renamed_paths(krate: Crate<'_>, toolchain: &Toolchain) -> Result<Vec<(PathBuf, String)>, Error> {
    let mut renamed = vec![(krate.folder.to_owned(), krate.folder_name.to_owned())];
    let home = std::env::home_dir().unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let registries = cargo_home.join("registry/src");
    let failed = |source| Error::Read { path: registries.clone(), source };
    // Where everything is vendored there is no registry.
    for registry in fs::read_dir(&registries).into_iter().flatten() {
        renamed.push((registry.map_err(failed)?.path(), "/registry".to_owned()));
    }
    if let Some(sources) = &toolchain.std_sources {
        renamed.push((sources.clone(), "/rust".to_owned()));
        renamed.extend(sources.canonicalize().ok().map(|real| (real, "/rust".to_owned())));
    }
    Ok(renamed)
}

/// The cargo that runs this, or the one on PATH.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}
