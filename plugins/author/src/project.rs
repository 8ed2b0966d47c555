//! A folder with one plugin in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use include_dir::{Dir, DirEntry, include_dir};
use skerry_model::PluginName;
use skerry_toolchain::program::{self, execute};
use skerry_toolchain::{Crate, cargo, toolchains};

use crate::javascript;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../wit");
static GUEST_SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/src");

/// Where the SDK and the contract lie in a plugin's folder, written anew by each build so that they fit the program.
const SDK: &str = ".skerry";
/// What stands for the plugin's name in a template.
const NAME: &str = "{{name}}";

/// Why an author's command did not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something is there already.
    #[error("{} exists already: take another name or folder", .0.display())]
    Exists(PathBuf),
    /// A folder without a plugin.
    #[error(
        "there is no plugin in {}: it has neither a Cargo.toml nor a package.json; skerry plugin new makes one",
        .0.display()
    )]
    NoPlugin(PathBuf),
    /// A folder whose plugin is of no known kind.
    #[error("{} names neither world: set `skerry.world` in package.json to resolver or merge-policy", .0.display())]
    NoWorld(PathBuf),
    /// No package name.
    #[error("{} does not name a package", .0.display())]
    NoPackage(PathBuf),
    /// No Node.
    #[error("npm was not found: a plugin in JavaScript is built with Node.js, from nodejs.org or your distribution")]
    NoNode,
    /// A file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The build.
    #[error(transparent)]
    Rust(#[from] skerry_toolchain::Error),
    /// Another program.
    #[error(transparent)]
    Program(#[from] program::Error),
}

/// What a plugin is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// JavaScript.
    JavaScript,
}

/// Which of the contract's worlds it is to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It decides where writes met.
    Resolver,
    /// It defines a kind of document.
    MergePolicy,
}

/// A plugin's folder.
#[derive(Debug, Clone)]
pub struct Project {
    folder: PathBuf,
    language: Language,
}

/// Makes a folder with a plugin that works, to be changed into the one that is wanted.
///
/// # Errors
/// [`Error::Exists`], or a file that cannot be written.
pub fn new(folder: &Path, name: &PluginName, language: Language, kind: Kind) -> Result<Project, Error> {
    if folder.exists() {
        return Err(Error::Exists(folder.to_owned()));
    }
    let template = match (language, kind) {
        (Language::Rust, Kind::Resolver) => "rust-resolver",
        (Language::Rust, Kind::MergePolicy) => "rust-merge-policy",
        (Language::JavaScript, Kind::Resolver) => "js-resolver",
        (Language::JavaScript, Kind::MergePolicy) => "js-merge-policy",
    };
    copy(template_folder(template), folder, Some(name))?;
    let project = Project { folder: folder.to_owned(), language };
    project.write_sdk()?;
    Ok(project)
}

impl Project {
    /// The plugin of a folder.
    ///
    /// # Errors
    /// [`Error::NoPlugin`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let canonical = folder.canonicalize().map_err(|source| Error::Read { path: folder.to_owned(), source })?;
        let language = if canonical.join("Cargo.toml").is_file() {
            Language::Rust
        } else if canonical.join("package.json").is_file() {
            Language::JavaScript
        } else {
            return Err(Error::NoPlugin(folder.to_owned()));
        };
        Ok(Self { folder: canonical, language })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it is written in.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// Builds the component.
    ///
    /// # Errors
    /// [`Error`]; compilers speak for themselves, to the terminal.
    pub fn build(&self) -> Result<Vec<u8>, Error> {
        self.write_sdk()?;
        match self.language {
            Language::JavaScript => javascript::build(&self.folder, self.javascript_kind()?),
            Language::Rust => {
                let package = self.package()?;
                let target = self.folder.join("target/skerry");
                let krate = Crate {
                    folder: &self.folder,
                    folder_name: "/plugin",
                    package: &package,
                    target: &target,
                    locked: false,
                };
                let toolchains = toolchains()?;
                let toolchain = toolchains.first().ok_or(skerry_toolchain::Error::Toolchain)?;
                Ok(skerry_toolchain::build(krate, toolchain)?)
            }
        }
    }

    /// Runs the author's own tests, natively.
    ///
    /// # Errors
    /// [`Error`]; the tests speak for themselves, to the terminal.
    pub fn test(&self) -> Result<(), Error> {
        self.write_sdk()?;
        match self.language {
            Language::JavaScript => javascript::test(&self.folder),
            Language::Rust => Ok(execute(Command::new(cargo()).args(["test", "--quiet"]).current_dir(&self.folder))?),
        }
    }

