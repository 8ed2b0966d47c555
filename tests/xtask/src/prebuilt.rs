//! The bundled plugins as components, in plugins/prebuilt, so that nobody needs a WebAssembly toolchain to run Skerry.
//! `digests.toml` beside them says from what and with what each was built. The same sources and toolchain give the same
//! bytes in any folder of any machine: every path in the compiler's view is renamed, and what is left is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The bundled plugins: NAME is the package `skerry-NAME` in plugins/standard/NAME.
const NAMES: [&str; 2] = ["max-register", "stock"];
const TARGET: &str = "wasm32-unknown-unknown";
const DIGESTS: &str = "plugins/prebuilt/digests.toml";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only compare: binaries with their digests, sources with what the binaries were built from, and, where the
    /// recorded toolchain is installed, a fresh build with the binaries
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{DIGESTS} is not what `cargo xtask prebuilt` writes")]
    Record { source: toml::de::Error },
    #[error("{DIGESTS} cannot be written as TOML")]
    Encode { source: toml::ser::Error },
    #[error("{DIGESTS} does not list {name}: run `cargo xtask prebuilt`")]
    Missing { name: &'static str },
    #[error("the digest of plugins/prebuilt/{name}.wasm is {found}, {DIGESTS} says {expected}")]
    Digest { name: &'static str, expected: String, found: String },
    #[error(
        "the sources of {name} have changed since plugins/prebuilt/{name}.wasm was built: run `cargo xtask prebuilt`"
    )]
    Sources { name: &'static str },
    #[error("a fresh build of {name} has the digest {found}, {DIGESTS} says {expected}: run `cargo xtask prebuilt`")]
    Rebuilt { name: &'static str, expected: String, found: String },
    #[error(
        "no Rust compiler for {TARGET} was found: `rustup target add {TARGET}`, or Debian's `rustc-web` and `rust-web-src`"
    )]
    Toolchain,
    #[error("no linker for {TARGET} was found: rust-lld comes with rustup's toolchains, wasm-ld with LLVM")]
    Linker,
    #[error("cannot run {program}")]
    Run { program: String, source: io::Error },
    #[error("{program} failed with {status}")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("the module of {name} cannot be made a component: {reason}")]
    Component { name: &'static str, reason: String },
    #[error("the component of {name} contains the path {path} of this machine")]
    MachinePath { name: &'static str, path: String },
}

/// What `digests.toml` holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    toolchain: Versions,
    plugins: BTreeMap<String, Plugin>,
}

/// What decides the bytes beside the sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Versions {
    rustc: String,
    cargo: String,
    linker: String,
    /// Whether the standard library was built from source too.
    build_std: bool,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Plugin {
    /// BLAKE3 of the component: the plugin's name in a cluster.
    digest: String,
    /// Size of the component.
    bytes: usize,
    /// BLAKE3 of what it was built from: the contract, the SDK and its own package.
    sources: String,
}

/// A compiler that can build a plugin here.
struct Toolchain {
    rustc: PathBuf,
    linker: PathBuf,
    /// The standard library's sources, when it has to be built.
    std_sources: Option<PathBuf>,
    versions: Versions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().map_err(|source| Error::Read { path: root, source })?;
    if arguments.check { check(&root) } else { build_all(&root) }
}

fn build_all(root: &Path) -> Result<String, Error> {
    let recorded = read(&root.join(DIGESTS)).ok().and_then(|bytes| toml::from_slice::<Record>(&bytes).ok());
    let mut found = toolchains()?;
    let preferred =
        found.iter().position(|toolchain| recorded.as_ref().is_some_and(|r| r.toolchain == toolchain.versions));
    let toolchain = found.swap_remove(preferred.unwrap_or(0));
    let mut plugins = BTreeMap::new();
    for name in NAMES {
        let component = build(root, name, &toolchain)?;
        write(&root.join(format!("plugins/prebuilt/{name}.wasm")), &component)?;
        let plugin = Plugin { digest: digest(&component), bytes: component.len(), sources: sources(root, name)? };
        plugins.insert(name.to_owned(), plugin);
    }
    let record = Record { toolchain: toolchain.versions, plugins };
    let text = toml::to_string(&record).map_err(|source| Error::Encode { source })?;
    write(&root.join(DIGESTS), format!("# Written by `cargo xtask prebuilt`.\n{text}").as_bytes())?;
    Ok(format!("built {} with {}", NAMES.join(", "), record.toolchain.rustc))
}

