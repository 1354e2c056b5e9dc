//! Directories, whatever their size: one object, or leaves below index nodes.
//!
//! Whoever wants one name, or to change a few, uses [`Directory`], which reads and writes only the
//! nodes on the way. Whoever compares two versions uses [`differing`], which leaves out the parts
//! that both have. The form of a split directory is in `object/shards.rs` and `object/cuts.rs`.

mod differ;
mod edit;
mod make;
mod page;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use crate::{
    Kid,
    object::{
        DecodeError, Entry, EntryName, Kind, Sums, Tree,
        shards::{Node, Shard},
    },
    store::{Objects, StoreError},
};

pub(crate) use differ::differing;
pub(crate) use edit::{Changes, change, change_with};
pub(crate) use make::put;
pub use page::Names;

/// Most names of a directory that is read into memory whole: some 4 GB of memory.
const MAX_WHOLE: u64 = 1 << 24;

fn invalid(source: DecodeError) -> StoreError {
    StoreError::Invalid { kind: Kind::Tree, source }
}

/// One object of a directory.
///
/// # Errors
/// As [`Objects::get`], and [`StoreError::WrongKind`].
pub(crate) fn node(objects: &dyn Objects, kid: &Kid) -> Result<Node, StoreError> {
    let object = objects.get(kid)?;
    if object.kind != Kind::Tree {
        let (expected, found) = (Kind::Tree, object.kind);
        return Err(StoreError::WrongKind { kid: *kid, expected, found });
    }
    Node::decode(&object.bytes).map_err(invalid)
}

/// As [`node`], decoded once where nodes are kept.
fn kept(objects: &dyn Objects, kid: &Kid) -> Result<Arc<Node>, StoreError> {
    let trees = objects.trees();
    if let Some(kept) = trees.and_then(|trees| trees.get(kid)) {
        return Ok(kept);
    }
    let found = Arc::new(node(objects, kid)?);
    if let Some(trees) = trees {
        trees.keep(*kid, found.clone());
    }
    Ok(found)
}

/// What a directory's first object says is below it.
///
/// # Errors
/// As [`node`].
pub(crate) fn sums(objects: &dyn Objects, kid: &Kid) -> Result<Sums, StoreError> {
    Ok(node(objects, kid)?.extent().map_err(invalid)?.sums)
}

/// A directory, whole.
///
/// # Errors
/// As [`node`]; a directory that is not split as it has to be; more than 2^24 names.
pub(crate) fn whole(objects: &dyn Objects, kid: &Kid) -> Result<Tree, StoreError> {
    let mut leaves = Vec::new();
    visit(objects, kid, &mut |_, node| {
        if let Node::Leaf(leaf) = node {
            leaves.push(leaf);
        }
        Ok(())
    })?;
    Ok(joined(leaves))
}

/// The entries of leaves, which follow each other. All at once: to append one map to another takes
/// as long as both have entries.
fn joined(mut leaves: Vec<Tree>) -> Tree {
    match leaves.len() {
        1 => leaves.swap_remove(0),
        _ => Tree { entries: leaves.into_iter().flat_map(|leaf| leaf.entries).collect() },
    }
}

/// Gives all objects of a directory, each before those below it, leaves in the order of their
/// names.
///
/// # Errors
/// As [`whole`], and what `to` answers.
pub(crate) fn visit<E: From<StoreError>>(
    objects: &dyn Objects,
    kid: &Kid,
    to: &mut dyn FnMut(&Kid, Node) -> Result<(), E>,
) -> Result<(), E> {
    let root = node(objects, kid)?;
    root.check_root().map_err(invalid)?;
    let mut left = Vec::new();
    if let Node::Index(index) = &root {
        if index.extent().map_err(invalid)?.names > MAX_WHOLE {
            let limit = MAX_WHOLE;
            let what = format!("{kid} has more names than the {limit} that are read at once");
            return Err(invalid(DecodeError::Field { field: "names", reason: what.into() }).into());
        }
        push_children(&root, None, &mut left);
    }
    to(kid, root)?;
    while let Some(Part { shard, level, end }) = left.pop() {
        let found = node(objects, &shard.kid)?;
        found.check(&shard, level, end.as_ref()).map_err(invalid)?;
        push_children(&found, end.as_ref(), &mut left);
        to(&shard.kid, found)?;
    }
    Ok(())
}

/// A node that another one lists.
#[derive(Clone)]
pub(crate) struct Part {
    pub(crate) shard: Shard,
    pub(crate) level: u8,
    /// The first name of what follows.
    pub(crate) end: Option<EntryName>,
}

/// Puts the nodes that a node lists on a stack, the first on top.
pub(crate) fn push_children(node: &Node, end: Option<&EntryName>, left: &mut Vec<Part>) {
    let Node::Index(index) = node else { return };
    left.extend(index.children.iter().enumerate().rev().map(|(place, shard)| Part {
        shard: shard.clone(),
        level: index.level - 1,
        end: index.end_of(place, end),
    }));
}

/// A directory of which only the parts that are needed are read.
pub(crate) struct Directory<'a> {
    objects: &'a dyn Objects,
    kid: Kid,
    root: Arc<Node>,
    /// Nodes that were read already.
    nodes: RefCell<HashMap<Kid, Arc<Node>>>,
}

impl<'a> Directory<'a> {
    /// The directory with this KID.
    ///
    /// # Errors
    /// As [`node`].
    pub(crate) fn open(objects: &'a dyn Objects, kid: &Kid) -> Result<Self, StoreError> {
        let root = kept(objects, kid)?;
        root.check_root().map_err(invalid)?;
        Ok(Self { objects, kid: *kid, root, nodes: RefCell::default() })
    }

    /// What a name stands for.
    ///
    /// # Errors
    /// As [`node`].
    pub(crate) fn get(&self, name: &[u8]) -> Result<Option<Entry>, StoreError> {
        let mut at = self.root.clone();
        loop {
            let next = match &*at {
                Node::Leaf(tree) => return Ok(tree.get(name).cloned()),
                Node::Index(index) => {
                    self.read(&index.children[index.place_of(name)], index.level - 1)?
                }
            };
            at = next;
        }
    }

    /// How many names it has.
    pub(crate) fn names(&self) -> u64 {
        match &*self.root {
            Node::Leaf(tree) => tree.entries.len() as u64,
            // A sum that does not fit was refused when the node was read.
            Node::Index(index) => index.extent().map_or(u64::MAX, |extent| extent.names),
        }
    }

    fn read(&self, shard: &Shard, level: u8) -> Result<Arc<Node>, StoreError> {
        if let Some(node) = self.nodes.borrow().get(&shard.kid) {
            return Ok(node.clone());
        }
        let found = kept(self.objects, &shard.kid)?;
        if found.level() != level {
            let reason = "not one less than that of the node above".into();
            return Err(invalid(DecodeError::Field { field: "level", reason }));
        }
        self.nodes.borrow_mut().insert(shard.kid, found.clone());
        Ok(found)
    }
}
