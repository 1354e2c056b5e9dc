//! A directory being put together in memory, then written to the Keg bottom up.

use std::collections::{BTreeMap, btree_map};

use keg::{
    object::{Attrs, Entry, EntryName, Tree, Value},
    store::{Objects, StoreError},
};

/// A directory.
#[derive(Clone, Debug)]
pub struct Dir {
    /// Its own metadata.
    pub attrs: Attrs,
    /// Whether it was named itself, not only passed through.
    pub named: bool,
    children: BTreeMap<EntryName, Node>,
}

/// What a name in a [`Dir`] stands for.
#[derive(Clone, Debug)]
pub enum Node {
    /// A directory being put together.
    Dir(Dir),
    /// Anything else, or a finished tree.
    Leaf(Entry),
}

/// Why a path cannot be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// It is there already.
    #[error("it is there twice")]
    Twice,
    /// A component above it is no directory.
    #[error("it lies beneath something that is no directory")]
    Beneath,
    /// The path is the root itself.
    #[error("the root can only be a directory")]
    Root,
}

impl Default for Dir {
    fn default() -> Self {
        Self { attrs: Attrs::with_mode(0o755), named: false, children: BTreeMap::new() }
    }
}

impl Dir {
    /// The directory at `path`, made (0755, root) where it is missing.
    ///
    /// # Errors
    /// A component is no directory.
    pub fn dir(&mut self, path: &[EntryName]) -> Result<&mut Self, PlaceError> {
        let mut at = self;
        for name in path {
            let node =
                at.children.entry(name.clone()).or_insert_with(|| Node::Dir(Self::default()));
            match node {
                Node::Dir(dir) => at = dir,
                Node::Leaf(_) => return Err(PlaceError::Beneath),
            }
        }
        Ok(at)
    }

    /// Puts `entry` at `path`, where nothing is.
    ///
    /// # Errors
    /// Something is there, or a component above is no directory.
    pub fn place(&mut self, path: &[EntryName], entry: Entry) -> Result<(), PlaceError> {
        let (name, above) = path.split_last().ok_or(PlaceError::Root)?;
        match self.dir(above)?.children.entry(name.clone()) {
            btree_map::Entry::Occupied(_) => Err(PlaceError::Twice),
            btree_map::Entry::Vacant(slot) => {
                slot.insert(Node::Leaf(entry));
                Ok(())
            }
        }
    }

    /// Puts a file or link called `name` directly in this directory, replacing what was there.
    pub fn set(&mut self, name: EntryName, entry: Entry) {
        self.children.insert(name, Node::Leaf(entry));
    }

    /// What is at `path`.
    pub fn at(&mut self, path: &[EntryName]) -> Option<&mut Node> {
        let (name, above) = path.split_last()?;
        let mut at = self;
        for part in above {
            match at.children.get_mut(part)? {
                Node::Dir(dir) => at = dir,
                Node::Leaf(_) => return None,
            }
        }
        at.children.get_mut(name)
    }

    /// Writes the trees of this directory and of all below; the entry has its metadata.
    ///
    /// # Errors
    /// The store's.
    pub fn write(self, objects: &dyn Objects) -> Result<Entry, StoreError> {
        let mut tree = Tree::default();
        for (name, node) in self.children {
            let entry = match node {
                // Depth is bounded: archives' paths by `paths::parts`, the rest is our own.
                Node::Dir(dir) => dir.write(objects)?,
                Node::Leaf(entry) => entry,
            };
            tree.entries.insert(name, entry);
        }
        let mut entry = objects.put_tree(&tree)?;
        entry.attrs = self.attrs;
        Ok(entry)
    }
}

/// A tree that is changed at some paths; everything else is shared with what it was.
pub struct Edit<'a> {
    objects: &'a dyn Objects,
    root: Entry,
}

impl<'a> Edit<'a> {
    /// Begins to change `root`, a directory.
    pub fn new(objects: &'a dyn Objects, root: Entry) -> Self {
        Self { objects, root }
    }

    /// The changed tree.
    pub fn finish(self) -> Entry {
        self.root
    }

    /// What is at `path` now.
    ///
    /// # Errors
    /// The store's.
    pub fn get(&self, path: &str) -> Result<Option<Entry>, StoreError> {
        match self.root.kid() {
            Some(kid) => self.objects.walk(&kid, path),
            None => Ok(None),
        }
    }

