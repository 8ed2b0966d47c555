//! A snapshot that is under way for long.

use serde_json::json;
use skerry_tests::processes::{Cluster, metric};

use super::requests::{BINARIES, Load, create, read, write};

/// Mebibytes of documents in the snapshot, unless `SKERRY_SNAPSHOT_MIB` says otherwise.
const MIB: u64 = 64;

fn of_shard(cluster: &Cluster, node: usize, name: &str) -> f64 {
    metric(&cluster.url(node), &format!("skerry_{name}{{shard=\"0\"}}"))
}

/// A new node gets by snapshot what the log has no longer, while clients write; meanwhile no node begins another term.
#[test]
#[ignore = "writes every document of the snapshot four times"]
fn a_snapshot_under_way_causes_no_election() {
    let mib = std::env::var("SKERRY_SNAPSHOT_MIB").map_or(MIB, |mib| mib.parse().unwrap());
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    let leader = cluster.leader();
    let url = cluster.url(leader);
    create(&url, "items", "strict");
    let large = json!({ "value": "x".repeat((1 << 20) - 64) });
    for number in 0..mib {
        assert_eq!(write(&url, "PUT", "items", &format!("large-{number}"), &large), 201);
    }
    let written = of_shard(&cluster, leader, "raft_applied_index");
    let mut number = 0;
    while of_shard(&cluster, leader, "raft_purged_index") < written {
        for _ in 0..100 {
            assert_eq!(write(&url, "PUT", "items", &format!("small-{number}"), &json!({ "number": number })), 201);
            number += 1;
        }
    }
    let terms =
        |cluster: &Cluster, nodes| (0..nodes).map(|node| of_shard(cluster, node, "raft_term")).collect::<Vec<_>>();
    let before = terms(&cluster, 3);
    let load = Load::default();
    load.during(1, &[url], || {
        let fourth = cluster.add_node();
        let address = cluster.address(fourth);
        let command = ["cluster", "add", "4"].into_iter().chain(address.iter().map(String::as_str));
        let command: Vec<_> = command.collect();
        // It gives up following what takes very long, which goes on all the same.
        let followed = (0..5).map(|_| cluster.cli_at(leader, &command)).find(|said| match said {
            Ok(_) => true,
            Err(said) => !said.contains("catching up"),
        });
        followed.expect("the new node catches up in time").unwrap();
    });
    let written = load.count();
    println!("{mib} MiB of documents and {number} small ones came to a new node; {written} writes meanwhile");
    assert!(of_shard(&cluster, 3, "state_generation") >= 1.0, "the node came by its log");
    assert_eq!(terms(&cluster, 4), vec![before[0]; 4], "before: {before:?}");
    assert!(written > 0);
    for number in [0, mib - 1] {
        assert_eq!(read(&cluster.url(3), "items", &format!("large-{number}")), Some(large.clone()));
    }
    load.check(&cluster, 3..4);
}
