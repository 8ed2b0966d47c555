//! The client against a server on a real socket.

use std::pin::pin;

use axum::routing::{get, put};
use axum::{Json, Router};
use futures::TryStreamExt;
use serde_json::{Map, Value, json};
use skerry_api::bodies::{Collection, CollectionSpec};
use skerry_api::client::{Client, Error};
use skerry_api::documents::{Address, Change, Conditions, Consistency, Match, SCAN_LIMIT_MAX, Scan, State};
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_api::routes;
use skerry_model::policy::Policy;

use crate::memory::{Memory, REASON, TROUBLED, unavailable};

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn client_of(memory: &Memory) -> Client {
    let router = routes::with_problem_fallbacks(routes::documents(memory.clone()));
    Client::new(&[serve(router).await], None).unwrap()
}

fn at(key: &str) -> Address {
    Address { collection: "items".parse().unwrap(), key: key.parse().unwrap() }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[tokio::test]
async fn documents_are_written_read_and_deleted() {
    let client = client_of(&Memory::default()).await;
    let (at, any) = (at("a/b ü?"), Conditions::default());
    let written = client.put(&at, &object(json!({"stock": 3})), &any).await.unwrap();
    assert_eq!(written.change, Change::Created);
    let stamp = written.stamp.unwrap();
    assert_eq!((stamp.scn.as_deref(), stamp.state), (Some("t1.1"), State::Committed));
    let patched = client.patch(&at, &object(json!({"wick": "flat"})), &any).await.unwrap();
    assert_eq!(patched.change, Change::Updated);
    let read = client.get(&at, Consistency::Linearizable).await.unwrap();
    assert_eq!(read.view.bytes().as_ref(), br#"{"stock":3,"wick":"flat"}"#);
    assert_eq!((read.stamp, read.conflicts, read.fallback), (patched.stamp.unwrap(), 0, None));

    let stale = Conditions { if_match: Some(Match::Tags(vec![stamp.etag])), if_none_match: None };
    let refused = client.delete(&at, &stale).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().kind, Kind::PreconditionFailed);
    assert_eq!(client.delete(&at, &any).await.unwrap().change, Change::Deleted);
    let missing = client.get(&at, Consistency::Local).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no document a/b ü?");
}

#[tokio::test]
async fn operations_arrive_as_they_were_sent() {
    let client = client_of(&Memory::default()).await;
    let operation = json!({ "inc": 5, "of": ["a", null] });
    let written = client.operate(&at("a"), &operation, &Conditions::default()).await.unwrap();
    assert_eq!(written.change, Change::Created);
    let read = client.get(&at("a"), Consistency::Linearizable).await.unwrap();
    assert_eq!(read.view.object().unwrap()["operation"], operation);
    let lossy = client.operate(&at("a"), &json!(1_u64 << 60), &Conditions::default()).await.unwrap_err();
    assert!(lossy.to_string().contains("beyond 2^53 - 1"), "{lossy}");
}

#[tokio::test]
async fn conflicts_and_fallback_arrive_unchanged() {
    let client = client_of(&Memory::default()).await;
    client.put(&at(TROUBLED), &object(json!({"stock": 9})), &Conditions::default()).await.unwrap();
    let read = client.get(&at(TROUBLED), Consistency::Linearizable).await.unwrap();
    assert_eq!((read.conflicts, read.fallback.as_deref()), (1, Some(REASON)));
    let conflicts = client.conflicts(&at(TROUBLED), Consistency::Linearizable).await.unwrap();
    assert_eq!(conflicts.conflicts[0].conflict.candidates.len(), 2);
    assert_eq!(conflicts.conflicts[0].shown, Some(json!(9)));
}

#[tokio::test]
async fn scans_go_page_by_page() {
    let client = client_of(&Memory::default()).await;
    for key in ["a/1", "a/2", "b"] {
        client.put(&at(key), &object(json!({ "key": key })), &Conditions::default()).await.unwrap();
    }
    let items = "items".parse().unwrap();
    let scan = Scan { prefix: "a/".to_owned(), limit: 1, cursor: None, consistency: Consistency::Local };
    let first = client.page(&items, &scan).await.unwrap();
    let second = client.page(&items, &Scan { cursor: first.cursor.clone(), ..scan }).await.unwrap();
    assert_eq!(first.documents[0].key.as_str(), "a/1");
    assert_eq!((second.documents[0].key.as_str(), second.cursor), ("a/2", None));
    let all = client.scan_all(&items, "", Consistency::Linearizable);
    let keys: Vec<_> = pin!(all).map_ok(|listed| listed.key.to_string()).try_collect().await.unwrap();
    assert_eq!(keys, ["a/1", "a/2", "b"]);
    let too_many =
        Scan { prefix: String::new(), limit: SCAN_LIMIT_MAX + 1, cursor: None, consistency: Consistency::Local };
    assert!(client.page(&items, &too_many).await.unwrap_err().to_string().contains("must be 1 to 1000"));
}

/// The server refuses twice, and counts how often it was asked.
#[tokio::test]
async fn only_what_was_not_proposed_is_repeated() {
    let memory = Memory::default();
    let once = client_of(&memory).await;
    let patient = once.clone().with_retries();
    let (document, any) = (object(json!({})), Conditions::default());
    let overloaded = || Problem::new(Kind::Overloaded, "256 requests wait already");

    memory.fail_with([overloaded(), unavailable(Outcome::NotProposed)]);
    assert_eq!(patient.put(&at("a"), &document, &any).await.unwrap().change, Change::Created);
    assert_eq!(memory.requests(), 3);

    memory.fail_with([overloaded(), unavailable(Outcome::Unknown)]);
    let unknown = patient.put(&at("b"), &document, &any).await.unwrap_err();
    assert_eq!(unknown.to_string(), "there is no leader: the write may or may not have happened");
    assert_eq!(memory.requests(), 5);

    memory.fail_with([unavailable(Outcome::Unknown)]);
    assert!(patient.get(&at("a"), Consistency::Linearizable).await.is_ok(), "reading again is safe");

    memory.fail_with([overloaded()]);
    assert_eq!(once.put(&at("c"), &document, &any).await.unwrap_err().problem(), Some(&overloaded()));
}

#[tokio::test]
async fn a_node_that_is_down_is_named_or_passed_over() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(std::slice::from_ref(&down), None).unwrap();
    let error = client.cluster().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot reach {down}: is the node running? --url or SKERRY_URL names another")
    );

    let up = serve(routes::documents(Memory::default())).await;
    let client = Client::new(&[down, up], None).unwrap();
    client.put(&at("a"), &object(json!({})), &Conditions::default()).await.unwrap();
}

