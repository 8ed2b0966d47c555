//! Keeps web pages away (DESIGN.md, Security). A page that a browser has open can send requests to loopback, and by
//! rebinding its own name to 127.0.0.1 even read the answers; what it cannot forge are `Host` and `Origin`. So `Host`
//! must be loopback or configured, and `Origin`, which only browsers send, must be this server's own or configured.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};

use crate::problem::{Kind, Problem};

/// Which hosts and origins a server answers to beside loopback and itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
}

impl Allowed {
    /// These host names, without a port, and these origins, written as browsers do: `https://console.example:8443`.
    pub fn new(hosts: impl IntoIterator<Item = String>, origins: impl IntoIterator<Item = String>) -> Self {
        let lower = |text: String| text.to_ascii_lowercase();
        Self { hosts: hosts.into_iter().map(lower).collect(), origins: origins.into_iter().map(lower).collect() }
    }

    /// Whether an authority (`name`, `name:port`, `[v6]:port`) is loopback or configured.
    fn takes_host(&self, authority: &str) -> bool {
        let host = host_of(authority);
        let loopback = host == "localhost"
            || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
            || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback());
        loopback || self.hosts.contains(&host)
    }

    /// Whether pages of this origin may talk to the server that the client calls `authority`.
    fn takes_origin(&self, origin: &str, authority: &str) -> bool {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(authority)) || self.is_configured(origin)
    }

    fn is_configured(&self, origin: &str) -> bool {
        self.origins.contains(&origin.to_ascii_lowercase())
    }
}

/// The host of an authority, in lower case, without port and brackets.
fn host_of(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']').map_or("", |(host, _)| host),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.to_ascii_lowercase()
}

/// The same routes, behind the guard.
pub fn guard(router: Router, allowed: Allowed) -> Router {
    router.layer(middleware::from_fn_with_state(Arc::new(allowed), check))
}

async fn check(State(allowed): State<Arc<Allowed>>, request: Request, next: Next) -> Response {
    match judge(&allowed, &request) {
        Ok(None) => next.run(request).await,
        Ok(Some(origin)) => {
            let preflight =
                request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
            let mut response = if preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
            let headers = response.headers_mut();
            let mut set = |name, value| headers.append(name, HeaderValue::from_static(value));
            set(VARY, "origin");
            set(ACCESS_CONTROL_EXPOSE_HEADERS, "*, authorization");
            if preflight {
                set(ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, PATCH, POST, DELETE");
                set(ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization");
            }
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// The origin to answer to when it is a configured one (Fetch standard, CORS protocol), `None` where no browser asks on
/// behalf of another origin.
fn judge(allowed: &Allowed, request: &Request) -> Result<Option<HeaderValue>, Problem> {
    let forbidden = |detail| Err(Problem::new(Kind::Forbidden, detail));
    let from_header = only(request.headers(), HOST)?;
    let from_target = request.uri().authority().map(axum::http::uri::Authority::as_str);
    let Some(authority) = from_target.or(from_header) else {
        return Err(Problem::new(Kind::Malformed, "the request has no Host header"));
    };
    for host in [from_target, from_header].into_iter().flatten() {
        if !allowed.takes_host(host) {
            return forbidden(format!("the Host {host:?} is neither loopback nor configured"));
        }
    }
    let Some(origin) = only(request.headers(), ORIGIN)? else { return Ok(None) };
    if !allowed.takes_origin(origin, authority) {
        return forbidden(format!("pages of the Origin {origin:?} are not allowed here"));
    }
    Ok(allowed.is_configured(origin).then(|| request.headers()[ORIGIN].clone()))
}

/// The value of a header that may come once.
fn only(headers: &HeaderMap, name: axum::http::HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let (first, second) = (values.next(), values.next());
    match (first.map(|value| value.to_str()).transpose(), second) {
        (Ok(value), None) => Ok(value),
        _ => Err(Problem::new(Kind::Malformed, format!("the header {name} must come once, in plain text"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_host(authority: &str, expected: bool) {
        let allowed = Allowed::new(["Db.example".to_owned()], []);
        assert_eq!(allowed.takes_host(authority), expected, "{authority}");
    }

    #[test]
    fn hosts_are_loopback_or_configured() {
        for authority in ["127.0.0.1", "127.8.8.8:7400", "[::1]", "[::1]:7400", "localhost", "LocalHost:1"] {
            check_host(authority, true);
        }
        check_host("db.example:7400", true);
        for authority in ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1:7400"] {
            check_host(authority, false);
        }
        for authority in ["[::2]:1", "0.0.0.0", "[::ffff:127.0.0.1", "sub.db.example", "127.1", "user@127.0.0.1"] {
            check_host(authority, false);
        }
    }

    #[track_caller]
    fn check_origin(origin: &str, expected: bool) {
        let allowed = Allowed::new([], ["https://console.example:8443".to_owned()]);
        assert_eq!(allowed.takes_origin(origin, "127.0.0.1:7400"), expected, "{origin}");
    }

    #[test]
    fn origins_are_our_own_or_configured() {
        check_origin("http://127.0.0.1:7400", true);
        check_origin("https://console.example:8443", true);
        for origin in ["null", "http://127.0.0.1:3000", "http://localhost:7400", "https://console.example", "file://"] {
            check_origin(origin, false);
        }
    }
}
