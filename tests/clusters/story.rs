//! Both shops sell the last lantern while offline, and everybody ends up with the resolver's answer.

use serde_json::json;
use skerry_tests::processes::{Cluster, Edge, until};

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
        until(&format!("{url} to show the outcome"), || {
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
