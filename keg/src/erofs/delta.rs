//! An image of what differs between two trees, to lie over the image of the first in an overlay.
//!
//! | in the tree | in the delta |
//! |---|---|
//! | a name that is new, or another file | its inode, as in a full image |
//! | a directory in which something differs | its inode with its attributes, and the differences |
//! | a directory in place of something else, or with no name in common | all of it, opaque |
//! | a name that is gone | a whiteout: the character device 0:0 |
//! | a hard link of a file of which another changed | its inode: none can span two images |
//! | anything else | nothing: what is below shows |
//!
//! Opaque: `trusted.overlay.opaque` = `y`. Specified by the kernel's
//! `Documentation/filesystems/overlayfs.rst`, which has the same marks in lower layers. Mount it with `metacopy=on`: without, files whose data is an object are refused.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::compose::{At, Composer, OPAQUE, uuid};
use super::model::{Dirent, Image, InodeKind};
use super::{ErofsError, MAX_INODES};
use crate::directory::Directory;
use crate::ingest::LinkKey;
use crate::kid::Kid;
use crate::object::{Attrs, Entry, EntryName, Tree, Value};
use crate::store::{Objects, StoreError};

/// Most entries that are looked at to find what changed about hard links.
const MAX_COMPARED: usize = MAX_INODES;
/// Most entries that are kept in memory meanwhile.
const MAX_KEPT: usize = 200_000;

/// How much a delta may be and take.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Inodes of the image.
    pub inodes: usize,
    /// Entries that are compared: those of all directories in which something differs.
    pub compared: usize,
}

/// A delta, and what it took.
#[derive(Debug)]
pub struct Composed {
    /// The image.
    pub image: Image,
    /// Entries that were compared.
    pub compared: usize,
}

/// Makes the image of what differs in `tree` from `base`. `None` if it would be more than `most`,
/// or cannot be trusted to be right (see [`shadows_objects`]): then make a full image.
///
/// # Errors
/// As [`super::compose()`]; also if the base is not whole.
pub fn compose_delta(
    objects: &dyn Objects,
    base: &Kid,
    tree: &Kid,
    most: Most,
) -> Result<Option<Composed>, ErofsError> {
    let read = |path: &str, source| ErofsError::Read { tree: *tree, path: path.to_owned(), source };
    if shadows_objects(objects, base).map_err(|e| read("/", e))? {
        return Ok(None);
    }
    let mut trees = Trees { objects, kept: HashMap::new(), entries: 0, whole: false };
    let changed = changed_links(&mut trees, base, tree, most.compared);
    let Some((links, compared)) = changed.map_err(|e| read("its hard links", e))? else {
        return Ok(None);
    };
    let moved = match links.is_empty() {
        true => Some(HashSet::new()),
        false => members(objects, tree, &links).map_err(|e| read("its hard links", e))?,
    };
    let Some(moved) = moved else { return Ok(None) };
    if !moved.is_empty() {
        trees.give_all();
    }
    let hash = blake3::Hasher::new().update(base.as_bytes()).update(tree.as_bytes()).finalize();
    let composer = Composer::new(objects, tree, uuid(hash.as_bytes()))?;
    let most = most.inodes;
    let mut delta = Delta { composer, trees, moved, merges: Vec::new(), whiteout: None, most };
    let root = Merge { number: 0, below: *base, tree: *tree, path: Vec::new() };
    delta.merges.push(root);
    while let Some(merge) = delta.merges.pop() {
        delta.merge(merge)?;
        delta.composer.fill_pending()?;
        if delta.composer.image.inodes.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(Composed { image: delta.composer.image, compared }))
}

/// Two directories, without parts that both have: names that are the same may be missing.
type Pair = Rc<(Tree, Tree)>;

/// Trees that were read already: those that differ are needed twice.
struct Trees<'a> {
    objects: &'a dyn Objects,
    kept: HashMap<(Option<Kid>, Option<Kid>), Pair>,
    entries: usize,
    /// Names that are the same are needed, too.
    whole: bool,
}

