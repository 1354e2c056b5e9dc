//! Pointers: entries whose value lives elsewhere, in another Keg or a git repository.
//!
//! A pointer carries the KID of what it resolved to, so a tree with pointers is a value like any
//! other, and following a ref further is a new commit. Where that value is here, reading goes
//! through the pointer as through a directory; where it is not, or not whole, these functions say
//! which pointer lacks it. Fetching is for others, who may open connections.
//!
//! Values cannot contain themselves, so there are no cycles to guard against: a pointer's KID is
//! in the tree whose KID depends on it.

use std::{borrow::Cow, collections::HashSet};

use crate::{
    Kid,
    directory::Directory,
    object::{Entry, Kind, Value},
    store::{Objects, StoreError},
};

/// Most directories that are looked at for what is missing.
const MAX_TREES: usize = 1 << 22;
/// Most pointers that are told to lack something at once.
pub const MAX_LACKING: usize = 10_000;

/// An entry as a reader sees it: for a pointer whose value is here that value, with the pointer's
/// attributes; anything else as it is.
///
/// # Errors
/// The store's.
pub fn seen<'a>(objects: &dyn Objects, entry: &'a Entry) -> Result<Cow<'a, Entry>, StoreError> {
    let Value::Pointer { kid: Some(kid), .. } = &entry.value else {
        return Ok(Cow::Borrowed(entry));
    };
    let value = match objects.kind(kid)? {
        None => return Ok(Cow::Borrowed(entry)),
        Some(Kind::Blob) => Value::File { kid: *kid, size: objects.blob_size(kid)? },
        Some(Kind::Tree) => objects.tree_entry(kid)?.value,
        Some(Kind::Commit) => Value::Commit { kid: *kid },
    };
    Ok(Cow::Owned(Entry { value, attrs: entry.attrs.clone() }))
}

/// Whether an entry is a pointer whose value is not here.
///
/// # Errors
/// The store's.
pub fn is_absent(objects: &dyn Objects, entry: &Entry) -> Result<bool, StoreError> {
    match &entry.value {
        Value::Pointer { kid: Some(kid), .. } => Ok(objects.kind(kid)?.is_none()),
        _ => Ok(false),
    }
}

/// A way from a tree down a path: what stands at its end, and the first pointer on it, the last
/// name included, that keeps from going on because its value, or a part of it, is not here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// What stands at the end; `None`: nothing, or it cannot be told without the pointer's value.
    pub end: Option<Entry>,
    /// The innermost pointer that was gone through.
    pub through: Option<Entry>,
    /// The pointer whose value is needed.
    pub lacking: Option<Entry>,
}

/// Goes down a path, through trees, commits and pointers.
///
/// # Errors
/// As [`Objects::get`]. What is missing below a pointer is none.
pub fn way(objects: &dyn Objects, tree: &Kid, path: &str) -> Result<Way, StoreError> {
    let mut found = Way::default();
    let mut at = Entry::tree(*tree, crate::object::Sums::default());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let below = match objects.directory_of(&at).and_then(|kid| match kid {
            Some(kid) => Directory::open(objects, &kid)?.get(part.as_bytes()),
            None => Ok(None),
        }) {
            Err(StoreError::Missing { .. }) if found.through.is_some() => {
                found.lacking = found.through.clone();
                return Ok(found);
            }
            read => read?,
        };
        let Some(entry) = below else { return Ok(found) };
        if matches!(entry.value, Value::Pointer { .. }) {
            found.through = Some(entry.clone());
            if is_absent(objects, &entry)? {
                found.lacking = Some(entry);
                return Ok(found);
            }
        }
        at = entry;
    }
    found.end = Some(at);
    Ok(found)
}

/// The pointers that lack something of their values in an entry and below, outer ones first.
/// `within`: the pointer that led to the entry. What is missing without a pointer is not told.
///
/// # Errors
/// The store's, but for what is missing.
pub fn lacking(
    objects: &dyn Objects,
    entry: &Entry,
    within: Option<&Entry>,
) -> Result<Vec<Entry>, StoreError> {
    let mut found: Vec<Entry> = Vec::new();
    let mut seen = HashSet::new();
    let mut left = vec![(entry.clone(), within.cloned())];
    while let Some((entry, within)) = left.pop() {
        let within = match entry.value {
            Value::Pointer { .. } => Some(entry.clone()),
            _ => within,
        };
        let whole = match look(objects, &entry, within.as_ref(), &mut seen, &mut left) {
            Err(StoreError::Missing { .. }) => false,
            looked => looked?,
        };
        if let Some(within) = within.filter(|within| !whole && !found.contains(within)) {
            found.push(within);
        }
        if found.len() >= MAX_LACKING || seen.len() >= MAX_TREES {
            break;
        }
    }
    Ok(found)
}

