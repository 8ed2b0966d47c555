//! A plugin's life in a cluster: refused, tried, deployed, rolled back by hand and by itself; with a node down, and with the
//! leader killed half-way.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use skerry_runtime::standard::{MULTI_VALUE, STOCK};
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::guest::{Choice, Guest};
use super::requests::{BINARIES, create, read, write};

fn file(cluster: &Cluster, name: &str, component: &[u8]) -> PathBuf {
    let path = cluster.folder().join(format!("{name}.wasm"));
    std::fs::write(&path, component).unwrap();
    path
}

fn deploy(cluster: &Cluster, component: &[u8], options: &[&str]) -> Result<Value, String> {
    let file = file(cluster, "deployed", component);
    let arguments = [&["plugin", "deploy", "shop", file.to_str().unwrap(), "--json"], options].concat();
    cluster.cli(&arguments).map(|text| serde_json::from_str(&text).unwrap())
}

fn shown(cluster: &Cluster, node: usize) -> Value {
    http(&format!("{}/v1/plugins/shop", cluster.url(node)), "GET", None).unwrap().1
}

/// Two edges that have written so many documents while nobody was in touch.
fn conflicting(cluster: &Cluster, documents: usize, bodies: [Value; 2]) -> Vec<Edge> {
    let keys: Vec<_> = (0..documents).map(|number| format!("d{number}")).collect();
    Edge::conflicting(cluster, "items", &keys, &bodies)
}

#[track_caller]
fn until_all_read(urls: &[String], documents: usize, expected: &Value) {
    for url in urls {
        for number in 0..documents {
            let key = format!("d{number}");
            until(format!("{key} at {url} to read {expected}"), || {
                read(url, "items", &key).filter(|shown| shown["remaining"] == *expected)
            });
        }
    }
}

#[test]
fn views_follow_the_version_that_is_active() {
    const DOCUMENTS: usize = 12;
    let cluster = Cluster::start(BINARIES, 3, 2);
    deploy(&cluster, STOCK.component, &[]).unwrap();
    create(&cluster.url(0), "items", "plugin:shop");
    for number in 0..DOCUMENTS {
        let body = json!({ "remaining": 10 });
        assert_eq!(write(&cluster.url(0), "PUT", "items", &format!("d{number}"), &body), 201);
    }
    let edges = conflicting(&cluster, DOCUMENTS, [json!({ "remaining": 9 }), json!({ "remaining": 8 })]);
    let urls: Vec<_> = cluster.urls().into_iter().chain(edges.iter().map(Edge::url)).collect();
    until_all_read(&urls, DOCUMENTS, &json!(7));

    let tried = deploy(&cluster, MULTI_VALUE.component, &["--dry-run"]).unwrap();
    assert_eq!((&tried["documents"], &tried["changed"]), (&json!(DOCUMENTS), &json!(DOCUMENTS)), "{tried}");
    assert_eq!(tried["examples"].as_array().unwrap().len(), 5);
    assert_eq!(tried["examples"][0]["after"]["remaining"], json!([8, 9]));
    assert!(tried["laws"]["live"].as_u64().unwrap() > 0, "{tried}");
    until_all_read(&urls[..1], DOCUMENTS, &json!(7));

    let deployed = deploy(&cluster, MULTI_VALUE.component, &[]).unwrap();
    assert_eq!(deployed["collections"], json!(["items"]));
    until_all_read(&urls, DOCUMENTS, &json!([8, 9]));
    let versions = shown(&cluster, 1);
    assert!(versions["versions"][1]["calls"]["answered"].as_u64().unwrap() >= DOCUMENTS as u64, "{versions}");

    cluster.cli(&["plugin", "rollback", "shop"]).unwrap();
    until_all_read(&urls, DOCUMENTS, &json!(7));
    let refused = cluster.cli(&["plugin", "rollback", "shop"]).unwrap_err();
    assert!(refused.contains("no version of plugin shop"), "{refused}");
}

#[test]
fn a_component_that_breaks_a_law_is_refused_and_changes_nothing() {
    let cluster = Cluster::start(BINARIES, 1, 1);
    for (component, expected) in [
        (
            Guest::answering(&[Choice::Candidate(0)], &[]).asking_for_a().bytes(),
            "depends on the order of the candidates",
        ),
        (Guest::resolving("unreachable").bytes(), "it trapped"),
        (Guest::resolving("(loop $for_ever br $for_ever)").bytes(), "it ran out of fuel, the limit is 250000000"),
        (b"\0asm".to_vec(), "not a WebAssembly component"),
    ] {
        let refused = deploy(&cluster, &component, &[]).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
        assert!(deploy(&cluster, &component, &["--dry-run"]).is_err());
    }
    assert_eq!(http(&format!("{}/v1/plugins", cluster.url(0)), "GET", None).unwrap().1, json!({ "plugins": [] }));
}

