//! Both shops sell the last lantern while offline, and everybody ends up with the resolver's answer.

use serde_json::json;
use skerry_tests::processes::{Cluster, Edge, http, until};

use super::requests::{BINARIES, create, read, write};

#[test]
fn both_edges_sell_the_last_item() {
    let cluster = Cluster::start(BINARIES, 3, 1);
    let core = cluster.url(0);
    let folder = cluster.folder().join("stock.wasm");
    std::fs::write(&folder, skerry_runtime::standard::STOCK.component).unwrap();
    let deployed = cluster.cli(&["plugin", "deploy", "stock", folder.to_str().unwrap(), "--json"]).unwrap();
    assert!(deployed.contains("digest"), "{deployed}");
    create(&core, "items", "plugin:stock");
    assert_eq!(write(&core, "PUT", "items", "lantern", &json!({ "name": "Lantern", "remaining": 1 })), 201);

    let mut edges = [Edge::start(&cluster, "shop-1"), Edge::start(&cluster, "shop-2")];
    for edge in &mut edges {
        until("the lantern", || read(&edge.url(), "items", "lantern"));
        edge.synced();
        assert!(edge.process().stop(), "{}", edge.process().said());
        edge.restart_offline();
        assert_eq!(write(&edge.url(), "PATCH", "items", "lantern", &json!({ "remaining": 0 })), 200);
        assert_eq!(read(&edge.url(), "items", "lantern").unwrap()["remaining"], 0);
    }
    for edge in &mut edges {
        assert!(edge.process().stop(), "{}", edge.process().said());
        edge.restart();
    }
    let expected = json!({ "name": "Lantern", "remaining": 0, "oversold": 1 });
    let urls = cluster.urls().into_iter().chain(edges.iter().map(Edge::url));
    for url in urls {
        until(format!("{url} to show the outcome"), || {
            read(&url, "items", "lantern").filter(|shown| *shown == expected)
        });
    }
    let conflicts = cluster.cli(&["conflicts", "show", "items", "lantern", "--json"]).unwrap();
    assert!(conflicts.contains("/remaining") && conflicts.contains("shop-2"), "{conflicts}");
}

#[test]
fn strict_documents_are_read_only_at_edges() {
    let cluster = Cluster::start(BINARIES, 1, 4);
    let core = cluster.url(0);
    create(&core, "ledger", "strict");
    for number in 0..20 {
        assert_eq!(write(&core, "PUT", "ledger", &format!("entry-{number}"), &json!({ "amount": number })), 201);
    }
    let edge = Edge::start(&cluster, "shop-1");
    edge.synced();
    for number in 0..20 {
        let key = format!("entry-{number}");
        until("the entry", || read(&edge.url(), "ledger", &key).filter(|shown| shown["amount"] == number));
    }
    assert_eq!(write(&edge.url(), "PUT", "ledger", "entry-0", &json!({ "amount": 9 })), 409);
}

/// A kind of document of the user's own: its operations are made at the core and at edges, and each of them counts.
#[test]
fn operations_at_the_core_and_at_edges_all_count() {
    let cluster = Cluster::start(BINARIES, 3, 2);
    let component = cluster.folder().join("max-register.wasm");
    std::fs::write(&component, skerry_runtime::standard::MAX_REGISTER.component).unwrap();
    cluster.cli(&["plugin", "deploy", "max-register", component.to_str().unwrap()]).unwrap();
    let listed = cluster.cli(&["plugin", "list"]).unwrap();
    assert!(listed.contains("merge policy"), "{listed}");
    for (collection, policy) in [("tally", "counter"), ("tags", "set"), ("levels", "plugin:max-register")] {
        cluster.cli(&["collection", "create", collection, "--policy", policy]).unwrap();
    }
    let operate = |url: &str, collection: &str, operation: serde_json::Value| {
        let url = format!("{url}/v1/collections/{collection}/documents/pier/operations");
        let (status, answer) = http(&url, "POST", Some(&operation)).unwrap();
        assert!(status == 200 || status == 201, "{status}: {answer}");
    };
    let mut edge = Edge::start(&cluster, "shop-1");
    operate(&cluster.url(1), "levels", json!({ "set": 4 }));
    until("the level at the edge", || read(&edge.url(), "levels", "pier"));
    edge.synced();
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart_offline();
    for url in [edge.url(), cluster.url(0), cluster.url(2)] {
        operate(&url, "tally", json!({ "inc": 2 }));
        operate(&url, "tags", json!({ "add": "wet" }));
    }
    operate(&edge.url(), "levels", json!({ "set": 9 }));
    operate(&cluster.url(0), "levels", json!({ "set": 7 }));
    assert!(edge.process().stop(), "{}", edge.process().said());
    edge.restart();
    let expected = [
        ("tally", json!({ "value": 6 })),
        ("tags", json!({ "items": ["wet"] })),
        ("levels", json!({ "value": 9, "by": "shop-1" })),
    ];
    for (collection, expected) in expected {
        for url in cluster.urls().into_iter().chain([edge.url()]) {
            until(format!("{collection} at {url}"), || {
                read(&url, collection, "pier").filter(|shown| *shown == expected)
            });
        }
    }
    let whole = write(&cluster.url(0), "PUT", "levels", "pier", &json!({ "value": 1 }));
    assert_eq!(whole, 422, "a document of a merge policy takes operations");
}