/// Whether an entry itself is here; leaves what is below it to be looked at.
fn look(
    objects: &dyn Objects,
    entry: &Entry,
    within: Option<&Entry>,
    seen: &mut HashSet<Kid>,
    left: &mut Vec<(Entry, Option<Entry>)>,
) -> Result<bool, StoreError> {
    if let Value::File { kid, .. } = &entry.value {
        // What is damaged or missing without a pointer is found by who reads it.
        return Ok(within.is_none() || !seen.insert(*kid) || objects.kind(kid)?.is_some());
    }
    if is_absent(objects, entry)? {
        return Ok(false);
    }
    let Some(tree) = objects.directory_of(entry)? else { return Ok(true) };
    if seen.insert(tree) {
        let below = objects.tree(&tree)?.entries.into_values();
        let matters =
            |entry: &Entry| within.is_some() || !matches!(entry.value, Value::File { .. });
        left.extend(below.filter(matters).map(|entry| (entry, within.cloned())));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Keg,
        object::{Attrs, EntryName, Tree},
    };

    fn pointer(kid: Kid) -> Entry {
        let (source, reference) = ("keg+http://keg.example".to_owned(), "/a".to_owned());
        let value = Value::Pointer { source, reference, kid: Some(kid) };
        Entry { value, attrs: Attrs::with_mode(0o755) }
    }

    fn tree_with(name: &str, entry: Entry) -> Tree {
        let mut tree = Tree::default();
        tree.entries.insert(EntryName::new(name).unwrap(), entry);
        tree
    }

    /// The KID of a directory that is not here, of a file that is not here.
    fn elsewhere() -> (Tree, Kid) {
        let file = Entry::file(Kid::of_blob(b"far"), 3);
        let tree = tree_with("f", file);
        let kid = Kind::Tree.kid_of(&tree.encode().unwrap());
        (tree, kid)
    }

    #[test]
    fn ways_lead_through_pointers_whose_values_are_here() {
        let keg = Keg::in_memory();
        let objects = keg.objects();
        let (far, far_kid) = elsewhere();
        let top = objects.put_tree(&tree_with("p", pointer(far_kid))).unwrap().kid().unwrap();

        for path in ["/p", "/p/f"] {
            let found = way(objects, &top, path).unwrap();
            assert_eq!((found.end, found.lacking), (None, Some(pointer(far_kid))), "{path}");
        }
        assert_eq!(objects.walk(&top, "/p/f").unwrap(), None);
        assert_eq!(*seen(objects, &pointer(far_kid)).unwrap(), pointer(far_kid));

        objects.put_tree(&far).unwrap();
        let found = way(objects, &top, "/p/f").unwrap();
        assert_eq!(found.end, Some(Entry::file(Kid::of_blob(b"far"), 3)));
        assert_eq!((found.through, found.lacking), (Some(pointer(far_kid)), None));
        assert_eq!(objects.walk(&top, "/p/f").unwrap(), found.end);
        assert_eq!(way(objects, &top, "/p").unwrap().end, Some(pointer(far_kid)));
        assert_eq!(way(objects, &top, "/p/none").unwrap().end, None);
        let entry = pointer(far_kid);
        let shown = seen(objects, &entry).unwrap();
        assert!(matches!(shown.value, Value::Tree { bytes: 3, entries: 1, .. }));
    }

    #[test]
    fn what_is_lacking_is_told_by_its_pointer() {
        let keg = Keg::in_memory();
        let objects = keg.objects();
        let (far, far_kid) = elsewhere();
        let inner = pointer(far_kid);
        let middle = objects.put_tree(&tree_with("inner", inner.clone())).unwrap();
        let outer = pointer(middle.kid().unwrap());
        let mut top = tree_with("outer", outer.clone());
        let plain = Entry::file(Kid::of_blob(b"damage, not lacking"), 19);
        top.entries.insert(EntryName::new("plain").unwrap(), plain);
        let top = objects.put_tree(&top).unwrap();

        assert_eq!(lacking(objects, &top, None).unwrap(), std::slice::from_ref(&inner));
        objects.put_tree(&far).unwrap();
        assert_eq!(lacking(objects, &top, None).unwrap(), [inner], "its file is still away");
        objects.put_bytes(b"far").unwrap();
        assert_eq!(lacking(objects, &top, None).unwrap(), []);
        // A part of a value is looked at on behalf of the pointer that led there.
        let part = Entry::file(Kid::of_blob(b"part"), 4);
        assert_eq!(lacking(objects, &part, Some(&outer)).unwrap(), [outer]);
    }
}
