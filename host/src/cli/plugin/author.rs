//! What an author does on their own machine; no node is asked.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use serde::Serialize;
use skerry_api::cli::{Output, Table};
use skerry_author::examples::{self, Tried};
use skerry_author::{Kind, Language, Project};
use skerry_guest::laws::Effort;
use skerry_model::limits::PLUGIN_BYTES_MAX;
use skerry_model::{PluginDigest, PluginName};
use skerry_runtime::{Checked, CompiledPlugin, LawChecker, Runtime, RuntimeProfile, Samples};

use super::{Error, component, show};
use crate::limits::LAW_CASES_MIN;

/// How often `try --watch` looks for changes.
const WATCH_PAUSE: Duration = Duration::from_millis(300);
/// How long the law check may go on.
const LAWS_TIME_MAX: Duration = Duration::from_secs(300);
/// Cases of the law check when nothing else is said.
const CASES: u32 = 500;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Lang {
    /// Rust
    Rust,
    /// JavaScript
    Js,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Made {
    /// Decides what readers see where concurrent writes met
    Resolver,
    /// Defines a kind of document whose states merge by themselves
    MergePolicy,
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct New {
    /// The plugin; also the folder's name
    name: PluginName,
    /// What to write it in
    #[arg(long, default_value = "rust")]
    lang: Lang,
    /// What it is to be
    #[arg(long, default_value = "resolver")]
    kind: Made,
}

#[derive(Serialize)]
struct Folder<'a> {
    folder: &'a Path,
}

impl New {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        let language = match self.lang {
            Lang::Rust => Language::Rust,
            Lang::Js => Language::JavaScript,
        };
        let kind = match self.kind {
            Made::Resolver => Kind::Resolver,
            Made::MergePolicy => Kind::MergePolicy,
        };
        let folder = PathBuf::from(self.name.as_str());
        skerry_author::new(&folder, &self.name, language, kind)?;
        let name = &self.name;
        let file = if language == Language::Rust { "src/lib.rs" } else { "plugin.js" };
        let text = |_: &Folder<'_>| {
            format!(
                "{name}/{file} is your plugin. Next:\n  cd {name}\n  skerry plugin test\n  skerry plugin build\n  skerry plugin deploy {name} {name}.wasm --dry-run"
            )
        };
        Ok(output.show(&Folder { folder: &folder }, text)?)
    }
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Build {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where the component goes; FOLDER/NAME.wasm without it
    #[arg(long, short)]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Built<'a> {
    component: &'a Path,
    bytes: usize,
    digest: PluginDigest,
}

impl Build {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        let project = Project::open(&self.folder)?;
        let component = project.build()?;
        let name = project.folder().file_name().unwrap_or_default().display();
        let out = self.out.clone().unwrap_or_else(|| self.folder.join(format!("{name}.wasm")));
        std::fs::write(&out, &component)?;
        let built = Built { component: &out, bytes: component.len(), digest: PluginDigest::of(&component) };
        let text = |built: &Built<'_>| format!("{}  {} bytes  {}", out.display(), built.bytes, built.digest);
        Ok(output.show(&built, text)?)
    }
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Test {
    /// The plugin's folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Cases of the law check
    #[arg(long, default_value_t = CASES)]
    cases: u32,
}

#[derive(Serialize)]
struct Tested {
    examples: usize,
    #[serde(flatten)]
    checked: Checked,
}

impl Test {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        let project = Project::open(&self.folder)?;
        output.note("its own tests, natively");
        project.test()?;
        output.note("its component");
        let component = project.build()?;
        let plugin = runtime()?.compile(&component)?;
        let files = project.example_files()?;
        for file in &files {
            examples::try_on(&plugin, file)?;
        }
        output.note("the laws");
        let samples = Samples { conflicts: examples::conflicts(&files)?, ..Samples::default() };
        let checked = LawChecker::new(&RuntimeProfile::newest())?.check(&component, &samples, effort(self.cases))?;
        let tested = Tested { examples: files.len(), checked };
        let text = |tested: &Tested| {
            let mut table = checked_table(&tested.checked);
            table.row([&"examples", &format!("{} files give what they should", tested.examples)]);
            table.to_string()
        };
        Ok(output.show(&tested, text)?)
    }
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Check {
    /// The component, or the folder to build it in
    #[arg(default_value = ".")]
    from: PathBuf,
    /// Cases of the law check
    #[arg(long, default_value_t = CASES)]
    cases: u32,
}

