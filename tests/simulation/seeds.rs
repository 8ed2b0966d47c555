//! Many seeds hold, and each gives the same trace twice.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skerry_host::telemetry::logs;
use skerry_tests::simulation::faults::Counts;
use skerry_tests::simulation::{Setup, run};

/// Seeds of an ordinary test run, and how long it takes at most: what does not fit is left out, and said.
const SEEDS: u64 = 60;
const MINUTES: u64 = 2;

/// What many seeds came to.
#[derive(Default)]
struct Total {
    held: u64,
    answered: usize,
    stored: usize,
    elections: u64,
    snapshots: u64,
    sizes: BTreeSet<usize>,
    apart_ms: u64,
    faults: Counts,
}

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text}, no number")))
}

/// A seed decides everything: run twice, it delivers the same bytes at the same moments.
#[test]
fn one_seed_gives_one_trace() {
    let mut stored = 0;
    for seed in 1..=8 {
        let traces = [(); 2].map(|()| run(&Setup::of(seed)).unwrap_or_else(|failure| panic!("{failure}")));
        assert_eq!(traces[0].trace, traces[1].trace, "seed {seed}");
        assert!(traces[0].answered > 0);
        stored += traces[0].stored;
    }
    assert!(stored > 0, "no edge took part");
}

/// Every seed from SKERRY_FROM on holds, SKERRY_SEEDS of them or as many as fit in SKERRY_MINUTES; SKERRY_SEED replays
/// one with its logs. In longer runs no kind of fault may be missing.
#[test]
fn every_seed_holds() {
    if let Some(seed) = number("SKERRY_SEED") {
        logs::begin("info", false);
        let report = run(&Setup::of(seed)).unwrap_or_else(|failure| panic!("{failure}"));
        println!("seed {seed} holds: {report:?}");
        return;
    }
    let (from, seeds) = (number("SKERRY_FROM").unwrap_or(1_000), number("SKERRY_SEEDS").unwrap_or(SEEDS));
    let deadline = Instant::now() + Duration::from_secs(60 * number("SKERRY_MINUTES").unwrap_or(MINUTES));
    let next = AtomicU64::new(0);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Total::default());
    let work = || {
        while !failed.load(Ordering::Relaxed) && Instant::now() < deadline {
            let seed = from + next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return;
            }
            let report = run(&Setup::of(seed)).unwrap_or_else(|failure| {
                failed.store(true, Ordering::Relaxed);
                panic!("{failure}")
            });
            let mut total = total.lock();
            total.held += 1;
            total.answered += report.answered;
            total.stored += report.stored;
            total.elections += report.elections;
            total.snapshots += report.snapshots;
            total.sizes.extend(report.sizes);
            total.apart_ms = total.apart_ms.max(report.apart_ms);
            total.faults.merge(&report.faults);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let Total { held, answered, stored, elections, snapshots, sizes, apart_ms, faults } = total.into_inner();
    let said = format!(
        "{held} of {seeds} seeds from {from} hold: {answered} operations, {stored} writes beside and at edges, {elections} \
         terms with a leader, {snapshots} snapshots installed, {sizes:?} voters, clocks {apart_ms} ms apart; {faults}"
    );
    // Past the test runner, which keeps what a test that passes prints.
    writeln!(std::io::stderr(), "{said}").expect("standard error is open");
    assert!(held > 0 && answered > 0);
    if held >= SEEDS {
        assert!(faults.missing().is_empty(), "never injected: {:?}", faults.missing());
        assert!(snapshots > 0, "no node came back by snapshot");
        assert!((1..=7).all(|size| sizes.contains(&size)), "clusters had {sizes:?} voters, not each from 1 to 7");
        assert_eq!(apart_ms, 500, "the bound of the fault model");
    }
}
