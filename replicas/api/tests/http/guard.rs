//! What no web page may do.

use axum::body::Body;
use axum::http::{Method, Request};
use skerry_api::guard::{Allowed, guard};
use skerry_api::routes;

use crate::memory::Memory;
use crate::routes::{Answer, answer};

async fn send(method: Method, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let allowed = Allowed::new(["db.example".to_owned()], ["https://console.example".to_owned()]);
    let router = guard(routes::with_problem_fallbacks(routes::documents(Memory::default())), allowed);
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(router, request.body(Body::from("{}")).unwrap()).await
}

const DOCUMENT: &str = "/v1/collections/items/documents/a";

/// Each line a page's request, and whether it reaches a document: 201, or 403 as a problem before anything is done.
#[tokio::test]
async fn only_our_own_pages_reach_the_documents() {
    for (headers, expected) in [
        (&[("host", "127.0.0.1:7400")][..], 201),
        (&[("host", "db.example:7400")], 201),
        (&[("host", "localhost:7400"), ("origin", "http://localhost:7400")], 201),
        (&[("host", "127.0.0.1:7400"), ("origin", "https://console.example")], 201),
        // A page of another site, and one whose name was rebound to loopback.
        (&[("host", "127.0.0.1:7400"), ("origin", "https://evil.example")], 403),
        (&[("host", "evil.example:7400"), ("origin", "http://evil.example:7400")], 403),
        (&[("host", "evil.example")], 403),
        (&[("host", "127.0.0.1:7400"), ("origin", "null")], 403),
        (&[], 400),
        (&[("host", "127.0.0.1"), ("host", "127.0.0.1")], 400),
        (&[("host", "127.0.0.1"), ("origin", "http://127.0.0.1"), ("origin", "null")], 400),
    ] {
        let answer = send(Method::PUT, DOCUMENT, headers).await;
        assert_eq!(answer.status.as_u16(), expected, "{headers:?}");
        if expected == 403 {
            assert_eq!(answer.json()["type"], "urn:skerry:problem:forbidden");
        }
    }
}

#[tokio::test]
async fn the_target_counts_as_much_as_the_header() {
    let uri = format!("http://evil.example{DOCUMENT}");
    assert_eq!(send(Method::GET, &uri, &[("host", "127.0.0.1")]).await.status.as_u16(), 403);
    let uri = format!("http://127.0.0.1:7400{DOCUMENT}");
    assert_eq!(send(Method::PUT, &uri, &[("host", "127.0.0.1:7400")]).await.status.as_u16(), 201);
}

#[tokio::test]
async fn routes_that_do_not_exist_are_guarded_too() {
    assert_eq!(send(Method::GET, "/nothing", &[("host", "evil.example")]).await.status.as_u16(), 403);
    assert_eq!(send(Method::GET, "/nothing", &[("host", "localhost")]).await.status.as_u16(), 404);
}

#[tokio::test]
async fn configured_origins_may_read_the_answers() {
    let from = |origin| [("host", "127.0.0.1:7400"), ("origin", origin), ("access-control-request-method", "PUT")];
    let preflight = send(Method::OPTIONS, DOCUMENT, &from("https://console.example")).await;
    assert_eq!(preflight.status.as_u16(), 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://console.example"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("PUT"));
    let put = send(Method::PUT, DOCUMENT, &from("https://console.example")).await;
    assert_eq!(put.status.as_u16(), 201);
    assert_eq!(put.header("access-control-allow-origin"), Some("https://console.example"));
    let other = send(Method::OPTIONS, DOCUMENT, &from("https://evil.example")).await;
    assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (403, None));
}