impl Check {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        let component = component(&self.from)?;
        let checker = LawChecker::new(&RuntimeProfile::newest())?;
        let checked = checker.check(&component, &Samples::default(), effort(self.cases))?;
        let text = |checked: &Checked| {
            let mut table = checked_table(checked);
            table.row([&"bytes", &format!("{}, the limit is {PLUGIN_BYTES_MAX}", component.len())]);
            table.to_string()
        };
        Ok(output.show(&checked, text)?)
    }
}

fn checked_table(checked: &Checked) -> Table {
    let Checked { digest, world, report, fuel_most, fuel_limit, profile, .. } = checked;
    let mut table = Table::default();
    table.row([&"digest", digest]);
    table.row([&"kind", &show::kind(*world)]);
    table.row([&"profile", profile]);
    table.row([&"laws", &format!("hold in {} cases, {} of them decided", report.cases, report.answered)]);
    table.row([&"fuel", &format!("{fuel_most} at most, the limit is {fuel_limit}")]);
    for advice in report.advice() {
        table.row([&"worth knowing", &advice]);
    }
    table
}

#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct Try {
    /// A file with conflicts for a resolver, or with operations for a merge policy
    file: PathBuf,
    /// The component, or the folder to build it in
    #[arg(long, default_value = ".")]
    plugin: PathBuf,
    /// Again after each change of the file or the plugin, until interrupted
    #[arg(long)]
    watch: bool,
}

impl Try {
    pub(super) fn run(&self, output: Output) -> Result<(), Error> {
        if !self.watch {
            return self.once(output);
        }
        let mut seen = None;
        loop {
            let changed = self.changed()?;
            if seen != Some(changed) {
                seen = Some(changed);
                if let Err(error) = self.once(output) {
                    output.warn(&format!("error: {error}"));
                }
            }
            #[expect(clippy::disallowed_methods, reason = "nothing else runs in this process")]
            std::thread::sleep(WATCH_PAUSE);
        }
    }

    fn once(&self, output: Output) -> Result<(), Error> {
        let component = component(&self.plugin)?;
        let plugin: CompiledPlugin = runtime()?.compile(&component)?;
        // The first call pays for what is set up once.
        examples::try_on(&plugin, &self.file)?;
        let tried = examples::try_on(&plugin, &self.file)?;
        Ok(output.show(&tried, tried_text)?)
    }

    /// When any file last changed.
    fn changed(&self) -> Result<SystemTime, Error> {
        let mut files =
            if self.plugin.is_dir() { Project::open(&self.plugin)?.sources()? } else { vec![self.plugin.clone()] };
        files.push(self.file.clone());
        let times = files.iter().filter_map(|file| file.metadata().and_then(|found| found.modified()).ok());
        Ok(times.max().unwrap_or(SystemTime::UNIX_EPOCH))
    }
}

fn tried_text(tried: &Tried) -> String {
    let mut text = String::new();
    let value = |value: &serde_json::Value| serde_json::to_string_pretty(value).expect("a value has a JSON form");
    for (origin, view) in &tried.apart {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{origin} alone: {view}");
    }
    let expected = if tried.expected { ", as expected" } else { "" };
    let _ = write!(text, "{}\n{} fuel, {} µs{expected}", value(&tried.result), tried.fuel, tried.microseconds);
    text
}

fn runtime() -> Result<Runtime, Error> {
    Ok(Runtime::new(RuntimeProfile::newest())?)
}

fn effort(cases: u32) -> Effort {
    Effort { cases, time: LAWS_TIME_MAX, cases_min: LAW_CASES_MIN }
}
