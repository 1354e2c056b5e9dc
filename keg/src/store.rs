//! Where objects live: the [`Objects`] trait, its errors, and what follows from it for any store.
//!
//! [`FileStore`] keeps them in a directory (`docs/store.md`), [`MemoryStore`] in memory. Both pass
//! the conformance suite in [`crate::testing`].

mod adopt;
mod advance;
mod audit;
mod canonical;
mod changed;
pub(crate) mod condemned;
pub(crate) mod decoders;
pub(crate) mod durable;
mod error;
mod extend;
mod faulty;
mod file;
pub(crate) mod format;
mod large;
mod layout;
pub(crate) mod log;
mod memory;
pub(crate) mod packs;
pub(crate) mod pending;
mod retain;
mod share;
mod splits;
pub(crate) mod summed;
pub(crate) mod trash;
pub(crate) mod verify;

use std::{
    fs::File,
    io::{Read, Seek},
};

use serde_json::Value as Json;

use crate::{
    Kid,
    commit::TreeCache,
    directory::{self, Directory},
    kid::KidPrefix,
    object::{Commit, Entry, Kind, Tree, Value},
};

pub use crate::directory::Names;
pub use audit::Audited;
pub(crate) use changed::LEAST as DIFFERENCE_FROM;
pub use error::StoreError;
pub(crate) use error::io;
pub use faulty::{Fault, FaultyStore};
pub use file::FileStore;
pub use memory::MemoryStore;
pub use packs::Removing;
pub use share::work_check;

/// Largest object that [`Objects::get`] reads into memory: 64 MiB.
pub const MAX_IN_MEMORY: u64 = crate::object::MAX_OBJECT as u64;
/// Blobs up to this many bytes live in the log (and inside mounted images); larger ones are raw
/// files, which the kernel serves by itself. Of both, what nothing uses is in packs.
pub const INLINE_MAX: usize = 2048;
/// Most candidates an ambiguous prefix is answered with.
pub const MAX_CANDIDATES: usize = 20;

/// An object, whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// A blob being read. Bytes that are not the KID's are never served to the end: the last read of
/// a sequential reader fails, and a reader that seeks is checked whole before it gets a byte.
pub trait BlobRead: Read + Seek + Send {}
impl<T: Read + Seek + Send> BlobRead for T {}

/// A store of immutable objects, named by their KIDs.
///
/// Puts are visible to the same process at once, durable and visible to others after
/// [`Objects::sync`] (or a commit, which syncs). Putting what is there already writes nothing.
pub trait Objects: Send + Sync {
    /// The object, of any kind, checked against its KID.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Corrupt`], [`StoreError::TooBig`] above
    /// [`MAX_IN_MEMORY`], or the disk's.
    fn get(&self, kid: &Kid) -> Result<Object, StoreError>;

    /// A blob as a stream, checked while it is read.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::WrongKind`], or the disk's. A mismatch with the KID
    /// surfaces as [`std::io::ErrorKind::InvalidData`] from the reader.
    fn open_blob(&self, kid: &Kid) -> Result<Box<dyn BlobRead>, StoreError>;

    /// The size of a blob in bytes, without reading it.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::WrongKind`], or the disk's.
    fn blob_size(&self, kid: &Kid) -> Result<u64, StoreError>;

    /// What kind of object it is; `None`: it is not here.
    ///
    /// # Errors
    /// The disk's.
    fn kind(&self, kid: &Kid) -> Result<Option<Kind>, StoreError>;

    /// Stores canonical bytes and returns their KID.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a tree or commit whose bytes are not canonical, or the disk's.
    fn put(&self, kind: Kind, bytes: &[u8]) -> Result<Kid, StoreError>;

    /// Stores a blob from a stream, in bounded memory; returns its KID and size in bytes.
    ///
    /// # Errors
    /// Reading failed, or the disk's.
    fn put_blob(&self, from: &mut dyn Read) -> Result<(Kid, u64), StoreError>;

