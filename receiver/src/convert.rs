//! A git tree becomes a tree of the Keg, only as far as it is new.
//!
//! What was converted before is known from the sidecars ([`crate::kids`]): an unchanged directory
//! costs one look-up, however much is below it. A tree with the same directory ten times at each
//! of ten levels is ten conversions; its sums tell its true size before anything is built of it.

use std::collections::HashMap;

use gix_hash::ObjectId;
use gix_object::Kind as GitKind;
use keg::{
    object::{Attrs, Entry, EntryName, EntryNameError, Kind, Tree, Value},
    store::{Objects, StoreError},
};

use crate::{
    fsck::submodule_urls,
    git::{EntryKind, TreeEntry, tree_entries},
    kids::{self, Kids, Known},
    pack::{Budget, Object, PackError, PackSet},
};

/// Most names in a source, at all depths.
const MAX_ENTRIES: u64 = 1_000_000;
/// Most bytes of all its files.
const MAX_BYTES: u64 = 16 << 30;
/// Deepest directory.
const MAX_DEPTH: usize = 200;
/// Longest path.
const MAX_PATH: usize = 4000;
/// Longest target of a symbolic link.
const MAX_TARGET: usize = 4095;
/// Most paths of one kind that are listed to the person who pushed.
const MAX_LISTED: usize = 5;

/// Why a git tree cannot become a source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConvertError {
    /// More than [`MAX_ENTRIES`] names.
    #[error("the source has over {MAX_ENTRIES} files and directories; remove what is not needed")]
    Entries,
    /// More than [`MAX_BYTES`].
    #[error("the source has over {} GiB; remove what is not needed", MAX_BYTES >> 30)]
    Bytes,
    /// Too deep.
    #[error("directories are nested over {MAX_DEPTH} deep at {0}; flatten them")]
    Depth(String),
    /// A path that is too long.
    #[error("the path {0}… has over {MAX_PATH} bytes; shorten it")]
    Path(String),
    /// A name that no file system takes.
    #[error("in directory /{path}: {source}")]
    Name {
        /// The directory.
        path: String,
        /// Why.
        source: EntryNameError,
    },
    /// A symbolic link without a usable target.
    #[error(
        "the symbolic link {0} has an empty target, one with NUL, or one over {MAX_TARGET} bytes"
    )]
    Target(String),
    /// An object is not there, or is of another kind, though the repository was complete.
    #[error("{id} at {path} cannot be read from the repository of this app; run keg fsck")]
    Missing {
        /// The object.
        id: ObjectId,
        /// Where it is needed.
        path: String,
    },
    /// The packs.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// The Keg.
    #[error("the source cannot be stored: {0}")]
    Store(#[from] StoreError),
}

/// What people are told about a source besides that it is there.
#[derive(Default)]
pub(crate) struct Remarks {
    /// Paths of submodules, and their addresses.
    pub(crate) submodules: Vec<(String, String)>,
    /// How many there are; the list is cut.
    pub(crate) submodule_count: usize,
    /// Paths of files that are pointers of Git LFS.
    pub(crate) lfs: Vec<String>,
    /// How many there are; the list is cut.
    pub(crate) lfs_count: usize,
    /// Files and directories that were converted rather than known.
    pub(crate) converted: u64,
}

/// A conversion of one push.
pub(crate) struct Converter<'a> {
    /// The Keg's objects.
    pub(crate) objects: &'a dyn Objects,
    /// The app's packs, the one just received among them.
    pub(crate) packs: &'a mut PackSet,
    /// What earlier pushes know.
    pub(crate) earlier: &'a [Kids],
    /// What this push knows: the blobs of its pack, and the trees as they are converted.
    pub(crate) known: HashMap<ObjectId, Known>,
    /// Pays for the reading.
    pub(crate) budget: Budget,
    /// What to tell.
    pub(crate) remarks: Remarks,
    /// Addresses of submodules by path.
    urls: HashMap<Vec<u8>, String>,
}

impl<'a> Converter<'a> {
    /// A conversion; `known` are the blobs of the pack just received.
    pub(crate) fn new(
        objects: &'a dyn Objects,
        packs: &'a mut PackSet,
        earlier: &'a [Kids],
        known: HashMap<ObjectId, Known>,
        budget: Budget,
    ) -> Self {
        let (remarks, urls) = (Remarks::default(), HashMap::new());
        Self { objects, packs, earlier, known, budget, remarks, urls }
    }

    /// Converts the tree of a commit; returns the KID of the Keg's tree.
    ///
    /// # Errors
    /// The source is too large or holds what no file system takes; or a store's failure.
    pub(crate) fn run(&mut self, tree: ObjectId) -> Result<Known, ConvertError> {
        if let Some(known) = self.known_tree(tree)? {
            return Ok(known);
        }
        let root = self.read(tree, GitKind::Tree, b"")?;
        let mut entries = tree_entries(&root.bytes).flatten();
        if let Some(modules) = entries.find(|entry| entry.name == b".gitmodules")
            && let Some(object) = self.packs.read(&modules.id, &mut self.budget)?
        {
            self.urls = submodule_urls(&object.bytes);
        }
        self.tree(tree, &mut Vec::new(), 0)
    }

