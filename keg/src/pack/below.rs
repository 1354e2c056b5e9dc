//! What is below some trees, through commits.

use std::collections::{HashMap, HashSet};

use super::select::is_large;
use crate::{
    Kid, directory,
    object::{Value, shards::Node},
    pointer,
    store::{Objects, StoreError},
};

/// What is below some trees.
pub(super) struct Below {
    /// Large blobs, and their sizes.
    pub(super) large: HashMap<Kid, u64>,
    /// The others.
    pub(super) small: HashSet<Kid>,
    /// The trees themselves, and those below them.
    pub(super) trees: HashSet<Kid>,
}

impl Below {
    /// Whether it is one of these, whatever it is.
    pub(super) fn has(&self, kid: &Kid) -> bool {
        self.large.contains_key(kid) || self.small.contains(kid) || self.trees.contains(kid)
    }
}

/// All blobs and trees below some trees.
///
/// # Errors
/// The store's.
pub(super) fn all_below(objects: &dyn Objects, trees: &[Kid]) -> Result<Below, StoreError> {
    let (mut large, mut small) = (HashMap::new(), HashSet::new());
    let trees = follow(objects, trees, &mut |kid, size| {
        if is_large(size) {
            large.insert(kid, size);
        } else {
            small.insert(kid);
        }
    })?;
    Ok(Below { large, small, trees })
}

/// All large blobs below some trees, with their sizes.
///
/// # Errors
/// The store's.
pub(super) fn large_below(
    objects: &dyn Objects,
    trees: &[Kid],
) -> Result<HashMap<Kid, u64>, StoreError> {
    let mut large = HashMap::new();
    follow(objects, trees, &mut |kid, size| {
        if is_large(size) {
            large.insert(kid, size);
        }
    })?;
    Ok(large)
}

/// Tells the blobs below some trees, with their sizes; returns the trees themselves, and those
/// below them.
fn follow(
    objects: &dyn Objects,
    trees: &[Kid],
    blob: &mut dyn FnMut(Kid, u64),
) -> Result<HashSet<Kid>, StoreError> {
    let (mut met, mut left) = (HashSet::new(), trees.to_vec());
    while let Some(tree) = left.pop() {
        if !met.insert(tree) {
            continue;
        }
        let tree = match directory::node(objects, &tree)? {
            Node::Leaf(tree) => tree,
            Node::Index(index) => {
                left.extend(index.children.iter().map(|part| part.kid));
                continue;
            }
        };
        for entry in tree.entries.values() {
            match pointer::seen(objects, entry)?.value {
                Value::File { kid, size } => blob(kid, size),
                Value::Tree { kid, .. } => left.push(kid),
                Value::Commit { kid } => left.push(objects.commit(&kid)?.tree),
                _ => {}
            }
        }
    }
    Ok(met)
}
