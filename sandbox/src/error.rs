//! What can go wrong, in words for the person who has to act on it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Why a container could not be run or followed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The spec is refused before anything is touched.
    #[error("container spec: {field}: {reason}")]
    BadSpec {
        /// The field at fault.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A container of this id is there already.
    #[error("a container named {id} exists already in {}", dir.display())]
    Exists {
        /// The id.
        id: String,
        /// Its record directory.
        dir: PathBuf,
    },
    /// A file or directory could not be used.
    #[error("cannot {what} {}", path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {what}")]
    System {
        /// What it was for.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The container could not be set up or its command not be started.
    #[error("{0}")]
    Setup(SetupError),
    /// The shim ended without saying how the container ended, e.g. it was killed.
    #[error("the supervisor of container {id} was killed, how the command ended is unknown")]
    Lost {
        /// The id.
        id: String,
    },
}

/// Why the set-up of a container failed, as the shim wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct SetupError {
    /// One sentence for people.
    pub message: String,
    /// What to do about it, if known.
    #[serde(default)]
    pub hint: String,
    /// What the container library logged, for a bug report.
    #[serde(default)]
    pub detail: String,
}

impl SandboxError {
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        SandboxError::Io { what, path: path.as_ref().to_owned(), source }
    }

    pub(crate) fn os(what: &'static str) -> Self {
        SandboxError::System { what, source: io::Error::last_os_error() }
    }

    /// The whole chain of causes as one sentence.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        text
    }
}
