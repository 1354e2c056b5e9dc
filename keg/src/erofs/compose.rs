//! From a Keg tree to the inodes of an image over the object store (composefs).
//!
//! A file larger than [`INLINE_MAX`] becomes a hole of its size with two attributes that overlayfs
//! reads: `trusted.overlay.metacopy` (empty: its data is elsewhere) and
//! `trusted.overlay.redirect` (where: its path in `objects/`). Attributes of the tree's own that
//! start with `trusted.overlay.` are escaped as `trusted.overlay.overlay.`, which overlayfs undoes.

use std::collections::HashMap;

use super::format::{MAX_MAJOR, MAX_MINOR, XATTR_HEADER_LEN};
use super::model::{Attributes, Dirent, Image, Inode, InodeKind};
use super::{ErofsError, INLINE_MAX, MAX_FILE, MAX_INODES, MAX_XATTRS, xattr};
use crate::ingest::LinkKey;
use crate::kid::Kid;
use crate::object::{Attrs, Entry, Tree, Value};
use crate::pointer;
use crate::store::{Objects, StoreError};

/// Attributes that overlayfs takes for its own.
pub const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";
/// What they become when they are data.
pub const OVERLAY_ESCAPED: &[u8] = b"trusted.overlay.overlay.";
/// On a directory, with the value `y`: nothing of the layers below shows.
pub(super) const OPAQUE: &[u8] = b"trusted.overlay.opaque";
/// Longest target of a symbolic link.
const MAX_TARGET: usize = 4095;
const METACOPY: &[u8] = b"trusted.overlay.metacopy";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";

/// The path of a blob in the store's directory of raw objects, as an overlay redirect.
pub fn object_path(kid: &Kid) -> String {
    let hex = kid.to_hex();
    format!("/{}/{}", &hex[..2], &hex[2..])
}

/// Makes the image of a tree. Its root is 0755, owned by root, time 0: a tree by itself has no
/// attributes.
///
/// # Errors
/// An object is missing or damaged, an entry cannot be shown, or there are too many.
pub fn compose(objects: &dyn Objects, tree: &Kid) -> Result<Image, ErofsError> {
    let mut composer = Composer::new(objects, tree, uuid(tree.as_bytes()))?;
    composer.pending.push((0, *tree));
    composer.fill_pending()?;
    Ok(composer.image)
}

/// A UUID from the first half of a hash (RFC 9562, version 8: its bits are ours).
pub(super) fn uuid(hash: &[u8; 32]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&hash[..16]);
    uuid[6] = (uuid[6] & 0x0f) | 0x80;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
    uuid
}

/// Where an entry is: the number of its directory, and its name there.
pub(super) type At = (u32, Vec<u8>);

/// An image in the making.
pub(super) struct Composer<'a> {
    pub(super) objects: &'a dyn Objects,
    tree: Kid,
    pub(super) image: Image,
    /// By inode: the directory it was first found in and its name there, for messages.
    names: Vec<At>,
    links: HashMap<LinkKey, u32>,
    /// Directories whose entries are still to be read.
    pub(super) pending: Vec<(u32, Kid)>,
}

impl<'a> Composer<'a> {
    /// An image with nothing but the root directory, inode 0.
    pub(super) fn new(
        objects: &'a dyn Objects,
        tree: &Kid,
        uuid: [u8; 16],
    ) -> Result<Self, ErofsError> {
        let mut composer = Composer {
            objects,
            tree: *tree,
            image: Image { inodes: Vec::new(), uuid, lacks: false },
            names: Vec::new(),
            links: HashMap::new(),
            pending: Vec::new(),
        };
        let root = InodeKind::Directory { entries: Vec::new(), parent: 0 };
        composer.add((0, Vec::new()), root, &Attrs::with_mode(0o755), Vec::new())?;
        Ok(composer)
    }

    /// Reads all directories that are pending, and those that are found in them.
    pub(super) fn fill_pending(&mut self) -> Result<(), ErofsError> {
        while let Some((number, kid)) = self.pending.pop() {
            self.fill(number, &kid)?;
        }
        Ok(())
    }

