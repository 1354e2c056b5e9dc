//! The four kinds of value, as types: blobs, trees, commits, and the entries that name them.
//!
//! The bytes are specified in `docs/store.md`.

mod commit_bytes;
pub(crate) mod cuts;
pub(crate) mod shards;
mod tree_bytes;
pub(crate) mod wire;

use std::{borrow::Borrow, collections::BTreeMap, fmt};

use serde_json::Value as Json;

use crate::kid::Kid;

pub use commit_bytes::canonical_json;
pub use tree_bytes::Sums;
pub use wire::DecodeError;

/// Most bytes a tree or commit may have, and most that is ever read into memory whole: 64 MiB.
pub const MAX_OBJECT: usize = 64 << 20;

/// `derive_key` context of trees.
const TREE_CONTEXT: &str = "keg 2026 tree v1";
/// `derive_key` context of commits.
const COMMIT_CONTEXT: &str = "keg 2026 commit v1";

/// What a KID names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Plain bytes.
    Blob,
    /// A directory.
    Tree,
    /// A tree with its parents, author, time and message.
    Commit,
}

impl Kind {
    /// The KID an object of this kind with these bytes has.
    pub fn kid_of(self, bytes: &[u8]) -> Kid {
        match self {
            Self::Blob => Kid::of_blob(bytes),
            Self::Tree => Kid::from_bytes(blake3::derive_key(TREE_CONTEXT, bytes)),
            Self::Commit => Kid::from_bytes(blake3::derive_key(COMMIT_CONTEXT, bytes)),
        }
    }

    /// Makes the KID of an object of this kind from bytes that come one after the other.
    pub(crate) fn hasher(self) -> blake3::Hasher {
        match self {
            Self::Blob => blake3::Hasher::new(),
            Self::Tree => blake3::Hasher::new_derive_key(TREE_CONTEXT),
            Self::Commit => blake3::Hasher::new_derive_key(COMMIT_CONTEXT),
        }
    }

    /// `blob`, `tree` or `commit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Tree => "tree",
            Self::Commit => "commit",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name in a tree: 1 to 255 bytes, without `/` and NUL, not `.` or `..`. Any other bytes are
/// allowed, as in POSIX.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EntryName(Vec<u8>);

impl Borrow<[u8]> for EntryName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// Why bytes are not a name in a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name:?} cannot be a name in a tree: {reason}")]
pub struct EntryNameError {
    name: String,
    reason: &'static str,
}

impl EntryName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// Empty, longer than 255 bytes, `.`, `..`, or containing `/` or NUL.
    pub fn new(name: impl Into<Vec<u8>>) -> Result<Self, EntryNameError> {
        let name = name.into();
        let reason = match name.as_slice() {
            b"" => "it is empty",
            b"." | b".." => "it means a directory above or itself",
            n if n.len() > 255 => "it is longer than 255 bytes",
            n if n.contains(&b'/') => "it contains /",
            n if n.contains(&0) => "it contains NUL",
            _ => return Ok(Self(name)),
        };
        let name = String::from_utf8_lossy(&name[..name.len().min(300)]).into_owned();
        Err(EntryNameError { name, reason })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For people; bytes that are not UTF-8 show as U+FFFD.
    pub fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// What an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A regular file: its blob and size in bytes.
    File {
        /// The blob.
        kid: Kid,
        /// Bytes.
        size: u64,
    },
    /// A directory, with the sums over everything below it (for planning and progress).
    Tree {
        /// The tree.
        kid: Kid,
        /// Bytes of all files below.
        bytes: u64,
        /// Number of entries below, at all depths.
        entries: u64,
    },
    /// A commit: a value with a history of its own, such as a pushed source or a release.
    Commit {
        /// The commit.
        kid: Kid,
    },
    /// A symbolic link and its target, never followed by the Keg.
    Symlink {
        /// 1 to 4095 bytes without NUL.
        target: Vec<u8>,
    },
    /// A value that lives elsewhere.
    Pointer {
        /// Another Keg or a git repository, as a URL.
        source: String,
        /// The ref or pin that is followed there.
        reference: String,
        /// What it resolved to.
        kid: Option<Kid>,
    },
    /// A device node.
    Device {
        /// Block rather than character.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// POSIX metadata of an entry.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub struct Attrs {
    /// Permission bits, with set-id and sticky: `mode & 0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds of the modification time, below 1e9.
    pub mtime_nsec: u32,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Entries of one snapshot with the same non-zero number are one inode (hard links).
    pub link_group: u64,
}

impl Attrs {
    /// Owned by root, time 0, no extended attributes.
    pub fn with_mode(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0, xattrs: Vec::new(), link_group: 0 }
    }
}

/// A value with its metadata: what a name in a tree stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is.
    pub value: Value,
    /// Its metadata.
    pub attrs: Attrs,
}

impl Entry {
    /// A file, 0644.
    pub fn file(kid: Kid, size: u64) -> Self {
        Self { value: Value::File { kid, size }, attrs: Attrs::with_mode(0o644) }
    }

    /// A directory, 0755; what its tree's header says is below it.
    pub fn tree(kid: Kid, sums: Sums) -> Self {
        let Sums { bytes, entries } = sums;
        Self { value: Value::Tree { kid, bytes, entries }, attrs: Attrs::with_mode(0o755) }
    }

    /// A commit.
    pub fn commit(kid: Kid) -> Self {
        Self { value: Value::Commit { kid }, attrs: Attrs::with_mode(0o644) }
    }

    /// A symbolic link.
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Self { value: Value::Symlink { target: target.into() }, attrs: Attrs::with_mode(0o777) }
    }

    /// The KID of the value, where it has one.
    pub fn kid(&self) -> Option<Kid> {
        match &self.value {
            Value::File { kid, .. } | Value::Tree { kid, .. } | Value::Commit { kid } => Some(*kid),
            Value::Pointer { kid, .. } => *kid,
            _ => None,
        }
    }
}

/// A directory: names and what they stand for, sorted by bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// The entries.
    pub entries: BTreeMap<EntryName, Entry>,
}

/// A version of a tree: what it was, who made it so, when and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The tree.
    pub tree: Kid,
    /// The versions it follows.
    pub parents: Vec<Kid>,
    /// Who: `Name <mail>` for people, `service/importer` for services.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// Why.
    pub message: String,
    /// More about it: a JSON object, canonical (keys sorted, no spaces) when encoded.
    pub extra: serde_json::Map<String, Json>,
}
