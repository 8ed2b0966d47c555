//! A resolver that is compiled: values go in as canonical text, what comes back is checked before anybody trusts it.

use std::collections::BTreeSet;

use serde_json::Value;
use skerry_model::PluginDigest;
use skerry_model::document;
use skerry_model::limits::CONFLICTS_MAX;
use skerry_model::policy::{Candidate, Choice, Conflict, ConflictSet, PluginError, Resolution, Resolver, Wants};
use wasmtime::component::Component;

use crate::bindings;
use crate::calls::Calls;
use crate::engine::Runtime;
use crate::error::{Error, Failure, beginning};
use crate::instance::{Limiter, call, too_much};
use crate::limits::{NOTE_NAME_BYTES_MAX, NOTES_MAX, PATH_BYTES_MAX, PATHS_MAX, REASON_BYTES_MAX};

/// A resolver that is ready to be called, by any number of threads at once.
pub struct CompiledResolver {
    digest: PluginDigest,
    wants: Wants,
    runtime: Runtime,
    instance: bindings::ResolverPre<Limiter>,
    calls: Calls,
}

/// What a call gave, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What was decided.
    pub resolution: Resolution,
    /// The fuel it took, the same on every replica under the same profile.
    pub fuel: u64,
}

impl Runtime {
    /// Compiles a component and asks what it wants. Takes tens of milliseconds for a guest in Rust, seconds for one that
    /// brings a JavaScript engine.
    ///
    /// # Errors
    /// [`Error`]: too large, no component, imports something, no resolver, or describe() failed.
    pub fn compile_resolver(&self, component: &[u8]) -> Result<CompiledResolver, Error> {
        self.resolver_of(PluginDigest::of(component), &self.compile_component(component)?)
    }

    pub(crate) fn resolver_of(&self, digest: PluginDigest, compiled: &Component) -> Result<CompiledResolver, Error> {
        let unlike = |error: wasmtime::Error| Error::World { reason: format!("{error:#}") };
        let instance = self.linker().instantiate_pre(compiled).map_err(unlike)?;
        let instance = bindings::ResolverPre::new(instance).map_err(unlike)?;
        let output_bytes = self.profile.output_bytes;
        let described = call(
            self,
            output_bytes,
            |store| instance.instantiate(store),
            |resolver, store| resolver.call_describe(store),
        );
        let wants = checked_wants(described.map_err(|failure| failure.of("describe"))?.0)?;
        Ok(CompiledResolver { digest, wants, runtime: self.clone(), instance, calls: Calls::default() })
    }
}

impl CompiledResolver {
    /// Decides about one document, and says what it took.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn call(&self, conflicts: &ConflictSet) -> Result<Outcome, PluginError> {
        if conflicts.conflicts.is_empty() {
            return Ok(Outcome { resolution: Resolution { choices: Vec::new(), notes: Vec::new() }, fuel: 0 });
        }
        let outcome = self.call_unchecked(conflicts);
        let fuel = outcome.as_ref().map(|outcome| outcome.fuel);
        [&self.calls, &*self.runtime.calls].into_iter().for_each(|calls| calls.count(fuel));
        outcome.map_err(|failure| failure.by(self.digest))
    }

    /// What became of the calls to it.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    fn call_unchecked(&self, conflicts: &ConflictSet) -> Result<Outcome, Failure> {
        let profile = self.runtime.profile();
        let found = conflicts.conflicts.len();
        if found > CONFLICTS_MAX {
            return Err(Failure::Plugin(format!("the document has {found} conflicts, the limit is {CONFLICTS_MAX}")));
        }
        let input = conflicts.conflicts.iter().map(handed_conflict).collect::<Result<Vec<_>, _>>()?;
        let (bytes, max) = (input.iter().map(conflict_bytes).sum::<usize>(), profile.input_bytes);
        if bytes > max {
            return Err(Failure::Plugin(format!("the conflicts are {bytes} bytes, the limit is {max}")));
        }
        let (answer, fuel) = call(
            &self.runtime,
            profile.output_bytes,
            |store| self.instance.instantiate(store),
            |resolver, store| resolver.call_resolve(store, &input),
        )?;
        let answer = answer.map_err(|words| {
            Failure::Refused(format!("it decides nothing: {}", beginning(&words, REASON_BYTES_MAX)))
        })?;
        if answer_bytes(&answer) > profile.output_bytes {
            return Err(Failure::Plugin(too_much(profile.output_bytes)));
        }
        let resolution = checked_resolution(answer, &conflicts.conflicts).map_err(Failure::Plugin)?;
        Ok(Outcome { resolution, fuel })
    }
}

impl Resolver for CompiledResolver {
    fn digest(&self) -> PluginDigest {
        self.digest
    }

    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn resolve(&self, conflicts: &ConflictSet) -> Result<Resolution, PluginError> {
        self.call(conflicts).map(|outcome| outcome.resolution)
    }
}

