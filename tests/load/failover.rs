//! From the SIGKILL of a leader to the first write that is acknowledged again.

use std::time::{Duration, Instant};

use serde_json::json;
use skerry_tests::processes::{Cluster, http};

use super::processor::pause;
use super::table::binaries;

const KILLS: usize = 50;
/// How often a client tries again.
const RETRY: Duration = Duration::from_millis(10);

#[test]
#[ignore = "needs an idle machine: cargo xtask load"]
fn measure_failover() {
    let mut cluster = Cluster::start(binaries(), 3, 1);
    let made = http(&format!("{}/v1/collections/load", cluster.url(0)), "PUT", Some(&json!({ "policy": "strict" })));
    assert!(made.unwrap().0 < 300);
    let mut times = Vec::with_capacity(KILLS);
    for kill in 0..KILLS {
        let leader = cluster.leader();
        let asked = cluster.url((leader + 1) % 3);
        cluster.kill(leader);
        let killed = Instant::now();
        let at = format!("{asked}/v1/collections/load/documents/kill-{kill}");
        while !http(&at, "PUT", Some(&json!({ "kill": kill }))).is_ok_and(|(status, _)| status < 300) {
            pause(RETRY);
        }
        times.push(killed.elapsed());
        cluster.start_node(leader);
        cluster.ready();
    }
    times.sort_unstable();
    // Of 50 the longest is the 99th percentile.
    println!("failover over {KILLS} kills: p50 {:?}, p99 {:?}", times[KILLS / 2], times[KILLS - 1]);
}
