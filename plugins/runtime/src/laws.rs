//! The law check of a component: every call runs on fresh instances of both back ends, which must agree in the answer and
//! in its fuel.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skerry_guest::laws::{
    Effort, Failed, Finding, PolicyExamples, PolicySubject, Report, ResolverSubject, Stopped, check_policy,
    check_resolver,
};
use skerry_guest::{self as guest, Context};
use skerry_model::policy::{self, ConflictSet, MergePolicy, OperationContext, PluginError, Resolver, World};
use skerry_model::{Origin, PluginDigest};

use crate::component::CompiledPlugin;
use crate::engine::Runtime;
use crate::error::Error;
use crate::policy::CompiledPolicy;
use crate::profile::RuntimeProfile;
use crate::resolver::CompiledResolver;

/// Why a component is not to be deployed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It does not compile under the profile, or does not describe itself.
    #[error(transparent)]
    Component(#[from] Error),
    /// It breaks a law.
    #[error("{0}")]
    Law(Box<Finding>),
    /// It is so slow that too little of it was tried.
    #[error("only {cases} cases of the law check were tried in {seconds} s: the plugin is too slow")]
    TooSlow {
        /// Cases tried.
        cases: u32,
        /// The time that there was.
        seconds: u64,
    },
    /// This host could not run it now, which says nothing about it.
    #[error("the law check cannot run here now: {0}")]
    Host(String),
}

/// What a component was found to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Its version.
    pub digest: PluginDigest,
    /// What it exports.
    pub world: World,
    /// For a merge policy, the version of its states.
    pub state_version: Option<u32>,
    /// The runtime profile that it was tried under.
    pub profile: String,
    /// What was tried.
    #[serde(flatten)]
    pub report: Report,
    /// Fuel of the call that took the most of all that gave an answer.
    pub fuel_most: u64,
    /// The limit of a call.
    pub fuel_limit: u64,
}

/// Live data that cases are made from, beside the plugin's own examples.
#[derive(Debug, Default)]
pub struct Samples {
    /// For a resolver: conflicts of real documents.
    pub conflicts: Vec<ConflictSet>,
    /// For a merge policy: states of real documents, in its encoding.
    pub states: Vec<Bytes>,
    /// For a merge policy: the component that is active now, where its states are of another encoding.
    pub before: Option<Bytes>,
}

/// A component that is compiled for both back ends.
#[derive(Debug, Clone)]
pub struct Candidate {
    native: CompiledPlugin,
    pulley: CompiledPlugin,
}

impl Candidate {
    /// It, on Cranelift.
    #[must_use]
    pub fn plugin(&self) -> &CompiledPlugin {
        &self.native
    }
}

/// Checks components under one profile.
#[derive(Debug, Clone)]
pub struct LawChecker {
    native: Runtime,
    pulley: Runtime,
}

impl LawChecker {
    /// A checker under the profile of a runtime, beside a Pulley of its own.
    ///
    /// # Errors
    /// [`Error`] when the profile does not fit this build, or the system gives no thread.
    pub fn new(profile: &RuntimeProfile) -> Result<Self, Error> {
        let native = Runtime::new(profile.clone())?;
        Ok(Self { native, pulley: Runtime::for_comparison(profile.clone())? })
    }

    /// Compiles a component for both back ends, at the same time: a JavaScript engine takes a second and more on each.
    ///
    /// # Errors
    /// [`Error`].
    pub fn compile(&self, component: &[u8]) -> Result<Candidate, Error> {
        std::thread::scope(|scope| {
            let pulley = scope.spawn(|| self.pulley.compile(component));
            let native = self.native.compile(component)?;
            let panicked = |_| Error::Invalid { reason: "compiling it for Pulley panicked".to_owned() };
            Ok(Candidate { native, pulley: pulley.join().map_err(panicked)?? })
        })
    }

