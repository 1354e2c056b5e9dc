//! Keeps other sites out of a service on loopback: DNS rebinding, cross-site requests, floods.
//!
//! A page of some other site may make a browser send requests here. Such a request names another
//! `Host` (rebinding), another `Origin`, or tells so in `Sec-Fetch-Site`; it is refused before any
//! handler sees it. Git and registry clients send none of these and pass.

use std::net::IpAddr;

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    middleware::{self, Next},
    response::IntoResponse,
};

use crate::{ask::Ask, error::Fault};

/// Most bytes of all headers together.
const MAX_HEADERS: usize = 32 * 1024;
/// Longest URL.
const MAX_URL: usize = 8 * 1024;
/// Largest body of a request, except for the paths in [`LARGE`].
const MAX_BODY: u64 = 1 << 20;
/// Paths whose handlers bound their bodies themselves.
const LARGE: &[&str] = &["/git/", "/v2/", "/-/sync/"];

/// Puts the guard before all routes of a service that listens on loopback.
pub fn guard(router: Router) -> Router {
    router.layer(middleware::from_fn(check))
}

/// A refusal: status and message.
type Refusal = (StatusCode, &'static str);

async fn check(request: Request, next: Next) -> Response<Body> {
    let Err((status, message)) = judge(&request) else { return next.run(request).await };
    let fault = Fault::new(status, message);
    let mut response = if Ask::read(request.uri(), request.headers()).wants_json() {
        Json(fault.json()).into_response()
    } else {
        // No page: it would invite to follow links under a name that is not ours.
        format!("{message}\n").into_response()
    };
    *response.status_mut() = status;
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

fn judge(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let size: usize = headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 4).sum();
    if size > MAX_HEADERS {
        let message = "The headers are larger than 32 KiB.";
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
    }
    let url = request.uri().path_and_query().map_or(0, |url| url.as_str().len());
    if url > MAX_URL {
        return Err((StatusCode::URI_TOO_LONG, "The address is longer than 8 KiB."));
    }
    let host = host(request)?;
    origin(request, host)?;
    body(request.uri().path(), headers)
}

/// `Host` (and the authority of an absolute URL) must be a loopback name. Its port is the
/// browser's word on where it connected to, which may be the other end of a tunnel: any is good.
fn host(request: &Request) -> Result<&str, Refusal> {
    let foreign = (
        StatusCode::MISDIRECTED_REQUEST,
        "This Keg answers only to localhost and its loopback addresses, not to the name in this \
         request's Host. Use http://localhost with the port of this Keg.",
    );
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().map_err(|_| foreign)?,
        _ => return Err((StatusCode::BAD_REQUEST, "A request needs exactly one Host header.")),
    };
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if is_loopback(host) && authority.is_none_or(is_loopback) { Ok(host) } else { Err(foreign) }
}

/// A browser's word on which page made the request must name one of this very service: the
/// `Origin` is the `Host`, port included, so that an app on another port of this machine is
/// another site.
fn origin(request: &Request, host: &str) -> Result<(), Refusal> {
    let foreign = (StatusCode::FORBIDDEN, "Pages of other sites may not use this Keg.");
    let headers = request.headers();
    for origin in headers.get_all(header::ORIGIN) {
        let site = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        if !site.is_some_and(|site| site.eq_ignore_ascii_case(host)) {
            return Err(foreign);
        }
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let from_elsewhere = matches!(text("sec-fetch-site"), Some("cross-site" | "same-site"));
    // Following a link to a page is how the web works; anything else is not.
    let link = text("sec-fetch-mode") == Some("navigate")
        && matches!(*request.method(), Method::GET | Method::HEAD);
    if from_elsewhere && !link { Err(foreign) } else { Ok(()) }
}

/// Whether `name[:port]` is `localhost` or a loopback address.
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        // The colons of a bare IPv6 address are inside brackets.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse::<u16>().is_ok()),
        _ => (host, true),
    };
    let name = name.trim_end_matches('.');
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inside) => inside.parse().map(IpAddr::V6),
        None => name.parse().map(IpAddr::V4),
    };
    let local = name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.is_loopback());
    local && port
}

fn body(path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    if LARGE.iter().any(|prefix| path.starts_with(prefix)) {
        return Ok(());
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.map(str::parse::<u64>) {
        None => Ok(()),
        Some(Ok(length)) if length <= MAX_BODY => Ok(()),
        Some(Ok(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than 1 MiB.")),
        Some(Err(_)) => Err((StatusCode::BAD_REQUEST, "Content-Length is not a number.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, headers: &[(&str, &str)], want: Option<u16>) {
        let mut request = Request::builder().uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).expect("a request");
        let found = judge(&request).err().map(|(status, _)| status.as_u16());
        assert_eq!(found, want, "{url} {headers:?}");
    }

    #[test]
    fn hosts() {
        for (host, want) in [
            ("localhost:7070", None),
            ("LOCALHOST:7070", None),
            ("localhost.:7070", None),
            ("127.0.0.1:7070", None),
            ("127.8.8.8:7070", None),
            ("[::1]:7070", None),
            ("localhost", None),
            ("[::1]", None),
            ("localhost:9000", None),
            ("::1:7070", Some(421)),
            ("localhost:x", Some(421)),
            ("localhost:99999", Some(421)),
            ("evil.example:7070", Some(421)),
            ("blog.localhost:7070", Some(421)),
            ("localhost.evil.example:7070", Some(421)),
            ("10.0.0.1:7070", Some(421)),
            ("localhost:7070:7070", Some(421)),
            ("", Some(421)),
        ] {
            check("/", &[("host", host)], want);
        }
        check("/", &[], Some(400));
        check("/", &[("host", "localhost:7070"), ("host", "evil.example")], Some(400));
        check("http://evil.example/", &[("host", "localhost:7070")], Some(421));
    }

    #[test]
    fn origins() {
        let host = ("host", "localhost:7070");
        for (headers, want) in [
            (vec![host, ("origin", "http://localhost:7070")], None),
            (vec![host, ("origin", "http://LOCALHOST:7070")], None),
            (vec![host, ("origin", "http://127.0.0.1:7070")], Some(403)),
            (vec![host, ("origin", "http://localhost:8080")], Some(403)),
            (vec![host, ("origin", "https://localhost:7070")], Some(403)),
            (vec![host, ("origin", "http://blog.localhost:8080")], Some(403)),
            (vec![host, ("origin", "http://evil.example")], Some(403)),
            (vec![host, ("origin", "null")], Some(403)),
            (vec![host, ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], None),
            (vec![host, ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], None),
            (vec![host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], None),
            (
                vec![host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
                Some(403),
            ),
            (vec![host, ("sec-fetch-site", "same-site"), ("sec-fetch-mode", "cors")], Some(403)),
        ] {
            check("/", &headers, want);
        }
    }

    #[test]
    fn sizes() {
        let host = ("host", "localhost:7070");
        let large = "x".repeat(MAX_HEADERS);
        check("/", &[host, ("x", &large)], Some(431));
        check(&format!("/{}", "a".repeat(MAX_URL)), &[host], Some(414));
        check("/apps/a/b.json", &[host, ("content-length", "1048577")], Some(413));
        check("/apps/a/b.json", &[host, ("content-length", "1048576")], None);
        check("/git/blog/git-receive-pack", &[host, ("content-length", "99999999")], None);
        check("/", &[host, ("content-length", "x")], Some(400));
    }
}
