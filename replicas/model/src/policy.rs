//! What decides where concurrent writes meet: a collection's policy, and the seam behind which a plugin runs.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::ids::{self, Origin, PluginDigest, PluginName};

/// A collection's policy. Its text is `strict`, `lww`, `json`, `counter`, `set`, `plugin:NAME` (follows the version that is active) or
/// `plugin:NAME@DIGEST` (stays at one version).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// Linearizable documents; edges hold read-only copies.
    Strict,
    /// The json engine; the latest effective time wins.
    Lww,
    /// The json engine; Automerge's own order, as any Automerge client shows it.
    Json,
    /// The state engine; a number that all operations count in.
    Counter,
    /// The state engine; a set in which additions win.
    Set,
    /// A plugin: a resolver over the json engine, or a merge policy of the state engine.
    Plugin {
        /// The plugin's name.
        name: PluginName,
        /// The version it stays at, or `None` to follow the active one.
        pinned: Option<PluginDigest>,
    },
}

impl Policy {
    /// Whether edges may write and merge.
    #[must_use]
    pub fn merges(&self) -> bool {
        !matches!(self, Self::Strict)
    }

    /// How its documents are kept, where its plugin exports `world`.
    #[must_use]
    pub fn engine(&self, world: Option<World>) -> EngineKind {
        match (self, world) {
            (Self::Strict, _) => EngineKind::Strict,
            (Self::Counter | Self::Set, _) | (Self::Plugin { .. }, Some(World::MergePolicy)) => EngineKind::State,
            (Self::Lww | Self::Json | Self::Plugin { .. }, _) => EngineKind::Json,
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("strict"),
            Self::Lww => f.write_str("lww"),
            Self::Json => f.write_str("json"),
            Self::Counter => f.write_str("counter"),
            Self::Set => f.write_str("set"),
            Self::Plugin { name, pinned: None } => write!(f, "plugin:{name}"),
            Self::Plugin { name, pinned: Some(digest) } => write!(f, "plugin:{name}@{digest}"),
        }
    }
}

impl FromStr for Policy {
    type Err = ids::Error;

    fn from_str(text: &str) -> Result<Self, ids::Error> {
        let form = "strict, lww, json, counter, set, plugin:NAME or plugin:NAME@DIGEST";
        match text {
            "strict" => Ok(Self::Strict),
            "lww" => Ok(Self::Lww),
            "json" => Ok(Self::Json),
            "counter" => Ok(Self::Counter),
            "set" => Ok(Self::Set),
            _ => {
                let found = text.chars().take(120).collect();
                let plugin = text.strip_prefix("plugin:").ok_or(ids::Error::Form { field: "policy", found, form })?;
                let (name, pinned) = match plugin.split_once('@') {
                    Some((name, digest)) => (name, Some(digest.parse()?)),
                    None => (plugin, None),
                };
                Ok(Self::Plugin { name: name.parse()?, pinned })
            }
        }
    }
}

impl TryFrom<String> for Policy {
    type Error = ids::Error;

    fn try_from(text: String) -> Result<Self, ids::Error> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        policy.to_string()
    }
}

/// One writer's value where concurrent writes met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The value it wrote.
    pub value: Value,
    /// The replica that wrote it: its id, or the hexadecimal Automerge actor of a client that has none.
    pub origin: String,
    /// The sequence number of the writing change among its actor's changes to the document.
    pub sequence: u64,
    /// Effective time of the write, in milliseconds since 1970.
    pub time: i64,
}

/// One place of a document where concurrent writes met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// Where, as a JSON Pointer (RFC 6901).
    pub path: String,
    /// The value that all candidates started from, when the resolver asked for it and there is exactly one.
    /// A JSON null is a value like any other; no ancestor is no field.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub ancestor: Option<Value>,
    /// What was written, in canonical order: by Automerge operation id, lowest first. At least two.
    pub candidates: Vec<Candidate>,
}

/// A field that is there, be it null.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Every open conflict of one document, in the order of their paths.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConflictSet {
    /// The conflicts.
    pub conflicts: Vec<Conflict>,
}

/// What a resolver decided about one conflict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The candidate at this place of the canonical order.
    Candidate(u32),
    /// A value of the resolver's own.
    Value(Value),
    /// The field is left out of the view.
    Remove,
}

/// What a resolver decided about a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolution {
    /// One choice for each conflict, in their order.
    pub choices: Vec<Choice>,
    /// Fields added to the view at the top level, for what a reader should know about the outcome (`"oversold": 1`).
    /// One that the document has itself is left alone.
    pub notes: Vec<(String, Value)>,
}

/// What a resolver said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Wants {
    /// Whether conflicts should carry their ancestor.
    pub ancestor: bool,
    /// JSON Pointers of the fields it decides, with all below them; empty for all. Other conflicts take the built-in
    /// order.
    pub paths: Vec<String>,
}

impl Wants {
    /// Whether the resolver decides a conflict at this path.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let below = |wanted: &String| {
            path.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.paths.is_empty() || self.paths.iter().any(below)
    }
}

