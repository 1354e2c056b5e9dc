//! Making the nodes of a directory from its entries.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::invalid;
use crate::{
    Kid,
    object::{
        DecodeError, Entry, EntryName, Kind, Sums, Tree,
        cuts::Cutter,
        shards::{Extent, Index, Node, Shard},
    },
    store::{Objects, StoreError},
};

/// What the nodes of a level have, by its name: entries at level 0, else the nodes below.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    Entry(Entry),
    Part(Shard),
}

/// The items of one level, or of one node.
pub(super) type Items = BTreeMap<EntryName, Item>;

impl Item {
    pub(super) fn below(&self, name: &EntryName) -> Result<Extent, DecodeError> {
        match self {
            Self::Entry(entry) => Extent::of(name, entry),
            Self::Part(shard) => Ok(shard.below),
        }
    }
}

/// The items of a node.
pub(super) fn items_of(node: &Node) -> Items {
    match node {
        Node::Leaf(tree) => tree
            .entries
            .iter()
            .map(|(name, entry)| (name.clone(), Item::Entry(entry.clone())))
            .collect(),
        Node::Index(index) => index
            .children
            .iter()
            .map(|shard| (shard.first.clone(), Item::Part(shard.clone())))
            .collect(),
    }
}

/// A directory that was made: its first object, and what is below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Made {
    pub(crate) kid: Kid,
    pub(crate) sums: Sums,
}

/// Stores a directory, split if it is large.
///
/// # Errors
/// As [`Objects::put`].
pub(crate) fn put(objects: &dyn Objects, tree: &Tree) -> Result<Made, StoreError> {
    put_with(tree, &mut |_, bytes| objects.put(Kind::Tree, &bytes).map(drop))
}

/// Makes a directory, split if it is large; its nodes go to `keep`, those below first.
///
/// # Errors
/// What `keep` answers; what no tree may hold.
pub(super) fn put_with(tree: &Tree, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
    // What cannot be summed up cannot be encoded.
    let below = tree.extent().map_err(invalid)?;
    if below.is_whole() {
        return put_summed(tree, below.sums, keep);
    }
    let mut maker = Maker::default();
    let mut leaves = Cuts::new(0);
    for (name, entry) in &tree.entries {
        leaves.push(&mut maker, name.clone(), Item::Entry(entry.clone()))?;
    }
    let leaves = leaves.end(&mut maker)?;
    let top = maker.top(leaves, 1)?;
    maker.give(&top, keep)
}

/// Who takes new trees: their KIDs and their bytes.
pub(crate) type Keep<'a> = dyn FnMut(Kid, Vec<u8>) -> Result<(), StoreError> + 'a;

/// Gives a directory that is one object.
pub(super) fn put_whole(tree: &Tree, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
    put_summed(tree, tree.sums().map_err(invalid)?, keep)
}

/// As [`put_whole`], with the sums of what is below it.
fn put_summed(tree: &Tree, sums: Sums, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
    let bytes = tree.encode_with(sums).map_err(invalid)?;
    let kid = Kind::Tree.kid_of(&bytes);
    keep(kid, bytes)?;
    Ok(Made { kid, sums })
}

/// Nodes that were made and not yet given to anybody: some are replaced before they are needed.
#[derive(Default)]
pub(super) struct Maker {
    nodes: HashMap<Kid, (Arc<Node>, Vec<u8>)>,
}

impl Maker {
    /// A node that was made here.
    pub(super) fn get(&self, kid: &Kid) -> Option<Arc<Node>> {
        Some(self.nodes.get(kid)?.0.clone())
    }

    fn add(&mut self, level: u8, items: Items) -> Result<Option<Shard>, DecodeError> {
        let Some((first, _)) = items.first_key_value() else { return Ok(None) };
        let first = first.clone();
        let mut below = Extent::default();
        for (name, item) in &items {
            below = below.plus(item.below(name)?)?;
        }
        let (node, bytes) = if level == 0 {
            let entry = |(name, item)| match item {
                Item::Entry(entry) => Some((name, entry)),
                Item::Part(_) => None,
            };
            let tree = Tree { entries: items.into_iter().filter_map(entry).collect() };
            let bytes = tree.encode()?;
            (Node::Leaf(tree), bytes)
        } else {
            let part = |item| match item {
                Item::Part(shard) => Some(shard),
                Item::Entry(_) => None,
            };
            let index = Index { level, children: items.into_values().filter_map(part).collect() };
            let bytes = index.encode()?;
            (Node::Index(index), bytes)
        };
        let kid = Kind::Tree.kid_of(&bytes);
        self.nodes.insert(kid, (Arc::new(node), bytes));
        Ok(Some(Shard { first, kid, below }))
    }

    /// The one node over some nodes; these are the items of `level`.
    pub(super) fn top(
        &mut self,
        mut parts: Vec<Shard>,
        mut level: u8,
    ) -> Result<Shard, StoreError> {
        while parts.len() > 1 {
            let mut cuts = Cuts::new(level);
            for shard in parts {
                cuts.push(self, shard.first.clone(), Item::Part(shard))?;
            }
            parts = cuts.end(self)?;
            level += 1;
        }
        let none = || DecodeError::Field { field: "parts", reason: "none".into() };
        parts.pop().ok_or_else(|| invalid(none()))
    }

    /// Gives the nodes that were made here and are needed for a directory, those below first.
    pub(super) fn give(mut self, top: &Shard, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
        // No deeper than there are levels.
        self.give_below(top.kid, keep)?;
        Ok(Made { kid: top.kid, sums: top.below.sums })
    }

    fn give_below(&mut self, kid: Kid, keep: &mut Keep<'_>) -> Result<(), StoreError> {
        let Some((node, bytes)) = self.nodes.remove(&kid) else { return Ok(()) };
        if let Node::Index(index) = &*node {
            for child in &index.children {
                self.give_below(child.kid, keep)?;
            }
        }
        keep(kid, bytes)
    }
}

/// Makes the nodes of a level from its items, which come in order.
pub(super) struct Cuts {
    level: u8,
    cutter: Cutter,
    items: Items,
    made: Vec<Shard>,
}

impl Cuts {
    pub(super) fn new(level: u8) -> Self {
        Self { level, cutter: Cutter::new(level), items: Items::new(), made: Vec::new() }
    }

    /// Whether a node would end before an item of this name; also if none has begun.
    pub(super) fn ends_before(&self, name: &EntryName) -> bool {
        self.items.is_empty() || self.cutter.ends_before(name)
    }

    pub(super) fn push(
        &mut self,
        maker: &mut Maker,
        name: EntryName,
        item: Item,
    ) -> Result<(), StoreError> {
        if self.ends_before(&name) {
            self.cut(maker)?;
        }
        let weight = item.below(&name).map_err(invalid)?.weight;
        self.cutter.take(weight);
        self.items.insert(name, item);
        Ok(())
    }

    fn cut(&mut self, maker: &mut Maker) -> Result<(), StoreError> {
        let items = std::mem::take(&mut self.items);
        self.cutter = Cutter::new(self.level);
        self.made.extend(maker.add(self.level, items).map_err(invalid)?);
        Ok(())
    }

    /// The nodes.
    pub(super) fn end(mut self, maker: &mut Maker) -> Result<Vec<Shard>, StoreError> {
        self.cut(maker)?;
        Ok(self.made)
    }
}
