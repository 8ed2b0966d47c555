//! The law check over components.

use serde_json::json;
use skerry_guest::laws::{Effort, Law};
use skerry_model::policy::{Candidate, Conflict, ConflictSet, World};
use skerry_runtime::{Checked, LawChecker, Refused, RuntimeProfile, Samples, standard};

use super::guest::{Choice, Guest};

const CASES: u32 = 30;

fn check(component: &[u8], samples: &Samples) -> Result<Checked, Refused> {
    LawChecker::new(&RuntimeProfile::newest()).unwrap().check(
        component,
        samples,
        Effort { cases: CASES, ..Effort::TEST },
    )
}

#[test]
fn the_bundled_plugins_keep_the_laws() {
    for plugin in standard::ALL {
        let checked = check(plugin.component, &Samples::default());
        let checked = checked.unwrap_or_else(|refused| panic!("{}: {refused}", plugin.name));
        assert_eq!(checked.report.cases, CASES);
        assert!(checked.report.answered > 0, "{}: {checked:?}", plugin.name);
        assert!((1..checked.fuel_limit / 100).contains(&checked.fuel_most), "{}: {checked:?}", plugin.name);
    }
}

#[test]
fn a_component_that_takes_whoever_comes_first_is_refused_with_the_smallest_case() {
    let first = Guest::answering(&[Choice::Candidate(0)], &[]).asking_for_a().bytes();
    let candidate = |origin: &str, value: &str| Candidate {
        value: json!({ "text": value, "tags": [1, 2, 3] }),
        origin: origin.to_owned(),
        sequence: 1,
        time: 5,
    };
    let candidates = vec![candidate("a", "one"), candidate("b", "two"), candidate("c", "three")];
    let conflict = Conflict { path: "/a/live".to_owned(), ancestor: None, candidates };
    let samples = Samples { conflicts: vec![ConflictSet { conflicts: vec![conflict] }], ..Samples::default() };
    let Err(Refused::Law(finding)) = check(&first, &samples) else { panic!("it was let pass") };
    assert_eq!(finding.law, Law::Order);
    assert_eq!(finding.case["conflicts"][0]["path"], json!("/a/live"));
    assert_eq!(finding.case["conflicts"][0]["candidates"].as_array().unwrap().len(), 2, "{finding}");
}

#[test]
fn a_component_that_traps_is_refused() {
    let Err(Refused::Law(finding)) = check(&Guest::resolving("unreachable").bytes(), &Samples::default()) else {
        panic!("it was let pass")
    };
    assert_eq!(finding.law, Law::Total);
    assert!(finding.one.as_str().unwrap().contains("trapped"), "{finding}");
}

/// What no case showed is met by the fuel limit, and by the rollback of a version that fails too often.
#[test]
fn a_component_that_fails_where_no_case_leads_passes() {
    let component = Guest::on_two_conflicts("unreachable").bytes();
    check(&component, &Samples::default()).unwrap();
    let candidate = |origin: &str| Candidate { value: json!(origin), origin: origin.to_owned(), sequence: 1, time: 5 };
    let conflict = |path: &str| Conflict {
        path: path.to_owned(),
        ancestor: None,
        candidates: vec![candidate("a"), candidate("b")],
    };
    let conflicts = ["/a/one", "/a/two"].map(conflict).to_vec();
    let samples = Samples { conflicts: vec![ConflictSet { conflicts }], ..Samples::default() };
    assert!(matches!(check(&component, &samples), Err(Refused::Law(finding)) if finding.law == Law::Total));
}

#[test]
fn what_is_no_component_is_refused_before_it_is_tried() {
    assert!(matches!(check(b"\0asm", &Samples::default()), Err(Refused::Component(_))));
}

#[test]
fn the_worlds_are_told() {
    let checked = check(standard::MAX_REGISTER.component, &Samples::default()).unwrap();
    assert_eq!((checked.world, checked.profile.as_str()), (World::MergePolicy, "1"));
}
