//! How plugins and what became of them read.

use std::fmt::Write;

use skerry_api::bodies::{self, Deployed, DryRun, Laws, RolledBack};
use skerry_api::cli::Table;
use skerry_model::policy::World;

pub(super) fn kind(world: World) -> &'static str {
    match world {
        World::Resolver => "resolver",
        World::MergePolicy => "merge policy",
    }
}

pub(super) fn deployed(deployed: &Deployed) -> String {
    let mut table = Table::default();
    table.row([&"plugin", &deployed.name]);
    table.row([&"active", &deployed.digest]);
    if let Some(replaced) = &deployed.replaced {
        table.row([&"before", replaced]);
    }
    table.row([&"ready on", &listed(&deployed.staged_on)]);
    table.row([&"collections", &listed(&deployed.collections)]);
    laws(&mut table, &deployed.laws);
    table.to_string()
}

fn laws(table: &mut Table, laws: &Laws) {
    let Laws { cases, answered, live, fuel_most, fuel_limit, .. } = laws;
    table.row([&"laws", &format!("hold in {cases} cases, {answered} of them decided; {live} live documents")]);
    table.row([&"fuel", &format!("{fuel_most} at most, the limit is {fuel_limit}")]);
    for advice in &laws.advice {
        table.row([&"worth knowing", advice]);
    }
}

pub(super) fn dry_run(run: &DryRun) -> String {
    let mut table = Table::default();
    table.row([&"plugin", &run.name]);
    table.row([&"would become", &run.digest]);
    table.row([&"kind", &kind(run.world)]);
    table.row([&"collections", &listed(&run.collections)]);
    laws(&mut table, &run.laws);
    let all = if run.complete { "all" } else { "the first" };
    table.row([&"documents", &format!("{all} {} were looked at", run.documents)]);
    table.row([&"would change", &run.changed]);
    table.row([&"undecided", &run.undecided]);
    let mut text = table.to_string();
    for change in &run.examples {
        let (collection, key) = (&change.collection, &change.key);
        let because = change.fallback.as_ref().map_or_else(String::new, |fallback| format!("  ({fallback})"));
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{collection}/{key}\n  now   {}\n  then  {}{because}", change.before, change.after);
    }
    text
}

pub(super) fn rolled_back(done: &RolledBack) -> String {
    let mut table = Table::default();
    table.row([&"plugin", &done.name]);
    table.row([&"active", &done.digest]);
    table.row([&"before", &done.replaced]);
    table.row([&"collections", &listed(&done.collections)]);
    table.to_string()
}

pub(super) fn list(plugins: &[bodies::Plugin]) -> String {
    let mut table = Table::new(&["PLUGIN", "KIND", "VERSIONS", "ACTIVE", "COLLECTIONS"]);
    for plugin in plugins {
        let collections = listed(&plugin.collections);
        table.row([&plugin.name, &kind(plugin.world), &plugin.versions.len(), &plugin.active, &collections]);
    }
    table.to_string()
}

pub(super) fn versions(plugin: &bodies::Plugin) -> String {
    let mut table = Table::new(&["DIGEST", "BYTES", "ACTIVE", "CALLS", "FAILED", "FUEL A CALL"]);
    for version in &plugin.versions {
        let active = if version.digest == plugin.active { "yes" } else { "" };
        let calls = version.calls;
        let fuel = calls.fuel.checked_div(calls.answered).unwrap_or(0);
        table.row([&version.digest, &version.bytes, &active, &(calls.answered + calls.failed), &calls.failed, &fuel]);
    }
    let mut text = table.to_string();
    let collections =
        if plugin.collections.is_empty() { "no collection".to_owned() } else { listed(&plugin.collections) };
    // Writing to a String cannot fail.
    let _ = write!(text, "\n{}, used by {collections}", kind(plugin.world));
    if let (Some(digest), Some(reason)) = (&plugin.rolled_back, &plugin.reason) {
        let _ = write!(text, "\nversion {digest} was rolled back: {reason}");
    }
    text
}

pub(super) fn listed<T: ToString>(items: &[T]) -> String {
    match items {
        [] => "none".to_owned(),
        items => items.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}
