//! Which blobs and trees there are, in which order they are best packed, and what came
//! before each.
//!
//! All versions are followed from the oldest to the newest, and the commits of each name from
//! their oldest ancestor on, comparing each tree with the one before it. What is equal is skipped,
//! so this costs what has ever changed.

use std::collections::{HashMap, HashSet};

use crate::{
    Keg, Kid, directory,
    gc::floors::Floors,
    names::NamesError,
    object::{Entry, EntryName, Kind, Tree, Value, shards::Node},
    store::{INLINE_MAX, Objects, StoreError},
};

/// Most objects that one run packs: about 150 MB of memory. The next run has the others.
const MAX_ITEMS: usize = 1 << 20;
/// Most ancestors of one commit that are followed.
const MAX_ANCESTORS: usize = 1 << 20;
/// Most directories before a new one, by their names, that are looked at to see which it is like.
const SIBLINGS: usize = 2;

/// A blob, or a tree, that some version has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) kid: Kid,
    pub(super) kind: Kind,
    /// As an entry says; 0 for a tree, of which none does.
    pub(super) size: u64,
    /// When it was first met: objects of one version are in the order of their paths.
    pub(super) order: u64,
    /// What had its path before it.
    pub(super) before: Option<Kid>,
    /// What had its path after it.
    pub(super) after: Option<Kid>,
}

/// Objects of a sort are packed together, in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Sort {
    /// A blob that is, or was, a loose file.
    Large,
    /// A blob of the log. Who reads one of a tree mostly reads all of them, as an image does.
    Small,
    /// Has much that does not pack well.
    Tree,
}

impl Item {
    pub(super) fn sort(&self) -> Sort {
        match self.kind {
            Kind::Blob if is_large(self.size) => Sort::Large,
            Kind::Blob => Sort::Small,
            _ => Sort::Tree,
        }
    }
}

/// Whether a blob of this size is a loose file, not in the log.
pub(super) fn is_large(size: u64) -> bool {
    size > INLINE_MAX as u64
}

/// What is asked of an object, its kind, and its size as far as an entry says it.
pub(super) type Wanted<'a> = dyn Fn(&Kid, Kind, u64) -> bool + 'a;

/// The blobs and trees that some version has, and that are wanted.
pub(super) struct History<'a> {
    pub(super) items: HashMap<Kid, Item>,
    wanted: &'a Wanted<'a>,
    unwanted: HashSet<Kid>,
    /// Trees and commits that could not be read.
    pub(super) unreadable: u64,
    trees: HashSet<Kid>,
    commits: HashSet<Kid>,
}

/// What is to be followed.
enum Left {
    /// A tree, and the one that was in its place before.
    Tree(Option<Kid>, Kid),
    /// A commit, and the tree that was in its place before.
    Commit(Option<Kid>, Kid),
}

impl<'a> History<'a> {
    /// Follows all versions; `wanted` is asked once for each object at each path.
    ///
    /// # Errors
    /// The store's; what is damaged is counted and left out.
    pub(super) fn of(
        keg: &Keg,
        wanted: &'a Wanted<'a>,
        told: &mut dyn FnMut(u64),
    ) -> Result<Self, NamesError> {
        let mut history = Self {
            items: HashMap::new(),
            wanted,
            unwanted: HashSet::new(),
            unreadable: 0,
            trees: HashSet::new(),
            commits: HashSet::new(),
        };
        let newest = keg.head()?.seq;
        let mut before = None;
        // Older versions have been collected.
        let oldest = Floors::read(keg.home())?.oldest();
        for seq in oldest..=newest {
            let tree = keg.version(seq)?.tree;
            history.follow(keg.objects(), Left::Tree(before, tree))?;
            before = Some(tree);
            told(history.items.len() as u64);
        }
        Ok(history)
    }

    fn follow(&mut self, objects: &dyn Objects, start: Left) -> Result<(), StoreError> {
        let mut left = vec![start];
        while let Some(next) = left.pop() {
            match next {
                Left::Tree(before, tree) => self.tree(objects, before, tree, &mut left)?,
                Left::Commit(before, commit) => self.commit(objects, before, commit, &mut left)?,
            }
        }
        Ok(())
    }

    fn tree(
        &mut self,
        objects: &dyn Objects,
        before: Option<Kid>,
        tree: Kid,
        left: &mut Vec<Left>,
    ) -> Result<(), StoreError> {
        if !self.trees.insert(tree) {
            return Ok(());
        }
        let both = match before {
            Some(before) => self.readable(objects.differing(&before, &tree))?,
            None => None,
        };
        let (old, new) = match both {
            Some(both) => both,
            None => match self.readable(objects.tree(&tree))? {
                Some(new) => (Tree::default(), new),
                None => return Ok(()),
            },
        };
        self.parts(objects, before, tree)?;
        // The first is to be popped first.
        for (name, entry) in new.entries.iter().rev() {
            let was = old.entries.get(name);
            if was.is_some_and(|was| was.value == entry.value) {
                continue;
            }
            if !matches!(entry.value, Value::Tree { .. } | Value::Commit { .. }) {
                continue;
            }
            let before = match was {
                Some(was) => self.tree_of(objects, Some(was))?,
                None => self.sibling(objects, (&old, &new), name, entry)?,
            };
            match entry.value {
                Value::Tree { kid, .. } => left.push(Left::Tree(before, kid)),
                Value::Commit { kid } => left.push(Left::Commit(before, kid)),
                _ => {}
            }
        }
        for (name, entry) in &new.entries {
            if let Value::File { kid, size } = entry.value {
                self.file(kid, size, old.entries.get(name));
            }
        }
        Ok(())
    }