    /// Compiles a component and tries it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, component: &[u8], samples: &Samples, effort: Effort) -> Result<Checked, Refused> {
        self.try_on(self.compile(component)?, samples, effort)
    }

    /// Tries a component. Takes a second or several.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_on(&self, candidate: Candidate, samples: &Samples, effort: Effort) -> Result<Checked, Refused> {
        let Candidate { native, pulley } = candidate;
        // What shrinks a case may take a tenth more.
        let end = Instant::now() + effort.time + effort.time / 10;
        let (digest, world, state_version) = (native.digest(), native.world(), native.state_version());
        let (report, fuel_most) = match (native, pulley) {
            (CompiledPlugin::Resolver(native), CompiledPlugin::Resolver(pulley)) => {
                let both = Both::new(native, pulley, end);
                let wants = both.native.wants();
                let examples: Vec<_> = samples.conflicts.iter().map(|set| handed(wants, set)).collect();
                (check_resolver(&both, &examples, effort), both.fuel_most.get())
            }
            (CompiledPlugin::MergePolicy(native), CompiledPlugin::MergePolicy(pulley)) => {
                let both = Both::new(native, pulley, end);
                let before = samples.before.as_deref().map(|component| self.before(component, end)).transpose()?;
                let examples = PolicyExamples {
                    states: samples.states.iter().map(|state| state.to_vec()).collect(),
                    before: before.as_ref().map(|before| before as &dyn PolicySubject),
                };
                (check_policy(&both, &examples, effort), both.fuel_most.get())
            }
            _ => return Err(Error::World { reason: "the back ends see different worlds".to_owned() }.into()),
        };
        let report = report.map_err(|stopped| match stopped {
            Stopped::Broken(finding) => Refused::Law(finding),
            Stopped::Unavailable(reason) => Refused::Host(reason),
            Stopped::TooSlow(cases) => Refused::TooSlow { cases, seconds: effort.time.as_secs() },
        })?;
        let (profile, fuel_limit) = (self.native.profile().name.clone(), self.native.profile().fuel);
        Ok(Checked { digest, world, state_version, profile, report, fuel_most, fuel_limit })
    }

    fn before(&self, component: &[u8], end: Instant) -> Result<Both<CompiledPolicy>, Error> {
        let policy = |runtime: &Runtime| runtime.compile_policy(component).map(Arc::new);
        Ok(Both::new(policy(&self.native)?, policy(&self.pulley)?, end))
    }
}

/// One plugin on both back ends.
struct Both<P> {
    native: Arc<P>,
    pulley: Arc<P>,
    fuel_most: Cell<u64>,
    end: Instant,
}

trait Counted {
    /// The fuel of all its answers so far.
    fn fuel(&self) -> u64;
}

impl Counted for CompiledResolver {
    fn fuel(&self) -> u64 {
        self.calls().fuel()
    }
}

impl Counted for CompiledPolicy {
    fn fuel(&self) -> u64 {
        self.calls().fuel()
    }
}

impl<P: Counted> Both<P> {
    fn new(native: Arc<P>, pulley: Arc<P>, end: Instant) -> Self {
        Self { native, pulley, fuel_most: Cell::new(0), end }
    }

    /// The answer of both, when it is the same.
    fn ask<T: PartialEq>(&self, call: impl Fn(&P) -> Result<T, PluginError>) -> Result<T, Failed> {
        if Instant::now() > self.end {
            return Err(Failed::OutOfTime);
        }
        let before = (self.native.fuel(), self.pulley.fuel());
        let answers = (call(&self.native), call(&self.pulley));
        let fuel = (self.native.fuel() - before.0, self.pulley.fuel() - before.1);
        match answers {
            (Err(error @ PluginError::Host { .. }), _) | (_, Err(error @ PluginError::Host { .. })) => {
                Err(failed(error))
            }
            (native, pulley) if native != pulley => {
                Err(Failed::Different("Cranelift and Pulley gave different answers".to_owned()))
            }
            _ if fuel.0 != fuel.1 => {
                let (native, pulley) = fuel;
                Err(Failed::Different(format!("the call took {native} fuel on Cranelift and {pulley} on Pulley")))
            }
            (answer, _) => {
                self.fuel_most.set(self.fuel_most.get().max(fuel.0));
                answer.map_err(failed)
            }
        }
    }
}

/// A call's failure as the laws see it.
fn failed(error: PluginError) -> Failed {
    match error {
        PluginError::Refused { reason } => Failed::Refused(reason),
        PluginError::Plugin { reason, .. } => Failed::Broken(reason),
        PluginError::Host { reason, .. } => Failed::Unavailable(reason),
    }
}

impl ResolverSubject for Both<CompiledResolver> {
    fn wants(&self) -> guest::Wants {
        let policy::Wants { ancestor, paths } = self.native.wants().clone();
        guest::Wants { ancestor, paths }
    }

