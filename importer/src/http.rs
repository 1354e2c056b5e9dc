//! A blocking HTTP client with bounds, time-outs and retries, for child processes.
//!
//! Nothing it returns is trusted: callers check sizes and hashes of their own.

mod resolver;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read, Write},
    time::{Duration, Instant},
};

use resolver::Remembering;

/// Attempts for one document, the first included.
pub const ATTEMPTS: u32 = 3;
/// Wait before the second attempt; it doubles for the third.
const BACKOFF: Duration = Duration::from_millis(400);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence in a body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A body may be as slow as it likes for so long, ...
const PATIENCE: Duration = Duration::from_secs(60);
/// ... then it must have come with so many bytes per second on the average.
const MIN_RATE: u64 = 1024;
const BUFFER: usize = 64 * 1024;

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The server says there is no such thing.
    #[error("{url} does not exist on the server ({status})")]
    NotFound {
        /// What was asked for.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// Another refusal.
    #[error("{url} was answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// More bytes than the caller takes.
    #[error("{url} is larger than the {limit} bytes expected")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The bound.
        limit: u64,
    },
    /// The connection could not be made or broke.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// The network's reason.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The body ended early or stalled.
    #[error("reading {url} failed")]
    Body {
        /// What was asked for.
        url: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// What was read could not be kept.
    #[error("writing what was fetched from {url} failed")]
    Sink {
        /// What was asked for.
        url: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A proxy's address that cannot be one.
    #[error("the configured proxy {proxy:?} is not an address of a proxy")]
    Proxy {
        /// As configured.
        proxy: String,
        /// The reason.
        #[source]
        source: Box<ureq::Error>,
    },
}

impl HttpError {
    /// Whether trying again may help.
    fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Body { .. } => true,
            Self::Status { status, .. } => *status >= 500 || matches!(*status, 408 | 429),
            _ => false,
        }
    }

    /// Whether the server could not be talked to at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Body { .. })
    }
}

/// A client that keeps its connections alive. One thread, blocking.
pub struct Client {
    agent: ureq::Agent,
    names: Remembering,
}

impl Client {
    /// A client that reaches the network through `proxy`, if one is given.
    ///
    /// Certificates are the platform's; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them.
    ///
    /// # Errors
    /// `proxy` is not an address of a proxy.
    pub fn new(proxy: Option<&str>) -> Result<Self, HttpError> {
        let bad = |source| HttpError::Proxy {
            proxy: proxy.unwrap_or_default().to_owned(),
            source: Box::new(source),
        };
        let proxy = proxy.map(ureq::Proxy::new).transpose().map_err(bad)?;
        let tls = ureq::tls::TlsConfig::builder()
            .root_certs(ureq::tls::RootCerts::PlatformVerifier)
            .build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy)
            .user_agent(concat!("keg/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(RESPONSE_TIMEOUT))
            .timeout_per_read(Some(READ_TIMEOUT))
            .build();
        let names = Remembering::default();
        let connector = ureq::unversioned::transport::DefaultConnector::new();
        let agent = ureq::Agent::with_parts(config, connector, names.clone());
        Ok(Self { agent, names })
    }

    /// Fetches `url` into memory, at most `limit` bytes.
    ///
    /// # Errors
    /// As [`Client::fetch`].
    pub fn get(&self, url: &str, limit: u64, accept: &str) -> Result<Vec<u8>, HttpError> {
        retry(|| {
            let mut body = Vec::new();
            self.once(url, limit, accept, &mut body, &mut |_| {})?;
            Ok(body)
        })
    }

    /// Fetches `url` into what `sink` makes for each attempt, at most `limit` bytes, telling
    /// `progress` the size of each piece. Returns the last sink.
    ///
    /// # Errors
    /// The server refuses, cannot be reached in [`ATTEMPTS`] attempts, or sends too much; the sink
    /// fails.
    pub fn fetch<W: Write>(
        &self,
        url: &str,
        limit: u64,
        mut sink: impl FnMut() -> io::Result<W>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<W, HttpError> {
        retry(|| {
            let fail = |source| HttpError::Sink { url: url.to_owned(), source };
            let mut writer = sink().map_err(fail)?;
            self.once(url, limit, "*/*", &mut writer, progress)?;
            Ok(writer)
        })
    }

    fn once(
        &self,
        url: &str,
        limit: u64,
        accept: &str,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), HttpError> {
        let url_text = || url.to_owned();
        let response = self.agent.get(url).header("accept", accept).call().map_err(|source| {
            self.names.forget();
            HttpError::Unreachable { url: url_text(), source: Box::new(source) }
        })?;
        match response.status().as_u16() {
            200 => {}
            status @ (404 | 410) => return Err(HttpError::NotFound { url: url_text(), status }),
            status => return Err(HttpError::Status { url: url_text(), status }),
        }
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; BUFFER];
        let mut total: u64 = 0;
        let began = Instant::now();
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(HttpError::Body { url: url_text(), source }),
            };
            total += n as u64;
            if total > limit {
                return Err(HttpError::TooLarge { url: url_text(), limit });
            }
            if is_too_slow(total, began.elapsed()) {
                let source = io::Error::new(io::ErrorKind::TimedOut, "it comes too slowly");
                return Err(HttpError::Body { url: url_text(), source });
            }
            sink.write_all(&buffer[..n])
                .map_err(|source| HttpError::Sink { url: url_text(), source })?;
            progress(n as u64);
        }
    }
}

/// Whether so many bytes in this time are so few that there is no end to be expected.
fn is_too_slow(bytes: u64, time: Duration) -> bool {
    time > PATIENCE && bytes < time.as_secs() * MIN_RATE
}

fn retry<T>(mut attempt: impl FnMut() -> Result<T, HttpError>) -> Result<T, HttpError> {
    let mut wait = BACKOFF;
    for _ in 1..ATTEMPTS {
        match attempt() {
            Err(error) if error.is_passing() => std::thread::sleep(wait),
            result => return result,
        }
        wait *= 2;
    }
    attempt()
}
