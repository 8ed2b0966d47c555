//! What ends the trial of one case.

use serde_json::{Value, json};

use super::subject::Failed;
use super::{Finding, Law, Stopped, cut};

/// A broken law, without its case.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) law: Law,
    pub(super) compared: &'static str,
    pub(super) one: Value,
    pub(super) other: Value,
}

impl Found {
    /// A call that gave none of the answers that it may give.
    pub(super) fn no_answer(law: Law, reason: String) -> Self {
        Self { law, compared: "what came and what should come", one: json!(reason), other: json!("an answer") }
    }

    pub(super) fn with(self, case: Value) -> Finding {
        let Self { law, compared, one, other } = self;
        Finding { law, case: cut(case), compared: compared.to_owned(), one: cut(one), other: cut(other) }
    }
}

/// Why a case was not tried to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    Found(Found),
    Unavailable(String),
    OutOfTime,
}

impl Trouble {
    /// What it means before any case was tried.
    pub(super) fn stop(self, case: &str) -> Stopped {
        match self {
            Self::Unavailable(reason) => Stopped::Unavailable(reason),
            Self::OutOfTime => Stopped::TooSlow(0),
            Self::Found(found) => Stopped::Broken(Box::new(found.with(json!(case)))),
        }
    }
}

/// Where a refusal is no answer either.
impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        let (law, reason) = match failed {
            Failed::Unavailable(reason) => return Self::Unavailable(reason),
            Failed::OutOfTime => return Self::OutOfTime,
            Failed::Different(reason) => (Law::Deterministic, reason),
            Failed::Broken(reason) | Failed::Refused(reason) => (Law::Total, reason),
        };
        Self::Found(Found::no_answer(law, reason))
    }
}