    /// Stores a file that was the blob `before`: where only some of a large one has changed, what is
    /// new is written, and the rest is that blob's. As [`Objects::put_blob`] otherwise.
    ///
    /// # Errors
    /// As [`Objects::put_blob`].
    fn put_changed(&self, file: &mut File, before: &Kid) -> Result<(Kid, u64), StoreError> {
        let _ = before;
        self.put_blob(file)
    }

    /// Whether a blob of this size is here, so that it need not be put again. If so, it counts as
    /// put: the next sync makes sure of it.
    ///
    /// # Errors
    /// The disk's.
    fn rely_on(&self, kid: &Kid, size: u64) -> Result<bool, StoreError>;

    /// Makes every earlier put durable, and visible to other processes.
    ///
    /// # Errors
    /// The disk's; then nothing is promised about what was put since the last sync.
    fn sync(&self) -> Result<(), StoreError>;

    /// Makes sure that a value may be relied upon by its name alone: what a collection has
    /// condemned or swept of it, at any depth, is kept as if it had just been put. `false`: it is
    /// not here, or not whole. Stores that never delete only look whether it is there.
    ///
    /// # Errors
    /// The disk's.
    fn retain(&self, kid: &Kid) -> Result<bool, StoreError> {
        Ok(self.kind(kid)?.is_some())
    }

    /// KIDs here that start with `prefix`, sorted, at most [`MAX_CANDIDATES`].
    ///
    /// # Errors
    /// The disk's.
    fn candidates(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError>;

    /// Trees that whoever commits through this keeps decoded.
    fn trees(&self) -> Option<&TreeCache> {
        None
    }
}

impl dyn Objects + '_ {
    /// A tree, also one that is split over several objects.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn tree(&self, kid: &Kid) -> Result<Tree, StoreError> {
        directory::whole(self, kid)
    }

    /// Stores a tree, split if it is large, and returns the entry for it (0755, with its sums).
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub fn put_tree(&self, tree: &Tree) -> Result<Entry, StoreError> {
        let made = directory::put(self, tree)?;
        Ok(Entry::tree(made.kid, made.sums))
    }

    /// The names of two trees that may differ, before and after: all that do, and perhaps some
    /// that do not. Parts that both have are not read, so this costs what has changed.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn differing(&self, before: &Kid, after: &Kid) -> Result<(Tree, Tree), StoreError> {
        directory::differing(self, before, after)
    }

    /// A commit.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn commit(&self, kid: &Kid) -> Result<Commit, StoreError> {
        let bytes = self.bytes_of(kid, Kind::Commit)?;
        Commit::decode(&bytes).map_err(|source| StoreError::Invalid { kind: Kind::Commit, source })
    }

    /// Stores a commit.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub fn put_commit(&self, commit: &Commit) -> Result<Kid, StoreError> {
        let bytes =
            commit.encode().map_err(|source| StoreError::Invalid { kind: Kind::Commit, source })?;
        self.put(Kind::Commit, &bytes)
    }

    /// Stores bytes as a blob and returns the entry for it (a file, 0644).
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Entry, StoreError> {
        Ok(Entry::file(self.put(Kind::Blob, bytes)?, bytes.len() as u64))
    }

    /// Stores a JSON document as a blob: compact, keys in the order given.
    ///
    /// # Errors
    /// As [`Objects::put`].
    pub fn put_json(&self, value: &Json) -> Result<Entry, StoreError> {
        self.put_bytes(value.to_string().as_bytes())
    }

    /// A blob, whole.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn blob(&self, kid: &Kid) -> Result<Vec<u8>, StoreError> {
        self.bytes_of(kid, Kind::Blob)
    }

    /// The entry at a relative path below a tree, through trees and commits; symbolic links are
    /// not followed. The empty path is the tree itself. `None`: no such name.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub fn walk(&self, tree: &Kid, path: &str) -> Result<Option<Entry>, StoreError> {
        let mut at = *tree;
        let mut found: Option<Entry> = None;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if let Some(entry) = &found {
                let Some(below) = self.directory_of(entry)? else { return Ok(None) };
                at = below;
            }
            let Some(entry) = Directory::open(self, &at)?.get(part.as_bytes())? else {
                return Ok(None);
            };
            found = Some(entry);
        }
        match found {
            Some(entry) => Ok(Some(entry)),
            None => self.tree_entry(tree).map(Some),
        }
    }

    /// The tree that the names below an entry are in: a tree's own, a commit's, or those of what
    /// a pointer resolved to, as far as that is here.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub fn directory_of(&self, entry: &Entry) -> Result<Option<Kid>, StoreError> {
        match &entry.value {
            Value::Tree { kid, .. } => Ok(Some(*kid)),
            Value::Commit { kid } => Ok(Some(self.commit(kid)?.tree)),
            Value::Pointer { kid: Some(kid), .. } => match self.kind(kid)? {
                Some(Kind::Tree) => Ok(Some(*kid)),
                Some(Kind::Commit) => Ok(Some(self.commit(kid)?.tree)),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    /// The entry (0755) of a tree that is here.
    ///
    /// # Errors
    /// As [`Objects::get`].
    pub fn tree_entry(&self, kid: &Kid) -> Result<Entry, StoreError> {
        Ok(Entry::tree(*kid, directory::sums(self, kid)?))
    }

    fn bytes_of(&self, kid: &Kid, expected: Kind) -> Result<Vec<u8>, StoreError> {
        let object = self.get(kid)?;
        if object.kind != expected {
            return Err(StoreError::WrongKind { kid: *kid, expected, found: object.kind });
        }
        Ok(object.bytes)
    }
}

/// A version of the namespace, as a store keeps it: its number and its commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    /// 0 for the empty namespace of a new Keg, one more for each version.
    pub seq: u64,
    /// The version.
    pub commit: Kid,
}