    /// Puts `entry` at `path`, with the directories above; `None` removes it.
    ///
    /// # Errors
    /// The store's. A component above that is no directory is replaced by one.
    pub fn put(&mut self, path: &str, entry: Option<Entry>) -> Result<(), StoreError> {
        let names: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        self.root = self.changed(Some(&self.root), &names, entry)?.unwrap_or(self.root.clone());
        Ok(())
    }

    /// Puts a file with these bytes and mode at `path`.
    ///
    /// # Errors
    /// The store's.
    pub fn file(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
        let mut entry = self.objects.put_bytes(bytes)?;
        entry.attrs = Attrs::with_mode(mode);
        self.put(path, Some(entry))
    }

    /// The names below the directory at `path`, none if it is no directory.
    ///
    /// # Errors
    /// The store's.
    pub fn names(&self, path: &str) -> Result<Vec<String>, StoreError> {
        let Some(Entry { value: Value::Tree { kid, .. }, .. }) = self.get(path)? else {
            return Ok(Vec::new());
        };
        let tree = self.objects.tree(&kid)?;
        Ok(tree.entries.keys().map(EntryName::to_string_lossy).collect())
    }

    fn changed(
        &self,
        old: Option<&Entry>,
        names: &[&str],
        entry: Option<Entry>,
    ) -> Result<Option<Entry>, StoreError> {
        let Some((name, rest)) = names.split_first() else { return Ok(entry) };
        let (mut tree, attrs) = match old {
            Some(Entry { value: Value::Tree { kid, .. }, attrs }) => {
                (self.objects.tree(kid)?, attrs.clone())
            }
            _ if entry.is_none() => return Ok(old.cloned()),
            _ => (Tree::default(), Attrs::with_mode(0o755)),
        };
        let name = EntryName::new(*name).expect("because the paths edited are the importer's own");
        match self.changed(tree.entries.get(name.as_bytes()), rest, entry)? {
            Some(new) => tree.entries.insert(name, new),
            None => tree.entries.remove(name.as_bytes()),
        };
        let mut changed = self.objects.put_tree(&tree)?;
        changed.attrs = attrs;
        Ok(Some(changed))
    }
}

#[cfg(test)]
mod tests {
    use keg::store::MemoryStore;

    use super::*;

    fn names(path: &str) -> Vec<EntryName> {
        path.split('/').map(|part| EntryName::new(part).expect(part)).collect()
    }

    #[test]
    fn a_directory_is_filled_once_per_path() {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let file = objects.put_bytes(b"x").expect("stored");
        let mut root = Dir::default();
        root.place(&names("usr/bin/x"), file.clone()).expect("free");
        root.place(&names("usr/lib"), Entry::symlink("bin")).expect("free");
        assert_eq!(root.place(&names("usr/bin/x"), file.clone()), Err(PlaceError::Twice));
        assert_eq!(root.place(&names("usr/lib/y"), file.clone()), Err(PlaceError::Beneath));
        assert_eq!(root.place(&[], file), Err(PlaceError::Root));
        root.dir(&names("usr")).expect("a directory").attrs.mode = 0o700;
        let written = root.write(objects).expect("written");
        let kid = written.kid().expect("a tree");
        let usr = objects.walk(&kid, "usr").expect("read").expect("there");
        assert_eq!(usr.attrs.mode, 0o700);
        assert!(objects.walk(&kid, "usr/bin/x").expect("read").is_some());
    }

    #[test]
    fn an_edit_changes_and_removes() {
        let store = MemoryStore::new("");
        let objects: &dyn Objects = &store;
        let empty = Dir::default().write(objects).expect("written");
        let mut edit = Edit::new(objects, empty.clone());
        edit.file("etc/a", b"1", 0o600).expect("put");
        edit.file("etc/b", b"2", 0o644).expect("put");
        edit.put("etc/a", None).expect("removed");
        edit.put("etc/not/there", None).expect("nothing to do");
        assert_eq!(edit.names("etc").expect("listed"), ["b"]);
        edit.put("etc", None).expect("removed");
        assert_eq!(edit.finish(), empty);
    }
}
