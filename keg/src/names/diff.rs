//! What differs between two entries at one path: the leaves, skipping everything that is equal.

use std::collections::BTreeSet;

use crate::{
    Kid,
    object::{Entry, EntryName, Tree, Value},
    path::NamePath,
    store::{Objects, StoreError},
};

/// Path, before, after.
pub(crate) type Difference = (NamePath, Option<Entry>, Option<Entry>);

/// The differences, ordered by path. Two trees are compared name by name; anything else that
/// differs (also a tree that is new or gone, and commits) is one difference at its own path.
/// Names that no path can say (not UTF-8, too long) are reported as their directory.
pub(crate) fn diff(
    objects: &dyn Objects,
    path: &NamePath,
    old: Option<Entry>,
    new: Option<Entry>,
) -> Result<Vec<Difference>, StoreError> {
    let mut found = Vec::new();
    // A stack, not recursion: trees may be as deep as a path is long.
    let mut left = vec![(path.clone(), old, new)];
    while let Some((path, old, new)) = left.pop() {
        if old == new {
            continue;
        }
        let Some((before, after)) = trees(old.as_ref(), new.as_ref()) else {
            found.push((path, old, new));
            continue;
        };
        let same_attrs = old.as_ref().map(|e| &e.attrs) == new.as_ref().map(|e| &e.attrs);
        if before == after {
            found.push((path, old, new));
            continue;
        }
        match below(&path, objects.differing(&before, &after)?) {
            Some(below) => {
                if !same_attrs {
                    found.push((path, old, new));
                }
                left.extend(below.into_iter().rev());
            }
            None => found.push((path, old, new)),
        }
    }
    Ok(found)
}

fn trees(old: Option<&Entry>, new: Option<&Entry>) -> Option<(Kid, Kid)> {
    match (&old?.value, &new?.value) {
        (Value::Tree { kid: old, .. }, Value::Tree { kid: new, .. }) => Some((*old, *new)),
        _ => None,
    }
}

/// Names that differ between two trees; `None` if one of them has no path.
fn below(path: &NamePath, (mut old, mut new): (Tree, Tree)) -> Option<Vec<Difference>> {
    let differs = |name: &&EntryName| old.entries.get(*name) != new.entries.get(*name);
    let both = old.entries.keys().chain(new.entries.keys());
    let names: BTreeSet<EntryName> = both.filter(differs).cloned().collect();
    let pairs = names.into_iter().map(|name| {
        let text = std::str::from_utf8(name.as_bytes()).ok()?;
        let path = path.join(text).ok()?;
        Some((path, old.entries.remove(&name), new.entries.remove(&name)))
    });
    pairs.collect()
}
