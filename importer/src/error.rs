//! What an import fails with: the cause in plain words, and what to do next.

use keg::{CommitError, NamesError, store::StoreError, stream::StreamError};

use crate::{
    debian::{
        import::DebianError,
        pool::{JobError, PoolError},
        resolve::ResolveError,
        rootfs::RootfsError,
        snapshot::SnapshotError,
        verify::VerifyError,
    },
    lockfile::LockfileError,
    pypi::PypiError,
    request::RequestError,
};

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The request is none.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no such request.
    #[error("there is no request {0:?}, or it is not what its key says")]
    NoRequest(String),
    /// Debian packages.
    #[error(transparent)]
    Debian(#[from] DebianError),
    /// Python packages.
    #[error(transparent)]
    Pypi(#[from] PypiError),
    /// Another import.
    #[error(transparent)]
    Lockfile(#[from] LockfileError),
    /// The import's stream.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The Keg's.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The Keg's.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    pub(crate) fn no_request(key: &str) -> Self {
        Self::NoRequest(key.chars().take(100).collect())
    }

    /// What happened and why, for people.
    pub fn message(&self) -> String {
        chain(self)
    }

    /// What to do next, for people.
    pub fn hint(&self) -> String {
        match self {
            Self::Request(_) | Self::NoRequest(_) => {
                "see `keg import --help` for what can be asked for".into()
            }
            Self::Debian(error) => debian_hint(error),
            Self::Pypi(error) => error.hint(),
            _ => "run `keg fsck`, look at the disk, and try again".into(),
        }
    }
}

fn debian_hint(error: &DebianError) -> String {
    match error {
        DebianError::Apt(_) => {
            "Debian packages come from where apt gets them: check /etc/apt and try `apt-get update`"
                .into()
        }
        DebianError::Resolve(error) => resolve_hint(error),
        DebianError::Snapshot(error) => snapshot_hint(error),
        DebianError::Pool(PoolError::Package { error, .. }) => match error {
            JobError::Fetch(_) => unreachable_hint(),
            JobError::Gone | JobError::Mismatch { .. } => {
                "the mirror may be in the middle of an update: try again in a few minutes".into()
            }
            JobError::Keep(_) => "free some disk space and try again; what is fetched stays".into(),
            JobError::Unpack(_) => {
                "the package is not one Keg takes; ask for another package or version".into()
            }
        },
        DebianError::Pool(PoolError::Workers(_)) => {
            "the machine may be out of memory (see `dmesg`): try again; what is fetched stays"
                .into()
        }
        DebianError::NotHere { suite, .. } => format!("run `keg import debian {suite} PACKAGE…`"),
        DebianError::Pool(PoolError::NoSource { .. }) => {
            "add the suite's source to /etc/apt/sources.list.d and try again".into()
        }
        DebianError::Rootfs(RootfsError::Configure(_)) => {
            "all that the packages' scripts printed is the blob `log` of the import's lock; \
             `keg import debian --base none` only merges packages and runs nothing"
                .into()
        }
        DebianError::Rootfs(RootfsError::Merge(_)) => {
            "leave out one of the two packages, or ask for another suite".into()
        }
        _ => "run `keg fsck`, look at the disk, and try again".into(),
    }
}

fn resolve_hint(error: &ResolveError) -> String {
    match error {
        ResolveError::NoPackage { near, .. } if near.is_empty() => {
            "check the name with `apt-cache search`, or ask for another suite".into()
        }
        ResolveError::NoPackage { near, .. } => format!("did you mean {}?", near.join(" or ")),
        ResolveError::Virtual { .. } => "name the one that you want".into(),
        _ => {
            "leave out one of the packages that do not go together, or ask for another suite".into()
        }
    }
}

fn snapshot_hint(error: &SnapshotError) -> String {
    match error {
        SnapshotError::NoSuite(_) => {
            "suites are named bookworm, trixie, sid, …; packages come from where apt gets them, so \
             check /etc/apt/sources.list.d"
                .into()
        }
        SnapshotError::Fetch { .. } => unreachable_hint(),
        SnapshotError::Signature { source: VerifyError::NoVerifier, .. } => {
            "run `apt-get install gpgv`".into()
        }
        SnapshotError::Signature { .. } => {
            "run `apt-get install debian-archive-keyring`; if that does not help, do not trust \
             this mirror"
                .into()
        }
        SnapshotError::Release { .. } | SnapshotError::Mismatch { .. } => {
            "the mirror may be in the middle of an update or out of date: try again later, or \
             configure another one for apt"
                .into()
        }
        _ => "run `keg fsck`, look at the disk, and try again".into(),
    }
}

fn unreachable_hint() -> String {
    "check the network and the mirror with `apt-get update`, then try again; what is fetched stays"
        .into()
}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
