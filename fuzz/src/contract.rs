//! Resolvers on both back ends, and what holds of every answer.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use skerry_model::document::check_value;
use skerry_model::policy::{Choice, ConflictSet, PluginError, Resolution};
use skerry_runtime::limits::{NOTE_NAME_BYTES_MAX, NOTES_MAX};
use skerry_runtime::{Backend, CompiledResolver, Outcome, Runtime, RuntimeProfile};

/// Native and Pulley, under the newest profile.
static RUNTIMES: LazyLock<[Runtime; 2]> = LazyLock::new(|| runtimes(&RuntimeProfile::newest()));

pub(crate) fn runtimes(profile: &RuntimeProfile) -> [Runtime; 2] {
    [Backend::Native, Backend::Pulley]
        .map(|backend| Runtime::with_backend(profile.clone(), backend).expect("the profile is of this build"))
}

/// A resolver on both back ends.
pub(crate) struct Both([CompiledResolver; 2]);

impl Both {
    pub(crate) fn new(component: &[u8]) -> Self {
        let compile = |runtime: &Runtime| runtime.compile_resolver(component).expect("the component is a resolver");
        Self(RUNTIMES.each_ref().map(compile))
    }

    /// Calls it on both back ends: same answer, same fuel, and what the contract allows.
    #[track_caller]
    pub(crate) fn check(&self, conflicts: &ConflictSet) {
        let [native, pulley] = self.0.each_ref().map(|resolver| resolver.call(conflicts));
        assert_eq!(native, pulley);
        check_outcome(&native, conflicts);
    }
}

/// Checks what a call gave.
#[track_caller]
pub(crate) fn check_outcome(outcome: &Result<Outcome, PluginError>, conflicts: &ConflictSet) {
    match outcome {
        Ok(outcome) => check_resolution(&outcome.resolution, conflicts),
        Err(PluginError::Refused { .. } | PluginError::Plugin { .. }) => {}
        // Whatever a plugin does, it is not the host's fault.
        Err(PluginError::Host { reason, .. }) => panic!("blamed on the host: {reason}"),
    }
}

#[track_caller]
fn check_resolution(resolution: &Resolution, conflicts: &ConflictSet) {
    let Resolution { choices, notes } = resolution;
    assert_eq!(choices.len(), conflicts.conflicts.len());
    for (choice, conflict) in choices.iter().zip(&conflicts.conflicts) {
        match choice {
            Choice::Candidate(at) => assert!((*at as usize) < conflict.candidates.len()),
            Choice::Value(value) => check_value(value, &mut Vec::new()).expect("a document can hold it"),
            Choice::Remove => {}
        }
    }
    assert!(notes.len() <= NOTES_MAX);
    let names: BTreeSet<_> = notes.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), notes.len());
    for (name, value) in notes {
        assert!((1..=NOTE_NAME_BYTES_MAX).contains(&name.len()) && !name.contains('/'));
        check_value(value, &mut Vec::new()).expect("a document can hold it");
    }
}
