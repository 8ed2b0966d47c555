//! V12: a merge updated several fields one after another, so that a failure or a reader in between met half of it. A merge
//! policy is stopped at every step of its merge, in every way, while a reader looks; a merge in place fails the same check.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use skerry_api::documents::Address;
use skerry_edge::replica;
use skerry_host::catalog::{PluginVersion, Step};
use skerry_host::documents::evaluate;
use skerry_model::PluginDigest;
use skerry_model::engine::Write;
use skerry_model::policy::{MergePolicy, OperationContext, PluginError, Resolver, World};
use skerry_tests::core::Core;
use skerry_tests::edge::Edge;

const DIGEST: PluginDigest = PluginDigest::from_bytes([7; 32]);
/// Fields that one merge changes; they are equal in every whole value.
const FIELDS: usize = 3;

/// How a merge ends before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// As a panic in Rust, and a crash of the process as far as its memory goes.
    Panic,
    /// As a trap of a plugin, or the end of its fuel.
    Fault,
}

/// What happens at each step of a merge.
type OnStep = Mutex<Box<dyn FnMut(usize) -> Option<End> + Send>>;

fn quiet() -> Arc<OnStep> {
    Arc::new(Mutex::new(Box::new(|_| None)))
}

/// A document of [`FIELDS`] numbers that rise together.
#[derive(Clone)]
struct Together(Arc<OnStep>);

fn numbers(state: &[u8]) -> Vec<u64> {
    serde_json::from_slice(state).unwrap()
}

fn state(numbers: &[u64]) -> Bytes {
    serde_json::to_vec(numbers).unwrap().into()
}

impl MergePolicy for Together {
    fn digest(&self) -> Option<PluginDigest> {
        Some(DIGEST)
    }

    fn state_version(&self) -> u32 {
        1
    }

    fn empty(&self) -> Result<Bytes, PluginError> {
        Ok(state(&[0; FIELDS]))
    }

    fn apply(&self, before: &Bytes, operation: &Value, _: &OperationContext<'_>) -> Result<Bytes, PluginError> {
        let raised = operation["raise"].as_u64().unwrap();
        Ok(state(&numbers(before).into_iter().map(|number| number.max(raised)).collect::<Vec<_>>()))
    }

    fn merge(&self, a: &Bytes, b: &Bytes) -> Result<Bytes, PluginError> {
        let mut merged = numbers(a);
        for (step, other) in numbers(b).into_iter().enumerate() {
            match (*self.0.lock())(step) {
                None => merged[step] = merged[step].max(other),
                Some(End::Panic) => panic!("the merge is to panic"),
                Some(End::Fault) => {
                    return Err(PluginError::Plugin { digest: DIGEST, reason: "it ran out of fuel".to_owned() });
                }
            }
        }
        Ok(state(&merged))
    }

    fn view(&self, state: &Bytes) -> Result<Map<String, Value>, PluginError> {
        Ok(json!({ "numbers": numbers(state) }).as_object().unwrap().clone())
    }

    fn migrate(&self, _: u32, _: &Bytes) -> Result<Bytes, PluginError> {
        panic!("there is one version")
    }
}

struct Plugins(Together);

impl evaluate::Resolvers for Plugins {
    fn resolver(&self, _: PluginDigest) -> Result<Arc<dyn Resolver>, String> {
        Err("is a merge policy".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest) -> Result<Arc<dyn MergePolicy>, String> {
        Ok(Arc::new(self.0.clone()))
    }
}

impl replica::Resolvers for Plugins {
    fn resolver(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn Resolver>, String> {
        Err("is a merge policy".to_owned())
    }

    fn merge_policy(&self, _: PluginDigest, _: &dyn Fn() -> Option<Bytes>) -> Result<Arc<dyn MergePolicy>, String> {
        Ok(Arc::new(self.0.clone()))
    }
}

/// A document that takes others in.
trait Document {
    /// What happens at each step of its merges.
    fn on_step(&self) -> &Arc<OnStep>;

    /// Takes in a value that was written elsewhere, or fails.
    fn merge(&mut self, value: u64);

