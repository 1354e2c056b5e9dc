//! A directory, read into the store.

use std::io::Read;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::at::{Folder, Meta, meta_of};
use super::error::{IngestError, show};
use super::links::{Links, join};
use super::{IngestOptions, MAX_DEPTH, MAX_ENTRIES};
use crate::kid::Kid;
use crate::object::{Attrs, Entry, EntryName, Kind, Tree, Value};
use crate::store::{DIFFERENCE_FROM, Objects};

/// Files up to this size are read at once, larger ones streamed.
const READ_WHOLE: u64 = 256 << 10;

/// Reads a directory into the store and returns its entry, with the directory's own attributes.
///
/// Nothing is durable before [`Objects::sync`] (or a commit, which syncs).
///
/// # Errors
/// A file cannot be read, changes meanwhile, or cannot be part of a tree; a bound is passed.
pub fn ingest(
    objects: &dyn Objects,
    dir: &Path,
    opts: &IngestOptions<'_>,
) -> Result<Entry, IngestError> {
    let folder = Folder::open(dir).map_err(|errno| IngestError::Io {
        action: "open the directory",
        path: dir.display().to_string(),
        source: errno.into(),
    })?;
    let mut reader = Reader::new(objects, opts);
    let meta = folder.own_stat().map_err(IngestError::io("look at", b""))?;
    let attrs = reader.attrs(&folder, b".", b"", &meta)?;
    let tree = walk(&mut reader, &folder, &[], 0)?;
    let root = reader.put_tree(&tree, b"", attrs)?;
    reader.links.drop_single(objects, root)
}

fn walk(
    reader: &mut Reader<'_>,
    folder: &Folder,
    path: &[u8],
    depth: usize,
) -> Result<Tree, IngestError> {
    let mut tree = Tree::default();
    for name in reader.names(folder, path, depth)? {
        let at = join(path, &name);
        if reader.opts.excludes(&at) {
            continue;
        }
        let meta = folder.stat(&name).map_err(IngestError::io("look at", &at))?;
        let entry = match meta.file_type() {
            FileType::Directory => {
                let below = folder.folder(&name).map_err(IngestError::io("open", &at))?;
                let attrs = reader.attrs(folder, &name, &at, &meta)?;
                let tree = walk(reader, &below, &at, depth + 1)?;
                Some(reader.put_tree(&tree, &at, attrs)?)
            }
            FileType::CharacterDevice if meta.rdev == 0 => {
                return Err(IngestError::Whiteout { path: show(&at) });
            }
            _ => reader.leaf(folder, &name, &at, &meta)?,
        };
        if let Some(entry) = entry {
            tree.entries.insert(entry_name(name, &at)?, entry);
        }
    }
    Ok(tree)
}

/// The name as a tree holds it.
pub fn entry_name(name: Vec<u8>, path: &[u8]) -> Result<EntryName, IngestError> {
    EntryName::new(name).map_err(|source| IngestError::Name { path: show(path), source })
}

/// What reading a directory and reading an upper directory have in common.
pub struct Reader<'a> {
    pub objects: &'a dyn Objects,
    pub opts: &'a IngestOptions<'a>,
    pub links: Links,
    entries: u64,
}

impl<'a> Reader<'a> {
    pub fn new(objects: &'a dyn Objects, opts: &'a IngestOptions<'a>) -> Self {
        Self { objects, opts, links: Links::default(), entries: 0 }
    }

    /// The names in a directory, within the bounds.
    pub fn names(
        &mut self,
        folder: &Folder,
        path: &[u8],
        depth: usize,
    ) -> Result<Vec<Vec<u8>>, IngestError> {
        if depth > MAX_DEPTH {
            return Err(IngestError::TooDeep { path: show(path), limit: MAX_DEPTH });
        }
        let names = folder.names(MAX_ENTRIES - self.entries).map_err(|errno| match errno {
            Errno::TOOBIG => IngestError::TooMany { limit: MAX_ENTRIES },
            errno => IngestError::io("list", path)(errno),
        })?;
        self.entries += names.len() as u64;
        Ok(names)
    }

    /// The attributes of an entry as the tree will hold them.
    pub fn attrs(
        &self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
    ) -> Result<Attrs, IngestError> {
        let xattrs = folder.xattrs(name);
        let xattrs = xattrs.map_err(IngestError::io("read extended attributes of", path))?;
        Ok(self.attrs_with(meta, xattrs))
    }

