//! PouchDB that replicates with its own server, both on the disk.

use std::path::Path;
use std::process::Command;

use super::skerry::{Step, measure};

const DOCUMENTS: usize = 100_000;

/// What the script in `pouchdb/` prints.
fn pouchdb(folder: &Path, count: usize) -> (String, Vec<Step>) {
    for file in ["package.json", "package-lock.json", "pouchdb.mjs"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/pouchdb").join(file);
        std::fs::copy(from, folder.join(file)).unwrap();
    }
    let installed = Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let ran = Command::new("node")
        .args(["pouchdb.mjs", &count.to_string(), "--fsync=1"])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    let mut lines = said.lines();
    let versions = lines.next().unwrap().to_owned();
    (versions, lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[test]
#[ignore = "needs a release build as SKERRY_BINARY and an idle machine"]
fn measure_alone() {
    let count = std::env::var("SKERRY_DOCUMENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(DOCUMENTS);
    let (steps, idle) = measure(count);
    println!("{steps:#?}, and {} MiB for an edge that does nothing", idle >> 20);
}

#[test]
#[ignore = "needs npm, a release build as SKERRY_BINARY and an idle machine"]
fn measure_beside_pouchdb() {
    let count = std::env::var("SKERRY_DOCUMENTS").ok().and_then(|count| count.parse().ok()).unwrap_or(DOCUMENTS);
    let folder = tempfile::tempdir().unwrap();
    let (versions, peer) = pouchdb(folder.path(), count);
    let (own, idle) = measure(count);
    println!("{count} documents; {versions}");
    println!("an edge that holds them and does nothing has {} MiB", idle >> 20);
    for own in own {
        let peer = peer.iter().find(|peer| peer.step == own.step).unwrap();
        println!(
            "{}: {:.3} s and {} bytes, PouchDB {:.3} s and {} bytes: {:.1} times as fast, {:.2} of the bytes",
            own.step,
            own.seconds,
            own.bytes(),
            peer.seconds,
            peer.bytes(),
            peer.seconds / own.seconds,
            own.bytes() as f64 / peer.bytes() as f64,
        );
    }
}
