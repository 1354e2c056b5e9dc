//! Where a large directory is cut into pieces (`docs/store.md`, "Split directories").
//!
//! The cuts depend on the names alone, so that the same entries make the same pieces whatever the
//! order in which they came; a change moves the cuts near to it and no others. (The idea is that
//! of content-defined chunking, over a sorted list of names instead of bytes: see "prolly trees"
//! in the Noms and Dolt projects.)

use super::{Entry, EntryName, Value};

/// Most names of a directory that is one object, if they are not heavy.
pub(crate) const WHOLE_NAMES: u64 = 4096;
/// Most weight of a directory that is one object.
pub(crate) const WHOLE_WEIGHT: u64 = 1 << 20;
/// Highest level an index node may have: enough for 2^38 names that were chosen to be bad, and
/// more than 2^50 others.
pub(crate) const MAX_LEVEL: u8 = 8;
/// A leaf that weighs this much ends.
const LEAF_WEIGHT: u64 = 128 << 10;
/// What an entry weighs besides its name and the texts it holds.
const ENTRY_WEIGHT: u64 = 64;

/// What decides how long the nodes of a level become.
struct Rule {
    /// Below this many items a node does not end by itself.
    least: usize,
    /// A node ends before a name of which these bits of the hash are all zero.
    bits: u32,
    /// How many lower bits belong to the levels below.
    shift: u32,
    /// A node with this many items ends.
    most: usize,
}

/// Leaves have 64 to 1024 entries, mostly around 300, which are some 20 KB.
const LEAF: Rule = Rule { least: 64, bits: 8, shift: 0, most: 1024 };

fn rule(level: u8) -> Rule {
    match level {
        0 => LEAF,
        // Index nodes have 16 to 256 children, mostly around 80, which are some 6 KB.
        _ => Rule { least: 16, bits: 6, shift: 2 + 6 * u32::from(level.min(MAX_LEVEL)), most: 256 },
    }
}

impl Rule {
    fn cuts_before(&self, name: &EntryName) -> bool {
        let hash = blake3::hash(name.as_bytes());
        let mut start = [0; 8];
        start.copy_from_slice(&hash.as_bytes()[..8]);
        (u64::from_le_bytes(start) >> self.shift).trailing_zeros() >= self.bits
    }
}

/// Goes along the items of a level and says where nodes end.
pub(crate) struct Cutter {
    rule: Rule,
    items: usize,
    weight: u64,
    limit: u64,
}

impl Cutter {
    /// At the start of a node: level 0 has entries, the others the nodes of the level below.
    pub(crate) fn new(level: u8) -> Self {
        let limit = if level == 0 { LEAF_WEIGHT } else { u64::MAX };
        Self { rule: rule(level), items: 0, weight: 0, limit }
    }

    /// Whether the node, with what was taken so far, ends before an item with this name.
    pub(crate) fn ends_before(&self, name: &EntryName) -> bool {
        let Self { rule, items, weight, limit } = self;
        let full = *items >= rule.most || weight >= limit;
        *items > 0 && (full || (*items >= rule.least && rule.cuts_before(name)))
    }

    /// Takes an item into the node.
    pub(crate) fn take(&mut self, weight: u64) {
        self.items += 1;
        self.weight = self.weight.saturating_add(weight);
    }
}

/// How heavy an entry is: about the bytes it would take in a tree of its own.
pub(crate) fn weight(name: &EntryName, entry: &Entry) -> u64 {
    let texts = match &entry.value {
        Value::Symlink { target } => target.len(),
        Value::Pointer { source, reference, .. } => source.len() + reference.len(),
        _ => 0,
    };
    let xattrs = &entry.attrs.xattrs;
    let xattrs: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    ENTRY_WEIGHT + (name.as_bytes().len() + texts + xattrs) as u64
}
