//! Fetching from the index: the password stays out of everything that is told or kept.

use std::{
    io::{self, Seek, SeekFrom, Write},
    path::PathBuf,
};

use sha2::{Digest, Sha256};
use tempfile::SpooledTempFile;
use url::Url;

use super::{
    config::{ConfigError, PipConfig},
    name::PackageName,
    project::{ACCEPT, MAX_PROJECT, Project, ProjectError, WheelFile},
    wheel::archive::MAX_WHEEL,
};
use crate::{
    error::chain,
    http::{Client, HttpError},
};

/// Wheels up to this size stay in memory while they are unpacked.
const IN_MEMORY: usize = 32 * 1024 * 1024;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// pip's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server refused, or could not be reached. The text holds no password.
    #[error("{what} cannot be fetched: {reason}")]
    Http {
        /// What.
        what: String,
        /// Why.
        reason: String,
        /// Whether the index could not be talked to at all.
        unreachable: bool,
    },
    /// The index's page.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// Not what the index promised.
    #[error("{what} is not what the index promised: {reason}")]
    Mismatch {
        /// What.
        what: String,
        /// How.
        reason: String,
    },
}

impl FetchError {
    /// Whether the index could not be talked to at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Http { unreachable: true, .. })
    }
}

/// A connection to the index.
pub struct Fetcher {
    client: Client,
    /// With a password, if one is configured.
    index: Url,
    /// `user:password` as in the address, to be kept out of messages.
    secret: Option<String>,
    /// Where wheels are that are not small.
    tmp: PathBuf,
}

impl Fetcher {
    /// A fetcher for the index that pip is configured to use; large wheels are put into `tmp`
    /// while they are unpacked.
    ///
    /// # Errors
    /// The address or the proxy is none.
    pub fn new(config: &PipConfig, tmp: PathBuf) -> Result<Self, FetchError> {
        let index = Url::parse(&format!("{}/", config.index)).map_err(|_| ConfigError::BadIndex)?;
        let loopback = matches!(index.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let proxy = config.proxy.as_deref().filter(|_| !loopback);
        let client = Client::new(proxy).map_err(|_| FetchError::Http {
            what: "the index".into(),
            reason: "the configured proxy is not an address of a proxy".into(),
            unreachable: false,
        })?;
        let user = index.username().to_owned();
        let secret = match (user.as_str(), index.password()) {
            ("", None) => None,
            (user, None) => Some(user.to_owned()),
            (user, Some(password)) => Some(format!("{user}:{password}")),
        };
        Ok(Self { client, index, secret, tmp })
    }

    /// What the index says about a project; `None` if it has none of this name.
    ///
    /// # Errors
    /// It cannot be fetched or read.
    pub fn project(&self, name: &PackageName) -> Result<Option<Project>, FetchError> {
        let url = self.index.join(&format!("{name}/")).map_err(|_| ConfigError::BadIndex)?;
        let what = format!("the index's page about {name}");
        match self.client.get(url.as_str(), MAX_PROJECT, ACCEPT) {
            Ok(bytes) => Ok(Some(Project::read(name, &bytes, &url)?)),
            Err(HttpError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(what, &error)),
        }
    }

    /// The metadata file beside a wheel; `None` if the index has none after all.
    ///
    /// # Errors
    /// It cannot be fetched, or has another hash than promised.
    pub fn metadata(&self, wheel: &WheelFile, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let Some(promised) = &wheel.metadata else { return Ok(None) };
        let what = format!("the metadata of {}", wheel.file);
        let url = self.address(&format!("{}.metadata", wheel.url))?;
        let bytes = match self.client.get(url.as_str(), limit, "*/*") {
            Ok(bytes) => bytes,
            Err(HttpError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.failed(what, &error)),
        };
        if hex::encode(Sha256::digest(&bytes)) != *promised {
            return Err(FetchError::Mismatch { what, reason: "it has another SHA-256".into() });
        }
        Ok(Some(bytes))
    }

    /// A wheel, verified; tells `progress` the size of each piece. Returns it and its size.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what the index promised.
    pub fn wheel(
        &self,
        wheel: &WheelFile,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(SpooledTempFile, u64), FetchError> {
        let what = wheel.file.clone();
        let limit = wheel.size.unwrap_or(MAX_WHEEL).min(MAX_WHEEL);
        let url = self.address(&wheel.url)?;
        let sink = || {
            let file = tempfile::spooled_tempfile_in(IN_MEMORY, &self.tmp);
            Ok(Hashing { file, hash: Sha256::new(), size: 0 })
        };
        let fetched = self.client.fetch(url.as_str(), limit, sink, progress);
        let Hashing { mut file, hash, size } =
            fetched.map_err(|error| self.failed(what.clone(), &error))?;
        if wheel.size.is_some_and(|promised| promised != size) {
            let reason = format!("it has {size} bytes");
            return Err(FetchError::Mismatch { what, reason });
        }
        if Some(hex::encode(hash.finalize())) != wheel.sha256 {
            return Err(FetchError::Mismatch { what, reason: "it has another SHA-256".into() });
        }
        file.seek(SeekFrom::Start(0)).map_err(|error| FetchError::Http {
            what,
            reason: error.to_string(),
            unreachable: false,
        })?;
        Ok((file, size))
    }

    /// An address from the index, with the password if it is on the index's own server.
    fn address(&self, text: &str) -> Result<Url, FetchError> {
        let mut url = Url::parse(text).map_err(|_| ConfigError::BadIndex)?;
        if url.origin() == self.index.origin() {
            // The index's own address carries them, so this one can.
            let _ = url.set_username(self.index.username());
            let _ = url.set_password(self.index.password());
        }
        Ok(url)
    }

    fn failed(&self, what: String, error: &HttpError) -> FetchError {
        let mut reason = chain(error);
        if let Some(secret) = &self.secret {
            reason = reason.replace(secret.as_str(), "***");
        }
        FetchError::Http { what, reason, unreachable: error.is_unreachable() }
    }
}

/// Keeps and hashes what is written.
struct Hashing {
    file: SpooledTempFile,
    hash: Sha256,
    size: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
