//! What a tree mentions.

use std::collections::HashSet;

use crate::{
    Kid,
    object::{Entry, shards::Node},
};

/// Most KIDs of one tree that are told.
const MOST: usize = 4 << 10;

/// The KIDs that a tree mentions and its base does not, as far as `own` has them, which is sorted;
/// in the order in which they are mentioned. Bytes that are no tree mention nothing.
pub(super) fn new(base: &[u8], tree: &[u8], own: &[Kid]) -> Vec<[u8; 32]> {
    let mut known: HashSet<Kid> = kids(base).into_iter().collect();
    let told = |kid: &Kid| own.binary_search(kid).is_ok() && known.insert(*kid);
    kids(tree).into_iter().filter(told).take(MOST).map(|kid| *kid.as_bytes()).collect()
}

fn kids(bytes: &[u8]) -> Vec<Kid> {
    match Node::decode(bytes) {
        Ok(Node::Leaf(tree)) => tree.entries.values().filter_map(Entry::kid).collect(),
        Ok(Node::Index(index)) => index.children.iter().map(|part| part.kid).collect(),
        Err(_) => Vec::new(),
    }
}
