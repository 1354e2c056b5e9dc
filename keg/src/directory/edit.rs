//! Changing a few names of a directory: the nodes that have them are made again, and those above.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Directory, invalid,
    make::{Cuts, Item, Items, Keep, Made, Maker, items_of, put_whole, put_with},
};
use crate::{
    Kid,
    object::{
        DecodeError, Entry, EntryName, Kind, Tree,
        shards::{Node, Shard},
    },
    store::{Objects, StoreError},
};

/// What names become; `None`: they go.
pub(crate) type Changes = BTreeMap<EntryName, Option<Entry>>;
/// The same for the items of any level.
type ItemChanges = BTreeMap<EntryName, Option<Item>>;

/// A node of some level, and where it is.
struct Spot {
    shard: Shard,
    node: Arc<Node>,
    /// The first name of the node after it.
    end: Option<EntryName>,
}

impl Directory<'_> {
    /// The directory with these changes. New nodes go to `keep`, those below first. The result is
    /// the same as that of making the directory from all its entries.
    ///
    /// # Errors
    /// As [`super::node`]; what `keep` answers; what no tree may hold.
    pub(crate) fn edit(self, changes: Changes, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
        if let Node::Leaf(_) = &*self.root {
            return self.edit_whole(changes, keep);
        }
        let mut maker = Maker::default();
        let mut level = 0;
        let entries = changes.into_iter();
        let mut items: ItemChanges =
            entries.map(|(name, entry)| (name, entry.map(Item::Entry))).collect();
        while level <= self.root.level() {
            items = self.level(level, items, &mut maker)?;
            if items.is_empty() {
                let sums = self.root.extent().map_err(invalid)?.sums;
                return Ok(Made { kid: self.kid, sums });
            }
            level += 1;
        }
        // What is left are the nodes that take the root's place.
        let part = |item| match item {
            Some(Item::Part(shard)) => Some(shard),
            _ => None,
        };
        let parts: Vec<Shard> = items.into_values().filter_map(part).collect();
        if parts.is_empty() {
            return put_whole(&Tree::default(), keep);
        }
        let mut top = maker.top(parts, level)?;
        if top.below.is_whole() {
            return put_whole(&self.gather(&top, &maker)?, keep);
        }
        while let Node::Index(index) = &*self.made(&top.kid, &maker)? {
            let [only] = index.children.as_slice() else { break };
            top = only.clone();
        }
        maker.give(&top, keep)
    }

    fn edit_whole(self, changes: Changes, keep: &mut Keep<'_>) -> Result<Made, StoreError> {
        let Self { objects, kid, mut root, .. } = self;
        let trees = objects.trees();
        if let Some(trees) = trees {
            // It gives way to what it becomes, so as a rule it is nobody else's and not copied.
            trees.forget(&kid);
        }
        let Node::Leaf(tree) = Arc::make_mut(&mut root) else {
            return Err(invalid(no_parts()));
        };
        for (name, entry) in changes {
            match entry {
                Some(entry) => tree.entries.insert(name, entry),
                None => tree.entries.remove(&name),
            };
        }
        let mut nodes = 0;
        let made = put_with(tree, &mut |kid, bytes| {
            nodes += 1;
            keep(kid, bytes)
        })?;
        if let Some(trees) = trees
            && nodes == 1
        {
            trees.keep(made.kid, root);
        }
        Ok(made)
    }

    /// Changes the items of a level; returns how the items of the level above change by it.
    ///
    /// From the first node that has a change on, its items are cut into nodes again, and those of
    /// the nodes after it, until a cut is where one was: what follows is as it was.
    fn level(
        &self,
        level: u8,
        mut changes: ItemChanges,
        maker: &mut Maker,
    ) -> Result<ItemChanges, StoreError> {
        let mut above = ItemChanges::new();
        let mut replaced: HashMap<EntryName, Kid> = HashMap::new();
        let goes = |changes: &ItemChanges, name: &EntryName| changes.get(name) == Some(&None);
        while let Some((name, _)) = changes.first_key_value() {
            let mut spot = self.find(level, name)?;
            // Whether the node before ends here depends on this node's first name.
            while goes(&changes, &spot.shard.first) {
                let Some(before) = self.find_before(level, &spot.shard.first)? else { break };
                spot = before;
            }
            let mut cuts = Cuts::new(level);
            loop {
                above.entry(spot.shard.first.clone()).or_insert(None);
                replaced.insert(spot.shard.first.clone(), spot.shard.kid);
                let after = spot.end.as_ref().map(|end| changes.split_off(end));
                let here = std::mem::replace(&mut changes, after.unwrap_or_default());
                for (name, item) in changed(&spot.node, here) {
                    cuts.push(maker, name, item)?;
                }
                let Some(end) = spot.end else { break };
                if !goes(&changes, &end) && cuts.ends_before(&end) {
                    break;
                }
                spot = self.find(level, &end)?;
            }
            let made = cuts.end(maker)?.into_iter();
            above.extend(made.map(|shard| (shard.first.clone(), Some(Item::Part(shard)))));
        }
        above.retain(|first, item| match item {
            Some(Item::Part(shard)) => replaced.get(first) != Some(&shard.kid),
            _ => true,
        });
        Ok(above)
    }

    /// The node of a level that has a name, or would.
    fn find(&self, level: u8, name: &EntryName) -> Result<Spot, StoreError> {
        let (mut node, mut end) = (self.root.clone(), None);
        let mut shard = self.root_shard()?;
        while let Node::Index(index) = &*node
            && index.level > level
        {
            let place = index.place_of(name.as_bytes());
            end = index.end_of(place, end.as_ref());
            shard = index.children[place].clone();
            let next = self.read(&shard, index.level - 1)?;
            node = next;
        }
        Ok(Spot { shard, node, end })
    }

    /// The node of a level before the one that begins with a name.
    fn find_before(&self, level: u8, first: &EntryName) -> Result<Option<Spot>, StoreError> {
        let (mut node, mut end) = (self.root.clone(), None);
        let mut shard = self.root_shard()?;
        if shard.first >= *first {
            return Ok(None);
        }
        while let Node::Index(index) = &*node
            && index.level > level
        {
            let after = index.children.partition_point(|child| child.first < *first);
            end = index.end_of(after - 1, end.as_ref());
            shard = index.children[after - 1].clone();
            let next = self.read(&shard, index.level - 1)?;
            node = next;
        }
        Ok(Some(Spot { shard, node, end }))
    }

    /// The root, as a node above it would list it.
    fn root_shard(&self) -> Result<Shard, StoreError> {
        let first = match &*self.root {
            Node::Leaf(tree) => tree.entries.keys().next(),
            Node::Index(index) => index.children.first().map(|child| &child.first),
        };
        let first = first.cloned().ok_or_else(|| invalid(no_parts()))?;
        Ok(Shard { first, kid: self.kid, below: self.root.extent().map_err(invalid)? })
    }

    /// A node that was made just now, or was there.
    fn made(&self, kid: &Kid, maker: &Maker) -> Result<Arc<Node>, StoreError> {
        match maker.get(kid).or_else(|| self.nodes.borrow().get(kid).cloned()) {
            Some(node) => Ok(node),
            None => Ok(Arc::new(super::node(self.objects, kid)?)),
        }
    }

    /// All entries below a node.
    fn gather(&self, top: &Shard, maker: &Maker) -> Result<Tree, StoreError> {
        let (mut tree, mut left) = (Tree::default(), vec![top.kid]);
        while let Some(kid) = left.pop() {
            match &*self.made(&kid, maker)? {
                Node::Leaf(leaf) => tree.entries.extend(leaf.entries.clone()),
                Node::Index(index) => left.extend(index.children.iter().map(|child| child.kid)),
            }
        }
        Ok(tree)
    }
}

