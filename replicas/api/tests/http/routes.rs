//! Requests and answers, one line each.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use skerry_api::limits::DOCUMENT_BODY_BYTES_MAX;
use skerry_api::problem::{Kind, Outcome, Problem};
use skerry_api::{cbor, routes};
use skerry_model::limits::{DOCUMENT_BYTES_MAX, KEY_BYTES_MAX};
use tower::ServiceExt;

use crate::memory::{Memory, REASON, TROUBLED, unavailable};

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn router(memory: &Memory) -> Router {
    routes::with_problem_fallbacks(routes::documents(memory.clone()))
}

pub(crate) async fn answer(router: Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Sends `METHOD /path`; a path without `/v1` is a document of `items`.
async fn send(memory: &Memory, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let (method, path) = line.split_once(' ').unwrap();
    let uri = if path.starts_with("/v1") { path.to_owned() } else { format!("/v1/collections/items/documents{path}") };
    let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(router(memory), request.body(body.into()).unwrap()).await
}

async fn with_lantern() -> Memory {
    let memory = Memory::default();
    let answer = send(&memory, "PUT /lantern", &[], r#"{ "stock": 3.0, "name": "Lantern" }"#).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    memory
}

#[track_caller]
fn check_problem(answer: &Answer, kind: Kind, detail: &str) {
    assert_eq!(answer.status.as_u16(), kind.status(), "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!(body["type"], format!("urn:skerry:problem:{}", kind.name()));
    assert_eq!((&body["title"], &body["status"]), (&json!(kind.title()), &json!(kind.status())));
    assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
}

#[tokio::test]
async fn a_document_is_answered_as_its_canonical_bytes() {
    let memory = with_lantern().await;
    let answer = send(&memory, "GET /lantern", &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body, br#"{"name":"Lantern","stock":3}"#);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("etag"), Some("\"t1.1.0-ab\""));
    assert_eq!(answer.header("skerry-scn"), Some("t1.1"));
    assert_eq!(answer.header("skerry-policy"), Some("plugin:stock"));
    assert_eq!(answer.header("skerry-state"), Some("committed"));
    assert_eq!(answer.header("skerry-conflicts"), None);
    assert_eq!(answer.header("skerry-fallback"), None);
    let head = send(&memory, "HEAD /lantern?consistency=local", &[], "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn conflicts_and_fallback_are_in_the_headers() {
    let memory = Memory::default();
    send(&memory, &format!("PUT /{TROUBLED}"), &[], r#"{"stock":9}"#).await;
    let answer = send(&memory, &format!("GET /{TROUBLED}"), &[], "").await;
    assert_eq!(answer.header("skerry-conflicts"), Some("1"));
    let fallback = answer.header("skerry-fallback").unwrap();
    assert_eq!(fallback, "fuel ran out%0Aat 100 %25 of it, %C3%A9");
    let conflicts = send(&memory, &format!("GET /{TROUBLED}/conflicts"), &[], "").await.json();
    assert_eq!(conflicts["fallback"], REASON);
    assert_eq!(conflicts["conflicts"][0]["path"], "/stock");
    assert_eq!(conflicts["conflicts"][0]["candidates"][1]["origin"], "shop-b");
    assert_eq!(conflicts["conflicts"][0]["shown"], 9);
}

#[tokio::test]
async fn writes_answer_what_they_did() {
    let memory = with_lantern().await;
    let put = send(&memory, "PUT /lantern", &[], r#"{"stock":2}"#).await;
    assert_eq!((put.status, put.json()), (StatusCode::OK, json!({"change": "updated", "etag": "t1.2.0-ab"})));
    assert_eq!(put.header("etag"), Some("\"t1.2.0-ab\""));
    let merge_patch = [("content-type", "application/merge-patch+json")];
    let patch = send(&memory, "PATCH /lantern", &merge_patch, r#"{"stock":null,"wick":"flat"}"#).await;
    assert_eq!((patch.status, &patch.json()["change"]), (StatusCode::OK, &json!("updated")));
    assert_eq!(send(&memory, "GET /lantern", &[], "").await.body, br#"{"wick":"flat"}"#);
    let delete = send(&memory, "DELETE /lantern", &[], "").await;
    assert_eq!((delete.status, delete.json()), (StatusCode::OK, json!({"change": "deleted"})));
    assert_eq!(delete.header("etag"), None);
    check_problem(&send(&memory, "GET /lantern", &[], "").await, Kind::DocumentNotFound, "lantern");
}

#[tokio::test]
async fn keys_are_percent_encoded_segments() {
    let longest = "k".repeat(KEY_BYTES_MAX);
    for key in ["a%2Fb", "%2F", "caf%C3%A9", "a%20b%3Fc%23d", "100%25", "%2E%2E", "conflicts", longest.as_str()] {
        let memory = Memory::default();
        let put = send(&memory, &format!("PUT /{key}"), &[], "{}").await;
        assert_eq!(put.status, StatusCode::CREATED, "{key}");
        assert_eq!(send(&memory, &format!("GET /{key}"), &[], "").await.status, StatusCode::OK, "{key}");
        let page = send(&memory, "GET /v1/collections/items/documents", &[], "").await.json();
        let decoded = percent_encoding::percent_decode_str(key).decode_utf8().unwrap();
        assert_eq!(page["documents"][0]["key"], *decoded, "{key}");
    }
    let memory = Memory::default();
    check_problem(&send(&memory, &format!("PUT /{longest}k"), &[], "{}").await, Kind::Malformed, "key is 513 bytes");
    check_problem(&send(&memory, "GET /%FF", &[], "").await, Kind::Malformed, "UTF-8");
    check_problem(&send(&memory, "GET /v1/collections/Items/documents/a", &[], "").await, Kind::Malformed, "'I'");
}

#[tokio::test]
async fn conditions_decide() {
    let memory = with_lantern().await;
    let (now, other) = ("\"t1.1.0-ab\"", "\"t1.9.0-ab\"");
    for (line, header, expected) in [
        ("GET /lantern", ("if-none-match", now), 304),
        ("GET /lantern", ("if-none-match", "W/\"t1.1.0-ab\", \"x\""), 304),
        ("GET /lantern", ("if-none-match", "*"), 304),
        ("GET /lantern", ("if-none-match", other), 200),
        ("GET /lantern", ("if-match", now), 200),
        ("GET /lantern", ("if-match", other), 412),
        ("PUT /lantern", ("if-none-match", "*"), 412),
        ("PUT /lantern", ("if-match", other), 412),
        ("PUT /lantern", ("if-match", "W/\"t1.1.0-ab\""), 412),
        ("PUT /rope", ("if-match", "*"), 412),
        ("PATCH /lantern", ("if-match", other), 412),
        ("DELETE /lantern", ("if-match", other), 412),
        ("PUT /lantern", ("if-match", "t1.1.0-ab"), 400),
        ("PUT /rope", ("if-none-match", "*"), 201),
        ("PUT /lantern", ("if-match", now), 200),
    ] {
        let answer = send(&memory, line, &[header], r#"{"stock":1}"#).await;
        assert_eq!(answer.status.as_u16(), expected, "{line} {header:?}");
        match expected {
            304 => {
                assert_eq!((answer.header("etag"), answer.body.len()), (Some(now), 0));
            }
            412 => check_problem(&answer, Kind::PreconditionFailed, "version"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn bodies_have_limits() {
    let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - r#"{"a":""}"#.len()));
    let memory = Memory::default();
    let spaced = |bytes: usize| format!("{{{}}}", " ".repeat(bytes - 2));
    assert_eq!(send(&memory, "PUT /a", &[], sized(DOCUMENT_BYTES_MAX)).await.status, StatusCode::CREATED);
    assert_eq!(send(&memory, "PUT /b", &[], spaced(DOCUMENT_BODY_BYTES_MAX)).await.status, StatusCode::CREATED);
    let past = send(&memory, "PUT /a", &[], sized(DOCUMENT_BYTES_MAX + 1)).await;
    check_problem(&past, Kind::TooLarge, "the document is 1048577 bytes, the limit is 1048576");
    for method in ["PUT", "PATCH"] {
        let past = send(&memory, &format!("{method} /a"), &[], spaced(DOCUMENT_BODY_BYTES_MAX + 1)).await;
        check_problem(&past, Kind::TooLarge, "the body is longer than 2097152 bytes");
    }
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
    check_problem(&send(&memory, "PUT /a", &[], Body::from_stream(endless)).await, Kind::TooLarge, "2097152");
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let memory = with_lantern().await;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(65), "}".repeat(65));
    for (line, body, kind, detail) in [
        ("PUT /a", "{", Kind::Malformed, "not valid JSON"),
        ("PUT /a", "", Kind::Malformed, "not valid JSON"),
        ("PUT /a", "[]", Kind::Malformed, "must be a JSON object, this is an array"),
        ("PUT /a", r#"{"n":9007199254740992}"#, Kind::Malformed, "at /n is beyond 2^53 - 1"),
        ("PUT /a", &deep, Kind::Malformed, "deeper than 64 levels"),
        ("PATCH /lantern", "7", Kind::Malformed, "must be a JSON object, this is a number"),
        ("PUT /a?wait=core", "{}", Kind::Malformed, "unknown field `wait`"),
        ("PATCH /a?x=1", "{}", Kind::Malformed, "unknown field `x`"),
        ("DELETE /a?x=1", "", Kind::Malformed, "unknown field `x`"),
        ("GET /lantern?as_of=1", "", Kind::Malformed, "unknown field `as_of`"),
        ("GET /lantern?consistency=eventual", "", Kind::Malformed, "unknown variant `eventual`"),
        ("GET /lantern/conflicts?y=1", "", Kind::Malformed, "unknown field `y`"),
        ("GET ?limit=0", "", Kind::Malformed, "limit is 0, it must be 1 to 1000"),
        ("GET ?limit=1001", "", Kind::Malformed, "limit is 1001, it must be 1 to 1000"),
        ("GET ?limit=many", "", Kind::Malformed, "limit"),
        ("GET ?order=desc", "", Kind::Malformed, "unknown field `order`"),
        ("GET /v1/collections/nowhere/documents", "", Kind::CollectionNotFound, "nowhere"),
        ("GET /lantern/history", "", Kind::RouteNotFound, "/lantern/history"),
        ("GET /v1/nothing", "", Kind::RouteNotFound, "/v1/nothing"),
        ("POST /lantern", "{}", Kind::MethodNotAllowed, "POST"),
        ("DELETE /lantern/conflicts", "", Kind::MethodNotAllowed, "DELETE"),
    ] {
        let answer = send(&memory, line, &[], body.to_owned()).await;
        check_problem(&answer, kind, detail);
        if kind == Kind::MethodNotAllowed {
            assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{line}");
        }
    }
    let prefix = "p".repeat(KEY_BYTES_MAX + 1);
    check_problem(&send(&memory, &format!("GET ?prefix={prefix}"), &[], "").await, Kind::Malformed, "prefix is 513");
}

#[tokio::test]
async fn bodies_come_in_formats_that_are_named() {
    let memory = with_lantern().await;
    for (line, media_type, expected) in [
        ("PUT /lantern", "application/json; charset=utf-8", 200),
        ("PUT /lantern", "Application/JSON", 200),
        ("PUT /lantern", "application/merge-patch+json", 415),
        ("PUT /lantern", "text/plain", 415),
        ("PUT /lantern", "application/x-www-form-urlencoded", 415),
        ("PATCH /lantern", "application/json", 200),
        ("PATCH /lantern", "application/merge-patch+json", 200),
        ("PATCH /lantern", "application/json-patch+json", 415),
    ] {
        let answer = send(&memory, line, &[("content-type", media_type)], r#"{"stock":3}"#).await;
        assert_eq!(answer.status.as_u16(), expected, "{line} {media_type}");
        if expected == 415 {
            check_problem(&answer, Kind::UnsupportedMediaType, "this route takes");
        }
    }
}

#[tokio::test]
async fn cbor_round_trips() {
    let memory = Memory::default();
    let document = json!({"name": "Lantern", "stock": 3, "price": 12.5, "tags": ["brass", null, true]});
    let (sent, wanted) = (("content-type", "application/cbor"), ("accept", "application/cbor"));
    let put = send(&memory, "PUT /lantern", &[sent, wanted], cbor::encode(&document)).await;
    assert_eq!((put.status, put.header("content-type")), (StatusCode::CREATED, Some("application/cbor")));
    assert_eq!(cbor::decode(&put.body).unwrap()["change"], "created");
    let patch = send(&memory, "PATCH /lantern", &[sent], cbor::encode(&json!({"stock": 2}))).await;
    assert_eq!(patch.status, StatusCode::OK);
    let get = send(&memory, "GET /lantern", &[wanted], "").await;
    assert_eq!(get.header("content-type"), Some("application/cbor"));
    assert_eq!(get.header("etag"), Some("\"t1.2.0-ab\""));
    let read = cbor::decode(&get.body).unwrap();
    assert_eq!((&read["stock"], &read["price"], &read["tags"]), (&json!(2), &json!(12.5), &document["tags"]));
    let page = cbor::decode(&send(&memory, "GET ", &[wanted], "").await.body).unwrap();
    assert_eq!(page["documents"][0]["value"], read);
    let conflicts = cbor::decode(&send(&memory, "GET /lantern/conflicts", &[wanted], "").await.body).unwrap();
    assert_eq!(conflicts["conflicts"], json!([]));
    check_problem(&send(&memory, "PUT /a", &[sent], "{}").await, Kind::Malformed, "CBOR");
    check_problem(&send(&memory, "PUT /a", &[sent], vec![0x80]).await, Kind::Malformed, "an array");
}

async fn with_many(count: usize) -> Memory {
    let memory = Memory::default();
    for at in 0..count {
        send(&memory, &format!("PUT /k{at:05}"), &[], format!(r#"{{"at":{at}}}"#)).await;
    }
    memory
}

#[tokio::test]
async fn pages_lead_through_a_collection() {
    let memory = with_many(250).await;
    let (mut path, mut seen, mut pages) = ("GET ?prefix=k00".to_owned(), Vec::new(), 0);
    loop {
        let page = send(&memory, &path, &[("accept", "*/*")], "").await.json();
        pages += 1;
        seen.extend(page["documents"].as_array().unwrap().iter().map(|listed| listed["value"]["at"].as_u64().unwrap()));
        assert_eq!(page["documents"][0]["conflicts"], 0);
        assert!(page["documents"][0]["etag"].is_string());
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("GET ?prefix=k00&cursor={cursor}");
    }
    assert_eq!((pages, seen), (3, (0..250).collect::<Vec<_>>()));
    let one = send(&memory, "GET ?limit=1&prefix=k00249", &[], "").await;
    assert_eq!(
        String::from_utf8(one.body).unwrap(),
        r#"{"documents":[{"key":"k00249","etag":"t1.250.0-ab","conflicts":0,"value":{"at":249}}],"cursor":null}"#
    );
}

#[tokio::test]
async fn lines_stream_to_the_end() {
    let memory = with_many(25).await;
    let before = memory.requests();
    let answer = send(&memory, "GET ?limit=10", &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(text.lines().count(), 25);
    assert_eq!(text.lines().next(), Some(r#"{"key":"k00000","value":{"at":0}}"#));
    assert_eq!(memory.requests() - before, 3, "pages of ten, one after another");
}

#[tokio::test]
async fn a_stream_that_fails_breaks_off() {
    let memory = with_many(25).await;
    let uri = "/v1/collections/items/documents?limit=10";
    let request = Request::get(uri).header("accept", "application/x-ndjson").body(Body::empty()).unwrap();
    let response = router(&memory).oneshot(request).await.unwrap();
    memory.fail_with([Problem::new(Kind::CursorGone, "the cursor is of another timeline")]);
    assert_eq!(response.status(), StatusCode::OK);
    assert!(to_bytes(response.into_body(), usize::MAX).await.is_err());
    memory.fail_with([Problem::new(Kind::CursorGone, "the cursor is of another timeline")]);
    let first = send(&memory, "GET ?cursor=x", &[("accept", "application/x-ndjson")], "").await;
    check_problem(&first, Kind::CursorGone, "timeline");
}

#[tokio::test]
async fn a_503_says_what_is_known_of_the_write() {
    let memory = Memory::default();
    memory.fail_with([unavailable(Outcome::Unknown), unavailable(Outcome::NotProposed)]);
    for expected in ["unknown", "not-proposed"] {
        let answer = send(&memory, "PUT /a", &[], "{}").await;
        check_problem(&answer, Kind::Unavailable, "no leader");
        assert_eq!(answer.json()["outcome"], expected);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(send(&memory, "GET /a", &[], "").await.json().get("outcome").is_none());
}

#[tokio::test]
async fn conflicts_are_settled_at_the_version_that_was_seen() {
    let memory = Memory::default();
    send(&memory, "PUT /troubled", &[], r#"{ "stock": 9 }"#).await;
    let etag = send(&memory, "GET /troubled/conflicts", &[], "").await.header("etag").unwrap().to_owned();
    let settle = async |choice: &str, headers: &[(&str, &str)]| {
        let body = format!(r#"{{ "settle": {choice} }}"#);
        send(&memory, "POST /troubled/conflicts", headers, body).await
    };
    for (choice, detail) in [
        (r#"{ "/price": "remove" }"#, "there is no open conflict at \"/price\": conflicts show has their paths"),
        (r#"{ "/stock": { "candidate": 2 } }"#, "/stock has no candidate 2: there are 2, counted from 0"),
    ] {
        check_problem(&settle(choice, &[]).await, Kind::Refused, detail);
    }
    assert_eq!(settle(r#"{ "/stock": { "chosen": 2 } }"#, &[]).await.status, StatusCode::BAD_REQUEST);
    let other = settle(r#"{ "/stock": "remove" }"#, &[("if-match", "\"other\"")]).await;
    assert_eq!(other.status, StatusCode::PRECONDITION_FAILED);
    let settled = settle(r#"{ "/stock": { "candidate": 0 } }"#, &[("if-match", &etag)]).await;
    assert_eq!(settled.status, StatusCode::OK);
    let read = send(&memory, "GET /troubled", &[], "").await.json();
    assert_eq!(read, json!({ "settled": { "/stock": 8 } }));
}
