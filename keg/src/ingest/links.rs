//! Hard links: which names are one inode.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::at::Meta;
use super::error::IngestError;
use crate::kid::Kid;
use crate::object::{Attrs, Entry, Value};
use crate::store::Objects;
use crate::union::{Edit, edit};

/// The number of the link group whose first path (relative, in tree order) this is. Never 0.
pub fn link_group(first_path: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&blake3::hash(first_path).as_bytes()[..8]);
    u64::from_le_bytes(bytes).max(1)
}

/// Inodes with several names that have been met.
#[derive(Default)]
pub struct Links {
    met: HashMap<(u64, u64), Group>,
}

struct Group {
    first: Vec<u8>,
    entry: Entry,
    names: u64,
}

impl Links {
    /// The entry of an inode that was met under another name.
    pub fn again(&mut self, meta: &Meta) -> Option<Entry> {
        let group = self.met.get_mut(&meta.inode)?;
        group.names += 1;
        Some(group.entry.clone())
    }

    /// Notes an inode that has other names, here or elsewhere, and numbers its group.
    pub fn note(&mut self, meta: &Meta, path: &[u8], entry: &mut Entry) {
        if meta.nlink > 1 {
            entry.attrs.link_group = link_group(path);
            let group = Group { first: path.to_vec(), entry: entry.clone(), names: 1 };
            self.met.insert(meta.inode, group);
        }
    }

    /// Takes the number from entries whose other names are all outside the tree.
    pub fn drop_single(self, objects: &dyn Objects, root: Entry) -> Result<Entry, IngestError> {
        let single = self.met.into_values().filter(|group| group.names == 1);
        let edits: Vec<(Vec<u8>, Edit)> = single
            .map(|mut group| {
                group.entry.attrs.link_group = 0;
                (group.first, Edit::Set(group.entry))
            })
            .collect();
        apply(objects, root, edits)
    }

    /// The numbers of all groups.
    pub fn groups(&self) -> impl Iterator<Item = u64> {
        self.met.values().map(|group| group.entry.attrs.link_group)
    }
}

/// All link groups in a tree, added to `groups`.
pub fn collect(
    objects: &dyn Objects,
    tree: &Kid,
    groups: &mut HashSet<u64>,
) -> Result<(), IngestError> {
    each(objects, tree, &mut |_, entry| {
        groups.insert(entry.attrs.link_group);
    })
}

/// Numbers the given groups of a tree as [`super::ingest`] would: by the first path that is left,
/// 0 where only one is left.
pub fn renumber(
    objects: &dyn Objects,
    root: Entry,
    groups: &HashSet<u64>,
) -> Result<Entry, IngestError> {
    let Some(kid) = root.kid().filter(|_| !groups.is_empty()) else { return Ok(root) };
    let mut members: BTreeMap<u64, Vec<(Vec<u8>, Entry)>> = BTreeMap::new();
    each(objects, &kid, &mut |path, entry| {
        if groups.contains(&entry.attrs.link_group) {
            let group = members.entry(entry.attrs.link_group).or_default();
            group.push((path.to_vec(), entry.clone()));
        }
    })?;
    let mut edits = Vec::new();
    for (old, members) in members {
        let new = if members.len() > 1 { link_group(&members[0].0) } else { 0 };
        if new == old {
            continue;
        }
        for (path, mut entry) in members {
            entry.attrs.link_group = new;
            edits.push((path, Edit::Set(entry)));
        }
    }
    apply(objects, root, edits)
}

/// Edits below an entry, which keeps its attributes.
fn apply(
    objects: &dyn Objects,
    root: Entry,
    edits: Vec<(Vec<u8>, Edit)>,
) -> Result<Entry, IngestError> {
    match root.kid() {
        Some(kid) if !edits.is_empty() => {
            Ok(Entry { attrs: root.attrs, ..edit(objects, &kid, edits)? })
        }
        _ => Ok(root),
    }
}

/// Calls `f` with every entry of a link group, in tree order.
fn each(
    objects: &dyn Objects,
    root: &Kid,
    f: &mut dyn FnMut(&[u8], &Entry),
) -> Result<(), IngestError> {
    let tree = objects.tree(root).map_err(IngestError::store(b""))?;
    // The walk in tree order: the rest of each directory on the way down.
    let mut stack = vec![(Vec::new(), tree.entries.into_iter())];
    while let Some((base, entries)) = stack.last_mut() {
        let Some((name, entry)) = entries.next() else {
            stack.pop();
            continue;
        };
        let path = join(base, name.as_bytes());
        if let Value::Tree { kid, .. } = &entry.value {
            let tree = objects.tree(kid).map_err(IngestError::store(&path))?;
            stack.push((path, tree.entries.into_iter()));
        } else if entry.attrs.link_group != 0 {
            f(&path, &entry);
        }
    }
    Ok(())
}

/// A relative path and one more name.
pub fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    if base.is_empty() { name.to_vec() } else { [base, b"/", name].concat() }
}

/// What must be equal for two entries of a link group to be one inode: a group's number alone
/// would trust the tree too much.
#[derive(PartialEq, Eq, Hash)]
pub struct LinkKey {
    value: (u8, Vec<u8>, u64),
    attrs: Attrs,
}

impl LinkKey {
    /// `None` for what has no other names.
    pub fn of(entry: &Entry) -> Option<Self> {
        if entry.attrs.link_group == 0 {
            return None;
        }
        let value = match &entry.value {
            Value::File { kid, size } => (0, kid.as_bytes().to_vec(), *size),
            Value::Symlink { target } => (1, target.clone(), 0),
            Value::Device { block, major, minor } => {
                let number = (u64::from(*major) << 32) | u64::from(*minor);
                (2 + u8::from(*block), Vec::new(), number)
            }
            Value::Fifo => (4, Vec::new(), 0),
            Value::Tree { .. } | Value::Commit { .. } | Value::Pointer { .. } => return None,
        };
        Some(Self { value, attrs: entry.attrs.clone() })
    }
}
