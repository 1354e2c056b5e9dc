//! Asking another Keg over HTTP. It blocks: for child processes.

use std::{
    io::{self, Read},
    time::Duration,
};

use keg::{
    Kid, NamePath,
    kid::KidPrefix,
    sync::{Body, SyncError, Transport, Verb},
};
use ureq::{Agent, SendBody, http::Response};
use url::Url;

use crate::http::MEDIA_TYPE;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(15);
/// How long the other side may say nothing, or take nothing: it may be hashing a file of a hundred
/// gigabytes, or making a push durable.
const SILENCE: Duration = Duration::from_secs(600);
/// How long one request may take in all, with its body and its answer.
const WHOLE: Duration = Duration::from_secs(24 * 3600);
/// Most of a refusal that is read, in bytes.
const MAX_REFUSAL: u64 = 4096;

/// Another Keg, by its address.
pub struct Peer {
    agent: Agent,
    base: Url,
    name: String,
}

/// Why an address is none of a Keg.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It is not a URL.
    #[error(
        "{text:?} is not the address of a Keg ({source}); one looks like http://localhost:7070"
    )]
    Url {
        /// What was given.
        text: String,
        /// Why it is none.
        source: url::ParseError,
    },
    /// It is one for something else.
    #[error("{text:?} is not the address of a Keg: it must start with http:// or https://")]
    Scheme {
        /// What was given.
        text: String,
    },
}

impl Peer {
    /// The Keg at `http://…`, `https://…`, or either with `keg+` before it; `/-/sync/` is below
    /// the path of the address.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn new(text: &str) -> Result<Self, PeerError> {
        let plain = text.strip_prefix("keg+").unwrap_or(text);
        let shown = || text.chars().take(200).collect::<String>();
        let mut base =
            Url::parse(plain).map_err(|source| PeerError::Url { text: shown(), source })?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(PeerError::Scheme { text: shown() });
        }
        base.set_query(None);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .timeout_global(Some(WHOLE))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent("keg")
            .accept("")
            .accept_encoding("identity");
        // A Keg on this machine is not asked through a proxy.
        let local = base.host_str().is_some_and(is_loopback);
        let config = if local { config.proxy(None) } else { config };
        let name = base.to_string();
        Ok(Self { agent: config.build().into(), base, name })
    }
}

pub(crate) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl Peer {
    /// The KID of what a path was in a version, by the page of it that the other Keg serves.
    ///
    /// # Errors
    /// The connection's, or it knows no such path or version.
    pub(crate) fn kid_at(&self, path: &NamePath, version: &KidPrefix) -> io::Result<Kid> {
        let mut url = self.base.clone();
        let at = format!("@K-{}", version.digits());
        let last = path.file_name().unwrap_or_default();
        let above = path.components().rev().skip(1).collect::<Vec<_>>();
        let parts = above.into_iter().rev().map(str::to_owned).chain([format!("{last}{at}")]);
        let segments = url.path_segments_mut();
        segments.map_err(|()| io::Error::other("no address"))?.pop_if_empty().extend(parts);
        url.set_query(Some("json"));
        let answer = self.agent.get(url.as_str()).call().map_err(ureq::Error::into_io)?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        let kid = tag.and_then(|tag| tag.trim_matches('"').parse().ok());
        kid.filter(|_| answer.status() == 200)
            .ok_or_else(|| io::Error::other(format!("it answers {}", answer.status())))
    }
}

impl Transport for Peer {
    fn name(&self) -> &str {
        &self.name
    }

    fn exchange<'a>(&'a mut self, verb: Verb, request: Body<'_>) -> io::Result<Box<dyn Read + 'a>> {
        let url = self.base.join(&format!("-/sync/{}", verb.as_str())).map_err(io::Error::other)?;
        let post = self.agent.post(url.as_str()).content_type(MEDIA_TYPE);
        let sent = match request {
            Body::Bytes(bytes) => post.send(&bytes[..]),
            Body::Stream(mut stream) => post.send(SendBody::from_reader(&mut stream)),
        };
        let mut response = sent.map_err(ureq::Error::into_io)?;
        if response.status() != 200 {
            return Err(refusal(&mut response));
        }
        Ok(Box::new(response.into_body().into_reader()))
    }
}

/// Why another status than 200 came: from a Keg, from something before it, or from no Keg at all.
fn refusal(response: &mut Response<ureq::Body>) -> io::Error {
    let status = response.status();
    let is_text = response.body().mime_type() == Some("text/plain");
    let reader = response.body_mut().with_config().limit(MAX_REFUSAL);
    let text = reader.lossy_utf8(true).read_to_string().unwrap_or_default();
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().map(plain).collect();
    match status.as_u16() {
        // As `crate::http` refuses.
        403 | 415 | 500 | 503 if is_text => io::Error::other(SyncError::Refused { message: text }),
        502..=504 => io::Error::other(format!("{status} from something before the other Keg")),
        _ => io::Error::other(SyncError::NotAKeg { what: format!("it says {status}") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, want) in [
            ("http://localhost:7070", "http://localhost:7070/"),
            ("keg+http://localhost:7070/", "http://localhost:7070/"),
            ("https://keg.example/team?x#y", "https://keg.example/team/"),
        ] {
            assert_eq!(Peer::new(text).unwrap().name(), want);
        }
        for text in ["", "localhost:7070", "/srv/keg", "ftp://x/", "git+https://x/"] {
            assert!(Peer::new(text).is_err(), "{text}");
        }
    }
}
