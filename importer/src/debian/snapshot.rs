//! A suite at one moment, verified: what was signed, by whom, and the packages it lists.
//!
//! A snapshot is a tree, at `/packages/debian/<suite>/snapshot`:
//! - `snapshot.json`: the suite, the architecture, and its origins ([`OriginDoc`]);
//! - `<n>-<suite>-InRelease`, `<n>-<suite>-<component>-Packages`: what was fetched, as it was;
//! - `index/`: the compiled index of all origins together ([`super::index`]).
//!
//! It has no time of its own, so fetching the same again gives the same KID; when the mirror was
//! last asked is in `/packages/debian/<suite>/checked.json`.

mod origin;
mod plan;
mod take;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use keg::{CommitError, Keg, Kid, NamePath, NamesError, store::StoreError};
use serde::{Deserialize, Serialize};

pub use plan::{Planned, Role, plan};
pub use take::take;

use super::{index::IndexError, release::ReleaseError, verify::VerifyError};
use crate::http::HttpError;

/// One component of one suite that a snapshot is made of; its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginDoc {
    /// Such as `trixie-security`: with it the machine's sources tell where packages are.
    pub suite: String,
    /// Such as `main`.
    pub component: String,
    /// Date of its `Release`, seconds since 1970.
    pub date: i64,
    /// Fingerprints of the keys that signed it.
    pub signers: Vec<String>,
    /// SHA-256 of its package index as fetched.
    pub sha256: String,
    /// Its `Release`, signed.
    pub release: Kid,
    /// Its package index as fetched.
    pub packages: Kid,
}

/// `snapshot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDoc {
    /// As asked for, such as `trixie`.
    pub suite: String,
    /// Such as `amd64`.
    pub arch: String,
    /// What it is made of.
    pub origins: Vec<OriginDoc>,
}

/// A snapshot in the Keg.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The tree.
    pub kid: Kid,
    /// The compiled index.
    pub index: Kid,
    /// What it is made of.
    pub doc: SnapshotDoc,
}

/// Why a suite cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// No source of the machine has it.
    #[error("no source in the machine's apt configuration has the Debian suite {0:?}")]
    NoSuite(String),
    /// A source lacks a part that belongs to the suite.
    #[error("{url} lacks {suite}, which belongs to the suite according to {}", file.display())]
    MissingPart {
        /// The source.
        url: String,
        /// Such as `trixie-security`.
        suite: String,
        /// The file that configures the source.
        file: PathBuf,
    },
    /// A document could not be fetched.
    #[error("fetching the index of {suite} failed")]
    Fetch {
        /// Which suite.
        suite: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// A signature does not count.
    #[error("{url} is refused")]
    Signature {
        /// The signed document.
        url: String,
        /// Why.
        #[source]
        source: VerifyError,
    },
    /// A `Release` is refused.
    #[error("{url} is refused")]
    Release {
        /// The document.
        url: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// Bytes that are not what was signed.
    #[error("{url} is not what the signed Release says: {what}")]
    Mismatch {
        /// What was fetched.
        url: String,
        /// Hash or size.
        what: &'static str,
    },
    /// An index that cannot be unpacked.
    #[error("{url} cannot be unpacked")]
    Unpack {
        /// The index.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An index that is malformed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// What is in the Keg is no snapshot.
    #[error("the snapshot of {0} in the Keg is damaged")]
    Damaged(String),
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

/// Where a suite's things are.
///
/// # Panics
/// Never: suites are checked when a request is made.
pub fn suite_path(suite: &str) -> NamePath {
    let path = format!("/packages/debian/{suite}").parse();
    path.expect("because the name of a suite is a path component")
}

/// The snapshot of `suite` in the Keg, if there is one.
///
/// # Errors
/// The Keg's, or the snapshot is damaged.
pub fn stored(keg: &Keg, suite: &str) -> Result<Option<Snapshot>, SnapshotError> {
    let path = suite_path(suite);
    let at = path.join("snapshot").expect("because it is a path component");
    let Some(kid) = keg.get(&at)?.and_then(|entry| entry.kid()) else { return Ok(None) };
    read(keg, suite, kid).map(Some)
}

/// The snapshot whose tree is `kid`.
///
/// # Errors
/// The Keg's, or it is no snapshot.
pub fn read(keg: &Keg, suite: &str, kid: Kid) -> Result<Snapshot, SnapshotError> {
    let damaged = || SnapshotError::Damaged(suite.to_owned());
    let tree = keg.objects().tree(&kid)?;
    let part = |name: &str| tree.get(name.as_bytes()).and_then(|e| e.kid()).ok_or_else(damaged);
    let doc = keg.objects().blob(&part("snapshot.json")?)?;
    let doc = serde_json::from_slice(&doc).map_err(|_| damaged())?;
    Ok(Snapshot { kid, index: part("index")?, doc })
}
