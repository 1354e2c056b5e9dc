//! Directories split over several objects: index nodes over leaves (`docs/store.md`, "Split
//! directories").
//!
//! A leaf is a tree like any other. An index node (format 2) lists leaves, or index nodes one
//! level lower, with their first names and what is below them.

use super::{
    Entry, EntryName, MAX_OBJECT, Sums, Tree,
    cuts::{Cutter, MAX_LEVEL, WHOLE_NAMES, WHOLE_WEIGHT, weight},
    wire::{DecodeError, Fields, bad, put_bytes, put_varint},
};
use crate::kid::Kid;

/// The format of index nodes.
const FORMAT: u8 = 2;
/// Least bytes a child takes: a name of one byte with its length, four numbers, the KID.
const LEAST_CHILD: usize = 2 + 4 + 32;

/// What is below a part of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    /// Bytes and entries at all depths.
    pub(crate) sums: Sums,
    /// Names in the directory itself.
    pub(crate) names: u64,
    /// How heavy its entries are, see [`weight`].
    pub(crate) weight: u64,
}

impl Extent {
    /// Of one entry.
    pub(crate) fn of(name: &EntryName, entry: &Entry) -> Result<Self, DecodeError> {
        Ok(Self { sums: Sums::of(entry)?, names: 1, weight: weight(name, entry) })
    }

    pub(crate) fn plus(self, other: Self) -> Result<Self, DecodeError> {
        let names = self.names.checked_add(other.names);
        let weight = self.weight.checked_add(other.weight);
        let over = || bad("sums", "more than 2^64");
        Ok(Self {
            sums: self.sums.plus(other.sums)?,
            names: names.ok_or_else(over)?,
            weight: weight.ok_or_else(over)?,
        })
    }

    /// Whether a directory with all this is one object.
    pub(crate) fn is_whole(&self) -> bool {
        self.names <= WHOLE_NAMES && self.weight <= WHOLE_WEIGHT
    }
}

/// A part of a directory, as the node above lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shard {
    /// Its first name.
    pub(crate) first: EntryName,
    /// The leaf or index node.
    pub(crate) kid: Kid,
    /// What is below it.
    pub(crate) below: Extent,
}

/// A node over others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Index {
    /// 1 over leaves.
    pub(crate) level: u8,
    /// Ascending by their first names, at least one.
    pub(crate) children: Vec<Shard>,
}

/// One object of a directory; most have only one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    /// Entries.
    Leaf(Tree),
    /// Other nodes.
    Index(Index),
}

/// Whether the bytes of a tree are an index node's.
pub(crate) fn is_index(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FORMAT)
}

impl Index {
    /// What is below all of it.
    ///
    /// # Errors
    /// Sums that do not fit 64 bits.
    pub(crate) fn extent(&self) -> Result<Extent, DecodeError> {
        self.children.iter().try_fold(Extent::default(), |sum, child| sum.plus(child.below))
    }

    /// The canonical bytes.
    ///
    /// # Errors
    /// Sums that do not fit 64 bits, or a level above [`MAX_LEVEL`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>, DecodeError> {
        let Extent { sums, names, weight } = self.extent()?;
        if self.level == 0 || self.level > MAX_LEVEL {
            return Err(bad("level", "not between 1 and 8"));
        }
        let mut out = vec![FORMAT];
        for number in [sums.bytes, sums.entries, u64::from(self.level), names, weight] {
            put_varint(&mut out, number);
        }
        put_varint(&mut out, self.children.len() as u64);
        for Shard { first, kid, below } in &self.children {
            put_bytes(&mut out, first.as_bytes());
            for number in [below.sums.bytes, below.sums.entries, below.names, below.weight] {
                put_varint(&mut out, number);
            }
            out.extend_from_slice(kid.as_bytes());
        }
        Ok(out)
    }

    /// The index node these bytes are the one encoding of.
    ///
    /// # Errors
    /// Anything else than exactly what [`Index::encode`] makes; children that belong into other
    /// nodes of this level.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_OBJECT {
            return Err(DecodeError::TooBig { bytes: bytes.len(), limit: MAX_OBJECT });
        }
        let mut fields = Fields::new(bytes);
        match fields.byte("format")? {
            FORMAT => {}
            other => return Err(DecodeError::Format(other)),
        }
        let sums = Sums { bytes: fields.varint("bytes")?, entries: fields.varint("entries")? };
        let level = u8::try_from(fields.varint("level")?).unwrap_or(u8::MAX);
        if level == 0 || level > MAX_LEVEL {
            return Err(bad("level", "not between 1 and 8"));
        }
        let stated =
            Extent { sums, names: fields.varint("names")?, weight: fields.varint("weight")? };
        let mut index = Self { level, children: Vec::new() };
        let mut cutter = Cutter::new(level);
        for _ in 0..fields.count(LEAST_CHILD, "number of parts")? {
            let child = read_child(&mut fields)?;
            if index.children.last().is_some_and(|last| last.first >= child.first) {
                return Err(bad("first names", "not sorted, or twice the same"));
            }
            if cutter.ends_before(&child.first) {
                return Err(bad("parts", "some belong into another node"));
            }
            cutter.take(0);
            index.children.push(child);
        }
        fields.end()?;
        if index.children.is_empty() {
            return Err(bad("parts", "none"));
        }
        if index.extent()? != stated {
            Err(bad("sums", "not those of the parts"))
        } else {
            Ok(index)
        }
    }

    /// The place of the child that has a name, if any has; names before the first are the first's.
    pub(crate) fn place_of(&self, name: &[u8]) -> usize {
        let after = self.children.partition_point(|child| child.first.as_bytes() <= name);
        after.saturating_sub(1)
    }

    /// The first name of what follows a child; `end`: of what follows this node.
    pub(crate) fn end_of(&self, place: usize, end: Option<&EntryName>) -> Option<EntryName> {
        self.children.get(place + 1).map(|next| &next.first).or(end).cloned()
    }
}

