//! A part of a directory: some names, in order, without the others being read.

use super::{Directory, Part, invalid, kept, node, push_children};
use crate::{
    Kid,
    object::{Entry, EntryName, shards::Node},
    store::{Objects, StoreError},
};

/// Some names of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Names {
    /// The names and what they stand for, sorted.
    pub entries: Vec<(EntryName, Entry)>,
    /// How many names the directory has.
    pub total: u64,
    /// Whether more follow.
    pub more: bool,
}

impl dyn Objects + '_ {
    /// What a name in a directory stands for. Only what leads to it is read.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn name_in(&self, tree: &Kid, name: &[u8]) -> Result<Option<Entry>, StoreError> {
        Directory::open(self, tree)?.get(name)
    }

    /// How many names a directory has.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn count_of(&self, tree: &Kid) -> Result<u64, StoreError> {
        Ok(Directory::open(self, tree)?.names())
    }

    /// The first `limit` names of a directory, or of those after a name. Parts of a split directory
    /// without any of them are not read.
    ///
    /// # Errors
    /// As [`Objects::get`], and [`StoreError::WrongKind`].
    pub fn names_after(
        &self,
        tree: &Kid,
        after: Option<&EntryName>,
        limit: usize,
    ) -> Result<Names, StoreError> {
        let total = Directory::open(self, tree)?.names();
        let mut names = Names { total, ..Names::default() };
        let root = kept(self, tree)?;
        let mut left: Vec<Part> = Vec::new();
        push_children(&root, None, &mut left);
        names.take(&root, after, limit);
        while let Some(Part { shard, level, end }) = left.pop() {
            if after.zip(end.as_ref()).is_some_and(|(after, end)| end <= after) {
                continue;
            }
            if names.more {
                break;
            }
            let found = node(self, &shard.kid)?;
            found.check(&shard, level, end.as_ref()).map_err(invalid)?;
            push_children(&found, end.as_ref(), &mut left);
            names.take(&found, after, limit);
        }
        Ok(names)
    }
}

impl Names {
    /// Takes those of a leaf that come after a name, up to the limit.
    fn take(&mut self, node: &Node, after: Option<&EntryName>, limit: usize) {
        let Node::Leaf(leaf) = node else { return };
        for (name, entry) in &leaf.entries {
            if after.is_some_and(|after| name <= after) {
                continue;
            }
            if self.entries.len() >= limit {
                self.more = true;
                return;
            }
            self.entries.push((name.clone(), entry.clone()));
        }
    }
}
