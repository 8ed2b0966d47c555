//! The bundled plugins as components, in plugins/prebuilt, so that nobody needs a WebAssembly toolchain to run Skerry.
//! `digests.toml` beside them says from what and with what each was built. The same sources and toolchain give the same
//! bytes in any folder of any machine: every path in the compiler's view is renamed, and what is left is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skerry_toolchain::{Crate, Toolchain, Versions, toolchains};

/// The bundled plugins: NAME is the package `skerry-NAME` in plugins/standard/NAME.
const NAMES: [&str; 6] =
    ["bounded-counter", "calendar-booking", "max-register", "multi-value", "ordered-list", "stock"];
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
    #[error(transparent)]
    Build(#[from] skerry_toolchain::Error),
}

/// What `digests.toml` holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    toolchain: Versions,
    plugins: BTreeMap<String, Plugin>,
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
    let (package, target) = (format!("skerry-{name}"), root.join("target/guests"));
    let krate = Crate { folder: root, folder_name: "/skerry", package: &package, target: &target, locked: true };
    Ok(skerry_toolchain::build(krate, toolchain)?)
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

fn digest(bytes: &[u8]) -> String {
    hex::encode(blake3::hash(bytes).as_bytes())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Write { path: path.to_owned(), source })
}