    fn attrs_with(&self, meta: &Meta, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Attrs {
        let (uid, gid) = self.opts.owner.unwrap_or((meta.uid, meta.gid));
        let (mtime, mtime_nsec) = match self.opts.clamp_mtime {
            Some(latest) if meta.mtime >= latest => (latest, 0),
            _ => (meta.mtime, meta.mtime_nsec),
        };
        // Linux gives links 0777; other permissions would not survive a round trip.
        let mode = if meta.file_type() == FileType::Symlink { 0o777 } else { meta.mode() };
        Attrs { mode, uid, gid, mtime, mtime_nsec, xattrs, link_group: 0 }
    }

    /// Whether what a file was when it was last read need not be put again.
    fn relies_on(&self, kid: &Kid, meta: &Meta, path: &[u8]) -> Result<bool, IngestError> {
        self.objects.rely_on(kid, meta.size).map_err(IngestError::store(path))
    }

    /// Reads anything but a directory; `None` for a socket.
    pub fn leaf(
        &mut self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
    ) -> Result<Option<Entry>, IngestError> {
        if meta.file_type() == FileType::Socket {
            return Ok(None);
        }
        if meta.nlink > 1
            && let Some(entry) = self.links.again(meta)
        {
            return Ok(Some(entry));
        }
        let known = match meta.file_type() {
            FileType::RegularFile => self.opts.known.and_then(|known| known.find(meta)),
            _ => None,
        };
        let attrs = match known {
            Some((_, true)) => self.attrs_with(meta, Vec::new()),
            _ => self.attrs(folder, name, path, meta)?,
        };
        let plain = attrs.xattrs.is_empty();
        let value = match known {
            Some((kid, _)) if self.relies_on(&kid, meta, path)? => {
                Value::File { kid, size: meta.size }
            }
            _ => self.value(folder, name, path, meta, plain)?,
        };
        let mut entry = Entry { value, attrs };
        self.links.note(meta, path, &mut entry);
        Ok(Some(entry))
    }

    fn value(
        &self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
        plain: bool,
    ) -> Result<Value, IngestError> {
        match meta.file_type() {
            FileType::RegularFile => {
                let (kid, size) = self.file(folder, name, path, meta, plain)?;
                Ok(Value::File { kid, size })
            }
            FileType::Symlink => {
                let target = folder.link_target(name).map_err(IngestError::io("read", path))?;
                Ok(Value::Symlink { target })
            }
            FileType::Fifo => Ok(Value::Fifo),
            FileType::CharacterDevice | FileType::BlockDevice => Ok(Value::Device {
                block: meta.file_type() == FileType::BlockDevice,
                major: meta.major(),
                minor: meta.minor(),
            }),
            _ => Err(IngestError::Unsupported {
                path: show(path),
                reason: "it is of a type that Keg does not know".to_owned(),
            }),
        }
    }

    fn file(
        &self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
        plain: bool,
    ) -> Result<(Kid, u64), IngestError> {
        let mut file = folder.file(name).map_err(IngestError::io("open", path))?;
        let stored = if meta.size <= READ_WHOLE {
            let mut bytes = Vec::with_capacity(meta.size as usize);
            // One byte more, to see that it grew.
            let mut whole = (&mut file).take(meta.size + 1);
            whole.read_to_end(&mut bytes).map_err(|source| IngestError::Io {
                action: "read",
                path: show(path),
                source,
            })?;
            self.objects.put(Kind::Blob, &bytes).map(|kid| (kid, bytes.len() as u64))
        } else {
            match self.before(path, meta.size)? {
                Some(before) => self.objects.put_changed(&mut file, &before),
                None => self.objects.put_blob(&mut file),
            }
        };
        let stored = stored.map_err(IngestError::store(path))?;
        // Also catches that the name leads to another file than the one looked at before.
        let after = meta_of(&file).map_err(IngestError::io("look at", path))?;
        if after != *meta || stored.1 != meta.size {
            return Err(IngestError::Changed { path: show(path) });
        }
        if let Some(known) = self.opts.known {
            known.note(meta, stored.0, plain);
        }
        Ok(stored)
    }

    /// What a large file was before.
    fn before(&self, path: &[u8], size: u64) -> Result<Option<Kid>, IngestError> {
        let (Some(tree), Ok(path)) = (self.opts.before, std::str::from_utf8(path)) else {
            return Ok(None);
        };
        if size < DIFFERENCE_FROM {
            return Ok(None);
        }
        let found = self.objects.walk(&tree, path);
        let found = found.map_err(IngestError::store(path.as_bytes()))?;
        Ok(found.and_then(|entry| match entry.value {
            Value::File { kid, .. } => Some(kid),
            _ => None,
        }))
    }

    /// Stores a directory.
    pub fn put_tree(&self, tree: &Tree, path: &[u8], attrs: Attrs) -> Result<Entry, IngestError> {
        let entry = self.objects.put_tree(tree).map_err(IngestError::store(path))?;
        Ok(Entry { attrs, ..entry })
    }
}
