//! A whole edge over HTTP, with a real database, against the small core of the replica's tests.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use parking_lot::Mutex;
use serde_json::json;
use skerry_api::client::Client;
use skerry_api::documents::{Conditions, State as DocumentState};
use skerry_channel::frame;
use skerry_channel::message::{Answer, Request};
use skerry_model::PluginDigest;
use skerry_model::engine::Write;
use skerry_store::room::Room;
use skerry_store::simulated::Disk;
use tokio::net::TcpListener;

use super::*;
use crate::Heard;
use crate::http;
use crate::replica::tests::core::Core;

type SharedCore = Arc<Mutex<Core>>;

async fn answer(State(core): State<SharedCore>, body: Bytes) -> Bytes {
    let request: Request = frame::decode(&body).unwrap();
    let answer = match request {
        Request::Hello(hello) => Answer::Welcome(core.lock().welcome(&hello)),
        Request::Push(push) => Answer::Pushed(core.lock().push(&push)),
        Request::Pull(pull) => {
            let mut waited = 0;
            loop {
                let pulled = core.lock().pull(&pull);
                if !pulled.batches.is_empty() || pulled.catalog.is_some() || waited >= pull.wait_ms {
                    break Answer::Pulled(pulled);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                waited += 10;
            }
        }
    };
    frame::encode(&answer).unwrap()
}

struct World {
    core: SharedCore,
    edge: Edge,
    client: Client,
    url: String,
    _folder: tempfile::TempDir,
}

/// One edge whose first core URL leads nowhere.
async fn world() -> World {
    world_on(Disk::new(0)).await
}

/// The same, with as much room as this disk says.
async fn world_on(disk: Disk) -> World {
    let core: SharedCore = Arc::new(Mutex::new(Core::new(4)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let core_url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new()
        .route("/v1/sync", post(answer))
        .route("/v1/plugins/stock", get(async || skerry_runtime::standard::STOCK.component))
        .with_state(core.clone());
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let options = EdgeOptions {
        replica: "shop".parse().unwrap(),
        cores: vec![format!("http://{nobody}"), core_url],
        data: folder.path().to_owned(),
        subscription: None,
    };
    let edge = Edge::open_on(options, Arc::new(disk)).await.unwrap();
    let listener = http::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(http::serve(edge.clone(), listener, std::future::pending()));
    let client = Client::new(std::slice::from_ref(&url), None).unwrap();
    World { core, edge, client, url, _folder: folder }
}

/// Waits until something is so.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn at(key: &str) -> Address {
    Address { collection: "items".parse().unwrap(), key: key.parse().unwrap() }
}

fn object(value: serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_syncs_over_http() {
    let World { core, edge, client, url, _folder } = world().await;
    until("it is ready", async || edge.is_ready()).await;
    let any = Conditions::default();
    client.put(&at("rope"), &object(json!({"n": 1})), &any).await.unwrap();
    until("the core has the write", async || core.lock().view("rope") == Some(json!({"n": 1}))).await;
    until("the edge has the outcome", async || {
        client.get(&at("rope"), Consistency::Local).await.unwrap().stamp.state == DocumentState::Committed
    })
    .await;
    core.lock().write("lamp", &Write::Put(object(json!({"n": 2}))));
    until("the edge has the core's write", async || client.get(&at("lamp"), Consistency::Local).await.is_ok()).await;

    edge.set_online(false);
    until("it is offline", async || !edge.status().connected).await;
    client.put(&at("lamp"), &object(json!({"n": 3})), &any).await.unwrap();
    let lamp = client.get(&at("lamp"), Consistency::Linearizable).await.unwrap();
    assert_eq!((lamp.stamp.state, lamp.view.bytes().as_ref()), (DocumentState::Provisional, &br#"{"n":3}"#[..]));
    assert!(matches!(edge.sync_now().await, Err(sync::Error::Offline)));
    let status = client.sync_status().await.unwrap();
    assert_eq!((status.unsent, status.error.as_deref()), (1, Some("this edge is set offline")));
    edge.set_online(true);
    let response = reqwest::Client::new().post(format!("{url}/v1/sync")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let status: SyncStatus = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!((status.unsent, status.documents, status.copied), (0, 2, true));
    assert_eq!(core.lock().view("lamp"), Some(json!({"n": 3})));

    assert_eq!(client.collections().await.unwrap().collections.len(), 2);
    let foreign = reqwest::Client::new().get(format!("{url}/v1/collections")).header("host", "evil.example");
    assert_eq!(foreign.send().await.unwrap().status(), 403);
    for route in ["healthz", "readyz"] {
        assert_eq!(reqwest::get(format!("{url}/{route}")).await.unwrap().status(), 200);
    }
    edge.close().await.unwrap();
    assert!(!edge.is_ready());
    assert_eq!(
        client.put(&at("rope"), &object(json!({})), &any).await.unwrap_err().problem().unwrap().kind.status(),
        503
    );
}

/// Two writers at once under the bundled stock plugin: the edge fetches it, and computes what the core will.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_is_fetched_by_its_digest() {
    let World { core, edge, client, _folder, .. } = world().await;
    let digest = PluginDigest::of(skerry_runtime::standard::STOCK.component);
    core.lock().set_collection(1, "items", "plugin:stock".parse().unwrap(), Some(digest));
    until("the edge has the plugin", async || {
        edge.owner.run(|replica| Ok(replica.components())).await.unwrap() == [digest]
    })
    .await;
    let collection = client.collection(&"items".parse().unwrap()).await.unwrap();
    assert_eq!(collection.plugin, Some(digest));
    edge.close().await.unwrap();
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let refused = http::bind("0.0.0.0:0".parse().unwrap()).await.unwrap_err().to_string();
    assert!(refused.starts_with("0.0.0.0:0 is not a loopback address"), "{refused}");
}

/// Many writers at once: all are answered, and all are in the core in the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_share_commits_and_all_arrive() {
    let World { core, edge, _folder, .. } = world().await;
    until("it is ready", async || edge.is_ready()).await;
    let writes = (0..200).map(|number| {
        let edge = edge.clone();
        async move {
            let write = Write::Patch(json!({ format!("f{number}"): number }));
            let request = WriteRequest::new(write);
            edge.write(at(&format!("d{}", number % 7)), request).await.unwrap();
        }
    });
    futures::future::join_all(writes).await;
    edge.sync_now().await.unwrap();
    let fields: usize =
        (0..7).map(|number| core.lock().view(&format!("d{number}")).unwrap().as_object().unwrap().len()).sum();
    assert_eq!(fields, 200);
    edge.close().await.unwrap();
}

/// A nearly full disk refuses an edge's own writes; reads go on, and so do writes when there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_reads_go_on() {
    let disk = Disk::new(0);
    let World { edge, client, _folder, .. } = world_on(disk.clone()).await;
    until("it is ready", async || edge.is_ready()).await;
    let any = Conditions::default();
    client.put(&at("rope"), &object(json!({"n": 1})), &any).await.unwrap();
    disk.set_room(Room { free: 0, total: 1 << 40 });
    until("writes are refused", async || {
        let written = client.put(&at("rope"), &object(json!({"n": 1})), &any).await;
        written.is_err_and(|error| error.problem().unwrap().kind == Kind::DiskFull)
    })
    .await;
    assert_eq!(client.get(&at("rope"), Consistency::Local).await.unwrap().view.bytes().as_ref(), br#"{"n":1}"#);
    disk.set_room(Room { free: 1 << 40, total: 1 << 40 });
    until("writes are taken", async || client.put(&at("rope"), &object(json!({"n": 2})), &any).await.is_ok()).await;
    edge.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_hears_of_changes_and_how_far_its_own_have_come() {
    let world = world().await;
    let at = Address { collection: "items".parse().unwrap(), key: "rope".parse().unwrap() };
    let put = || WriteRequest::new(Write::Put(serde_json::Map::new()));
    world.edge.sync_now().await.unwrap();
    let mut changes = world.edge.changes();
    world.edge.set_online(false);
    world.edge.write(at.clone(), put()).await.unwrap();
    assert_eq!(changes.next().await, Some(Heard::Changed(at.clone())));
    let progress = world.edge.progress(at.clone()).await.unwrap();
    assert_eq!((progress.stored, progress.acknowledged, progress.provisional), (1, 0, true));
    assert_eq!(progress.published, None);
    world.edge.set_online(true);
    world.edge.sync_now().await.unwrap();
    let progress = world.edge.progress(at.clone()).await.unwrap();
    assert_eq!((progress.stored, progress.acknowledged, progress.provisional), (0, 0, false));
    assert!(progress.published.is_some());
    let other = Address { key: "lamp".parse().unwrap(), ..at.clone() };
    world.core.lock().write("lamp", &Write::Put(serde_json::Map::new()));
    let heard = async { while changes.next().await != Some(Heard::Changed(other.clone())) {} };
    tokio::time::timeout(Duration::from_secs(60), heard).await.unwrap();
    // A listener that is too slow is told how much it has missed.
    let numbers: Vec<_> = (0..limits::CHANGES_MAX + limits::GROUP_COMMANDS_MAX).collect();
    for group in numbers.chunks(limits::GROUP_COMMANDS_MAX) {
        let writes = group.iter().map(|number| {
            let at = Address { key: format!("k{number}").parse().unwrap(), ..at.clone() };
            world.edge.write(at, put())
        });
        futures::future::try_join_all(writes).await.unwrap();
    }
    assert!(matches!(changes.next().await, Some(Heard::Missed(missed)) if missed > 0));
    world.edge.close().await.unwrap();
    while changes.next().await.is_some() {}
}
