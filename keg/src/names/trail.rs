//! Finding one path in many versions: what has not changed is not read again.

use crate::{
    Kid,
    directory::Directory,
    object::Entry,
    path::NamePath,
    store::{Objects, StoreError},
};

/// A path in one version: the directories that lead to it, and what is there.
#[derive(Clone)]
pub(crate) struct Trail {
    /// The trees entered from the root down, as far as there are any.
    trees: Vec<Kid>,
    pub(crate) entry: Option<Entry>,
}

impl Trail {
    /// Finds a path below the root tree of a version. As soon as a tree is the one that `known`, a
    /// trail of the same path, went through, the rest is the same.
    pub(crate) fn find(
        objects: &dyn Objects,
        path: &NamePath,
        root: &Kid,
        known: Option<&Self>,
    ) -> Result<Self, StoreError> {
        let (mut trees, mut at) = (Vec::new(), *root);
        let mut parts = path.components().peekable();
        if parts.peek().is_none() {
            return Ok(Self { trees, entry: Some(objects.tree_entry(root)?) });
        }
        while let Some(part) = parts.next() {
            if let Some(known) = known.filter(|known| known.trees.get(trees.len()) == Some(&at)) {
                return Ok(known.clone_from_depth(trees));
            }
            trees.push(at);
            let found = Directory::open(objects, &at)?.get(part.as_bytes())?;
            let Some(entry) = found else { break };
            if parts.peek().is_none() {
                return Ok(Self { trees, entry: Some(entry) });
            }
            match objects.directory_of(&entry)? {
                Some(below) => at = below,
                None => break,
            }
        }
        Ok(Self { trees, entry: None })
    }

    fn clone_from_depth(&self, mut trees: Vec<Kid>) -> Self {
        trees.extend_from_slice(&self.trees[trees.len()..]);
        Self { trees, entry: self.entry.clone() }
    }
}
