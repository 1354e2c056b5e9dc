//! Trees from trees: owners and times made one, the difference of two as a layer.
//!
//! None of it reads a blob; equal subtrees are shared.

use keg::{
    object::{Attrs, Entry, EntryName, EntryNameError, Tree, Value},
    store::{Objects, StoreError},
};

/// Marks a name that a layer removes from those below it, by the OCI image specification.
const WHITEOUT: &[u8] = b".wh.";
/// Earliest modification time in images: 1980-01-01T00:00:01Z, since zip files know none before
/// 1980. Layers that depend on packages alone have it throughout.
pub const FIRST_TIME: i64 = 315_532_801;
/// Deepest tree that is followed.
pub const MAX_DEPTH: usize = 256;

/// Why a tree cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TreesError {
    /// An object is missing, or the store takes no more.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] EntryNameError),
    /// Deeper than [`MAX_DEPTH`].
    #[error("there are more than {MAX_DEPTH} directories inside one another")]
    TooDeep,
    /// A file whose name layers use for what they remove.
    #[error("{0:?} cannot be in an image: names that start with .wh. mean removed files there")]
    Whiteout(String),
}

/// Owner and time that every entry of a tree gets.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
}

impl Stamp {
    fn apply(self, attrs: &Attrs) -> Attrs {
        // Set-id bits would give whoever runs a file its owner's rights.
        let mode = attrs.mode & 0o1777;
        let Self { uid, gid, mtime } = self;
        Attrs { mode, uid, gid, mtime, mtime_nsec: 0, ..attrs.clone() }
    }
}

/// The same entry with owner and time of `stamp` on it and everything below, without set-id bits.
/// What points to a value elsewhere becomes an empty directory.
///
/// # Errors
/// The store fails, or the tree is too deep.
pub fn stamp(objects: &dyn Objects, entry: &Entry, stamp: Stamp) -> Result<Entry, TreesError> {
    stamp_at(objects, entry, stamp, 0)
}

fn stamp_at(
    objects: &dyn Objects,
    entry: &Entry,
    stamp: Stamp,
    depth: usize,
) -> Result<Entry, TreesError> {
    let attrs = stamp.apply(&entry.attrs);
    let kid = match &entry.value {
        Value::Tree { kid, .. } => kid,
        // A git submodule: nothing of it is here, so the app sees what git leaves of one.
        Value::Pointer { .. } => {
            return Ok(Entry { attrs, ..objects.put_tree(&Tree::default())? });
        }
        _ => return Ok(Entry { value: entry.value.clone(), attrs }),
    };
    if depth > MAX_DEPTH {
        return Err(TreesError::TooDeep);
    }
    let mut tree = objects.tree(kid)?;
    for child in tree.entries.values_mut() {
        *child = stamp_at(objects, child, stamp, depth + 1)?;
    }
    Ok(Entry { attrs, ..objects.put_tree(&tree)? })
}

/// What `upper` has that `lower` has not, as an OCI layer: changed and new entries, directories on
/// the way with `upper`'s attributes, and an empty file `.wh.NAME` for each name that is gone.
/// `None` where both are equal.
///
/// # Errors
/// The store fails, the trees are too deep, or a name would be taken for a removal.
pub fn delta(
    objects: &dyn Objects,
    lower: &Entry,
    upper: &Entry,
) -> Result<Option<Entry>, TreesError> {
    delta_at(objects, lower, upper, 0)
}

fn delta_at(
    objects: &dyn Objects,
    lower: &Entry,
    upper: &Entry,
    depth: usize,
) -> Result<Option<Entry>, TreesError> {
    if lower == upper {
        return Ok(None);
    }
    let (Value::Tree { kid: below, .. }, Value::Tree { kid: above, .. }) =
        (&lower.value, &upper.value)
    else {
        return Ok(Some(upper.clone()));
    };
    if depth > MAX_DEPTH {
        return Err(TreesError::TooDeep);
    }
    let mut layer = Tree::default();
    if below != above {
        let (below, above) = objects.differing(below, above)?;
        for (name, new) in &above.entries {
            if name.as_bytes().starts_with(WHITEOUT) {
                return Err(TreesError::Whiteout(name.to_string_lossy()));
            }
            let changed = match below.entries.get(name) {
                None => Some(new.clone()),
                Some(old) => delta_at(objects, old, new, depth + 1)?,
            };
            if let Some(entry) = changed {
                layer.entries.insert(name.clone(), entry);
            }
        }
        for name in below.entries.keys().filter(|name| !above.entries.contains_key(*name)) {
            let removed = EntryName::new([WHITEOUT, name.as_bytes()].concat())?;
            layer.entries.insert(removed, objects.put_bytes(b"")?);
        }
    }
    Ok(Some(Entry { attrs: upper.attrs.clone(), ..objects.put_tree(&layer)? }))
}

#[cfg(test)]
mod tests {
    use keg::{
        Keg,
        union::{Edit, edit},
    };

    use super::*;