    /// Reads it, at any moment.
    fn reader(&self) -> Box<dyn Fn() -> Vec<u64> + Send>;
}

/// The real evaluation, records and application; the value comes from an edge.
struct Skerry {
    core: Core,
    on_step: Arc<OnStep>,
    edges: u64,
}

fn at() -> Address {
    Address { collection: "levels".parse().unwrap(), key: "pier".parse().unwrap() }
}

fn raise(value: u64) -> Write {
    Write::Operation(json!({ "raise": value }))
}

impl Skerry {
    fn new() -> Self {
        let on_step = quiet();
        let mut core = Core::new(1, Arc::new(Plugins(Together(Arc::clone(&on_step)))));
        let (name, world) = ("together".parse().unwrap(), World::MergePolicy);
        let version =
            PluginVersion { digest: DIGEST, bytes: 1, state_version: 1, profile: "1".to_owned(), failed: false };
        core.step(&Step::ActivatePlugin { name, world, version });
        let (name, policy) = (at().collection, "plugin:together".parse().unwrap());
        core.step(&Step::CreateCollection {
            name,
            policy,
            template: None,
            text: Vec::new(),
            settle: false,
            inbox: None,
        });
        core.write(&at(), raise(1)).unwrap();
        Self { core, on_step, edges: 0 }
    }
}

impl Document for Skerry {
    fn on_step(&self) -> &Arc<OnStep> {
        &self.on_step
    }

    fn merge(&mut self, value: u64) {
        self.edges += 1;
        let plugins = Arc::new(Plugins(Together(quiet())));
        let mut edge = Edge::new(&format!("shop-{}", self.edges), self.edges, self.core.now_ms, plugins);
        edge.settle(&mut self.core);
        edge.write(&at(), raise(value)).unwrap();
        // Something that the edge has not seen, so that the core must merge.
        self.core.write(&at(), raise(self.edges + 1)).unwrap();
        edge.push(&mut self.core, false, false);
    }

    fn reader(&self) -> Box<dyn Fn() -> Vec<u64> + Send> {
        let read = self.core.reader(&at());
        Box::new(move || {
            let view = read().unwrap().object().unwrap();
            serde_json::from_value(view["numbers"].clone()).unwrap()
        })
    }
}

mod flawed {
    use super::*;

    /// Merges field by field where readers look.
    pub(super) struct InPlace {
        pub(super) on_step: Arc<OnStep>,
        pub(super) numbers: Arc<[AtomicU64; FIELDS]>,
    }

    impl Document for InPlace {
        fn on_step(&self) -> &Arc<OnStep> {
            &self.on_step
        }

        fn merge(&mut self, value: u64) {
            let _ended = catch_unwind(AssertUnwindSafe(|| {
                for (step, number) in self.numbers.iter().enumerate() {
                    match (*self.on_step.lock())(step) {
                        None => drop(number.fetch_max(value, Ordering::Relaxed)),
                        Some(End::Panic) => panic!("the merge is to panic"),
                        Some(End::Fault) => return,
                    }
                }
            }));
        }

        fn reader(&self) -> Box<dyn Fn() -> Vec<u64> + Send> {
            let numbers = Arc::clone(&self.numbers);
            Box::new(move || numbers.iter().map(|number| number.load(Ordering::Relaxed)).collect())
        }
    }
}

fn whole(numbers: &[u64], when: &str) -> Result<u64, String> {
    match numbers.iter().all(|number| *number == numbers[0]) {
        true => Ok(numbers[0]),
        false => Err(format!("{numbers:?} {when}")),
    }
}

/// Ends a merge at each step in each way, while a reader looks at each step, and then lets one through.
fn check<D: Document>(new: impl Fn() -> D) -> Result<(), String> {
    for end in [End::Panic, End::Fault] {
        for last in 0..FIELDS {
            let mut document = new();
            let (reader, looked) = (document.reader(), Arc::new(Mutex::new(Vec::new())));
            let seen = Arc::clone(&looked);
            *document.on_step().lock() = Box::new(move |step| {
                seen.lock().push(reader());
                (step == last).then_some(end)
            });
            document.merge(90);
            assert!(looked.lock().len() > last, "the merge was to come to step {last}");
            *document.on_step().lock() = Box::new(|_| None);
            for numbers in &*looked.lock() {
                whole(numbers, "were read during a merge")?;
            }
            let when = format!("are left of a merge that ended at step {last} by {end:?}");
            let left = whole(&document.reader()(), &when)?;
            assert!(left < 90, "the merge that failed has {left}");
            document.merge(95);
            assert_eq!(whole(&document.reader()(), "came of a whole merge")?, 95);
        }
    }
    Ok(())
}

#[test]
fn a_merge_is_seen_whole_or_not_at_all() {
    check(Skerry::new).unwrap();
    let numbers = || Arc::new(std::array::from_fn(|_| AtomicU64::new(1)));
    let found = check(|| flawed::InPlace { on_step: quiet(), numbers: numbers() }).unwrap_err();
    assert!(found.contains("during a merge"), "{found}");
}