    /// Reads a directory: its entries get consecutive inodes, so that listing it with attributes
    /// reads few blocks.
    fn fill(&mut self, number: u32, kid: &Kid) -> Result<(), ErofsError> {
        let tree = self.read(number, kid)?;
        let mut dirents = Vec::with_capacity(tree.entries.len());
        let mut below = Vec::new();
        for (name, entry) in &tree.entries {
            let name = name.as_bytes().to_vec();
            let inode = match self.linked(entry) {
                Some(inode) => inode,
                None => self.enter((number, name.clone()), entry, &mut below)?,
            };
            dirents.push(Dirent { name, inode });
        }
        self.set_entries(number, dirents, below.len());
        self.pending.extend(below.into_iter().rev());
        Ok(())
    }

    /// The tree of the directory with this number.
    fn read(&self, number: u32, kid: &Kid) -> Result<Tree, ErofsError> {
        self.objects.tree(kid).map_err(|source| self.unreadable(number, source))
    }

    /// The error for a directory that cannot be read.
    pub(super) fn unreadable(&self, number: u32, source: StoreError) -> ErofsError {
        self.read_error(&self.names[number as usize], source)
    }

    /// Gives a directory its entries, of which so many are directories.
    pub(super) fn set_entries(&mut self, number: u32, dirents: Vec<Dirent>, directories: usize) {
        let directory = &mut self.image.inodes[number as usize];
        // MAX_INODES fits.
        directory.nlink = 2 + directories as u32;
        if let InodeKind::Directory { entries, .. } = &mut directory.kind {
            *entries = dirents;
        }
    }

    /// The inode that an earlier name of the same file made, with one more link.
    pub(super) fn linked(&mut self, entry: &Entry) -> Option<u32> {
        let number = *self.links.get(&LinkKey::of(entry)?)?;
        self.image.inodes[number as usize].nlink += 1;
        Some(number)
    }

    /// Makes the inode of an entry; a directory's is noted in `below`, to be filled.
    pub(super) fn enter(
        &mut self,
        at: At,
        entry: &Entry,
        below: &mut Vec<(u32, Kid)>,
    ) -> Result<u32, ErofsError> {
        if entry.attrs.uid.max(entry.attrs.gid) == u32::MAX {
            return Err(self.unsupported(&at, "its owner or group is 4294967295, which is none"));
        }
        let shown = pointer::seen(self.objects, entry).map_err(|e| self.read_error(&at, e))?;
        let entry = &*shown;
        let xattrs = self.xattrs(&at, entry)?;
        let directory = self.objects.directory_of(entry).map_err(|e| self.read_error(&at, e))?;
        let Some(kid) = directory else {
            let kind = self.kind(&at, entry)?;
            let number = self.add(at, kind, &entry.attrs, xattrs)?;
            if let Some(key) = LinkKey::of(entry) {
                self.links.insert(key, number);
            }
            return Ok(number);
        };
        let kind = InodeKind::Directory { entries: Vec::new(), parent: at.0 };
        let number = self.add(at, kind, &entry.attrs, xattrs)?;
        if matches!(entry.value, Value::Commit { .. }) {
            // A commit's entry has the mode of a file; shown as a directory, it must be entered.
            self.image.inodes[number as usize].mode = 0o755;
        }
        below.push((number, kid));
        Ok(number)
    }

    fn kind(&mut self, at: &At, entry: &Entry) -> Result<InodeKind, ErofsError> {
        match &entry.value {
            Value::File { kid, size } => self.file(at, kid, *size),
            Value::Symlink { target } if target.is_empty() || target.len() > MAX_TARGET => {
                Err(self.unsupported(at, "its target is empty or longer than 4095 bytes"))
            }
            Value::Symlink { target } => Ok(InodeKind::Symlink(target.clone())),
            Value::Device { major, minor, .. } if *major > MAX_MAJOR || *minor > MAX_MINOR => {
                Err(self.unsupported(at, "its device number is too large"))
            }
            Value::Device { block: false, major: 0, minor: 0 } => Err(self.unsupported(
                at,
                "it is the character device 0:0, which overlayfs takes for a deleted file",
            )),
            Value::Device { block, major, minor } => {
                Ok(InodeKind::Device { block: *block, major: *major, minor: *minor })
            }
            Value::Fifo => Ok(InodeKind::Fifo),
            // What it points to is not here: a link that only says where.
            Value::Pointer { source, reference, kid } => {
                self.image.lacks |= kid.is_some();
                let mut target = format!("{source}#{reference}").into_bytes();
                target.truncate(MAX_TARGET);
                Ok(InodeKind::Symlink(target))
            }
            Value::Tree { .. } | Value::Commit { .. } => {
                Err(self.unsupported(at, "it is a directory without a tree"))
            }
        }
    }

