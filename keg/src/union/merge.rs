//! The merge of many trees at once: one pass over each shared directory, no trees in between.

use std::collections::BTreeMap;

use super::{Conflict, MAX_DEPTH, MAX_ENTRIES, MAX_LAYERS, Resolution, UnionError};
use crate::kid::Kid;
use crate::object::{Entry, EntryName, Tree, Value};
use crate::store::Objects;

/// Merges `layers`, the lowest first.
pub fn merge(
    objects: &dyn Objects,
    layers: &[Kid],
    policy: &dyn Fn(&Conflict) -> Resolution,
) -> Result<Entry, UnionError> {
    if layers.len() > MAX_LAYERS {
        return Err(UnionError::TooLarge { what: "layers", limit: MAX_LAYERS as u64 });
    }
    let mut merge = Merge { objects, policy, path: Vec::new(), entries: 0 };
    let mut parts: Vec<Part> = Vec::new();
    for (layer, kid) in layers.iter().enumerate() {
        add(&mut parts, Part { layer, kid: *kid });
    }
    match parts.as_slice() {
        [part] => objects.tree_entry(&part.kid).map_err(UnionError::store(b"")),
        parts => {
            let tree = merge.directory(parts, 0)?;
            objects.put_tree(&tree).map_err(UnionError::store(b""))
        }
    }
}

/// A directory of one layer.
struct Part {
    layer: usize,
    kid: Kid,
}

/// Adds a directory to those to merge; the same one twice in a row changes nothing.
fn add(parts: &mut Vec<Part>, part: Part) {
    if parts.last().is_none_or(|last| last.kid != part.kid) {
        parts.push(part);
    }
}

/// What the layers so far make of a name.
struct Slot {
    entry: Entry,
    layer: usize,
    /// If it is a directory: the different ones to merge, lowest first.
    parts: Vec<Part>,
}

struct Merge<'a> {
    objects: &'a dyn Objects,
    policy: &'a dyn Fn(&Conflict) -> Resolution,
    /// Of the directory being merged.
    path: Vec<u8>,
    entries: u64,
}

impl Merge<'_> {
    fn directory(&mut self, parts: &[Part], depth: usize) -> Result<Tree, UnionError> {
        if depth > MAX_DEPTH {
            return Err(UnionError::TooLarge {
                what: "nested directories",
                limit: MAX_DEPTH as u64,
            });
        }
        let mut slots: BTreeMap<EntryName, Slot> = BTreeMap::new();
        for part in parts {
            let tree = self.objects.tree(&part.kid).map_err(UnionError::store(&self.path))?;
            self.entries += tree.entries.len() as u64;
            if self.entries > MAX_ENTRIES {
                return Err(UnionError::TooLarge { what: "entries", limit: MAX_ENTRIES });
            }
            for (name, entry) in tree.entries {
                match slots.get_mut(&name) {
                    Some(slot) => self.lay_over(slot, &name, entry, part.layer)?,
                    None => {
                        slots.insert(name, Slot::new(entry, part.layer));
                    }
                }
            }
        }
        let mut tree = Tree::default();
        for (name, slot) in slots {
            let entry = self.finish(&name, slot, depth)?;
            tree.entries.insert(name, entry);
        }
        Ok(tree)
    }

    fn lay_over(
        &self,
        slot: &mut Slot,
        name: &EntryName,
        upper: Entry,
        layer: usize,
    ) -> Result<(), UnionError> {
        if let (Value::Tree { .. }, Value::Tree { kid, .. }) = (&slot.entry.value, &upper.value) {
            let kid = *kid;
            add(&mut slot.parts, Part { layer, kid });
            slot.entry = upper;
            slot.layer = layer;
            return Ok(());
        }
        if slot.entry == upper {
            return Ok(());
        }
        let conflict = Conflict {
            path: self.below(name),
            lower: slot.entry.clone(),
            lower_layer: slot.layer,
            upper,
            layer,
        };
        match (self.policy)(&conflict) {
            Resolution::TakeUpper => *slot = Slot::new(conflict.upper, layer),
            Resolution::KeepLower => {}
            Resolution::Fail => {
                return Err(UnionError::Conflict {
                    path: conflict.path_lossy(),
                    lower: conflict.lower_layer,
                    upper: layer,
                });
            }
        }
        Ok(())
    }

    fn finish(&mut self, name: &EntryName, slot: Slot, depth: usize) -> Result<Entry, UnionError> {
        if slot.parts.len() < 2 {
            return Ok(slot.entry);
        }
        let above = self.path.len();
        self.path = self.below(name);
        let tree = self.directory(&slot.parts, depth + 1)?;
        let merged = self.objects.put_tree(&tree).map_err(UnionError::store(&self.path))?;
        self.path.truncate(above);
        Ok(Entry { attrs: slot.entry.attrs, ..merged })
    }

    fn below(&self, name: &EntryName) -> Vec<u8> {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        path
    }
}

impl Slot {
    fn new(entry: Entry, layer: usize) -> Self {
        let parts = match entry.value {
            Value::Tree { kid, .. } => vec![Part { layer, kid }],
            _ => Vec::new(),
        };
        Self { entry, layer, parts }
    }
}
