//! A new author's first ten minutes, from an empty folder, in every language and kind.

use std::path::Path;
use std::process::Command;

use super::requests::BINARIES;

/// What a command prints.
#[track_caller]
fn skerry(folder: &Path, arguments: &[&str]) -> String {
    let ran = Command::new(BINARIES.skerry).args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{arguments:?}: {said}");
    String::from_utf8(ran.stdout).unwrap()
}

fn first_ten_minutes(language: &str, kind: &str) {
    let folder = tempfile::tempdir().unwrap();
    skerry(folder.path(), &["plugin", "new", "mine", "--lang", language, "--kind", kind]);
    let mine = folder.path().join("mine");
    // A JavaScript engine takes its time where everything is built for development.
    let cases = if language == "rust" { "40" } else { "5" };
    let tested = skerry(&mine, &["plugin", "test", "--cases", cases]);
    assert!(tested.contains(&format!("hold in {cases} cases")), "{tested}");
    let built = skerry(&mine, &["plugin", "build"]);
    assert!(built.contains("mine.wasm"), "{built}");
    let checked = skerry(&mine, &["plugin", "check", "mine.wasm", "--cases", cases, "--json"]);
    assert!(checked.contains(&format!("\"world\":\"{kind}\"")), "{checked}");
    if kind == "resolver" {
        let tried = skerry(&mine, &["plugin", "try", "conflicts/oversold.json", "--plugin", "mine.wasm"]);
        assert!(tried.contains("\"oversold\": 1") && tried.contains("as expected"), "{tried}");
    } else {
        let tried = skerry(&mine, &["plugin", "try", "conflicts/two-tills.json", "--plugin", "mine.wasm"]);
        assert!(tried.contains("till-1 alone") && tried.contains("as expected"), "{tried}");
    }
}

#[test]
#[ignore = "needs a Rust compiler for WebAssembly and a registry of crates"]
fn a_resolver_in_rust() {
    first_ten_minutes("rust", "resolver");
}

#[test]
#[ignore = "needs a Rust compiler for WebAssembly and a registry of crates"]
fn a_merge_policy_in_rust() {
    first_ten_minutes("rust", "merge-policy");
}

#[test]
#[ignore = "needs npm"]
fn a_resolver_in_javascript() {
    first_ten_minutes("js", "resolver");
}

#[test]
#[ignore = "needs npm"]
fn a_merge_policy_in_javascript() {
    first_ten_minutes("js", "merge-policy");
}

#[test]
fn a_folder_without_a_plugin_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let ran = Command::new(BINARIES.skerry).args(["plugin", "build"]).current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(said.contains("neither a Cargo.toml nor a package.json"), "{said}");
}