fn read_child(fields: &mut Fields<'_>) -> Result<Shard, DecodeError> {
    let first = EntryName::new(fields.bytes("first name")?)
        .map_err(|error| bad("first name", error.to_string()))?;
    let sums = Sums { bytes: fields.varint("bytes")?, entries: fields.varint("entries")? };
    let below = Extent { sums, names: fields.varint("names")?, weight: fields.varint("weight")? };
    if below.names == 0 {
        return Err(bad("names", "a part has none"));
    }
    Ok(Shard { first, kid: Kid::from_bytes(fields.array("KID")?), below })
}

impl Node {
    /// The node these bytes are the one encoding of.
    ///
    /// # Errors
    /// Bytes that are neither a tree's nor an index node's.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if is_index(bytes) {
            Index::decode(bytes).map(Self::Index)
        } else {
            Tree::decode(bytes).map(Self::Leaf)
        }
    }

    /// 0: entries, else how many levels of nodes are below.
    pub(crate) fn level(&self) -> u8 {
        match self {
            Self::Leaf(_) => 0,
            Self::Index(index) => index.level,
        }
    }

    /// What is below it.
    ///
    /// # Errors
    /// Sums that do not fit 64 bits.
    pub(crate) fn extent(&self) -> Result<Extent, DecodeError> {
        match self {
            Self::Leaf(tree) => tree.extent(),
            Self::Index(index) => index.extent(),
        }
    }

    /// Checks that it may be a directory by itself: one that has to be split is, no other.
    /// (A larger one in one object was made before directories were split; it is read.)
    ///
    /// # Errors
    /// A small directory that is split, or nodes that have only one below them.
    pub(crate) fn check_root(&self) -> Result<(), DecodeError> {
        match self {
            Self::Index(index) if index.children.len() < 2 || index.extent()?.is_whole() => {
                Err(bad("directory", "split without need"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that it is what the node above says and ends where it has to, before `end`, the
    /// first name of what follows.
    ///
    /// # Errors
    /// It is something else, or cut in another place than its names say.
    pub(crate) fn check(
        &self,
        stated: &Shard,
        level: u8,
        end: Option<&EntryName>,
    ) -> Result<(), DecodeError> {
        if self.level() != level {
            return Err(bad("level", "not one less than that of the node above"));
        }
        if self.extent()? != stated.below {
            return Err(bad("sums", "not what the node above says"));
        }
        let mut cutter = Cutter::new(level);
        let mut last = None;
        for (name, weight) in self.items() {
            // Index nodes were checked for this when they were decoded.
            if level == 0 && cutter.ends_before(name) {
                return Err(bad("entries", "some belong into another part of the directory"));
            }
            if last.is_none() && *name != stated.first {
                return Err(bad("first name", "not what the node above says"));
            }
            cutter.take(weight);
            last = Some(name);
        }
        match (last, end) {
            (None, _) => Err(bad("parts", "an empty one")),
            (Some(last), Some(end)) if last >= end => {
                Err(bad("names", "some belong into a later part of the directory"))
            }
            (_, Some(end)) if !cutter.ends_before(end) => {
                Err(bad("parts", "the directory is cut where its names do not say so"))
            }
            _ => Ok(()),
        }
    }

    fn items(&self) -> Box<dyn Iterator<Item = (&EntryName, u64)> + '_> {
        match self {
            Self::Leaf(tree) => {
                Box::new(tree.entries.iter().map(|(name, entry)| (name, weight(name, entry))))
            }
            Self::Index(index) => Box::new(index.children.iter().map(|child| (&child.first, 0))),
        }
    }
}
