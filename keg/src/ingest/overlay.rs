//! What changed in a writable mount: its upper directory, read over the tree below it.
//!
//! Specified by the kernel's `Documentation/filesystems/overlayfs.rst`. An upper directory holds
//! only what changed:
//!
//! | mark | meaning |
//! |---|---|
//! | character device 0:0, or an empty file with `trusted.overlay.whiteout` | the name is deleted |
//! | directory with `trusted.overlay.opaque` = `y` | nothing of the lower directory shows |
//! | directory with `trusted.overlay.redirect` | merged with the lower directory at that path |
//! | file with `trusted.overlay.metacopy` | new attributes, the lower file's data |
//!
//! A redirect is a path from the root (`/a/b`) or another name in the same lower directory. Both
//! are looked up in the lower tree alone, as the kernel does.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::FileType;

use super::IngestOptions;
use super::at::{Folder, Meta};
use super::error::{IngestError, show};
use super::links::{collect, join, renumber};
use super::walk::{Reader, entry_name};
use crate::directory::{Changes, Directory, change};
use crate::erofs::compose::{OVERLAY_ESCAPED, OVERLAY_PREFIX};
use crate::kid::Kid;
use crate::object::{Attrs, Entry, Value};
use crate::store::Objects;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
const METACOPY: &[u8] = b"trusted.overlay.metacopy";
const WHITEOUT: &[u8] = b"trusted.overlay.whiteout";

/// The tree that an overlay of `lower_tree` and the upper directory shows, in time proportional to
/// the upper directory (and to the directories removed or moved by it, whose trees are read for
/// hard links). Unchanged subtrees keep their KIDs and are not read.
///
/// The mount should be away, or nothing should write to it.
///
/// # Errors
/// As [`super::ingest`], and [`IngestError::Upper`] if the directory belongs to another tree.
pub fn ingest_overlay_upper(
    objects: &dyn Objects,
    lower_tree: &Kid,
    upper: &Path,
    opts: &IngestOptions<'_>,
) -> Result<Entry, IngestError> {
    let folder = Folder::open(upper).map_err(|errno| IngestError::Io {
        action: "open the upper directory",
        path: upper.display().to_string(),
        source: errno.into(),
    })?;
    let meta = folder.own_stat().map_err(IngestError::io("look at", b""))?;
    let opts = IngestOptions { before: opts.before.or(Some(*lower_tree)), ..*opts };
    let reader = Reader::new(objects, &opts);
    let mut merge = Merge { reader, root: *lower_tree, touched: HashSet::new() };
    let (attrs, marks) = merge.attrs(&folder, b".", b"", &meta)?;
    let lower = if marks.opaque { None } else { Some(*lower_tree) };
    let root = merge.directory((&folder, attrs), lower, b"", 0)?;
    merge.touched.extend(merge.reader.links.groups());
    merge.touched.remove(&0);
    renumber(objects, root, &merge.touched)
}

/// What overlayfs wrote on a file.
#[derive(Default)]
struct Marks {
    opaque: bool,
    whiteout: bool,
    metacopy: bool,
    redirect: Option<Vec<u8>>,
}

struct Merge<'a> {
    reader: Reader<'a>,
    /// The whole lower tree.
    root: Kid,
    /// Link groups that may have lost or moved members.
    touched: HashSet<u64>,
}