fn check(root: &Path) -> Result<String, Error> {
    let record: Record = toml::from_slice(&read(&root.join(DIGESTS))?).map_err(|source| Error::Record { source })?;
    for name in NAMES {
        let plugin = record.plugins.get(name).ok_or(Error::Missing { name })?;
        let found = digest(&read(&root.join(format!("plugins/prebuilt/{name}.wasm")))?);
        if found != plugin.digest {
            return Err(Error::Digest { name, expected: plugin.digest.clone(), found });
        }
        if sources(root, name)? != plugin.sources {
            return Err(Error::Sources { name });
        }
    }
    let installed = toolchains().unwrap_or_default();
    let Some(toolchain) = installed.iter().find(|toolchain| toolchain.versions == record.toolchain) else {
        return Ok(
            "digests and sources agree; the recorded toolchain is not installed, so nothing was built".to_owned()
        );
    };
    for name in NAMES {
        let (found, expected) = (digest(&build(root, name, toolchain)?), &record.plugins[name].digest);
        if found != *expected {
            return Err(Error::Rebuilt { name, expected: expected.clone(), found });
        }
    }
    Ok("digests and sources agree, and a fresh build gives the same bytes".to_owned())
}

/// Builds a plugin's component.
fn build(root: &Path, name: &'static str, toolchain: &Toolchain) -> Result<Vec<u8>, Error> {
    let target_folder = root.join("target/guests");
    let renamed = renamed_paths(root, toolchain)?;
    let flags: Vec<_> =
        renamed.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect();
    let mut cargo = Command::new(cargo());
    cargo.current_dir(root).args(["build", "--release", "--locked", "--lib", "--target", TARGET]);
    cargo.arg("--package").arg(format!("skerry-{name}")).arg("--target-dir").arg(&target_folder);
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

    let module =
        read(&target_folder.join(TARGET).join("release").join(format!("skerry_{}.wasm", name.replace('-', "_"))))?;
    let mut encoder = wit_component::ComponentEncoder::default();
    let component = encoder.validate(true).module(&module).and_then(|encoder| encoder.encode());
    let component = component.map_err(|error| Error::Component { name, reason: format!("{error:#}") })?;
    for (path, _) in &renamed {
        let path = path.display().to_string();
        if component.windows(path.len()).any(|window| window == path.as_bytes()) {
            return Err(Error::MachinePath { name, path });
        }
    }
    Ok(component)
}

/// Every folder that the compiler sees, and what the component calls it. Of several that match, the last one counts.
fn renamed_paths(root: &Path, toolchain: &Toolchain) -> Result<Vec<(PathBuf, &'static str)>, Error> {
    let mut renamed = vec![(root.to_owned(), "/skerry")];
    let home = std::env::home_dir().unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    for registry in entries(&cargo_home.join("registry/src"))? {
        renamed.push((registry, "/registry"));
    }
    if let Some(sources) = &toolchain.std_sources {
        renamed.push((sources.clone(), "/rust"));
        renamed.extend(sources.canonicalize().ok().map(|real| (real, "/rust")));
    }
    Ok(renamed)
}

/// The compilers on PATH that can build for WebAssembly, those that bring its standard library first.
fn toolchains() -> Result<Vec<Toolchain>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
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
    output(Command::new(rustc).args(["--print", what, "--target", target])).map(PathBuf::from)
}

/// BLAKE3 over the path and content of every file that a plugin is made of.
fn sources(root: &Path, name: &str) -> Result<String, Error> {
    let mut files = Vec::new();
    for folder in ["plugins/wit", "guest-sdk", &format!("plugins/standard/{name}")] {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let relative = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        let content = read(&file)?;
        for field in [relative.as_bytes(), &content] {
            hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
        }
    }
    Ok(hex::encode(hasher.finalize().as_bytes()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            collect(&entry, files)?;
        } else {
            files.push(entry);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read { path: folder.to_owned(), source };
    let paths = fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(failed)
}

fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(blake3::hash(bytes).as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}

fn execute(command: &mut Command) -> Result<(), Error> {
    let program = command.get_program().display().to_string();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Failed { program, status }),
        Err(source) => Err(Error::Run { program, source }),
    }
}

fn output(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().display().to_string();
    match command.output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Ok(output) => Err(Error::Failed { program, status: output.status }),
        Err(source) => Err(Error::Run { program, source }),
    }
}
