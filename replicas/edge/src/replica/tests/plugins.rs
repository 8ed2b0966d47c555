//! Views under a resolver: the core's outcome where nothing is pending, the edge's own with the same resolver elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde_json::{Value, json};
use skerry_api::documents::State;
use skerry_model::PluginDigest;
use skerry_model::policy::{Choice, ConflictSet, MergePolicy, PluginError, Policy, Resolution, Resolver, Wants};

use super::core::Core;
use super::{Machine, put};
use crate::replica::Resolvers;

const COMPONENT: &[u8] = b"adds what was written";

/// Adds up what was written at once.
struct Sum(Wants);

impl Resolver for Sum {
    fn digest(&self) -> PluginDigest {
        PluginDigest::of(COMPONENT)
    }

    fn wants(&self) -> &Wants {
        &self.0
    }

    fn resolve(&self, set: &ConflictSet) -> Result<Resolution, PluginError> {
        let sum = |candidates: &[skerry_model::policy::Candidate]| {
            candidates.iter().filter_map(|candidate| candidate.value.as_u64()).sum::<u64>()
        };
        let choices = set.conflicts.iter().map(|conflict| Choice::Value(json!(sum(&conflict.candidates)))).collect();
        Ok(Resolution { choices, notes: vec![("summed".to_owned(), Value::Bool(true))] })
    }
}

/// Has the resolver once its component is here.
struct WhenHere(AtomicBool);

impl Resolvers for WhenHere {
    fn resolver(&self, _: PluginDigest, component: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        if self.0.load(Ordering::Relaxed) {
            return Err("cannot run here now".to_owned());
        }
        match component() {
            Some(component) if component == COMPONENT => Ok(Arc::new(Sum(Wants::default()))),
            _ => Err("is not here yet".to_owned()),
        }
    }

    fn merge_policy(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn MergePolicy>, String> {
        Err("is no merge policy".to_owned())
    }
}

/// A core and an edge with one open conflict, written at both.
fn in_conflict() -> (Core, Machine) {
    let mut core = Core::new(1);
    let policy: Policy = "plugin:sum".parse().unwrap();
    core.set_collection(1, "items", policy, Some(PluginDigest::of(COMPONENT)));
    core.resolver = Some(Arc::new(Sum(Wants::default())));
    core.write("rope", &put(json!({"n": 1})));
    let mut edge = Machine::with_resolvers("shop", Arc::new(WhenHere(AtomicBool::new(false))));
    edge.sync(&mut core);
    edge.patch("rope", json!({"n": 20}));
    core.write("rope", &skerry_model::engine::Write::Patch(json!({"n": 300})));
    edge.pull(&mut core);
    (core, edge)
}

#[test]
fn a_view_waits_for_its_plugin_and_is_computed_when_it_comes() {
    let (mut core, mut edge) = in_conflict();
    let waiting = edge.read("rope").unwrap();
    assert_eq!(waiting.fallback.as_deref(), Some("plugin sum is not here yet"));
    let digest = PluginDigest::of(COMPONENT);
    assert_eq!(edge.replica().missing_components(), [("sum".parse().unwrap(), digest)]);
    edge.crash();
    assert!(!edge.replica().take_component(digest, &Bytes::from_static(b"something else")));
    assert!(edge.replica().take_component(digest, &Bytes::from_static(COMPONENT)));
    assert!(!edge.replica().upkeep().unwrap());
    edge.replica().commit().unwrap();
    edge.check("rope", json!({"n": 320, "summed": true}), State::Provisional);
    assert_eq!(edge.read("rope").unwrap().stamp.policy, format!("plugin:sum@{digest}"));
    let conflicts = edge.replica().conflicts(&super::at("rope")).unwrap().unwrap();
    assert_eq!(conflicts.conflicts.len(), 1);
    assert_eq!(conflicts.conflicts[0].shown, Some(json!(320)));
    edge.sync(&mut core);
    edge.check("rope", json!({"n": 320, "summed": true}), State::Committed);
    assert_eq!(edge.replica().missing_components(), []);
}

#[test]
fn another_policy_changes_provisional_views() {
    let (mut core, mut edge) = in_conflict();
    edge.replica().take_component(PluginDigest::of(COMPONENT), &Bytes::from_static(COMPONENT));
    while edge.replica().upkeep().unwrap() {}
    core.set_collection(1, "items", Policy::Lww, None);
    edge.hello(&mut core);
    while edge.replica().upkeep().unwrap() {}
    edge.replica().commit().unwrap();
    let read = edge.read("rope").unwrap();
    assert_eq!((read.stamp.policy.as_str(), read.stamp.state), ("lww", State::Provisional));
    assert!(!read.view.object().unwrap().contains_key("summed"));
    assert_eq!(edge.replica().components(), [], "a component that nothing names goes");
}

/// Counts how often it was asked.
struct Moody(Wants, std::sync::atomic::AtomicU64);

impl Resolver for Moody {
    fn digest(&self) -> PluginDigest {
        PluginDigest::of(COMPONENT)
    }

    fn wants(&self) -> &Wants {
        &self.0
    }

    fn resolve(&self, set: &ConflictSet) -> Result<Resolution, PluginError> {
        let asked = self.1.fetch_add(1, Ordering::Relaxed);
        let choices = set.conflicts.iter().map(|_| Choice::Value(json!(asked))).collect();
        Ok(Resolution { choices, notes: vec![] })
    }
}

#[test]
fn a_plugin_that_decides_otherwise_here_is_counted_and_changes_nothing() {
    let (mut core, mut edge) = in_conflict();
    edge.replica().take_component(PluginDigest::of(COMPONENT), &Bytes::from_static(COMPONENT));
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().divergences, 0);
    core.resolver = Some(Arc::new(Moody(Wants::default(), 7.into())));
    core.write("rope", &skerry_model::engine::Write::Patch(json!({"other": 1})));
    edge.sync(&mut core);
    assert_eq!(edge.replica().counts().divergences, 1);
    edge.check("rope", json!({"n": 7, "other": 1}), State::Committed);
}