/// What moving the root takes along, all or nothing.
pub struct Advance {
    /// Small objects that become part of the store with the new root.
    pub objects: Vec<Object>,
    /// The new version; its bytes are among `objects`.
    pub commit: Kid,
}

/// Who may move the namespace's root, by compare-and-swap. The second implementation on files is
/// [`FileStore`]; others (etcd) follow the same contract.
pub trait Master: Objects {
    /// The newest version that is durable.
    ///
    /// # Errors
    /// The disk's.
    fn latest(&self) -> Result<Root, StoreError>;

    /// Version number `seq`, `None` if there is none such (yet).
    ///
    /// # Errors
    /// The disk's.
    fn root(&self, seq: u64) -> Result<Option<Root>, StoreError>;

    /// Moves the root: `plan` sees the newest root and says what follows it (`None`: nothing
    /// does). No other root can come between. Every earlier put is durable on return, and so is
    /// the root returned.
    ///
    /// # Errors
    /// What `plan` answers, or the disk's; then the root has not moved for any reader.
    fn advance(&self, plan: &mut Plan<'_>) -> Result<Root, crate::names::CommitError>;

    /// Adds versions whose commits are here, in this order, if `from` is the newest one; returns
    /// the newest one then. Durable on return, as by [`Master::advance`]; where a crash comes
    /// between, the first of them may be there.
    ///
    /// # Errors
    /// The disk's.
    fn extend(&self, from: &Kid, commits: &[Kid]) -> Result<Root, crate::names::CommitError> {
        extend::one_by_one(self, from, commits)
    }

    /// Reads everything there is and tells what it meets.
    ///
    /// # Errors
    /// The disk's, where it keeps from going on; damage is not an error but told.
    fn audit(&self, visit: &mut dyn FnMut(Audited)) -> Result<(), StoreError>;

    /// The file that is written to whenever the root has moved (for inotify).
    fn bell(&self) -> &std::path::Path;

    /// The store on files below, if there is one: only such a store is collected and repaired.
    fn files(&self) -> Option<&FileStore> {
        None
    }

    /// The store on files, if it is this one: processes that share it commit for each other.
    fn shared(&self) -> Option<&FileStore> {
        None
    }
}

/// What [`Master::advance`] asks.
pub type Plan<'a> =
    dyn FnMut(&dyn Objects, Root) -> Result<Option<Advance>, crate::names::CommitError> + 'a;
