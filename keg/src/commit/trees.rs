//! Decoded nodes of directories: who commits again and again need not read them again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Kid, kid::KidMap, object::shards::Node};

/// Most entries kept, in all nodes together: some 3 MB.
const MAX_ENTRIES: usize = 1 << 14;

/// Nodes by their KIDs. A directory that is changed gives way to what it becomes, so what is kept
/// is mostly what the newest version has.
#[derive(Default)]
pub struct TreeCache {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    nodes: KidMap<Arc<Node>>,
    entries: usize,
}

impl Kept {
    fn remove(&mut self, kid: &Kid) {
        if let Some(node) = self.nodes.remove(kid) {
            self.entries -= entries(&node);
        }
    }
}

impl TreeCache {
    pub(crate) fn get(&self, kid: &Kid) -> Option<Arc<Node>> {
        self.lock().nodes.get(kid).cloned()
    }

    pub(crate) fn forget(&self, kid: &Kid) {
        self.lock().remove(kid);
    }

    pub(crate) fn keep(&self, kid: Kid, node: Arc<Node>) {
        let (mut kept, more) = (self.lock(), entries(&node));
        if more > MAX_ENTRIES {
            return;
        }
        kept.remove(&kid);
        if kept.entries + more > MAX_ENTRIES {
            *kept = Kept::default();
        }
        kept.entries += more;
        kept.nodes.insert(kid, node);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(node: &Node) -> usize {
    match node {
        Node::Leaf(tree) => tree.entries.len(),
        Node::Index(index) => index.children.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::{Entry, EntryName, Tree};

    fn leaf(entries: usize) -> Arc<Node> {
        let name = |n: usize| EntryName::new(n.to_string()).expect("a name");
        let entries = (0..entries).map(|n| (name(n), Entry::symlink("x"))).collect();
        Arc::new(Node::Leaf(Tree { entries }))
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let cache = TreeCache::default();
        let kid = |n: usize| Kid::of_blob(&n.to_le_bytes());
        for n in 0..40 {
            cache.keep(kid(n), leaf(1000));
            cache.keep(kid(n), leaf(1000));
            assert!(cache.lock().entries <= MAX_ENTRIES);
            let counted: usize = cache.lock().nodes.values().map(|node| entries(node)).sum();
            assert_eq!(cache.lock().entries, counted);
        }
        assert!(cache.get(&kid(39)).is_some());
        cache.forget(&kid(39));
        assert!(cache.get(&kid(39)).is_none());
        cache.keep(kid(0), leaf(MAX_ENTRIES + 1));
        assert!(cache.get(&kid(0)).is_none(), "larger than all that may be kept");
    }
}