    fn file(&self, at: &At, kid: &Kid, size: u64) -> Result<InodeKind, ErofsError> {
        if size > MAX_FILE {
            return Err(self.unsupported(at, "it is too large"));
        }
        if size == 0 || size > INLINE_MAX {
            return Ok(if size == 0 {
                InodeKind::Inline(Vec::new())
            } else {
                InodeKind::Hole(size)
            });
        }
        let bytes = self.objects.blob(kid).map_err(|e| self.read_error(at, e))?;
        let found = bytes.len() as u64;
        if found != size {
            let (tree, path) = (self.tree, self.path(at));
            return Err(ErofsError::Size { tree, path, kid: *kid, expected: size, found });
        }
        Ok(InodeKind::Inline(bytes))
    }

    fn xattrs(&self, at: &At, entry: &Entry) -> Result<Attributes, ErofsError> {
        let mut xattrs = Vec::with_capacity(entry.attrs.xattrs.len());
        for (name, value) in &entry.attrs.xattrs {
            let name = match name.strip_prefix(OVERLAY_PREFIX) {
                Some(rest) => [OVERLAY_ESCAPED, rest].concat(),
                None => name.clone(),
            };
            if let Some(reason) = xattr::refusal(&name, value) {
                return Err(self.unsupported(at, reason));
            }
            xattrs.push((name, value.clone()));
        }
        if let Value::File { kid, size } = &entry.value
            && *size > INLINE_MAX
        {
            xattrs.push((METACOPY.to_vec(), Vec::new()));
            xattrs.push((REDIRECT.to_vec(), object_path(kid).into_bytes()));
        }
        let total: usize = xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        if total + XATTR_HEADER_LEN > MAX_XATTRS {
            return Err(self.unsupported(at, "its extended attributes are too large together"));
        }
        xattrs.sort_unstable();
        Ok(xattrs)
    }

    pub(super) fn add(
        &mut self,
        at: At,
        kind: InodeKind,
        attrs: &Attrs,
        xattrs: Attributes,
    ) -> Result<u32, ErofsError> {
        let number = self.image.inodes.len();
        if number >= MAX_INODES {
            return Err(ErofsError::TooLarge { what: "inodes", limit: MAX_INODES as u64 });
        }
        self.image.inodes.push(Inode {
            kind,
            mode: attrs.mode & 0o7777,
            uid: attrs.uid,
            gid: attrs.gid,
            mtime: attrs.mtime,
            mtime_nsec: attrs.mtime_nsec,
            nlink: 1,
            xattrs,
        });
        self.names.push(at);
        // MAX_INODES fits.
        Ok(number as u32)
    }

    fn path(&self, at: &At) -> String {
        let mut parts = vec![&at.1];
        let mut number = at.0;
        while number != 0 {
            let (parent, name) = &self.names[number as usize];
            parts.push(name);
            number = *parent;
        }
        let text = |part: &&Vec<u8>| format!("/{}", String::from_utf8_lossy(part));
        parts.iter().rev().map(text).collect()
    }

    pub(super) fn read_error(&self, at: &At, source: StoreError) -> ErofsError {
        ErofsError::Read { tree: self.tree, path: self.path(at), source }
    }

    fn unsupported(&self, at: &At, reason: &str) -> ErofsError {
        ErofsError::Unsupported { tree: self.tree, path: self.path(at), reason: reason.to_owned() }
    }
}
