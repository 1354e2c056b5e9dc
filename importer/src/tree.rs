//! A directory being put together in memory, then written to the Keg bottom up.

use std::collections::{BTreeMap, btree_map};

use keg::{
    object::{Attrs, Entry, EntryName, Tree},
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
}