    /// Converts one tree, unless it is known.
    fn tree(
        &mut self,
        id: ObjectId,
        path: &mut Vec<u8>,
        depth: usize,
    ) -> Result<Known, ConvertError> {
        if depth > MAX_DEPTH {
            return Err(ConvertError::Depth(shown(path)));
        }
        if let Some(known) = self.known_tree(id)? {
            return Ok(known);
        }
        let bytes = self.read(id, GitKind::Tree, path)?.bytes;
        let mut tree = Tree::default();
        let mut flags = 0;
        for entry in tree_entries(&bytes) {
            let entry = entry.map_err(|_| ConvertError::Missing { id, path: shown(path) })?;
            let name = EntryName::new(entry.name)
                .map_err(|source| ConvertError::Name { path: shown(path), source })?;
            let parent = path.len();
            if parent > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name);
            if path.len() > MAX_PATH {
                return Err(ConvertError::Path(shown(&path[..100])));
            }
            let converted = self.entry(&entry, path, depth, &mut flags)?;
            path.truncate(parent);
            tree.entries.insert(name, converted);
            self.remarks.converted += 1;
            if tree.entries.len() as u64 > MAX_ENTRIES {
                return Err(ConvertError::Entries);
            }
        }
        let stored = self.objects.put_tree(&tree)?;
        let Value::Tree { kid, bytes, entries } = stored.value else {
            return Err(ConvertError::Missing { id, path: shown(path) });
        };
        if entries > MAX_ENTRIES {
            return Err(ConvertError::Entries);
        }
        if bytes > MAX_BYTES {
            return Err(ConvertError::Bytes);
        }
        let known = Known { is_tree: true, flags, kid, bytes, entries };
        self.known.insert(id, known);
        Ok(known)
    }

    /// Converts one entry of a tree.
    fn entry(
        &mut self,
        entry: &TreeEntry<'_>,
        path: &mut Vec<u8>,
        depth: usize,
        flags: &mut u8,
    ) -> Result<Entry, ConvertError> {
        let kind = entry.kind();
        match kind {
            EntryKind::Tree => {
                let known = self.tree(entry.id, path, depth + 1)?;
                *flags |= known.flags;
                let (bytes, entries) = (known.bytes, known.entries);
                let value = Value::Tree { kid: known.kid, bytes, entries };
                Ok(Entry { value, attrs: Attrs::with_mode(0o755) })
            }
            EntryKind::File | EntryKind::Executable => {
                let known = self.file(entry.id, path)?;
                if known.flags & kids::LFS != 0 {
                    *flags |= kids::LFS;
                    note(&mut self.remarks.lfs, &mut self.remarks.lfs_count, || shown(path));
                }
                let mode = if kind == EntryKind::Executable { 0o755 } else { 0o644 };
                let value = Value::File { kid: known.kid, size: known.bytes };
                Ok(Entry { value, attrs: Attrs::with_mode(mode) })
            }
            EntryKind::Symlink => {
                let target = self.read(entry.id, GitKind::Blob, path)?.bytes.to_vec();
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
                    return Err(ConvertError::Target(shown(path)));
                }
                Ok(Entry::symlink(target))
            }
            EntryKind::Submodule => {
                *flags |= kids::SUBMODULE;
                let url = self.urls.get(path.as_slice()).cloned().unwrap_or_default();
                let remarks = &mut self.remarks;
                note(&mut remarks.submodules, &mut remarks.submodule_count, || {
                    (shown(path), url.clone())
                });
                let reference = entry.id.to_string();
                let value = Value::Pointer { source: url, reference, kid: None };
                Ok(Entry { value, attrs: Attrs::with_mode(0o755) })
            }
        }
    }

    /// A tree that need not be converted. One with submodules or LFS pointers below is walked
    /// again, so that they are mentioned with every push.
    fn known_tree(&self, id: ObjectId) -> Result<Option<Known>, ConvertError> {
        if let Some(&known) = self.known.get(&id) {
            return Ok(Some(known));
        }
        let Some(known) = self.earlier.iter().find_map(|kids| kids.get(&id)) else {
            return Ok(None);
        };
        let whole = known.is_tree && known.flags == 0 && self.is_here(&known.kid, Kind::Tree)?;
        Ok(whole.then_some(known))
    }

    /// Whether a value is here, and stays: garbage collection may have been about to remove what
    /// only an earlier push named.
    fn is_here(&self, kid: &keg::Kid, kind: Kind) -> Result<bool, ConvertError> {
        Ok(self.objects.kind(kid)? == Some(kind) && self.objects.retain(kid)?)
    }

    /// Makes sure that the Keg holds a file.
    fn file(&mut self, id: ObjectId, path: &[u8]) -> Result<Known, ConvertError> {
        let known = match self.known.get(&id) {
            Some(&known) => Some(known),
            None => self.earlier.iter().find_map(|kids| kids.get(&id)),
        };
        if let Some(known) = known
            && self.is_here(&known.kid, Kind::Blob)?
        {
            return Ok(known);
        }
        let object = self.read(id, GitKind::Blob, path)?;
        let (kid, bytes) = match object.bytes.len() as u64 {
            small if small <= crate::pack::STREAM_BLOB => {
                (self.objects.put(Kind::Blob, &object.bytes)?, small)
            }
            _ => self.objects.put_blob(&mut &object.bytes[..])?,
        };
        let flags = if crate::lfs::is_pointer(&object.bytes) { kids::LFS } else { 0 };
        let known = Known { is_tree: false, flags, kid, bytes, entries: 0 };
        self.known.insert(id, known);
        Ok(known)
    }

    /// An object of the packs.
    fn read(&mut self, id: ObjectId, kind: GitKind, path: &[u8]) -> Result<Object, ConvertError> {
        let object = self.packs.read(&id, &mut self.budget)?;
        let missing = || ConvertError::Missing { id, path: shown(path) };
        object.filter(|object| object.kind == kind).ok_or_else(missing)
    }
}

/// Counts, and keeps the first few.
fn note<T>(list: &mut Vec<T>, count: &mut usize, item: impl FnOnce() -> T) {
    *count += 1;
    if list.len() < MAX_LISTED {
        list.push(item());
    }
}

/// A path for people.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