impl Merge<'_> {
    /// The merged directory; `lower` is what shows through.
    fn directory(
        &mut self,
        (folder, attrs): (&Folder, Attrs),
        lower: Option<Kid>,
        path: &[u8],
        depth: usize,
    ) -> Result<Entry, IngestError> {
        let objects = self.reader.objects;
        let open = |kid| Directory::open(objects, &kid).map_err(IngestError::store(path));
        let shown = lower.map(open).transpose()?;
        let mut changes = Changes::new();
        for name in self.reader.names(folder, path, depth)? {
            let at = join(path, &name);
            if self.reader.opts.excludes(&at) {
                continue;
            }
            let meta = folder.stat(&name).map_err(IngestError::io("look at", &at))?;
            let below = match &shown {
                Some(shown) => shown.get(&name).map_err(IngestError::store(path))?,
                None => None,
            };
            let entry = match meta.file_type() {
                FileType::CharacterDevice if meta.rdev == 0 => None,
                FileType::Directory => {
                    let place = Place { folder, name: &name, path: &at, meta: &meta };
                    Some(self.subdirectory(&place, lower, below.as_ref(), depth)?)
                }
                _ => {
                    let place = Place { folder, name: &name, path: &at, meta: &meta };
                    self.leaf(&place, lower, below.as_ref())?
                }
            };
            if let Some(below) = below.filter(|_| meta.file_type() != FileType::Directory) {
                self.lost(&below, &at)?;
            }
            changes.insert(entry_name(name, &at)?, entry);
        }
        let made = change(objects, shown, changes).map_err(IngestError::store(path))?;
        Ok(Entry { attrs, ..made })
    }

    fn subdirectory(
        &mut self,
        place: &Place<'_>,
        lower: Option<Kid>,
        below: Option<&Entry>,
        depth: usize,
    ) -> Result<Entry, IngestError> {
        let (attrs, marks) = self.attrs(place.folder, place.name, place.path, place.meta)?;
        let source = match &marks.redirect {
            _ if marks.opaque => None,
            Some(redirect) => Some(self.redirected(redirect, lower, place.path)?),
            None => below.cloned(),
        };
        let objects = self.reader.objects;
        let shown = match &source {
            Some(entry) => objects.directory_of(entry).map_err(IngestError::store(place.path))?,
            None => None,
        };
        if shown.is_none() || marks.redirect.is_some() {
            // What was here is gone, and what shows instead has moved.
            for entry in below.iter().copied().chain(&source) {
                self.lost(entry, place.path)?;
            }
        }
        let folder =
            place.folder.folder(place.name).map_err(IngestError::io("open", place.path))?;
        self.directory((&folder, attrs), shown, place.path, depth + 1)
    }

    /// Anything but a directory; `None` where the name is deleted (or a socket).
    fn leaf(
        &mut self,
        place: &Place<'_>,
        lower: Option<Kid>,
        below: Option<&Entry>,
    ) -> Result<Option<Entry>, IngestError> {
        let Place { folder, name, path, meta } = *place;
        if meta.file_type() != FileType::RegularFile {
            let entry = self.reader.leaf(folder, name, path, meta)?;
            return Ok(entry.map(without_marks));
        }
        let (attrs, marks) = self.attrs(folder, name, path, meta)?;
        if marks.whiteout && meta.size == 0 {
            return Ok(None);
        }
        if !marks.metacopy {
            let entry = self.reader.leaf(folder, name, path, meta)?;
            return Ok(entry.map(without_marks));
        }
        if let Some(entry) = self.reader.links.again(meta) {
            return Ok(Some(entry));
        }
        let source = match &marks.redirect {
            Some(redirect) => Some(self.redirected(redirect, lower, path)?),
            None => below.cloned(),
        };
        let Some(Entry { value: value @ Value::File { size, .. }, .. }) = source else {
            return Err(refused(path, "has only attributes, of a file that the tree lacks"));
        };
        if size != meta.size {
            let reason = format!("has the attributes of a file of {} bytes, not {size}", meta.size);
            return Err(refused(path, &reason));
        }
        let mut entry = Entry { value, attrs };
        self.reader.links.note(meta, path, &mut entry);
        Ok(Some(entry))
    }

    /// The entry of the lower tree at a redirect.
    fn redirected(
        &self,
        redirect: &[u8],
        lower: Option<Kid>,
        path: &[u8],
    ) -> Result<Entry, IngestError> {
        let from = if redirect.starts_with(b"/") { Some(self.root) } else { lower };
        let objects = self.reader.objects;
        let mut at = from;
        let mut found = None;
        for name in redirect.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            if let Some(entry) = &found {
                at = objects.directory_of(entry).map_err(IngestError::store(path))?;
            }
            found = match at {
                Some(kid) => {
                    let found = Directory::open(objects, &kid).and_then(|at| at.get(name));
                    found.map_err(IngestError::store(path))?
                }
                None => None,
            };
            if found.is_none() {
                break;
            }
        }
        let lacks = format!("comes from {}, which the tree lacks", show(redirect));
        found.ok_or_else(|| refused(path, &lacks))
    }

    /// Notes the link groups of an entry that is no longer where it was.
    fn lost(&mut self, entry: &Entry, path: &[u8]) -> Result<(), IngestError> {
        let objects = self.reader.objects;
        match objects.directory_of(entry).map_err(IngestError::store(path))? {
            Some(kid) => collect(objects, &kid, &mut self.touched),
            None => {
                self.touched.insert(entry.attrs.link_group);
                Ok(())
            }
        }
    }

    fn attrs(
        &self,
        folder: &Folder,
        name: &[u8],
        path: &[u8],
        meta: &Meta,
    ) -> Result<(Attrs, Marks), IngestError> {
        let mut attrs = self.reader.attrs(folder, name, path, meta)?;
        let marks = take_marks(&mut attrs);
        Ok((attrs, marks))
    }
}

/// An entry of the upper directory.
#[derive(Clone, Copy)]
struct Place<'a> {
    folder: &'a Folder,
    name: &'a [u8],
    path: &'a [u8],
    meta: &'a Meta,
}

fn without_marks(mut entry: Entry) -> Entry {
    take_marks(&mut entry.attrs);
    entry
}

/// Takes overlayfs' own attributes away and undoes the escape of those that are data.
fn take_marks(attrs: &mut Attrs) -> Marks {
    let mut marks = Marks::default();
    let all = std::mem::take(&mut attrs.xattrs);
    for (name, value) in all {
        if let Some(rest) = name.strip_prefix(OVERLAY_ESCAPED) {
            attrs.xattrs.push(([OVERLAY_PREFIX, rest].concat(), value));
            continue;
        }
        match name.as_slice() {
            OPAQUE => marks.opaque = value == b"y",
            WHITEOUT => marks.whiteout = true,
            METACOPY => marks.metacopy = true,
            REDIRECT => marks.redirect = Some(value),
            // Origin, impure and the like: only of use to the mount that wrote them.
            name if name.starts_with(OVERLAY_PREFIX) => {}
            _ => attrs.xattrs.push((name, value)),
        }
    }
    attrs.xattrs.sort_unstable();
    marks
}

fn refused(path: &[u8], reason: &str) -> IngestError {
    IngestError::Upper { path: show(path), reason: reason.to_owned() }
}