fn no_parts() -> DecodeError {
    DecodeError::Field { field: "parts", reason: "none".into() }
}

/// A directory, or a new one, with these changes; its new nodes are put into a store.
///
/// # Errors
/// As [`Directory::edit`], and [`Objects::put`].
pub(crate) fn change(
    objects: &dyn Objects,
    base: Option<Directory<'_>>,
    changes: Changes,
) -> Result<Entry, StoreError> {
    let mut keep = |_: Kid, bytes: Vec<u8>| objects.put(Kind::Tree, &bytes).map(drop);
    let made = change_with(base, changes, &mut keep)?;
    Ok(Entry::tree(made.kid, made.sums))
}

/// As [`change`], but new nodes go to `keep`.
///
/// # Errors
/// As [`Directory::edit`].
pub(crate) fn change_with(
    base: Option<Directory<'_>>,
    changes: Changes,
    keep: &mut Keep<'_>,
) -> Result<Made, StoreError> {
    if let Some(base) = base {
        return base.edit(changes, keep);
    }
    let named = changes.into_iter().filter_map(|(name, entry)| Some((name, entry?)));
    put_with(&Tree { entries: named.collect() }, keep)
}

/// The items of a node after changes.
fn changed(node: &Node, changes: ItemChanges) -> Items {
    let mut items = items_of(node);
    for (name, item) in changes {
        match item {
            Some(item) => items.insert(name, item),
            None => items.remove(&name),
        };
    }
    items
}
