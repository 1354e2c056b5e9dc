//! What can go wrong between directories and trees.

use crate::object::EntryNameError;
use crate::store::StoreError;
use crate::union::UnionError;

/// What can go wrong between directories and trees.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// A system call failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot store or read the value of {path}")]
    Store {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// Rewriting the tree failed.
    #[error("cannot put the tree together")]
    Tree(#[from] UnionError),
    /// A file changed while it was read.
    #[error("{path} changed while it was read; stop what writes there and try again")]
    Changed {
        /// The file.
        path: String,
    },
    /// A character device 0:0.
    #[error(
        "{path} is the character device 0:0, overlayfs' mark of a deleted file; remove it, or \
         commit the upper directory of a working mount as such"
    )]
    Whiteout {
        /// The file.
        path: String,
    },
    /// Deeper than [`super::MAX_DEPTH`].
    #[error("{path} is more than {limit} directories deep")]
    TooDeep {
        /// The directory.
        path: String,
        /// The bound.
        limit: usize,
    },
    /// More than [`super::MAX_ENTRIES`].
    #[error("there are more than {limit} files and directories; take a part of them at a time")]
    TooMany {
        /// The bound.
        limit: u64,
    },
    /// A name that a tree cannot hold.
    #[error("{path} cannot be part of a tree")]
    Name {
        /// The path.
        path: String,
        /// Why not.
        #[source]
        source: EntryNameError,
    },
    /// The upper directory does not fit the tree it is said to be over.
    #[error(
        "{path} of the upper directory {reason}; was it made over another tree? Mount that one, \
         or commit the merged directory instead"
    )]
    Upper {
        /// The path.
        path: String,
        /// What does not fit.
        reason: String,
    },
    /// An entry that plain files cannot show.
    #[error("{path} cannot be checked out: {reason}")]
    Unsupported {
        /// The path.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// A relative path for messages.
pub(super) fn show(path: &[u8]) -> String {
    if path.is_empty() { ".".to_owned() } else { String::from_utf8_lossy(path).into_owned() }
}

impl IngestError {
    pub(super) fn io(action: &'static str, path: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = show(path);
        move |errno| Self::Io { action, path, source: errno.into() }
    }

    pub(super) fn store(path: &[u8]) -> impl FnOnce(StoreError) -> Self {
        let path = show(path);
        move |source| Self::Store { path, source }
    }
}
