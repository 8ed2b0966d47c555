//! Nodes come, go and are replaced while clients write; what was acknowledged is on those that are there at the end.

use serde_json::json;
use skerry_tests::processes::{Cluster, http, run, until};

use super::requests::{BINARIES, Load, create, write};

fn replaced(cluster: &Cluster, asked: usize, old: &str, new: usize) -> Result<String, String> {
    let (by, address) = ((new + 1).to_string(), cluster.address(new));
    let address = address.iter().map(String::as_str);
    cluster.cli_at(asked, &["cluster", "replace", old, "--by", &by].into_iter().chain(address).collect::<Vec<_>>())
}

#[test]
fn nodes_come_and_go_under_load() {
    let mut cluster = Cluster::start(BINARIES, 3, 2);
    create(&cluster.url(0), "items", "strict");
    let writable: Vec<String> = [1, 2].map(|node| cluster.url(node)).to_vec();
    let load = Load::default();
    load.during(3, &writable, || {
        until("writes at first", || (load.count() >= 50).then_some(()));
        // A fourth node comes in the place of the first, which is asked itself and often leads.
        let fourth = cluster.add_node();
        let said = replaced(&cluster, 1, "1", fourth).unwrap();
        assert!(said.contains("in the place of node 1"), "{said}");
        // Said again it is done already.
        replaced(&cluster, 1, "1", fourth).unwrap();
        cluster.kill(0);
        let drained = cluster.cli_at(1, &["cluster", "drain", "2"]).unwrap();
        assert!(drained.contains("leads nothing"), "{drained}");
        cluster.cli_at(1, &["cluster", "drain", "2", "--undo"]).unwrap();
        cluster.cli_at(1, &["cluster", "transfer-leader", "--shard", "1", "--to", "2"]).unwrap();
        let before = load.count();
        until("writes after all of that", || (load.count() >= before + 50).then_some(()));
    });
    cluster.ready();
    load.check(&cluster, 1..4);
    // A node that was replaced is not let in again, neither with its folder nor without, nor under its id.
    let said = |cluster: &mut Cluster| cluster.node(0).said();
    cluster.start_node(0);
    until("the old node to be refused", || said(&mut cluster).contains("any longer").then_some(()));
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.data(0)).unwrap();
    cluster.start_node(0);
    assert!(!cluster.node(0).ended());
    assert!(said(&mut cluster).contains("any longer"), "{}", said(&mut cluster));
    let refused = replaced(&cluster, 1, "4", 0).unwrap_err();
    assert!(refused.contains("was part of this cluster before"), "{refused}");
}

#[test]
fn nobody_leaves_a_cluster_that_could_not_decide_without_it() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    let status = cluster.cli(&["cluster", "status"]).unwrap();
    assert!(status.contains("up"), "{status}");
    cluster.kill(2);
    let refused = cluster.cli(&["cluster", "remove", "2"]).unwrap_err();
    assert!(refused.contains("which is no majority"), "{refused}");
    let status = cluster.cli(&["cluster", "status"]).unwrap();
    assert!(status.contains("no answer"), "{status}");
    // Nobody is put in two places, or moved.
    let moved = ["cluster", "add", "2", "--http", "http://127.0.0.1:1", "--node", "127.0.0.1:1"];
    let doubled = ["cluster", "replace", "3", "--by", "2", "--http", "http://127.0.0.1:1", "--node", "127.0.0.1:1"];
    for command in [&moved[..], &doubled[..]] {
        let refused = cluster.cli(command).unwrap_err();
        assert!(refused.contains("node 2 is part of this cluster already"), "{refused}");
    }
    let dead = cluster.cli(&["cluster", "transfer-leader", "--to", "3"]).unwrap_err();
    assert!(dead.contains("node 3 does not answer"), "{dead}");
    let unknown = cluster.cli(&["cluster", "remove", "9"]).unwrap_err();
    assert!(unknown.contains("node 9 is not part of this cluster"), "{unknown}");
    // One of the others must be able to lead.
    cluster.cli(&["cluster", "drain", "1"]).unwrap();
    cluster.cli(&["cluster", "drain", "3"]).unwrap();
    let last = cluster.cli(&["cluster", "drain", "2"]).unwrap_err();
    assert!(last.contains("node 2 is the last that may lead"), "{last}");
    cluster.cli(&["cluster", "drain", "1", "--undo"]).unwrap();
    // The one that is down may go.
    cluster.cli(&["cluster", "remove", "3"]).unwrap();
    create(&cluster.url(1), "items", "strict");
    assert_eq!(write(&cluster.url(1), "PUT", "items", "key", &json!({ "number": 1 })), 201);
}

/// It says so, and a client that knows of another node goes there.
#[test]
fn a_node_that_waits_to_be_added_serves_nothing() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    let waiting = cluster.add_node();
    let url = cluster.url(waiting);
    until("the node to answer", || {
        http(&format!("{url}/healthz"), "GET", None).ok().filter(|(status, _)| *status == 200)
    });
    let (status, problem) = http(&format!("{url}/v1/collections"), "GET", None).unwrap();
    assert_eq!((status, problem["outcome"].as_str()), (503, Some("not-proposed")), "{problem}");
    let both = format!("{url},{}", cluster.url(0));
    let listed = run(BINARIES.skerry, &both, &["collection", "create", "items"]).unwrap();
    assert!(listed.contains("items"), "{listed}");
    let address = cluster.address(waiting);
    let address = address.iter().map(String::as_str);
    cluster.cli(&["cluster", "add", "4"].into_iter().chain(address).collect::<Vec<_>>()).unwrap();
    until("the node to serve", || {
        http(&format!("{url}/readyz"), "GET", None).ok().filter(|(status, _)| *status == 204)
    });
}

/// A leadership that is handed over, also by a node that stops, costs no client an error.
#[test]
fn no_write_fails_while_leaders_hand_over() {
    let mut cluster = Cluster::start(BINARIES, 3, 2);
    create(&cluster.url(0), "items", "strict");
    let load = Load::default();
    load.during(3, &cluster.urls()[..2], || {
        for round in 0..6 {
            for shard in ["0", "1"] {
                let to = (round % 3 + 1).to_string();
                cluster.cli(&["cluster", "transfer-leader", "--shard", shard, "--to", &to]).unwrap();
            }
            let before = load.count();
            until("writes at the new leaders", || (load.count() >= before + 20).then_some(()));
        }
        // The last round has made the third node lead, which takes no requests here.
        assert!(cluster.node(2).stop());
        let before = load.count();
        until("writes without the node that stopped", || (load.count() >= before + 20).then_some(()));
    });
    let said = cluster.node(2).said();
    assert_eq!(load.failed(), Vec::<String>::new(), "beside {} that were acknowledged\n{said}", load.count());
}
