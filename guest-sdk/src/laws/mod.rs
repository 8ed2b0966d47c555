//! The laws that a plugin has to keep, and the search for a case that breaks one. The same code runs in the author's
//! `cargo test` ([`crate::laws!`]), in `skerry plugin test` over the component, and in the core before a deploy.
//!
//! Cases come from examples by structured mutation, always the same ones for the same examples. A case that breaks a law
//! is made smaller as long as it still breaks it.

mod cases;
mod found;
mod policy;
mod resolver;
mod shrink;
mod subject;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use policy::{PolicyCase, PolicyExamples, check_policy};
pub use resolver::{Decision, check_resolver, decision};
pub use subject::{Failed, NativePolicy, NativeResolver, PolicySubject, ResolverSubject};

/// How much is tried.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Cases at most.
    pub cases: u32,
    /// Nothing is begun after this; a case that breaks a law is made smaller for a tenth of it.
    pub time: Duration,
    /// A plugin of which fewer cases were tried in that time is too slow.
    pub cases_min: u32,
}

impl Effort {
    /// What a native test tries.
    pub const TEST: Self = Self { cases: 500, time: Duration::from_secs(60), cases_min: 1 };

    fn end(self) -> Instant {
        Instant::now() + self.time
    }

    fn end_of_shrinking(self) -> Instant {
        Instant::now() + self.time / 10
    }
}

/// What every replica relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Law {
    /// Every call gives an answer, or an error in the plugin's own words.
    Total,
    /// Equal arguments give equal answers.
    Deterministic,
    /// A resolver decides the same in whatever order the candidates come.
    Order,
    /// A resolution that meets a third candidate ends as if all three had met at once. Reported, and no reason to refuse.
    Stable,
    /// `apply` takes the policy's own examples one after another.
    Examples,
    /// Merging a state with the one before an operation changes nothing.
    Grows,
    /// Merging a state with itself changes nothing.
    Idempotent,
    /// Merging a state with the empty one changes nothing.
    Neutral,
    /// `merge(a, b)` is `merge(b, a)`, in every byte.
    Commutative,
    /// `merge(merge(a, b), c)` is `merge(a, merge(b, c))`, in every byte.
    Associative,
    /// Where two concurrent operations met, neither is as if it had never been made.
    Concurrent,
    /// `migrate(merge(a, b))` is `merge(migrate(a), migrate(b))`.
    Migrates,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Total => "a call gave no answer",
            Self::Deterministic => "equal arguments gave different answers",
            Self::Order => "the decision depends on the order of the candidates",
            Self::Stable => {
                "a resolution that meets a third candidate ends differently than if all three had met at once"
            }
            Self::Examples => "apply does not take the examples one after another",
            Self::Grows => "apply does not grow the state: merging the state before into the one after changes it",
            Self::Idempotent => "merge is not idempotent: merging a state with itself changes it",
            Self::Neutral => "merging a state with the empty one changes it",
            Self::Commutative => "merge is not commutative",
            Self::Associative => "merge is not associative",
            Self::Concurrent => "an operation vanishes where two concurrent ones meet",
            Self::Migrates => "migrate does not respect merge",
        })
    }
}

/// A case that breaks a law, as small as it could be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The law.
    pub law: Law,
    /// What was handed to the plugin.
    pub case: Value,
    /// What the two values are.
    pub compared: String,
    /// What came out.
    pub one: Value,
    /// What should have come out, or came out the other way round.
    pub other: Value,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, case, compared, one, other } = self;
        match (law, one) {
            // There is nothing to compare with.
            (Law::Total | Law::Deterministic, Value::String(reason)) => write!(f, "{law}: {reason}; the case: {case}"),
            _ => write!(f, "{law}; {compared}: {one} and {other}; the case: {case}"),
        }
    }
}

/// What was tried, and what is worth knowing though it breaks nothing.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Cases tried.
    pub cases: u32,
    /// Of these, the ones that the plugin decided or took; it may refuse in its own words what makes no sense to it.
    pub answered: u32,
    /// What it said to the first of the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// At most one finding for each law that may be broken.
    pub advice: Vec<Finding>,
}

