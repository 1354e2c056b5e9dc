//! The versioned namespace: names over objects, and how they change.
//!
//! The namespace is a tree all the way down; a version of it is a commit whose tree is the root.
//! A change copies the trees on the paths it touches and moves the root, so a version costs what
//! it changes and any old version reads like the newest.

mod apply;
mod diff;
mod history;
mod trail;
mod txn;

use crate::{
    Kid,
    kid::KidPrefix,
    object::{Entry, Value},
    path::NamePath,
    store::StoreError,
};

pub(crate) use apply::{Made, Planned, plan};
pub(crate) use diff::diff;
pub use history::History;
pub(crate) use trail::Trail;
pub(crate) use txn::Step;
pub use txn::{Expected, Txn};

/// A version of the whole namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// 0 for the empty namespace of a new Keg, one more for each version.
    pub seq: u64,
    /// The version itself.
    pub commit: Kid,
    /// Its names.
    pub tree: Kid,
}

/// A name that changed from one version to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// The number of the version that changed it.
    pub seq: u64,
    /// That version.
    pub commit: Kid,
    /// Which name.
    pub path: NamePath,
    /// What it was; `None`: not there.
    pub old: Option<Entry>,
    /// What it is now; `None`: not there any more.
    pub new: Option<Entry>,
}

/// What can go wrong with names.
#[derive(Debug, thiserror::Error)]
pub enum NamesError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document that is not the JSON it should be.
    #[error("{path} is not the JSON document it should be: {source}")]
    Json {
        /// Where.
        path: NamePath,
        /// How it differs.
        source: serde_json::Error,
    },
    /// A path that has no bytes: a directory, a link.
    #[error("{path} is a {found}, not a document")]
    NotADocument {
        /// Where.
        path: NamePath,
        /// What it is.
        found: &'static str,
    },
    /// There is no version with this number.
    #[error("this Keg has no version number {seq}; `keg log /` lists them")]
    NoVersion {
        /// What was asked for.
        seq: u64,
    },
    /// There was one, but the policy for history has let go of it.
    #[error("version {seq} is compacted: what is asked for is kept from version {oldest} on")]
    Compacted {
        /// What was asked for.
        seq: u64,
        /// The oldest version that has it.
        oldest: u64,
    },
    /// No object starts so.
    #[error("nothing in this Keg has a KID that starts with K-{}", .prefix.digits())]
    Unknown {
        /// What was asked for.
        prefix: KidPrefix,
    },
    /// More than one does.
    #[error("K-{} could be any of {}; write more digits", .prefix.digits(), list(.candidates))]
    Ambiguous {
        /// What was asked for.
        prefix: KidPrefix,
        /// What it could be: sorted, at most 20.
        candidates: Vec<Kid>,
    },
}

/// Why a transaction was not made.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A name is not what was expected; nothing has changed.
    #[error(
        "{path} has changed meanwhile: expected {expected}, found {}",
        describe(.found.as_deref())
    )]
    Conflict {
        /// Which.
        path: NamePath,
        /// What should have been there.
        expected: Expected,
        /// What is.
        found: Option<Box<Entry>>,
    },
    /// A name below something that has no names.
    #[error("{path} cannot be set: {at} is a {found}, not a directory")]
    NotADirectory {
        /// What was to be set.
        path: NamePath,
        /// What is in the way.
        at: NamePath,
        /// What that is.
        found: &'static str,
    },
    /// A name to be removed that is below a value which is not changed in parts.
    #[error(
        "{path} cannot be removed: {at} is a {found}, which stays as it is; remove {at} whole, or \
         set it to another value"
    )]
    Below {
        /// What was to be removed.
        path: NamePath,
        /// The commit or pointer above it.
        at: NamePath,
        /// Which of them that is.
        found: &'static str,
    },
    /// The root itself cannot be replaced or removed.
    #[error("/ itself cannot be set or removed; set names below it")]
    Root,
    /// A name set to a value that is not in this Keg.
    #[error("{path} cannot be set to {kid}: it is not in this Keg")]
    MissingValue {
        /// Which name.
        path: NamePath,
        /// The value.
        kid: Kid,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// `directory`, `file`, …: what an entry is, for messages.
pub fn noun(entry: &Entry) -> &'static str {
    match entry.value {
        Value::File { .. } => "file",
        Value::Tree { .. } => "directory",
        Value::Commit { .. } => "commit",
        Value::Symlink { .. } => "symbolic link",
        Value::Pointer { .. } => "pointer",
        Value::Device { .. } => "device",
        Value::Fifo => "named pipe",
    }
}

fn describe(entry: Option<&Entry>) -> String {
    match entry {
        None => "nothing".to_owned(),
        Some(entry) => match entry.kid() {
            Some(kid) => format!("the {} {kid}", noun(entry)),
            None => format!("a {}", noun(entry)),
        },
    }
}

fn list(kids: &[Kid]) -> String {
    kids.iter().map(Kid::to_string).collect::<Vec<_>>().join(", ")
}
