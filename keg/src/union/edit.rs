//! A tree with some paths changed: only the directories on the way are read and written.

use std::collections::BTreeMap;

use super::{MAX_DEPTH, UnionError};
use crate::directory::{Changes, Directory, change};
use crate::kid::Kid;
use crate::object::{Entry, EntryName, Value};
use crate::store::Objects;

/// What becomes of a path.
#[derive(Clone, Debug)]
pub enum Edit {
    /// It is this entry now; missing directories above are made (0755, root).
    Set(Entry),
    /// It is gone, with all below it; that it was not there is fine.
    Remove,
}

/// Changes a tree at some paths (relative, `/` between names); the last edit of a path counts.
/// An edit below a path that is set or removed applies to what was set, or to nothing.
///
/// # Errors
/// A path is no path, or leads through something that is not a directory; the store's.
pub fn edit<P: AsRef<[u8]>>(
    objects: &dyn Objects,
    tree: &Kid,
    edits: impl IntoIterator<Item = (P, Edit)>,
) -> Result<Entry, UnionError> {
    let mut root = Node::default();
    for (path, edit) in edits {
        root.insert(path.as_ref(), edit)?;
    }
    if root.below.is_empty() {
        return objects.tree_entry(tree).map_err(UnionError::store(b""));
    }
    apply(objects, Some(tree), root, b"")
}

/// The tree without some paths. The KID stays the same if none of them is there.
///
/// # Errors
/// As [`edit`].
pub fn remove_paths<P: AsRef<[u8]>>(
    objects: &dyn Objects,
    tree: &Kid,
    paths: impl IntoIterator<Item = P>,
) -> Result<Entry, UnionError> {
    edit(objects, tree, paths.into_iter().map(|path| (path, Edit::Remove)))
}

/// A tree that holds nothing but `entry` at `path`, and the directories above it. An empty path
/// gives the entry itself.
///
/// # Errors
/// As [`edit`].
pub fn with_prefix(
    objects: &dyn Objects,
    entry: Entry,
    path: impl AsRef<[u8]>,
) -> Result<Entry, UnionError> {
    let mut root = Node::default();
    if names(path.as_ref()).next().is_none() {
        return Ok(entry);
    }
    root.insert(path.as_ref(), Edit::Set(entry))?;
    apply(objects, None, root, b"")
}

/// Edits by name.
#[derive(Default)]
struct Node {
    edit: Option<Edit>,
    below: BTreeMap<EntryName, Node>,
}

impl Node {
    fn insert(&mut self, path: &[u8], edit: Edit) -> Result<(), UnionError> {
        let bad = |reason: String| UnionError::Path {
            path: String::from_utf8_lossy(path).into_owned(),
            reason,
        };
        let mut node = self;
        let mut depth = 0;
        for name in names(path) {
            let name = EntryName::new(name).map_err(|error| bad(error.to_string()))?;
            node = node.below.entry(name).or_default();
            depth += 1;
        }
        if depth == 0 || depth > MAX_DEPTH {
            return Err(bad(format!("it needs 1 to {MAX_DEPTH} names")));
        }
        node.edit = Some(edit);
        Ok(())
    }

    /// Whether anything below is set rather than removed.
    fn sets(&self) -> bool {
        self.below.values().any(|node| matches!(node.edit, Some(Edit::Set(_))) || node.sets())
    }
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

/// Edits a directory, or a new one.
fn apply(
    objects: &dyn Objects,
    tree: Option<&Kid>,
    node: Node,
    path: &[u8],
) -> Result<Entry, UnionError> {
    let open = |kid| Directory::open(objects, kid).map_err(UnionError::store(path));
    let tree = tree.map(open).transpose()?;
    let mut changes = Changes::new();
    for (name, node) in node.below {
        let at = [path, b"/", name.as_bytes()].concat();
        let old = match &tree {
            Some(tree) => tree.get(name.as_bytes()).map_err(UnionError::store(path))?,
            None => None,
        };
        let entry = apply_entry(objects, old, node, &at)?;
        changes.insert(name, entry);
    }
    change(objects, tree, changes).map_err(UnionError::store(path))
}

fn apply_entry(
    objects: &dyn Objects,
    old: Option<Entry>,
    mut node: Node,
    path: &[u8],
) -> Result<Option<Entry>, UnionError> {
    let entry = match node.edit.take() {
        Some(Edit::Set(entry)) => Some(entry),
        Some(Edit::Remove) => None,
        None => old,
    };
    if node.below.is_empty() {
        return Ok(entry);
    }
    let Some(entry) = entry else {
        return match node.sets() {
            true => apply(objects, None, node, path).map(Some),
            false => Ok(None),
        };
    };
    let directory = objects.directory_of(&entry).map_err(UnionError::store(path))?;
    let Some(kid) = directory else {
        let path = String::from_utf8_lossy(path).into_owned();
        return match node.sets() {
            true => Err(UnionError::NotADirectory { path }),
            false => Ok(Some(entry)),
        };
    };
    let edited = apply(objects, Some(&kid), node, path)?;
    let mut attrs = entry.attrs;
    if matches!(entry.value, Value::Commit { .. }) {
        // A commit's entry has the mode of a file; now it is a plain directory.
        attrs.mode = 0o755;
    }
    Ok(Some(Entry { attrs, ..edited }))
}
