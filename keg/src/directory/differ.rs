//! Comparing two directories without reading what both have.

use std::collections::HashSet;

use super::{Part, invalid, joined, node, push_children};
use crate::{
    Kid,
    object::{
        Tree,
        shards::{Node, Shard},
    },
    store::{Objects, StoreError},
};

/// Parts of two directories: every name that differs is in one of them or in both, with what it
/// stands for; names that are the same may be missing from both. What is one object is given
/// whole.
///
/// # Errors
/// As [`node`].
pub(crate) fn differing(
    objects: &dyn Objects,
    old: &Kid,
    new: &Kid,
) -> Result<(Tree, Tree), StoreError> {
    let (mut old, mut new) = (Side::open(objects, old)?, Side::open(objects, new)?);
    loop {
        // Nodes that both have hold the same names in both.
        let kids = |side: &Side| side.parts.iter().map(|(part, _)| part.shard.kid).collect();
        let (before, after): (HashSet<Kid>, HashSet<Kid>) = (kids(&old), kids(&new));
        old.parts.retain(|(part, _)| !after.contains(&part.shard.kid));
        new.parts.retain(|(part, _)| !before.contains(&part.shard.kid));
        let Some(level) = old.highest().max(new.highest()).filter(|level| *level > 0) else {
            return Ok((old.entries(objects)?, new.entries(objects)?));
        };
        old.expand(objects, level)?;
        new.expand(objects, level)?;
    }
}

/// The nodes of a directory that are left to be compared, those that were read with their bytes.
struct Side {
    parts: Vec<(Part, Option<Node>)>,
}

impl Side {
    fn open(objects: &dyn Objects, kid: &Kid) -> Result<Self, StoreError> {
        let root = node(objects, kid)?;
        root.check_root().map_err(invalid)?;
        let first = match &root {
            Node::Leaf(tree) => tree.entries.keys().next(),
            Node::Index(index) => index.children.first().map(|child| &child.first),
        };
        // A directory without names has nothing to be compared.
        let Some(first) = first.cloned() else { return Ok(Self { parts: Vec::new() }) };
        let below = root.extent().map_err(invalid)?;
        let shard = Shard { first, kid: *kid, below };
        let part = Part { shard, level: root.level(), end: None };
        Ok(Self { parts: vec![(part, Some(root))] })
    }

    fn highest(&self) -> Option<u8> {
        self.parts.iter().map(|(part, _)| part.level).max()
    }

    /// Puts the nodes below in the place of those of a level.
    fn expand(&mut self, objects: &dyn Objects, level: u8) -> Result<(), StoreError> {
        let mut parts = Vec::new();
        for (part, read) in std::mem::take(&mut self.parts) {
            if part.level != level {
                parts.push((part, read));
                continue;
            }
            let node = read_part(objects, &part, read)?;
            let mut children = Vec::new();
            push_children(&node, part.end.as_ref(), &mut children);
            parts.extend(children.into_iter().rev().map(|part| (part, None)));
        }
        self.parts = parts;
        Ok(())
    }

    fn entries(self, objects: &dyn Objects) -> Result<Tree, StoreError> {
        let mut leaves = Vec::new();
        for (part, read) in self.parts {
            if let Node::Leaf(leaf) = read_part(objects, &part, read)? {
                leaves.push(leaf);
            }
        }
        Ok(joined(leaves))
    }
}

fn read_part(objects: &dyn Objects, part: &Part, read: Option<Node>) -> Result<Node, StoreError> {
    if let Some(node) = read {
        return Ok(node);
    }
    let found = node(objects, &part.shard.kid)?;
    found.check(&part.shard, part.level, part.end.as_ref()).map_err(invalid)?;
    Ok(found)
}