/// Why a check ended early.
#[derive(Debug, Clone, PartialEq)]
pub enum Stopped {
    /// A law is broken.
    Broken(Box<Finding>),
    /// The plugin could not be run now, which says nothing about it.
    Unavailable(String),
    /// So few cases were tried in the time that there was.
    TooSlow(u32),
}

/// What is kept of one of a finding's values, in bytes: whoever reads it sees where to look.
const SHOWN_BYTES_MAX: usize = 2_000;

/// A value, or the beginning of its text.
fn cut(value: Value) -> Value {
    let text = value.to_string();
    if text.len() <= SHOWN_BYTES_MAX {
        return value;
    }
    Value::from(format!("{} … and {} bytes more", &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)], text.len()))
}

impl Report {
    /// What is worth knowing, in sentences.
    #[must_use]
    pub fn advice(&self) -> Vec<String> {
        let silent = self.refusal.as_ref().filter(|_| self.answered == 0);
        let silent = silent.map(|words| format!("it decided none of the cases; of the first it says: {words}"));
        silent.into_iter().chain(self.advice.iter().map(ToString::to_string)).collect()
    }

    /// Counts a case that the plugin has decided, or refused with these words.
    fn count(&mut self, refused: Option<String>) {
        match refused {
            None => self.answered += 1,
            Some(words) => {
                self.refusal.get_or_insert(words);
            }
        }
    }

    /// The report, if enough was tried.
    fn complete(self, effort: Effort) -> Result<Self, Stopped> {
        let enough = effort.cases.min(effort.cases_min);
        if self.cases < enough { Err(Stopped::TooSlow(self.cases)) } else { Ok(self) }
    }
}

/// Ends the test unless the laws hold; [`crate::laws!`] calls it.
///
/// # Panics
/// With the smallest case that was found.
#[allow(clippy::panic, clippy::print_stderr, reason = "it is the body of a test")]
pub fn assert_kept(checked: Result<Report, Stopped>) {
    match checked {
        Ok(report) => report.advice().iter().for_each(|sentence| eprintln!("worth knowing: {sentence}")),
        Err(Stopped::Broken(finding)) => panic!("{finding}"),
        Err(Stopped::Unavailable(reason)) => panic!("the plugin cannot be run: {reason}"),
        Err(Stopped::TooSlow(cases)) => panic!("it is too slow: {cases} cases were tried in time"),
    }
}

/// The conflict sets in a folder's `.json` files, each `{"conflicts": […]}`; none when there is no such folder.
///
/// # Panics
/// On a file that holds something else.
#[must_use]
pub fn conflicts_in(folder: &str) -> Vec<Vec<crate::Conflict>> {
    #[derive(Deserialize)]
    struct File {
        conflicts: Vec<crate::Conflict>,
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    let files = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read(path).expect("a file that is listed can be read");
        let file: Result<File, _> = serde_json::from_slice(&text);
        file.unwrap_or_else(|error| unreadable(path, &error)).conflicts
    };
    files.map(read).collect()
}

#[allow(clippy::panic, reason = "it is part of a test")]
fn unreadable(path: &std::path::Path, error: &serde_json::Error) -> ! {
    panic!("{} holds no conflicts: {error}", path.display())
}

/// The conflicts of a case without examples, always the same ones for a number: for tests that compare two ways to run a
/// plugin.
#[must_use]
pub fn made_up_conflicts(case: u32, wants: &crate::Wants) -> Vec<crate::Conflict> {
    cases::conflicts(&mut cases::rng(case), wants, &[])
}

/// An operation like one of these, always the same one for a number.
///
/// # Panics
/// Without examples.
#[must_use]
pub fn made_up_operation(case: u32, examples: &[Value]) -> Value {
    let mut rng = cases::rng(case);
    let example = rng.choice(examples).expect("there is an example");
    if rng.bool() { example.clone() } else { cases::mutated(&mut rng, example) }
}
