//! What can go wrong between a client and a node, each in one sentence.

use std::fmt;
use std::time::Duration;

use axum::http::Method;
use skerry_model::DocumentKey;

use crate::problem::{Kind, Outcome, Problem};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node answered that it could not, or would not.
    #[error("{problem}{}", outcome(.problem))]
    Problem {
        /// Its answer.
        problem: Problem,
    },
    /// No connection came about.
    #[error("cannot reach {url}: is the node running? --url or SKERRY_URL names another")]
    Unreachable {
        /// The node.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// The connection broke after the request was sent.
    #[error("the connection to {url} broke before the answer was complete{effect}")]
    Interrupted {
        /// The node.
        url: String,
        /// What the request may have done.
        effect: Effect,
        /// How.
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} s{effect}", .after.as_secs())]
    TimedOut {
        /// The node.
        url: String,
        /// How long it had.
        after: Duration,
        /// What the request may have done.
        effect: Effect,
    },
    /// The answer is not one of this contract.
    #[error("{url} gave an answer that is not Skerry's: {reason}")]
    NotUnderstood {
        /// The node.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is too large.
    #[error("{url} gave an answer of more than {max} bytes, the limit of this client")]
    TooLarge {
        /// The node.
        url: String,
        /// The limit.
        max: usize,
    },
    /// Not the URL of a node.
    #[error("{found:?} is not the URL of a node, such as http://127.0.0.1:7400")]
    Url {
        /// What was given.
        found: String,
    },
    /// The token has characters that no header can carry.
    #[error("the token has characters that no token has")]
    Token,
    /// The ETag has characters that no header can carry.
    #[error("the ETag has characters that no ETag has")]
    ETag,
    /// A key that no URL can carry.
    #[error("the key {key} cannot be written in a URL: reach the document with scan and export")]
    Key {
        /// The key.
        key: DocumentKey,
    },
    /// The client cannot start.
    #[error("the HTTP client cannot start")]
    Start {
        /// Why.
        source: reqwest::Error,
    },
}

/// What a request that got no answer may have done; ends the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It only read.
    None,
    /// It was a write.
    Unknown,
}

impl Effect {
    pub(crate) fn of(method: &Method) -> Self {
        if method.is_safe() { Self::None } else { Self::Unknown }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Unknown => f.write_str(": the write may or may not have happened"),
        }
    }
}

fn outcome(problem: &Problem) -> &'static str {
    match problem.outcome {
        Some(Outcome::Unknown) => ": the write may or may not have happened",
        Some(Outcome::NotProposed) | None => "",
    }
}

impl Error {
    /// The problem that the node answered with.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem { problem } => Some(problem),
            _ => None,
        }
    }

    /// Whether another node may do what this one did not, without anything being done twice.
    pub(super) fn is_of_this_node(&self, method: &Method) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Problem { problem } => problem.kind == Kind::Unavailable && self.may_be_repeated(method),
            _ => false,
        }
    }

    /// Whether the same request may be sent again without doing anything twice, and may fare better then.
    pub(super) fn may_be_repeated(&self, method: &Method) -> bool {
        let Self::Problem { problem } = self else { return false };
        match problem.kind {
            Kind::Overloaded => true,
            Kind::Unavailable => method.is_safe() || problem.outcome == Some(Outcome::NotProposed),
            _ => false,
        }
    }
}
