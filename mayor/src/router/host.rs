//! Which app a request is for: the first label of its host name.

use hyper::{HeaderMap, Uri, header::HOST};
use keg::path::AppName;

/// All apps are names below this one, which every system resolves to its own loopback (RFC 6761).
const SUFFIX: &str = ".localhost";

/// Longest host, with its port: a longer one is nobody's.
const MAX_HOST: usize = 64;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `<app>.localhost`, and the host as it was written, with its port.
    App(AppName, String),
    /// A host that is no app's.
    Foreign(String),
    /// No host, or more than one: refused, since programs would disagree on which counts.
    Unclear,
}

/// Reads the host of a request. That of an absolute URL wins over the header (RFC 9112, 3.2.2).
pub(super) fn asked(uri: &Uri, headers: &HeaderMap) -> Asked {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) | (None, None, None) => return Asked::Unclear,
        (Some(authority), ..) => authority.as_str(),
        (None, Some(host), None) => match host.to_str() {
            Ok(host) => host,
            Err(_) => return Asked::Unclear,
        },
    };
    match app_of(host) {
        Some(app) => Asked::App(app, host.to_owned()),
        None => Asked::Foreign(host.chars().take(MAX_HOST).collect()),
    }
}

/// The app in `<app>.localhost` or `<app>.localhost:<port>`.
fn app_of(host: &str) -> Option<AppName> {
    if host.len() > MAX_HOST {
        return None;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) => {
            port.parse::<u16>().ok().filter(|_| port.bytes().all(|b| b.is_ascii_digit()))?;
            name
        }
        None => host,
    };
    name.to_ascii_lowercase().strip_suffix(SUFFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (host, want) in [
            ("blog.localhost", Some("blog")),
            ("blog.localhost:8080", Some("blog")),
            ("Blog.LocalHost:1", Some("blog")),
            ("blog-2.localhost", Some("blog-2")),
            ("localhost", None),
            (".localhost", None),
            ("localhost:8080", None),
            ("127.0.0.1:8080", None),
            ("[::1]:8080", None),
            ("a.blog.localhost", None),
            ("blog.localhost.", None),
            ("blog.localhost.example.org", None),
            ("blog.localhost:", None),
            ("blog.localhost:+1", None),
            ("blog.localhost:99999", None),
            ("blog.localhost:80:80", None),
            ("user@blog.localhost", None),
            ("2blog.localhost", None),
            ("blog-.localhost", None),
            ("../x.localhost", None),
        ] {
            assert_eq!(app_of(host).as_ref().map(AppName::as_str), want, "{host}");
        }
        assert_eq!(app_of(&format!("{}.localhost", "a".repeat(41))), None);
        assert_eq!(app_of(&"a".repeat(100_000)), None);
    }

    #[test]
    fn one_host_counts() {
        let check = |uri: &'static str, hosts: &[&'static str], want: Asked| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, hyper::header::HeaderValue::from_static(host));
            }
            assert_eq!(asked(&Uri::from_static(uri), &headers), want, "{uri} {hosts:?}");
        };
        let app = |name: &str, host: &str| Asked::App(name.parse().unwrap(), host.to_owned());
        check("/", &["blog.localhost:1"], app("blog", "blog.localhost:1"));
        check("http://b.localhost/", &["a.localhost"], app("b", "b.localhost"));
        check("http://b.localhost/", &[], app("b", "b.localhost"));
        check("http://evil.org/", &["a.localhost"], Asked::Foreign("evil.org".to_owned()));
        check("/", &[], Asked::Unclear);
        check("/", &["a.localhost", "b.localhost"], Asked::Unclear);
        check("http://a.localhost/", &["a.localhost", "a.localhost"], Asked::Unclear);
    }
}
