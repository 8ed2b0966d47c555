//! Example files: conflicts or operations, and what is expected of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skerry_guest::laws::{Decision, decision};
use skerry_model::Origin;
use skerry_model::policy::{self, ConflictSet, MergePolicy as _, OperationContext, PluginError, Resolver as _};
use skerry_runtime::{CompiledPlugin, CompiledPolicy, CompiledResolver, handed, model_conflicts};

use crate::project;

/// Why an example says nothing about the plugin, or that it is not as expected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file.
    #[error(transparent)]
    Read(#[from] project::Error),
    /// What is in it.
    #[error("{}: {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The plugin gave nothing.
    #[error("{}: {source}", path.display())]
    Plugin {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PluginError,
    },
    /// It gave something else.
    #[error("{}: expected {expected}, got {found}", path.display())]
    Unexpected {
        /// The file.
        path: PathBuf,
        /// What the file says.
        expected: Value,
        /// What came.
        found: Value,
    },
}

/// What a file holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    /// For a resolver.
    #[serde(default)]
    conflicts: Vec<policy::Conflict>,
    /// For a merge policy: what each replica does on its own, by its id.
    #[serde(default)]
    operations: std::collections::BTreeMap<Origin, Vec<Value>>,
    /// For a merge policy: a state in hexadecimal, as a node keeps it when replicas disagree on what it reads like.
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    expect: Option<Value>,
}

/// What a plugin made of an example.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tried {
    /// The choices and notes, or what the merged document reads as.
    pub result: Value,
    /// For a merge policy, what the document reads as at each replica before they have met.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub apart: Map<String, Value>,
    /// Fuel of all calls.
    pub fuel: u64,
    /// The time of all calls, in microseconds.
    pub microseconds: u64,
    /// Whether the file says what is expected, and it came.
    pub expected: bool,
}

/// Tries a plugin on an example file.
///
/// # Errors
/// [`Error`].
pub fn try_on(plugin: &CompiledPlugin, path: &Path) -> Result<Tried, Error> {
    let text = project::read(path)?;
    let form = |reason: String| Error::Form { path: path.to_owned(), reason };
    let example: Example = serde_json::from_slice(&text).map_err(|error| form(error.to_string()))?;
    let (fuel_before, began) = (plugin.calls().fuel(), Instant::now());
    let failed = |source| Error::Plugin { path: path.to_owned(), source };
    let (result, apart) = match plugin {
        CompiledPlugin::Resolver(_) if example.conflicts.is_empty() => {
            return Err(form("it has no `conflicts`, which a resolver decides".to_owned()));
        }
        CompiledPlugin::Resolver(resolver) => (resolve(resolver, &example).map_err(failed)?.map_err(form)?, Map::new()),
        CompiledPlugin::MergePolicy(policy) if let Some(state) = &example.state => {
            let state = hex::decode(state).map_err(|error| form(format!("`state` is not hexadecimal: {error}")))?;
            (Value::Object(policy.view(&state.into()).map_err(failed)?), Map::new())
        }
        CompiledPlugin::MergePolicy(_) if example.operations.is_empty() => {
            return Err(form("it has neither `operations` nor a `state`, which a merge policy takes".to_owned()));
        }
        CompiledPlugin::MergePolicy(policy) => merge(policy, &example).map_err(failed)?,
    };
    let (fuel, time) = (plugin.calls().fuel() - fuel_before, began.elapsed());
    match &example.expect {
        Some(expected) if *expected != result => {
            Err(Error::Unexpected { path: path.to_owned(), expected: expected.clone(), found: result })
        }
        expect => Ok(Tried { result, apart, fuel, microseconds: microseconds(time), expected: expect.is_some() }),
    }
}

/// The conflicts of example files, for the law check.
///
/// # Errors
/// [`Error`].
pub fn conflicts(paths: &[PathBuf]) -> Result<Vec<ConflictSet>, Error> {
    let read = |path: &PathBuf| {
        let form = |error: serde_json::Error| Error::Form { path: path.clone(), reason: error.to_string() };
        let example: Example = serde_json::from_slice(&project::read(path)?).map_err(form)?;
        Ok(ConflictSet { conflicts: example.conflicts })
    };
    paths.iter().map(read).collect()
}

fn resolve(resolver: &CompiledResolver, example: &Example) -> Result<Result<Value, String>, PluginError> {
    // It is handed what it asks for, as it is in a cluster.
    let set = model_conflicts(&handed(resolver.wants(), &ConflictSet { conflicts: example.conflicts.clone() }));
    let resolution = resolver.call(&set)?.resolution;
    let conflicts = skerry_runtime::guest_conflicts(&set);
    let decided = decision(&conflicts, &skerry_runtime::guest_resolution(resolution));
    Ok(decided.map(|decided: Decision| serde_json::to_value(decided).expect("a decision has a JSON form")))
}

fn merge(policy: &CompiledPolicy, example: &Example) -> Result<(Value, Map<String, Value>), PluginError> {
    let mut merged = policy.empty()?;
    let mut apart = Map::new();
    for (origin, operations) in &example.operations {
        let mut state: Bytes = policy.empty()?;
        for (at, operation) in operations.iter().enumerate() {
            let sequence = at as u64 + 1;
            let context = OperationContext { origin, incarnation: 1, sequence, time_ms: 0 };
            state = policy.apply(&state, operation, &context)?;
        }
        apart.insert(origin.to_string(), Value::Object(policy.view(&state)?));
        merged = policy.merge(&merged, &state)?;
    }
    Ok((Value::Object(policy.view(&merged)?), apart))
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
