//! One package: fetched, verified, unpacked.

use std::{
    fs::File,
    io::{self, BufReader, Seek, Write},
    path::Path,
};

use keg::{Kid, store::Objects};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    debian::{
        deb::{self, Promise},
        mirror::Mirror,
    },
    error::chain,
    http::HttpError,
};

const BUFFER: usize = 256 * 1024;

/// What is to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What the `.deb` must be.
    pub promise: Promise,
    /// Where it may be, in order.
    pub urls: Vec<String>,
}

/// Why it was not done. It crosses from the worker's process, so causes are words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum JobError {
    /// No mirror has it any more.
    #[error("no mirror has it any more")]
    Gone,
    /// It could not be fetched.
    #[error("{0}")]
    Fetch(String),
    /// It is something else than promised.
    #[error("{url} is not what the signed index promises: {what}")]
    Mismatch {
        /// Where it was fetched.
        url: String,
        /// Hash or size.
        what: String,
    },
    /// It was refused while it was unpacked.
    #[error("{0}")]
    Unpack(String),
    /// It could not be kept.
    #[error("{0}")]
    Keep(String),
}

impl Job {
    /// Fetches, verifies and unpacks; the tree is durable on return.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn run(
        &self,
        objects: &dyn Objects,
        mirror: &Mirror,
        tmp: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Kid, JobError> {
        let file = self.fetch(mirror, tmp, progress)?;
        let reader = BufReader::with_capacity(BUFFER, file);
        let unpacked = deb::unpack(objects, reader, &self.promise);
        let entry = unpacked.map_err(|error| match error {
            deb::DebError::Store(error) => JobError::Keep(chain(&error)),
            error => JobError::Unpack(chain(&error)),
        })?;
        objects.sync().map_err(|error| JobError::Keep(chain(&error)))?;
        Ok(entry.kid().expect("because trees have KIDs"))
    }

    /// The verified `.deb` in a file without a name.
    fn fetch(
        &self,
        mirror: &Mirror,
        tmp: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<File, JobError> {
        let mut failed = JobError::Gone;
        for url in &self.urls {
            let sink = || Ok(Hashing { file: tempfile::tempfile_in(tmp)?, hash: Sha256::new() });
            match mirror.fetch(url, self.promise.size, sink, progress) {
                Ok(fetched) => match fetched.finish(&self.promise) {
                    Ok(Ok(file)) => return Ok(file),
                    Ok(Err(what)) => {
                        failed = JobError::Mismatch { url: url.clone(), what: what.to_owned() };
                    }
                    Err(error) => return Err(JobError::Keep(chain(&error))),
                },
                Err(HttpError::NotFound { .. }) => {}
                Err(HttpError::TooLarge { .. }) => {
                    let what = "it is larger".to_owned();
                    failed = JobError::Mismatch { url: url.clone(), what };
                }
                Err(error @ HttpError::Sink { .. }) => return Err(JobError::Keep(chain(&error))),
                Err(error) => failed = JobError::Fetch(chain(&error)),
            }
        }
        Err(failed)
    }
}

/// A file that is hashed while it is written.
struct Hashing {
    file: File,
    hash: Sha256,
}

impl Hashing {
    /// The file at its start, or what is wrong with it.
    fn finish(mut self, promise: &Promise) -> io::Result<Result<File, &'static str>> {
        if self.file.stream_position()? != promise.size {
            return Ok(Err("it has another size"));
        }
        if hex::encode(self.hash.finalize()) != promise.sha256 {
            return Ok(Err("it has another SHA256"));
        }
        self.file.rewind()?;
        Ok(Ok(self.file))
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