    /// Notes the objects of a directory, each with the one that was in its place before.
    fn parts(
        &mut self,
        objects: &dyn Objects,
        before: Option<Kid>,
        tree: Kid,
    ) -> Result<(), StoreError> {
        let mut left = vec![(before, tree)];
        while let Some((before, kid)) = left.pop() {
            if before == Some(kid) {
                continue;
            }
            self.note(kid, Kind::Tree, 0, before);
            let Some(Node::Index(new)) = self.readable(directory::node(objects, &kid))? else {
                continue;
            };
            let old = match before {
                Some(before) => self.readable(directory::node(objects, &before))?,
                None => None,
            };
            for part in &new.children {
                let was = match &old {
                    Some(Node::Index(old)) => {
                        let at = old.children.partition_point(|other| other.first <= part.first);
                        old.children.get(at.saturating_sub(1)).map(|other| other.kid)
                    }
                    // Before it was split.
                    Some(Node::Leaf(_)) => before,
                    None => None,
                };
                left.push((was, part.kid));
            }
        }
        Ok(())
    }

    /// What a new directory is most like: one beside it that has at least half of its names. The
    /// builds of an app, for example, each have a name of their own.
    fn sibling(
        &mut self,
        objects: &dyn Objects,
        (old, new): (&Tree, &Tree),
        name: &EntryName,
        entry: &Entry,
    ) -> Result<Option<Kid>, StoreError> {
        let Some(own) = self.tree_of(objects, Some(entry))? else { return Ok(None) };
        // Those of large directories are not looked through.
        let leaf = |kid: &Kid| match directory::node(objects, kid)? {
            Node::Leaf(tree) => Ok(Some(tree)),
            Node::Index(_) => Ok(None),
        };
        let Some(tree) = self.readable(leaf(&own))?.flatten() else { return Ok(None) };
        let others = old.entries.range(..name.clone()).rev().take(SIBLINGS);
        let others = others.chain(old.entries.range(name.clone()..).take(1));
        let others = others.chain(new.entries.range(..name.clone()).rev().take(1));
        let mut best = None;
        for (_, other) in others {
            let Some(kid) = self.tree_of(objects, Some(other))? else { continue };
            let Some(other) = self.readable(leaf(&kid))?.flatten() else { continue };
            let shared = |name: &EntryName| other.entries.contains_key(name);
            let names = tree.entries.keys().filter(|name| shared(name)).count();
            if kid != own && names * 2 >= tree.entries.len().max(1) {
                let same = |(name, entry): &(&EntryName, &Entry)| {
                    other.entries.get(*name).is_some_and(|other| other.value == entry.value)
                };
                let likeness = (tree.entries.iter().filter(same).count(), names);
                best = best.max(Some((likeness, kid)));
            }
        }
        Ok(best.map(|(_, kid)| kid))
    }

    fn file(&mut self, kid: Kid, size: u64, was: Option<&Entry>) {
        let before = was.and_then(|entry| match entry.value {
            Value::File { kid: was, .. } if was != kid => Some(was),
            _ => None,
        });
        self.note(kid, Kind::Blob, size, before);
    }

    fn note(&mut self, kid: Kid, kind: Kind, size: u64, before: Option<Kid>) {
        if let Some(before) = before.and_then(|before| self.items.get_mut(&before)) {
            before.after.get_or_insert(kid);
        }
        if self.items.len() >= MAX_ITEMS || self.items.contains_key(&kid) {
            return;
        }
        // Versions share most of what they have: it is looked for once.
        if !self.unwanted.contains(&kid) && (self.wanted)(&kid, kind, size) {
            let order = self.items.len() as u64;
            self.items.insert(kid, Item { kid, kind, size, order, before, after: None });
        } else if self.unwanted.len() < MAX_ITEMS {
            self.unwanted.insert(kid);
        }
    }

    /// The oldest ancestor that was not met yet, and its tree, first.
    fn commit(
        &mut self,
        objects: &dyn Objects,
        before: Option<Kid>,
        commit: Kid,
        left: &mut Vec<Left>,
    ) -> Result<(), StoreError> {
        let mut ancestors = vec![commit];
        let mut found = Vec::new();
        while let Some(kid) = ancestors.pop() {
            if found.len() >= MAX_ANCESTORS || !self.commits.insert(kid) {
                continue;
            }
            let Some(commit) = self.readable(objects.commit(&kid))? else { continue };
            ancestors.extend(commit.parents.iter().rev());
            found.push((commit.parents.first().copied(), commit.tree));
        }
        for (parent, tree) in found {
            let parent = match parent {
                Some(parent) => self.readable(objects.commit(&parent))?.map(|commit| commit.tree),
                None => None,
            };
            left.push(Left::Tree(parent.or(before), tree));
        }
        Ok(())
    }

    fn tree_of(
        &mut self,
        objects: &dyn Objects,
        entry: Option<&Entry>,
    ) -> Result<Option<Kid>, StoreError> {
        let Some(entry) = entry else { return Ok(None) };
        Ok(self.readable(objects.directory_of(entry))?.flatten())
    }

    /// What cannot be read is left to `keg fsck`.
    fn readable<T>(&mut self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(
                StoreError::Missing { .. }
                | StoreError::Corrupt { .. }
                | StoreError::WrongKind { .. }
                | StoreError::Invalid { .. }
                | StoreError::Log { .. },
            ) => {
                self.unreadable += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