    fn resolve(&self, conflicts: &[guest::Conflict]) -> Result<guest::Resolution, Failed> {
        let conflicts = model_conflicts(conflicts);
        self.ask(|resolver| resolver.resolve(&conflicts)).map(guest_resolution)
    }
}

impl PolicySubject for Both<CompiledPolicy> {
    fn state_version(&self) -> u32 {
        self.native.state_version()
    }

    fn empty(&self) -> Result<Vec<u8>, Failed> {
        self.ask(|policy| policy.empty()).map(Into::into)
    }

    fn apply(&self, state: &[u8], operation: &Value, context: &Context) -> Result<Vec<u8>, Failed> {
        let origin: Origin = context.origin.parse().map_err(|error| Failed::Broken(format!("{error}")))?;
        let Context { incarnation, sequence, time, .. } = *context;
        let context = OperationContext { origin: &origin, incarnation, sequence, time_ms: time };
        let state = Bytes::copy_from_slice(state);
        self.ask(|policy| policy.apply(&state, operation, &context)).map(Into::into)
    }

    fn merge(&self, a: &[u8], b: &[u8]) -> Result<Vec<u8>, Failed> {
        let (a, b) = (Bytes::copy_from_slice(a), Bytes::copy_from_slice(b));
        self.ask(|policy| policy.merge(&a, &b)).map(Into::into)
    }

    fn view(&self, state: &[u8]) -> Result<Value, Failed> {
        let state = Bytes::copy_from_slice(state);
        self.ask(|policy| policy.view(&state)).map(Value::Object)
    }

    fn migrate(&self, from: u32, state: &[u8]) -> Result<Vec<u8>, Failed> {
        let state = Bytes::copy_from_slice(state);
        self.ask(|policy| policy.migrate(from, &state)).map(Into::into)
    }

    fn examples(&self) -> Result<Vec<Value>, Failed> {
        self.ask(CompiledPolicy::examples)
    }
}

/// What a resolver that wants this is handed of a document's conflicts.
#[must_use]
pub fn handed(wants: &policy::Wants, set: &ConflictSet) -> Vec<guest::Conflict> {
    let mut conflicts = guest_conflicts(set);
    conflicts.retain(|conflict| wants.covers(&conflict.path));
    if !wants.ancestor {
        conflicts.iter_mut().for_each(|conflict| conflict.ancestor = None);
    }
    conflicts
}

/// Conflicts as the guest SDK has them.
#[must_use]
pub fn guest_conflicts(set: &ConflictSet) -> Vec<guest::Conflict> {
    let candidate = |candidate: &policy::Candidate| {
        let policy::Candidate { value, origin, sequence, time } = candidate.clone();
        guest::Candidate { value, origin, sequence, time }
    };
    let conflict = |conflict: &policy::Conflict| guest::Conflict {
        path: conflict.path.clone(),
        ancestor: conflict.ancestor.clone(),
        candidates: conflict.candidates.iter().map(candidate).collect(),
    };
    set.conflicts.iter().map(conflict).collect()
}

/// Conflicts as documents have them.
#[must_use]
pub fn model_conflicts(conflicts: &[guest::Conflict]) -> ConflictSet {
    let candidate = |candidate: &guest::Candidate| {
        let guest::Candidate { value, origin, sequence, time } = candidate.clone();
        policy::Candidate { value, origin, sequence, time }
    };
    let conflict = |conflict: &guest::Conflict| policy::Conflict {
        path: conflict.path.clone(),
        ancestor: conflict.ancestor.clone(),
        candidates: conflict.candidates.iter().map(candidate).collect(),
    };
    ConflictSet { conflicts: conflicts.iter().map(conflict).collect() }
}

/// A resolution as the guest SDK has it.
#[must_use]
pub fn guest_resolution(resolution: policy::Resolution) -> guest::Resolution {
    let choice = |choice| match choice {
        policy::Choice::Candidate(at) => guest::Choice::Candidate(at),
        policy::Choice::Value(value) => guest::Choice::Value(value),
        policy::Choice::Remove => guest::Choice::Remove,
    };
    let note = |(name, value)| guest::Note { name, value };
    guest::Resolution {
        choices: resolution.choices.into_iter().map(choice).collect(),
        notes: resolution.notes.into_iter().map(note).collect(),
    }
}