impl std::fmt::Debug for CompiledResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CompiledResolver")
            .field("digest", &self.digest)
            .field("wants", &self.wants)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

fn checked_wants(wants: bindings::Wants) -> Result<Wants, Error> {
    let bindings::Wants { ancestor, paths } = wants;
    if paths.len() > PATHS_MAX {
        return Err(Error::Paths { found: paths.len(), max: PATHS_MAX });
    }
    // RFC 6901, section 3: every step begins with `/`, and `~` stands only in `~0` and `~1`.
    let is_pointer = |path: &str| {
        let escaped = path.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        path.len() <= PATH_BYTES_MAX && escaped && (path.is_empty() || path.starts_with('/'))
    };
    match paths.iter().find(|path| !is_pointer(path)) {
        Some(path) => Err(Error::Path { path: beginning(path, 80).to_owned(), max: PATH_BYTES_MAX }),
        None => Ok(Wants { ancestor, paths }),
    }
}

fn handed_conflict(conflict: &Conflict) -> Result<bindings::Conflict, Failure> {
    let text = |value: &Value| {
        let error = |error| Failure::Plugin(format!("a value at {} has no canonical JSON: {error}", conflict.path));
        serde_json_canonicalizer::to_string(value).map_err(error)
    };
    let candidate = |candidate: &Candidate| {
        let Candidate { value, origin, sequence, time } = candidate;
        Ok(bindings::Candidate { value: text(value)?, origin: origin.clone(), sequence: *sequence, time: *time })
    };
    Ok(bindings::Conflict {
        path: conflict.path.clone(),
        ancestor: conflict.ancestor.as_ref().map(text).transpose()?,
        candidates: conflict.candidates.iter().map(candidate).collect::<Result<_, _>>()?,
    })
}

fn conflict_bytes(conflict: &bindings::Conflict) -> usize {
    let candidates = conflict.candidates.iter().map(|candidate| candidate.value.len() + candidate.origin.len());
    conflict.path.len() + conflict.ancestor.as_ref().map_or(0, String::len) + candidates.sum::<usize>()
}

fn answer_bytes(answer: &bindings::Resolution) -> usize {
    let choices = answer.choices.iter().map(|choice| match choice {
        bindings::Choice::Value(text) => text.len(),
        bindings::Choice::Candidate(_) | bindings::Choice::Remove => 0,
    });
    let notes = answer.notes.iter().map(|note| note.name.len() + note.value.len());
    choices.chain(notes).sum()
}

fn checked_resolution(answer: bindings::Resolution, conflicts: &[Conflict]) -> Result<Resolution, String> {
    let (made, asked) = (answer.choices.len(), conflicts.len());
    if made != asked {
        return Err(format!("it made {made} choices, and {asked} conflicts were handed to it"));
    }
    if answer.notes.len() > NOTES_MAX {
        return Err(format!("it made {} notes, the limit is {NOTES_MAX}", answer.notes.len()));
    }
    let choices = answer.choices.into_iter().zip(conflicts).map(|(choice, conflict)| checked_choice(choice, conflict));
    let choices = choices.collect::<Result<Vec<_>, _>>()?;
    let mut names = BTreeSet::new();
    let notes = answer.notes.into_iter().map(|note| {
        let bindings::Note { name, value } = note;
        if name.is_empty() || name.len() > NOTE_NAME_BYTES_MAX || name.contains('/') {
            let name = beginning(&name, NOTE_NAME_BYTES_MAX);
            return Err(format!("its note {name:?} is not named by 1 to {NOTE_NAME_BYTES_MAX} bytes without a slash"));
        }
        let value = checked_value(&value, || format!("its note {name:?}"))?;
        if !names.insert(name.clone()) {
            return Err(format!("it made the note {name:?} twice"));
        }
        Ok((name, value))
    });
    Ok(Resolution { choices, notes: notes.collect::<Result<_, _>>()? })
}

fn checked_choice(choice: bindings::Choice, conflict: &Conflict) -> Result<Choice, String> {
    match choice {
        bindings::Choice::Remove => Ok(Choice::Remove),
        bindings::Choice::Value(text) => {
            checked_value(&text, || format!("its value for {}", conflict.path)).map(Choice::Value)
        }
        bindings::Choice::Candidate(at) => {
            let there = conflict.candidates.len();
            let exists = usize::try_from(at).is_ok_and(|at| at < there);
            let path = &conflict.path;
            exists
                .then_some(Choice::Candidate(at))
                .ok_or_else(|| format!("it chose candidate {at} for {path}, and there are {there}, counted from 0"))
        }
    }
}

/// A value that a document can hold.
fn checked_value(text: &str, subject: impl Fn() -> String) -> Result<Value, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("{} is not JSON: {error}", subject()))?;
    let checked = document::check_value(&value, &mut Vec::new());
    checked.map_err(|error| format!("{} cannot be in a document: {error}", subject()))?;
    Ok(value)
}
