//! What a proxy changes in the heads of requests and answers (RFC 9110, section 7.6).

use std::net::IpAddr;

use hyper::{
    HeaderMap, StatusCode,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
        UPGRADE,
    },
};

/// Headers of one connection, whatever `Connection` says.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    hyper::header::PROXY_AUTHENTICATE,
    hyper::header::PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Most names in `Connection` that are looked at; a request has fewer headers than that.
const MAX_CONNECTION_OPTIONS: usize = 128;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The protocol that a request wants to switch to, if it wants and we pass it on: not HTTP/2,
/// whose requests would go past the router.
pub(super) fn wanted_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let listed = options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let protocol = headers.get(UPGRADE).filter(|_| listed)?;
    let text = protocol.to_str().ok()?.to_ascii_lowercase();
    (!text.split(',').any(|name| name.trim().starts_with("h2"))).then(|| protocol.clone())
}

/// Makes the headers of a request those of our own request to the app. `length`: that of its
/// body, where known; without it the body goes in chunks.
pub(super) fn to_app(
    headers: &mut HeaderMap,
    host: &HeaderValue,
    peer: IpAddr,
    upgrade: Option<&HeaderValue>,
    length: Option<u64>,
) {
    let had_length = headers.remove(CONTENT_LENGTH).is_some();
    strip_hop_by_hop(headers);
    strip_forwarded(headers);
    // We have said "100 Continue" ourselves once the body is wanted.
    headers.remove(EXPECT);
    if let Some(length) = length.filter(|_| had_length) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(HOST, host.clone());
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Ok(peer) = HeaderValue::try_from(peer.to_string()) {
        headers.insert(FORWARDED_FOR, peer);
    }
    if let Some(protocol) = upgrade {
        ask_upgrade(headers, protocol.clone());
    }
}

/// Makes the headers of an app's answer those of ours.
pub(super) fn to_client(status: StatusCode, headers: &mut HeaderMap) {
    let protocol = headers.get(UPGRADE).cloned();
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(protocol)) = (status, protocol) {
        ask_upgrade(headers, protocol);
    }
}

fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).take(MAX_CONNECTION_OPTIONS)
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> =
            options(headers).filter_map(|option| option.parse().ok()).collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Removes what only a proxy may say: we are the first one, so whoever said it was not.
/// `x_forwarded_for` too, which WSGI and CGI cannot tell from the real one.
fn strip_forwarded(headers: &mut HeaderMap) {
    let claims = |name: &HeaderName| {
        let name = name.as_str();
        let name = if name.contains('_') { name.replace('_', "-") } else { name.to_owned() };
        name.starts_with("x-forwarded-") || name == "forwarded" || name == "x-real-ip"
    };
    let claimed: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            })
    }

    const SET: [(&str, &str); 4] = [
        ("host", "a.localhost:8"),
        ("x-forwarded-host", "a.localhost:8"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
    ];

    fn check_request(
        before: &[(&'static str, &'static str)],
        length: Option<u64>,
        after: &[(&'static str, &'static str)],
    ) {
        let mut headers = map(before);
        let upgrade = wanted_upgrade(&headers);
        let host = HeaderValue::from_static("a.localhost:8");
        let peer = IpAddr::from([127, 0, 0, 1]);
        to_app(&mut headers, &host, peer, upgrade.as_ref(), length);
        let want = map(&[&SET, after].concat());
        assert_eq!(headers, want, "{before:?}");
    }

    #[test]
    fn requests() {
        check_request(&[("accept", "*/*")], None, &[("accept", "*/*")]);
        check_request(
            &[("cookie", "a"), ("cookie", "b")],
            None,
            &[("cookie", "a"), ("cookie", "b")],
        );
        check_request(
            &[("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "gzip")],
            None,
            &[],
        );
        check_request(&[("connection", "host, x-forwarded-for")], None, &[]);
        check_request(
            &[("connection", "content-length"), ("content-length", "3")],
            Some(3),
            &[("content-length", "3")],
        );
        check_request(&[("transfer-encoding", "chunked")], None, &[]);
        check_request(&[("content-length", "7"), ("transfer-encoding", "chunked")], None, &[]);
        check_request(
            &[
                ("x-forwarded-for", "8.8.8.8"),
                ("x_forwarded_for", "8.8.8.8"),
                ("forwarded", "for=x"),
            ],
            None,
            &[],
        );
        check_request(&[("x-forwarded-port", "1"), ("x-real-ip", "1")], None, &[]);
        check_request(&[("expect", "100-continue"), ("proxy-authorization", "x")], None, &[]);
    }

    #[test]
    fn upgrades() {
        let kept: &[_] = &[("connection", "upgrade"), ("upgrade", "websocket")];
        check_request(&[("connection", "Upgrade"), ("upgrade", "websocket")], None, kept);
        check_request(
            &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")],
            None,
            kept,
        );
        check_request(&[("upgrade", "websocket")], None, &[]);
        check_request(&[("connection", "upgrade")], None, &[]);
        for h2 in ["h2c", "H2C", "websocket, h2c"] {
            check_request(&[("connection", "upgrade"), ("upgrade", h2)], None, &[]);
        }
    }

    #[test]
    fn answers() {
        let check = |status, before: &[(_, _)], after: &[(_, _)]| {
            let mut headers = map(before);
            to_client(status, &mut headers);
            assert_eq!(headers, map(after), "{before:?}");
        };
        let (ok, switch) = (StatusCode::OK, StatusCode::SWITCHING_PROTOCOLS);
        check(ok, &[("connection", "close"), ("content-length", "2")], &[("content-length", "2")]);
        check(ok, &[("transfer-encoding", "chunked"), ("content-length", "2")], &[]);
        check(ok, &[("connection", "upgrade"), ("upgrade", "websocket")], &[]);
        check(
            ok,
            &[("set-cookie", "a"), ("set-cookie", "b")],
            &[("set-cookie", "a"), ("set-cookie", "b")],
        );
        check(
            switch,
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "websocket")],
        );
    }
}
