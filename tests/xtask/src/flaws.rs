//! `cargo xtask flaws`: the fifteen flaws that Skerry must show absent, and which of them a test in tests/flaws shows.

use std::fmt::Write as _;
use std::path::Path;

/// Each flaw's number, and what must not be possible.
const FLAWS: [(&str, &str); 15] = [
    ("v01", "a term raised before its vote is durable"),
    ("v02", "a quorum computed wrongly"),
    ("v03", "a deposed leader that still writes or serves"),
    ("v04", "a lock held across network I/O"),
    ("v05", "a lock value block updated without compare-and-swap"),
    ("v06", "a lock granted apart from its block"),
    ("v07", "deadlock detection that is quadratic"),
    ("v08", "vector clock increments that race"),
    ("v09", "a minority that reaches quorum"),
    ("v10", "duplicate detection that grows without bound"),
    ("v11", "a shard chosen by a hasher that differs between builds"),
    ("v12", "a merge seen half done"),
    ("v13", "a log archive out of order"),
    ("v14", "a flashback that loads a whole history"),
    ("v15", "a restore point over a gap"),
];

/// Why they cannot be listed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The folder.
    #[error("cannot read tests/flaws")]
    Read(#[from] std::io::Error),
}

/// Lists them: a flaw is shown by the files of tests/flaws that carry its number.
pub(crate) fn run() -> Result<String, Error> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("flaws");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.file_name().to_string_lossy().into_owned());
    }
    files.sort_unstable();
    let mut report = String::new();
    for (number, what) in FLAWS {
        let shown: Vec<&str> = files.iter().map(String::as_str).filter(|file| file.starts_with(number)).collect();
        let shown = if shown.is_empty() { "not yet".to_owned() } else { format!("shown by {}", shown.join(", ")) };
        writeln!(report, "{number}  {what}: {shown}").expect("memory takes every write");
    }
    report.push_str("cargo test --workspace --test flaws runs them");
    Ok(report)
}