impl Trees<'_> {
    fn get(&mut self, before: Option<Kid>, after: Option<Kid>) -> Result<Pair, StoreError> {
        if let Some(pair) = self.kept.get(&(before, after)) {
            return Ok(pair.clone());
        }
        let pair = match (before, after) {
            (Some(before), Some(after)) if !self.whole => {
                self.objects.differing(&before, &after)?
            }
            _ => {
                let read = |kid: Option<Kid>| {
                    kid.map_or(Ok(Tree::default()), |kid| self.objects.tree(&kid))
                };
                (read(before)?, read(after)?)
            }
        };
        self.entries += pair.0.entries.len() + pair.1.entries.len();
        let pair = Rc::new(pair);
        if self.entries <= MAX_KEPT {
            self.kept.insert((before, after), pair.clone());
        }
        Ok(pair)
    }

    /// From now on names that are the same are given, too.
    fn give_all(&mut self) {
        (self.whole, self.entries) = (true, 0);
        self.kept.clear();
    }

    /// Whether two directories have a name in common.
    fn in_common(&mut self, before: &Kid, after: &Kid) -> Result<bool, StoreError> {
        let pair = self.get(Some(*before), Some(*after))?;
        let all = Directory::open(self.objects, before)?.names();
        // What is not listed is in both.
        let more = all > pair.0.entries.len() as u64;
        Ok(more || pair.0.entries.keys().any(|name| pair.1.entries.contains_key(name)))
    }
}

/// Whether the kernel could take a file of this tree for an object. A file's data is found by an
/// absolute path, `/ab/cdef…`, which is looked up in all image layers below before the objects.
fn shadows_objects(objects: &dyn Objects, root: &Kid) -> Result<bool, StoreError> {
    let root = Directory::open(objects, root)?;
    for byte in 0..=255u8 {
        if root.get(format!("{byte:02x}").as_bytes())?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A directory that is there before and after.
struct Merge {
    number: u32,
    below: Kid,
    tree: Kid,
    path: Vec<u8>,
}

struct Delta<'a> {
    composer: Composer<'a>,
    trees: Trees<'a>,
    /// Paths that must be in the image though nothing changed there: hard links of files that
    /// have others which did change, and the directories above.
    moved: HashSet<Vec<u8>>,
    merges: Vec<Merge>,
    /// The inode of all whiteouts.
    whiteout: Option<u32>,
    most: usize,
}

impl Delta<'_> {
    fn merge(&mut self, merge: Merge) -> Result<(), ErofsError> {
        let pair = self.trees.get(Some(merge.below), Some(merge.tree));
        let pair = pair.map_err(|source| self.composer.unreadable(merge.number, source))?;
        let (before, after) = &*pair;
        let mut dirents = Vec::new();
        let mut directories = 0;
        for name in both(before, after) {
            let (old, new) = (before.entries.get(name), after.entries.get(name));
            let path = join(&merge.path, name.as_bytes());
            let inode = match (old, new) {
                (_, None) => self.whiteout(merge.number)?,
                (Some(old), Some(new)) if old == new && !self.moved.contains(&path) => continue,
                (old, Some(new)) => {
                    let at = (merge.number, name.as_bytes().to_vec());
                    self.enter(at, old, new, path)?
                }
            };
            let kind = &self.composer.image.inodes[inode as usize].kind;
            directories += usize::from(matches!(kind, InodeKind::Directory { .. }));
            dirents.push(Dirent { name: name.as_bytes().to_vec(), inode });
            if self.composer.image.inodes.len() > self.most {
                break;
            }
        }
        self.composer.set_entries(merge.number, dirents, directories);
        Ok(())
    }

    /// The inode of a name that differs.
    fn enter(
        &mut self,
        at: At,
        old: Option<&Entry>,
        new: &Entry,
        path: Vec<u8>,
    ) -> Result<u32, ErofsError> {
        if let Some(number) = self.composer.linked(new) {
            return Ok(number);
        }
        let objects = self.composer.objects;
        let directory = |entry: &Entry| objects.directory_of(entry);
        let below = old.map(directory).transpose();
        let below = below.map_err(|e| self.composer.read_error(&at, e))?.flatten();
        let mut pending = Vec::new();
        let number = self.composer.enter(at, new, &mut pending)?;
        let Some((_, tree)) = pending.pop() else { return Ok(number) };
        let unchanged = below == Some(tree) && !self.moved.contains(&path);
        if unchanged {
            return Ok(number);
        }
        match below {
            Some(below) if self.in_common(number, &below, &tree)? => {
                self.merges.push(Merge { number, below, tree, path });
            }
            _ => {
                if old.is_some() {
                    let xattrs = &mut self.composer.image.inodes[number as usize].xattrs;
                    xattrs.push((OPAQUE.to_vec(), b"y".to_vec()));
                    xattrs.sort_unstable();
                }
                self.composer.pending.push((number, tree));
            }
        }
        Ok(number)
    }

    /// Whether two versions of a directory have anything in common that is worth merging.
    fn in_common(&mut self, number: u32, below: &Kid, tree: &Kid) -> Result<bool, ErofsError> {
        let common = self.trees.in_common(below, tree);
        common.map_err(|source| self.composer.unreadable(number, source))
    }

    fn whiteout(&mut self, directory: u32) -> Result<u32, ErofsError> {
        if let Some(number) = self.whiteout {
            self.composer.image.inodes[number as usize].nlink += 1;
            return Ok(number);
        }
        let kind = InodeKind::Device { block: false, major: 0, minor: 0 };
        let attrs = Attrs::with_mode(0);
        let number = self.composer.add((directory, Vec::new()), kind, &attrs, Vec::new())?;
        self.whiteout = Some(number);
        Ok(number)
    }
}