/// Why a resolver gave no resolution, or a merge policy no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// It does not take what it was handed, and says so in its own words: one sentence, the same on every replica.
    #[error("{reason}")]
    Refused {
        /// The sentence.
        reason: String,
    },
    /// The plugin's own fault, and the same on every replica: a conflict stays open, a document stays as it is.
    #[error("plugin {digest}: {reason}")]
    Plugin {
        /// The plugin.
        digest: PluginDigest,
        /// What it did, in a sentence that names the limit.
        reason: String,
    },
    /// This replica could not run it now (memory, instances, alarm): the caller tries again and never takes it as a
    /// result.
    #[error("plugin {digest} cannot run here now: {reason}")]
    Host {
        /// The plugin.
        digest: PluginDigest,
        /// What was missing.
        reason: String,
    },
}

/// A resolver that is ready to be called; the seam between merge engines and the plugin runtime. Equal conflict sets
/// give equal resolutions on every replica.
pub trait Resolver: Send + Sync {
    /// The version.
    fn digest(&self) -> PluginDigest;

    /// What it wants handed.
    fn wants(&self) -> &Wants;

    /// Decides about one document.
    ///
    /// # Errors
    /// [`PluginError`].
    fn resolve(&self, conflicts: &ConflictSet) -> Result<Resolution, PluginError>;
}

/// How the documents of a collection are kept; fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineKind {
    /// JSON alone: writes do not merge.
    Strict,
    /// Automerge.
    Json,
    /// A join-semilattice in bytes.
    State,
}

/// What a plugin is: which of the contract's worlds it exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// It decides what readers see where writes to a json document met.
    #[default]
    Resolver,
    /// It defines a kind of document whose states merge by themselves.
    MergePolicy,
}

/// Who made an operation, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OperationContext<'a> {
    /// The replica.
    pub origin: &'a Origin,
    /// Which run of the replica's numbers this is, from 1.
    pub incarnation: u32,
    /// The operation's number among the replica's operations on the document in this incarnation, from 1.
    pub sequence: u64,
    /// The replica's clock as corrected by the core's, in milliseconds since 1970.
    pub time_ms: i64,
}

/// [`PluginError::Refused`].
pub(crate) fn refused(reason: String) -> PluginError {
    PluginError::Refused { reason }
}

/// A merge policy that is ready to be called: a join-semilattice in bytes. `merge` is commutative, associative, idempotent
/// and canonical: equal states are equal bytes.
pub trait MergePolicy: Send + Sync {
    /// The version of the plugin; none for a built-in policy.
    fn digest(&self) -> Option<PluginDigest>;

    /// The version of the state's encoding, from 1.
    fn state_version(&self) -> u32;

    /// The state of a document that nobody has written to.
    ///
    /// # Errors
    /// [`PluginError`].
    fn empty(&self) -> Result<Bytes, PluginError>;

    /// The state after one operation, at or above the one before.
    ///
    /// # Errors
    /// [`PluginError`].
    fn apply(&self, state: &Bytes, operation: &Value, context: &OperationContext<'_>) -> Result<Bytes, PluginError>;

    /// The least state that holds both.
    ///
    /// # Errors
    /// [`PluginError`].
    fn merge(&self, a: &Bytes, b: &Bytes) -> Result<Bytes, PluginError>;

    /// What readers see.
    ///
    /// # Errors
    /// [`PluginError`].
    fn view(&self, state: &Bytes) -> Result<Map<String, Value>, PluginError>;

    /// A state of an older version of the encoding in the present one.
    ///
    /// # Errors
    /// [`PluginError`].
    fn migrate(&self, from: u32, state: &Bytes) -> Result<Bytes, PluginError>;

    /// Whether a state that a replica has pushed over `known` differs in nothing but the replica's own part. A plugin's
    /// state is trusted within what its sender may write, since only the plugin can read it.
    ///
    /// # Errors
    /// What else it would change, in one sentence.
    fn check_pushed(&self, known: &Bytes, pushed: &Bytes, origin: &Origin) -> Result<(), String> {
        let _ = (known, pushed, origin);
        Ok(())
    }
}

/// How an engine turns a merged document into what a reader sees.
#[derive(Clone, Copy)]
pub enum Chooser<'a> {
    /// Latest effective time, then operation id, then hash of the origin; the order of `lww` and of every fallback.
    Lww,
    /// Automerge's own order.
    Json,
    /// A resolver, and [`Chooser::Lww`] where it does not decide.
    Resolver(&'a dyn Resolver),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_round_trip() {
        let pinned = format!("plugin:stock@{}", "ab".repeat(32));
        for text in ["strict", "lww", "json", "counter", "set", "plugin:stock", &pinned] {
            assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
        }
        for text in ["", "crdt", "plugin:", "plugin:Stock", "plugin:stock@12"] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_null_ancestor_is_not_a_missing_one() {
        for ancestor in [None, Some(Value::Null), Some(Value::from(3))] {
            let conflict = Conflict { path: "/stock".to_owned(), ancestor, candidates: Vec::new() };
            let text = serde_json::to_string(&conflict).unwrap();
            assert_eq!(serde_json::from_str::<Conflict>(&text).unwrap(), conflict, "{text}");
        }
    }

    #[test]
    fn wants_cover_a_field_and_what_is_below_it() {
        let wants = Wants { ancestor: false, paths: vec!["/stock".to_owned()] };
        assert!(wants.covers("/stock") && wants.covers("/stock/remaining"));
        assert!(!wants.covers("/stocked") && !wants.covers("/"));
        assert!(Wants::default().covers("/anything"));
    }
}