    /// The files in its folder `conflicts`, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn example_files(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.folder.join("conflicts");
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>();
        let mut paths = paths.map_err(|source| Error::Read { path: folder, source })?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        Ok(paths)
    }

    /// The files that the component is made from, without the SDK and what builds leave.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn sources(&self) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let failed = |source| Error::Read { path: folder.clone(), source };
            for entry in fs::read_dir(&folder).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let is_left_by_builds = ["target", "node_modules"].contains(&&*name) || name.starts_with('.');
                if path.is_dir() && !is_left_by_builds {
                    folders.push(path);
                } else if ["rs", "js", "json", "toml"].iter().any(|kind| name.ends_with(&format!(".{kind}"))) {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    fn write_sdk(&self) -> Result<(), Error> {
        let sdk = self.folder.join(SDK);
        copy(&WIT, &sdk.join("plugins/wit"), None)?;
        match self.language {
            Language::JavaScript => copy(template_folder("js-sdk"), &sdk, None),
            Language::Rust => {
                copy(&GUEST_SDK, &sdk.join("guest-sdk/src"), None)?;
                copy(template_folder("rust-sdk"), &sdk.join("guest-sdk"), None)
            }
        }
    }

    /// The package that cargo builds.
    fn package(&self) -> Result<String, Error> {
        let manifest = self.folder.join("Cargo.toml");
        let mut metadata = Command::new(cargo());
        metadata.current_dir(&self.folder).args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata = program::output(&mut metadata)?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap_or_default();
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let is_own = |package: &&serde_json::Value| {
            package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest)
        };
        let own = packages.into_iter().find(is_own).and_then(|package| package["name"].as_str());
        own.map(str::to_owned).ok_or(Error::NoPackage(manifest))
    }

    fn javascript_kind(&self) -> Result<Kind, Error> {
        let manifest = self.folder.join("package.json");
        let package: serde_json::Value = serde_json::from_slice(&read(&manifest)?).unwrap_or_default();
        match package["skerry"]["world"].as_str() {
            Some("resolver") => Ok(Kind::Resolver),
            Some("merge-policy") => Ok(Kind::MergePolicy),
            _ => Err(Error::NoWorld(manifest)),
        }
    }
}

fn template_folder(name: &str) -> &'static Dir<'static> {
    TEMPLATES.get_dir(name).expect("a test opens every template")
}

/// Writes the files that are not there or differ, so that builds see what has changed and no more.
fn copy(from: &Dir<'_>, to: &Path, name: Option<&PluginName>) -> Result<(), Error> {
    let write = |path: PathBuf, content: &[u8]| {
        if fs::read(&path).is_ok_and(|known| known == content) {
            return Ok(());
        }
        fs::write(&path, content).map_err(|source| Error::Write { path, source })
    };
    fs::create_dir_all(to).map_err(|source| Error::Write { path: to.to_owned(), source })?;
    for entry in from.entries() {
        let file_name = entry.path().file_name().expect("an entry has a name");
        // A file that cargo or git would take for their own in this repository has `.template` behind its name.
        let file_name = file_name.to_string_lossy();
        let to = to.join(file_name.strip_suffix(".template").unwrap_or(&file_name));
        match (entry, name) {
            (DirEntry::Dir(folder), name) => copy(folder, &to, name)?,
            (DirEntry::File(file), None) => write(to, file.contents())?,
            (DirEntry::File(file), Some(name)) => {
                let text = String::from_utf8_lossy(file.contents());
                let text = text.replace(NAME, &package_name(name));
                write(to, text.as_bytes())?;
            }
        }
    }
    Ok(())
}

/// The plugin's name as cargo and npm take it: without dots, beginning with a letter.
fn package_name(name: &PluginName) -> String {
    let name = name.as_str().replace('.', "-");
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) { name } else { format!("plugin-{name}") }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_becomes_a_plugin_of_its_language() {
        let scratch = tempfile::tempdir().unwrap();
        for language in [Language::Rust, Language::JavaScript] {
            for kind in [Kind::Resolver, Kind::MergePolicy] {
                let folder = scratch.path().join(format!("{language:?}-{kind:?}"));
                let name = PluginName::new("my-stock").unwrap();
                new(&folder, &name, language, kind).unwrap();
                let project = Project::open(&folder).unwrap();
                assert_eq!(project.language(), language);
                let all: String =
                    project.sources().unwrap().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
                assert!(all.contains("my-stock") && !all.contains("{{"), "{all}");
                assert!(folder.join(".skerry/plugins/wit/world.wit").is_file());
                assert!(!project.example_files().unwrap().is_empty());
                assert!(matches!(new(&folder, &name, language, kind), Err(Error::Exists(_))));
            }
        }
        assert!(matches!(Project::open(scratch.path()), Err(Error::NoPlugin(_))));
    }

    #[test]
    fn every_plugin_name_becomes_a_package_name() {
        let package = |name: &str| package_name(&PluginName::new(name).unwrap());
        assert_eq!([package("my-stock"), package("2fa"), package("my.shop")], ["my-stock", "plugin-2fa", "my-shop"]);
    }

    /// An author's crate is built with what ours are.
    #[test]
    fn the_sdk_of_a_template_asks_for_what_this_workspace_does() {
        let ours: toml::Table = toml::from_str(include_str!("../../../Cargo.toml")).unwrap();
        let theirs = TEMPLATES.get_file("rust-sdk/Cargo.toml.template").unwrap().contents_utf8().unwrap();
        let theirs: toml::Table = toml::from_str(theirs).unwrap();
        let mut dependencies = theirs["dependencies"].as_table().unwrap().clone();
        dependencies
            .extend(theirs["target"]["cfg(not(target_arch = \"wasm32\"))"]["dependencies"].as_table().unwrap().clone());
        assert_eq!(dependencies.len(), 4);
        for (name, asked) in dependencies {
            assert_eq!(asked, ours["workspace"]["dependencies"][&name], "{name}");
        }
    }
}