/// The names of two directories, sorted.
fn both<'a>(before: &'a Tree, after: &'a Tree) -> BTreeSet<&'a EntryName> {
    before.entries.keys().chain(after.entries.keys()).collect()
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    [path, b"/", name].concat()
}

/// The files with several names of which a name came, went, or stands for something else now, and
/// how many entries were compared. `None` if that is more than `most`.
fn changed_links(
    trees: &mut Trees<'_>,
    base: &Kid,
    tree: &Kid,
    most: usize,
) -> Result<Option<(HashSet<LinkKey>, usize)>, StoreError> {
    let objects = trees.objects;
    let mut links = HashSet::new();
    let mut left = vec![(Some(*base), Some(*tree))];
    let mut compared = 0;
    while let Some((before, after)) = left.pop() {
        if before == after {
            continue;
        }
        let pair = trees.get(before, after)?;
        let (before, after) = &*pair;
        compared += 1 + before.entries.len() + after.entries.len();
        if compared > most.min(MAX_COMPARED) {
            return Ok(None);
        }
        for name in both(before, after) {
            let (old, new) = (before.entries.get(name), after.entries.get(name));
            if old == new {
                continue;
            }
            let mut directories = (None, None);
            for (entry, directory) in [(old, &mut directories.0), (new, &mut directories.1)] {
                let Some(entry) = entry else { continue };
                // Most changes are of files without other names, whose kind need not be asked.
                match entry.value {
                    Value::File { .. } => links.extend(LinkKey::of(entry)),
                    _ => {
                        *directory = objects.directory_of(entry)?;
                        links.extend(LinkKey::of(entry));
                    }
                }
            }
            if directories != (None, None) {
                left.push(directories);
            }
        }
    }
    Ok(Some((links, compared)))
}

/// The paths of all names of these files, and of the directories above them; `None` if the tree is
/// too large.
fn members(
    objects: &dyn Objects,
    tree: &Kid,
    links: &HashSet<LinkKey>,
) -> Result<Option<HashSet<Vec<u8>>>, StoreError> {
    let mut found = HashSet::new();
    let mut left = vec![(Vec::new(), *tree)];
    let mut looked_at = 0;
    while let Some((path, kid)) = left.pop() {
        let entries = objects.tree(&kid)?.entries;
        looked_at += 1 + entries.len();
        if looked_at > MAX_COMPARED {
            return Ok(None);
        }
        for (name, entry) in entries {
            let path = join(&path, name.as_bytes());
            if LinkKey::of(&entry).is_some_and(|key| links.contains(&key)) {
                let ends = (0..path.len()).filter(|at| path[*at] == b'/').skip(1);
                found.extend(ends.map(|at| path[..at].to_vec()));
                found.insert(path);
            } else if let Some(kid) = objects.directory_of(&entry)? {
                left.push((path, kid));
            }
        }
    }
    Ok(Some(found))
}
