//! Cranelift and Pulley agree, in every answer and in its fuel, over many evaluations of every bundled plugin.

use bytes::Bytes;
use skerry_guest::Wants;
use skerry_guest::laws::{made_up_conflicts, made_up_operation};
use skerry_model::Origin;
use skerry_model::policy::{MergePolicy, OperationContext, Resolver};
use skerry_runtime::{Backend, CompiledPlugin, CompiledPolicy, Runtime, RuntimeProfile, model_conflicts, standard};

/// Evaluations of each kind when nothing else is said; `SKERRY_EVALUATIONS=1000000` is the long run.
const EVALUATIONS: u32 = 10_000;
/// Calls of one case of a merge policy: apply, merge, view.
const CALLS: u32 = 3;
/// States that others are merged with.
const STATES: usize = 16;
/// Past it a state begins anew, so that each evaluation stays short.
const STATE_BYTES_MAX: usize = 600;

fn evaluations() -> u32 {
    let asked = std::env::var("SKERRY_EVALUATIONS").ok().and_then(|asked| asked.parse().ok());
    asked.unwrap_or(EVALUATIONS)
}

fn compiled() -> [Vec<CompiledPlugin>; 2] {
    [Backend::Native, Backend::Pulley].map(|backend| {
        let runtime = Runtime::with_backend(RuntimeProfile::newest(), backend).unwrap();
        standard::ALL.iter().map(|plugin| runtime.compile(plugin.component).unwrap()).collect()
    })
}

#[test]
fn resolvers_agree() {
    let [native, pulley] = compiled();
    let both = native.into_iter().zip(pulley).filter_map(|both| match both {
        (CompiledPlugin::Resolver(native), CompiledPlugin::Resolver(pulley)) => Some((native, pulley)),
        _ => None,
    });
    let both: Vec<_> = both.collect();
    let mut decided = 0_u32;
    for case in 0..evaluations() {
        let (native, pulley) = &both[case as usize % both.len()];
        let wants = Wants { ancestor: native.wants().ancestor, paths: native.wants().paths.clone() };
        let conflicts = model_conflicts(&made_up_conflicts(case, &wants));
        let answer = native.call(&conflicts);
        assert_eq!(answer, pulley.call(&conflicts), "case {case} of {}", native.digest());
        decided += u32::from(answer.is_ok());
    }
    assert!(decided > evaluations() / 4, "{decided} were decided");
}

/// The calls so far cost the same on both.
#[track_caller]
fn check_fuel(native: &CompiledPolicy, pulley: &CompiledPolicy, case: u32) {
    assert_eq!(native.calls().fuel(), pulley.calls().fuel(), "case {case} of {}", native.plugin());
}

#[test]
fn merge_policies_agree() {
    let [native, pulley] = compiled();
    let replicas: Vec<Origin> = (0..4).map(|at| format!("shop-{at}").parse().unwrap()).collect();
    let policies = native.into_iter().zip(pulley).filter_map(|both| match both {
        (CompiledPlugin::MergePolicy(native), CompiledPlugin::MergePolicy(pulley)) => Some((native, pulley)),
        _ => None,
    });
    let policies: Vec<_> = policies.collect();
    let count = u32::try_from(policies.len()).unwrap();
    for (native, pulley) in policies {
        let (examples, empty) = (native.examples().unwrap(), native.empty().unwrap());
        assert_eq!((&examples, &empty), (&pulley.examples().unwrap(), &pulley.empty().unwrap()));
        let mut states: Vec<Bytes> = vec![empty.clone(); STATES];
        for case in 0..evaluations() / count / CALLS {
            let at = case as usize % STATES;
            let context = OperationContext {
                origin: &replicas[at % replicas.len()],
                incarnation: 1,
                sequence: u64::from(case) + 1,
                time_ms: i64::from(case % 7),
            };
            let operation = made_up_operation(case, &examples);
            let applied = native.apply(&states[at], &operation, &context);
            assert_eq!(applied, pulley.apply(&states[at], &operation, &context), "case {case} of {}", native.plugin());
            let other = &states[(at + 1 + case as usize / STATES) % STATES];
            let merged = native.merge(applied.as_ref().unwrap_or(&states[at]), other);
            assert_eq!(merged, pulley.merge(applied.as_ref().unwrap_or(&states[at]), other), "case {case}");
            let merged = merged.unwrap();
            assert_eq!(native.view(&merged), pulley.view(&merged), "case {case} of {}", native.plugin());
            check_fuel(&native, &pulley, case);
            states[at] = if merged.len() > STATE_BYTES_MAX { empty.clone() } else { merged };
        }
    }
}