#[test]
fn a_version_that_fails_on_too_many_documents_is_rolled_back() {
    const DOCUMENTS: usize = 60;
    let cluster = Cluster::start(BINARIES, 3, 1);
    let first = deploy(&cluster, MULTI_VALUE.component, &[]).unwrap();
    create(&cluster.url(0), "items", "plugin:shop");
    let second = deploy(&cluster, &Guest::on_two_conflicts("unreachable").bytes(), &[]).unwrap();
    assert_eq!(second["replaced"], first["digest"]);
    let writes = ["x", "y"].map(|text| json!({ "a": { "one": text, "two": text } }));
    for number in 0..DOCUMENTS {
        let body = json!({ "a": { "one": "", "two": "" } });
        assert_eq!(write(&cluster.url(0), "PUT", "items", &format!("d{number}"), &body), 201);
    }
    let _edges = conflicting(&cluster, DOCUMENTS, writes);
    let plugin = until("the rollback", || {
        let plugin = shown(&cluster, 0);
        plugin.get("rolled_back").is_some().then_some(plugin)
    });
    assert_eq!((&plugin["active"], &plugin["rolled_back"]), (&first["digest"], &second["digest"]));
    assert!(plugin["reason"].as_str().unwrap().starts_with("it failed on"), "{plugin}");
    for number in 0..DOCUMENTS {
        until("the view of the version before", || {
            read(&cluster.url(0), "items", &format!("d{number}")).filter(|shown| shown["a"]["one"] == json!(["x", "y"]))
        });
    }
}

#[test]
fn a_node_that_was_down_has_the_plugin_when_it_comes_back() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    let down = (cluster.leader() + 1) % 3;
    cluster.kill(down);
    let up: Vec<_> = (0..3).filter(|node| *node != down).collect();
    let component = file(&cluster, "stock", STOCK.component);
    let deploy = ["plugin", "deploy", "shop", component.to_str().unwrap(), "--json"];
    let deployed: Value = serde_json::from_str(&cluster.cli_at(up[0], &deploy).unwrap()).unwrap();
    assert_eq!(deployed["staged_on"].as_array().unwrap().len(), 2, "{deployed}");
    create(&cluster.url(up[0]), "items", "plugin:shop");
    assert_eq!(write(&cluster.url(up[0]), "PUT", "items", "d0", &json!({ "remaining": 10 })), 201);
    cluster.start_node(down);
    cluster.ready();
    // Now it has to decide itself.
    let id = (down + 1).to_string();
    until("the node to lead", || {
        cluster
            .cli_at(up[0], &["cluster", "transfer-leader", "--shard", "0", "--to", &id])
            .ok()
            .filter(|_| cluster.leader() == down)
    });
    let edges = conflicting(&cluster, 1, [json!({ "remaining": 9 }), json!({ "remaining": 8 })]);
    let urls: Vec<_> = cluster.urls().into_iter().chain(edges.iter().map(Edge::url)).collect();
    until_all_read(&urls, 1, &json!(7));
}

#[test]
fn a_leader_killed_while_a_plugin_is_deployed_leaves_one_or_the_other() {
    let mut cluster = Cluster::start(BINARIES, 3, 1);
    deploy(&cluster, STOCK.component, &[]).unwrap();
    let component = file(&cluster, "next", MULTI_VALUE.component);
    let leader = cluster.leader();
    let url = cluster.url((leader + 1) % 3);
    let deploying = std::thread::spawn(move || {
        let arguments = ["plugin", "deploy", "shop", component.to_str().unwrap(), "--json"];
        skerry_tests::processes::run(BINARIES.skerry, &url, &arguments)
    });
    // The component is stored before it is staged.
    let has = |at: &str| cluster_has(at, MULTI_VALUE.component);
    let leader_url = cluster.url(leader);
    until("the component at the leader, or the end", || (has(&leader_url) || deploying.is_finished()).then_some(()));
    cluster.kill(leader);
    // Told or not, it is one of the two on every node that runs, and can be deployed again.
    let _ = deploying.join().unwrap();
    let other = (leader + 1) % 3;
    let both = [STOCK, MULTI_VALUE].map(|plugin| json!(digest(plugin.component)));
    let active = until("the plugin", || Some(shown(&cluster, other)["active"].clone()).filter(Value::is_string));
    assert!(both.contains(&active), "{active}");
    let again = file(&cluster, "again", MULTI_VALUE.component);
    cluster.cli_at(other, &["plugin", "deploy", "shop", again.to_str().unwrap()]).unwrap();
    cluster.start_node(leader);
    cluster.ready();
    for node in 0..3 {
        assert_eq!(shown(&cluster, node)["active"], both[1]);
    }
}

fn digest(component: &[u8]) -> String {
    skerry_model::PluginDigest::of(component).to_string()
}

/// Whether a node would hand a component out, active or not.
fn cluster_has(url: &str, component: &[u8]) -> bool {
    let asked = format!("{url}/v1/plugins/shop?digest={}", digest(component));
    skerry_tests::processes::component(&asked).is_some_and(|found| found == component)
}

