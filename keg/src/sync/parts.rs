//! The walk through directories that are split: part by part, each compared with the part of the
//! base in its place, so that a few nodes are in memory, however large the directory is.

use super::{
    error::SyncError,
    walk::{Base, Job, Known, Source, Walk, half},
};
use crate::{
    Kid,
    directory::{Part, push_children},
    object::{
        Entry, EntryName,
        shards::{Node, Shard},
    },
};

/// The directory compared with. Names are asked for in their order, so the node of each level that
/// was read last is mostly the one that is needed next.
pub(super) struct Compared {
    /// From the root down.
    path: Vec<(Kid, Node)>,
}

impl Compared {
    /// The directory with this KID, which the receiver has; without one nothing is found.
    pub(super) fn open(source: &mut dyn Source, kid: Option<Kid>) -> Result<Self, SyncError> {
        let path = match kid {
            Some(kid) => vec![(kid, source.known_node(&kid)?)],
            None => Vec::new(),
        };
        Ok(Self { path })
    }

    /// What a name stands for in it.
    pub(super) fn get(
        &mut self,
        source: &mut dyn Source,
        name: &EntryName,
    ) -> Result<Option<Entry>, SyncError> {
        self.descend(source, 0, name)?;
        Ok(match self.path.last() {
            Some((_, Node::Leaf(tree))) => tree.entries.get(name).cloned(),
            _ => None,
        })
    }

    /// The node of a level that has a name, or would have it, as the node above lists it; the
    /// root without that.
    pub(super) fn part(
        &mut self,
        source: &mut dyn Source,
        level: u8,
        name: &EntryName,
    ) -> Result<Option<(Kid, Option<Shard>)>, SyncError> {
        self.descend(source, level + 1, name)?;
        Ok(match self.path.last() {
            Some((_, Node::Index(index))) if index.level == level + 1 => {
                let part = &index.children[index.place_of(name.as_bytes())];
                Some((part.kid, Some(part.clone())))
            }
            Some((kid, node)) if node.level() == level => Some((*kid, None)),
            _ => None,
        })
    }

    /// Reads the nodes on the way to a name, down to a level.
    fn descend(
        &mut self,
        source: &mut dyn Source,
        level: u8,
        name: &EntryName,
    ) -> Result<(), SyncError> {
        let mut depth = 0;
        while let Some((_, Node::Index(index))) = self.path.get(depth) {
            if index.level <= level {
                break;
            }
            let kid = index.children[index.place_of(name.as_bytes())].kid;
            depth += 1;
            if self.path.get(depth).is_none_or(|(there, _)| *there != kid) {
                self.path.truncate(depth);
                self.path.push((kid, source.known_node(&kid)?));
            }
        }
        self.path.truncate(depth + 1);
        Ok(())
    }
}

impl Walk {
    /// A part of a directory that is split.
    pub(super) fn part(
        &mut self,
        source: &mut dyn Source,
        part: Part,
        base: Option<Base>,
    ) -> Result<(), SyncError> {
        let Part { shard, level, end } = &part;
        let kid = shard.kid;
        let mut old = Compared::open(source, base.map(|base| base.kid))?;
        let like = old.part(source, *level, &shard.first)?;
        let invalid = |source| SyncError::Invalid { kid, source };
        if let Some((_, Some(before))) = &like
            && before == shard
        {
            if base.is_some_and(|base| self.was_had(&base)) {
                self.known.insert(half(&kid), Known::Had);
            }
            return Ok(());
        }
        if self.known.contains_key(&half(&kid)) {
            let known = source.known_node(&kid)?;
            return known.check(shard, *level, end.as_ref()).map_err(invalid);
        }
        let node = source.node(&kid, like.as_ref().map(|(kid, _)| kid))?;
        node.check(shard, *level, end.as_ref()).map_err(invalid)?;
        self.below(source, kid, &node, base, end.as_ref())
    }

    /// Goes on with what a node has: entries, or parts that are done before anything else.
    pub(super) fn below(
        &mut self,
        source: &mut dyn Source,
        kid: Kid,
        node: &Node,
        base: Option<Base>,
        end: Option<&EntryName>,
    ) -> Result<(), SyncError> {
        match node {
            Node::Leaf(tree) => {
                self.known.insert(half(&kid), Known::Sent);
                self.compare(source, tree, base)
            }
            Node::Index(_) => {
                // A base that is in the middle of being sent would be there in part.
                self.jobs.push(Job::Done(kid));
                let mut parts = Vec::new();
                push_children(node, end, &mut parts);
                self.jobs.extend(parts.into_iter().map(|part| Job::Part(part, base)));
                self.check_pending()
            }
        }
    }
}
