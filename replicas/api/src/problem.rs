//! Errors to users: RFC 9457 problem documents with a stable `type`. Status, type and title come from one exhaustive
//! match each.

use serde::{Deserialize, Serialize};
use skerry_model::{document, engine, ids};

/// What kind of problem it is; each has one status and one stable type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// 400: the request is not well-formed.
    Malformed,
    /// 403: the Host or Origin header is not one this server answers to.
    Forbidden,
    /// 404: no such collection.
    CollectionNotFound,
    /// 404: no such document.
    DocumentNotFound,
    /// 404: no such plugin.
    PluginNotFound,
    /// 404: no such route.
    RouteNotFound,
    /// 404: no refused work of that name waits at this edge.
    StrandedNotFound,
    /// 405: the route does not take this method.
    MethodNotAllowed,
    /// 409: the collection exists with another policy, template or text.
    CollectionExists,
    /// 409: this replica may not write this collection.
    NotWritableHere,
    /// 409: the plugin is in use.
    PluginInUse,
    /// 410: the cursor is of another line of history, or older than what is kept.
    CursorGone,
    /// 412: the document is at another version than the request said.
    PreconditionFailed,
    /// 412: the ETag is not one that this replica made.
    UnknownBase,
    /// 413: over a size limit.
    TooLarge,
    /// 413: the document's history has reached its limit.
    HistoryFull,
    /// 415: a body in a format that the route does not take.
    UnsupportedMediaType,
    /// 422: refused by the policy or by the plugin's checks.
    Refused,
    /// 429: more requests than can wait; try again.
    Overloaded,
    /// 500: a bug; the log has the details.
    Internal,
    /// 503: no quorum, or no leader yet.
    Unavailable,
    /// 507: the disk is full.
    DiskFull,
}

/// What a write hears that names a base where nothing merges with the past.
pub const NO_BASE: &str =
    "only documents of a json engine are written at a base: leave it out, or use If-Match to demand the newest version";

impl Kind {
    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Forbidden => 403,
            Self::CollectionNotFound
            | Self::DocumentNotFound
            | Self::PluginNotFound
            | Self::StrandedNotFound
            | Self::RouteNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::CollectionExists | Self::NotWritableHere | Self::PluginInUse => 409,
            Self::CursorGone => 410,
            Self::PreconditionFailed | Self::UnknownBase => 412,
            Self::TooLarge | Self::HistoryFull => 413,
            Self::UnsupportedMediaType => 415,
            Self::Refused => 422,
            Self::Overloaded => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::DiskFull => 507,
        }
    }

    /// The stable name, the last part of the `type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forbidden => "forbidden",
            Self::CollectionNotFound => "collection-not-found",
            Self::DocumentNotFound => "document-not-found",
            Self::PluginNotFound => "plugin-not-found",
            Self::StrandedNotFound => "stranded-not-found",
            Self::RouteNotFound => "route-not-found",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::CollectionExists => "collection-exists",
            Self::NotWritableHere => "not-writable-here",
            Self::PluginInUse => "plugin-in-use",
            Self::CursorGone => "cursor-gone",
            Self::PreconditionFailed => "precondition-failed",
            Self::UnknownBase => "unknown-base",
            Self::TooLarge => "too-large",
            Self::HistoryFull => "history-full",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::DiskFull => "disk-full",
        }
    }

    /// The short, human-readable title.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request is not well-formed",
            Self::Forbidden => "This server does not answer to that host or origin",
            Self::CollectionNotFound => "No such collection",
            Self::DocumentNotFound => "No such document",
            Self::PluginNotFound => "No such plugin",
            Self::StrandedNotFound => "No such refused work",
            Self::RouteNotFound => "No such route",
            Self::MethodNotAllowed => "The route does not take this method",
            Self::CollectionExists => "The collection exists already, and is different",
            Self::NotWritableHere => "This replica may not write this collection",
            Self::PluginInUse => "The plugin is in use",
            Self::CursorGone => "The cursor no longer leads anywhere",
            Self::PreconditionFailed => "The document is at another version",
            Self::UnknownBase => "This replica does not know that version",
            Self::TooLarge => "Over a size limit",
            Self::HistoryFull => "The document's history has reached its limit",
            Self::UnsupportedMediaType => "The body is in a format that this route does not take",
            Self::Refused => "Refused by the policy",
            Self::Overloaded => "More requests than can wait",
            Self::Internal => "A bug in Skerry",
            Self::Unavailable => "Not possible here now",
            Self::DiskFull => "The disk is full",
        }
    }
}

/// Whether a write that got a 503 may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was never proposed: sending it again is safe.
    NotProposed,
    /// It may have happened or may still happen: read before sending it again.
    Unknown,
}

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// What kind it is.
    pub kind: Kind,
    /// One sentence about what to do, naming the field and the limit where there is one.
    pub detail: String,
    /// On a 503 to a write: whether it may have happened.
    pub outcome: Option<Outcome>,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), outcome: None }
    }

    /// A 503 to a write, with what is known of its outcome.
    #[must_use]
    pub fn unavailable(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { kind: Kind::Unavailable, detail: detail.into(), outcome: Some(outcome) }
    }
}

impl From<ids::Error> for Problem {
    fn from(error: ids::Error) -> Self {
        Self::new(Kind::Malformed, error.to_string())
    }
}

impl From<document::Error> for Problem {
    fn from(error: document::Error) -> Self {
        let kind = match error {
            document::Error::TooLarge { .. } => Kind::TooLarge,
            document::Error::Syntax(_)
            | document::Error::NotAnObject { .. }
            | document::Error::TooDeep { .. }
            | document::Error::Integer { .. } => Kind::Malformed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        let kind = match error {
            engine::Error::Document(error) => return error.into(),
            engine::Error::Malformed { .. } => Kind::Malformed,
            engine::Error::Limit { .. } => Kind::HistoryFull,
            engine::Error::UnknownBase => Kind::UnknownBase,
            engine::Error::Unavailable { .. } => return Self::unavailable(Outcome::NotProposed, error.to_string()),
            engine::Error::MissingDependency { .. }
            | engine::Error::WrongActor { .. }
            | engine::Error::Refused { .. }
            | engine::Error::PluginFailed { .. }
            | engine::Error::SequenceReused { .. } => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}