/// Where a collection asks for it, what was decided is written back, and nothing is left in conflict; by hand it is one
/// command.
#[test]
fn conflicts_are_settled_by_the_core_and_by_hand() {
    let cluster = Cluster::start(BINARIES, 3, 2);
    deploy(&cluster, STOCK.component, &[]).unwrap();
    for (collection, settle) in [("items", &[][..]), ("settled", &["--settle"])] {
        let create = [&["collection", "create", collection, "--policy", "plugin:shop"], settle].concat();
        cluster.cli(&create).unwrap();
        assert_eq!(write(&cluster.url(0), "PUT", collection, "d0", &json!({ "remaining": 1, "color": "red" })), 201);
    }
    let mut edges: Vec<_> = ["shop-1", "shop-2"].map(|name| Edge::start(&cluster, name)).into();
    for (edge, color) in edges.iter_mut().zip(["green", "blue"]) {
        edge.synced();
        assert!(edge.process().stop(), "{}", edge.process().said());
        edge.restart_offline();
        for collection in ["items", "settled"] {
            let sold = json!({ "remaining": 0, "color": color });
            assert_eq!(write(&edge.url(), "PATCH", collection, "d0", &sold), 200);
        }
    }
    for edge in &mut edges {
        assert!(edge.process().stop(), "{}", edge.process().said());
        edge.restart();
        edge.synced();
    }
    let urls: Vec<_> = cluster.urls().into_iter().chain(edges.iter().map(Edge::url)).collect();
    let open = |url: &str, collection: &str| {
        let path = format!("{url}/v1/collections/{collection}/documents/d0/conflicts");
        http(&path, "GET", None).unwrap().1["conflicts"].as_array().unwrap().len()
    };
    for url in &urls {
        until(format!("the outcome at {url}"), || {
            read(url, "settled", "d0").filter(|shown| shown["oversold"] == 1 && shown["remaining"] == 0)
        });
        until(format!("no conflict at {url}"), || (open(url, "settled") == 0).then_some(()));
    }
    assert_eq!(open(&urls[0], "items"), 2);
    let settle = ["conflicts", "settle", "items", "d0"];
    cluster.cli(&[&settle[..], &["--at", "/color", "--value", "\"violet\""]].concat()).unwrap();
    let refused = cluster.cli(&[&settle[..], &["--at", "/color", "--candidate", "0"]].concat()).unwrap_err();
    assert!(refused.contains("no open conflict at \"/color\""), "{refused}");
    let rest = cluster.cli(&settle).unwrap();
    assert!(rest.contains("settled /remaining"), "{rest}");
    for url in &urls {
        until(format!("what was settled at {url}"), || {
            let shown = read(url, "items", "d0")?;
            (shown["color"] == "violet" && shown["remaining"] == 0 && open(url, "items") == 0).then_some(())
        });
    }
    let refused = cluster.cli(&["collection", "create", "tally", "--policy", "counter", "--settle"]).unwrap_err();
    assert!(refused.contains("settle belongs to"), "{refused}");
}

/// Each write to its documents takes all the fuel there is; the other collections, and the leader, do not notice.
#[test]
fn a_plugin_that_burns_its_fuel_leaves_the_other_collections_alone() {
    const WRITERS: usize = 3;
    let cluster = Cluster::start(BINARIES, 3, 1);
    deploy(&cluster, &Guest::on_two_conflicts("(loop $ever br $ever)").bytes(), &[]).unwrap();
    create(&cluster.url(0), "items", "plugin:shop");
    create(&cluster.url(0), "prices", "lww");
    create(&cluster.url(0), "tills", "strict");
    for number in 0..WRITERS {
        let body = json!({ "a": { "one": "", "two": "" } });
        assert_eq!(write(&cluster.url(0), "PUT", "items", &format!("d{number}"), &body), 201);
    }
    let writes = ["x", "y"].map(|text| json!({ "a": { "one": text, "two": text } }));
    let _edges = conflicting(&cluster, WRITERS, writes);
    let shards = |cluster: &Cluster| http(&format!("{}/v1/cluster", cluster.url(0)), "GET", None).unwrap().1;
    let term = |shown: &Value| shown["shards"][0]["term"].clone();
    let before = term(&shards(&cluster));
    assert!(before.is_u64(), "{}", shards(&cluster));
    let (url, stop, burnt) = (cluster.url(0), AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (url, stop, burnt) = (&url, &stop, &burnt);
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for number in (0..).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let status = write(url, "PATCH", "items", &format!("d{writer}"), &json!({ "seen": number }));
                    burnt.fetch_add(usize::from(status == 200), Ordering::Relaxed);
                }
            });
        }
        until("all of them to burn", || (burnt.load(Ordering::Relaxed) >= WRITERS).then_some(()));
        for number in 0..100 {
            for collection in ["prices", "tills"] {
                let status = write(url, "PUT", collection, &format!("p{number}"), &json!({ "number": number }));
                assert_eq!(status, 201, "{collection} {number}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(term(&shards(&cluster)), before, "nobody has had to lead anew");
    let conflicts = format!("{}/v1/collections/items/documents/d0/conflicts", cluster.url(0));
    let (_, shown) = http(&conflicts, "GET", None).unwrap();
    assert!(shown["fallback"].as_str().is_some_and(|reason| reason.contains("ran out of fuel")), "{shown}");
}