    /// A tree from lines of path and content; a path that ends in `/` is an empty directory.
    fn make(store: &dyn Objects, files: &[(&str, &str)]) -> Entry {
        let edits = files.iter().map(|(path, content)| {
            let entry = match path.strip_suffix('/') {
                Some(_) => store.put_tree(&Tree::default()),
                None => store.put_bytes(content.as_bytes()),
            };
            (*path, Edit::Set(entry.expect("stored")))
        });
        let empty = store.put_tree(&Tree::default()).expect("stored").kid().expect("a tree");
        edit(store, &empty, edits).expect("a tree")
    }

    fn set(store: &dyn Objects, root: &Entry, path: &str, entry: Entry) -> Entry {
        let root = root.kid().expect("a tree");
        edit(store, &root, [(path, Edit::Set(entry))]).expect("a tree")
    }

    fn list(store: &dyn Objects, entry: &Entry, prefix: &str, out: &mut Vec<String>) {
        let Value::Tree { kid, .. } = &entry.value else { return out.push(prefix.to_owned()) };
        let tree = store.tree(kid).expect("there");
        if tree.entries.is_empty() {
            out.push(format!("{prefix}/"));
        }
        for (name, child) in &tree.entries {
            list(store, child, &format!("{prefix}/{}", name.to_string_lossy()), out);
        }
    }

    #[test]
    fn a_delta_has_what_changed_and_what_is_gone() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let check = |lower: &[(&str, &str)], upper: &[(&str, &str)], want: &[&str]| {
            let (lower, upper) = (make(store, lower), make(store, upper));
            let mut got = Vec::new();
            if let Some(layer) = delta(store, &lower, &upper).expect("a delta") {
                list(store, &layer, "", &mut got);
            }
            assert_eq!(got, want);
        };
        let base = [("bin/sh", "sh"), ("etc/passwd", "root"), ("var/x/y", "1")];
        check(&base, &base, &[]);
        check(&base, &[base[0], base[1], base[2], ("app/a", "1")], &["/app/a"]);
        check(&base, &[base[0], ("etc/passwd", "more"), base[2]], &["/etc/passwd"]);
        check(&base, &[base[0], base[1], ("var/", "")], &["/var/.wh.x"]);
        check(&base, &[base[0], base[1]], &["/.wh.var"]);
        check(&base, &[base[0], base[1], ("var/x", "file")], &["/var/x"]);
    }

    #[test]
    fn attributes_of_directories_are_part_of_a_delta() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let lower = make(store, &[("a/b", "1")]);
        let mut changed = store.walk(&lower.kid().expect("a tree"), "a").expect("ok").expect("a");
        changed.attrs.mode = 0o700;
        let upper = set(store, &lower, "a", changed);
        let layer = delta(store, &lower, &upper).expect("a delta").expect("it differs");
        let a = store.walk(&layer.kid().expect("a tree"), "a").expect("ok").expect("a");
        assert_eq!(a.attrs.mode, 0o700);
        assert!(matches!(a.value, Value::Tree { entries: 0, .. }), "{a:?}");
    }

    #[test]
    fn names_of_removals_are_refused() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let (lower, upper) = (make(store, &[]), make(store, &[(".wh.x", "")]));
        let error = delta(store, &lower, &upper).expect_err("refused").to_string();
        assert!(error.contains(".wh."), "{error}");
    }

    #[test]
    fn submodules_are_empty_directories_to_the_app() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let (source, reference) = ("https://example.org/lib.git".to_owned(), "0".repeat(40));
        let value = Value::Pointer { source, reference, kid: None };
        let pointer = Entry { value, attrs: Attrs::with_mode(0o755) };
        let entry = set(store, &make(store, &[("a", "1")]), "lib/x", pointer);
        let stamped = stamp(store, &entry, Stamp { uid: 1000, gid: 1000, mtime: 7 });
        let mut got = Vec::new();
        list(store, &stamped.expect("stamped"), "", &mut got);
        assert_eq!(got, ["/a", "/lib/x/"]);
    }

    #[test]
    fn stamps_reach_everything() {
        let keg = Keg::in_memory();
        let store = keg.objects();
        let mut entry = make(store, &[("a/b", "1")]);
        let kid = entry.kid().expect("a tree");
        let mut b = store.walk(&kid, "a/b").expect("ok").expect("there");
        b.attrs.mode = 0o4755;
        entry = set(store, &entry, "a/b", b);
        let owner = Stamp { uid: 1000, gid: 1000, mtime: 7 };
        let stamped = stamp(store, &entry, owner).expect("stamped");
        for path in ["a", "a/b"] {
            let kid = stamped.kid().expect("a tree");
            let attrs = store.walk(&kid, path).expect("ok").expect("there").attrs;
            assert_eq!((attrs.uid, attrs.gid, attrs.mtime, attrs.mode), (1000, 1000, 7, 0o755));
        }
        assert_eq!(stamp(store, &stamped, owner).expect("stamped"), stamped);
    }
}