#[tokio::test]
async fn a_node_that_does_not_serve_is_passed_over_where_nothing_is_done_twice() {
    let (waiting, serving) = (Memory::default(), Memory::default());
    let urls = [&waiting, &serving].map(|memory| serve(routes::documents(memory.clone())));
    let client = Client::new(&futures::future::join_all(urls).await, None).unwrap();
    let (document, any) = (object(json!({})), Conditions::default());

    waiting.fail_with([unavailable(Outcome::NotProposed)]);
    client.put(&at("a"), &document, &any).await.unwrap();
    assert_eq!((waiting.requests(), serving.requests()), (1, 1));

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let down = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let starting = Memory::default();
    starting.fail_with([unavailable(Outcome::NotProposed)]);
    let urls = [down, serve(routes::documents(starting.clone())).await];
    let patient = Client::new(&urls, None).unwrap().with_retries();
    patient.put(&at("a"), &document, &any).await.unwrap();
    assert_eq!(starting.requests(), 2, "it is worth another attempt while one of them answers");

    serving.fail_with([unavailable(Outcome::Unknown)]);
    client.put(&at("b"), &document, &any).await.unwrap_err();
    assert_eq!(waiting.requests(), 1, "a write that may have happened is not sent to another");
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_a_write_unknown() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
        }
    });
    let client = Client::new(&[url], None).unwrap().with_retries();
    let error = client.put(&at("a"), &object(json!({})), &Conditions::default()).await.unwrap_err().to_string();
    assert!(error.ends_with("broke before the answer was complete: the write may or may not have happened"), "{error}");
    let error = client.cluster().await.unwrap_err().to_string();
    assert!(error.ends_with("broke before the answer was complete"), "{error}");
}

#[tokio::test]
async fn answers_that_are_not_ours_are_said_to_be_so() {
    let router = Router::new().route("/v1/cluster", get(|| async { "hello" }));
    let client = Client::new(&[serve(router).await], None).unwrap();
    assert!(matches!(client.cluster().await, Err(Error::NotUnderstood { .. })));
    let error = client.plugins().await.unwrap_err().to_string();
    assert!(error.ends_with("status 404 Not Found without a problem document"), "{error}");
}

#[tokio::test]
async fn collections_are_put_and_the_token_is_sent() {
    let echo = |headers: axum::http::HeaderMap, Json(spec): Json<CollectionSpec>| async move {
        assert_eq!(headers["authorization"], "Bearer secret");
        Json(Collection { name: "items".parse().unwrap(), spec, plugin: None })
    };
    let url = serve(Router::new().route("/v1/collections/items", put(echo))).await;
    let client = Client::new(&[url], Some("secret")).unwrap();
    let spec = CollectionSpec {
        policy: Policy::Lww,
        template: None,
        text: vec!["/body".to_owned()],
        settle: false,
        inbox: None,
    };
    let collection = client.put_collection(&"items".parse().unwrap(), &spec).await.unwrap();
    assert_eq!(collection.spec, spec);
    assert!(!format!("{client:?}").contains("secret"));
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    for url in ["", "localhost:7400", "ftp://localhost", "http://localhost/path", "http://localhost?x"] {
        assert!(matches!(Client::new(&[url.to_owned()], None), Err(Error::Url { .. })), "{url}");
    }
    assert!(matches!(Client::new(&["http://localhost".to_owned()], Some("a\nb")), Err(Error::Token)));
    let client = client_of(&Memory::default()).await;
    for key in [".", ".."] {
        assert!(matches!(client.get(&at(key), Consistency::Local).await, Err(Error::Key { .. })));
    }
}
