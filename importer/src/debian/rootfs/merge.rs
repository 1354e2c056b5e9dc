//! The union of packages' files. Independent of the order packages come in: they are laid over one
//! another by name, with what is configured already on top.

use std::cell::RefCell;

use keg::{
    Kid,
    object::{Attrs, Entry, EntryName, Tree, Value},
    store::{Objects, StoreError},
    union::{Conflict, Edit, Resolution, UnionError, edit, union},
};

use crate::debian::{index::Package, paths::MERGED, pool::Pooled};

/// Its directories are the root's own, so it is laid over all others.
const FIRST: &str = "base-files";

/// Why packages do not go together.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Two packages have the same path with different content.
    #[error("{one} and {other} both have {path:?}, and neither replaces the other")]
    Same {
        /// One of them.
        one: String,
        /// The other.
        other: String,
        /// The path.
        path: String,
    },
    /// The Keg's.
    #[error(transparent)]
    Union(#[from] UnionError),
    /// The Keg's.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A union, and which packages lost paths to others that replace them.
pub struct Merged {
    /// The tree.
    pub root: Entry,
    /// (package, absolute path): the package's list must not name the path any more.
    pub lost: Vec<(String, String)>,
}

/// Merges packages, on top of nothing or of a configured root file system with its packages.
///
/// # Errors
/// Packages have the same path and neither replaces the other; the Keg's.
pub fn merge(
    objects: &dyn Objects,
    packages: &[Pooled],
    configured: Option<(&Entry, &[Pooled])>,
) -> Result<Merged, MergeError> {
    let mut layers: Vec<Layer<'_>> = packages.iter().map(Layer::Package).collect();
    layers.sort_by_key(|layer| match layer {
        Layer::Package(p) => (p.package.name() == FIRST, p.package.name()),
        Layer::Configured(_) => (true, ""),
    });
    let mut kids = vec![skeleton(objects)?];
    kids.extend(packages_kids(&layers));
    if let Some((root, base)) = configured {
        kids.extend(root.kid());
        layers.push(Layer::Configured(base));
    }
    let judge = Judge { layers: &layers, lost: RefCell::default(), failed: RefCell::default() };
    let root = match (union(objects, &kids, &|c| judge.resolve(c)), judge.failed.into_inner()) {
        (_, Some(error)) => return Err(error),
        (root, None) => root?,
    };
    let root = link_usr(objects, &root)?;
    Ok(Merged { root, lost: judge.lost.into_inner() })
}

/// What a layer of the union is; the skeleton comes before all.
enum Layer<'a> {
    Package(&'a Pooled),
    Configured(&'a [Pooled]),
}

fn packages_kids(layers: &[Layer<'_>]) -> Vec<Kid> {
    let kid = |layer: &Layer<'_>| match layer {
        Layer::Package(p) => Some(p.files),
        Layer::Configured(_) => None,
    };
    layers.iter().filter_map(kid).collect()
}

/// Directories that every root file system needs to be run.
fn skeleton(objects: &dyn Objects) -> Result<Kid, StoreError> {
    let empty = objects.put_tree(&Tree::default())?;
    let mut root = Tree::default();
    for (name, mode) in
        [("dev", 0o755), ("proc", 0o755), ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777)]
    {
        let name = EntryName::new(name).expect("because the names are constant");
        root.entries.insert(name, Entry { attrs: Attrs::with_mode(mode), ..empty.clone() });
    }
    let entry = objects.put_tree(&root)?;
    Ok(entry.kid().expect("because trees have KIDs"))
}

/// Adds `/bin -> usr/bin` and its like for those that there are.
fn link_usr(objects: &dyn Objects, root: &Entry) -> Result<Entry, MergeError> {
    let kid = root.kid().expect("because trees have KIDs");
    let usr = objects.walk(&kid, "usr")?.and_then(|usr| usr.kid());
    let Some(usr) = usr else { return Ok(root.clone()) };
    let usr = objects.tree(&usr)?;
    let there = MERGED.iter().filter(|name| usr.get(name.as_bytes()).is_some());
    let links = there.map(|name| (*name, Edit::Set(Entry::symlink(format!("usr/{name}")))));
    Ok(edit(objects, &kid, links)?)
}

/// Decides between packages that have the same path.
struct Judge<'a> {
    layers: &'a [Layer<'a>],
    lost: RefCell<Vec<(String, String)>>,
    failed: RefCell<Option<MergeError>>,
}

impl Judge<'_> {
    fn resolve(&self, conflict: &Conflict) -> Resolution {
        let lower_is_directory = matches!(conflict.lower.value, Value::Tree { .. });
        if conflict.same_value() && !lower_is_directory {
            // The same file with other times or owners: the later by name, as good as any.
            return Resolution::TakeUpper;
        }
        // Layer 0 is the skeleton.
        let layer = |i: usize| i.checked_sub(1).and_then(|i| self.layers.get(i));
        let (Some(Layer::Package(lower)), Some(upper)) =
            (layer(conflict.lower_layer), layer(conflict.layer))
        else {
            // The skeleton gives way to everything.
            return Resolution::TakeUpper;
        };
        let path = format!("/{}", conflict.path_lossy());
        match upper {
            Layer::Package(upper) => {
                if replaces(&upper.package, &lower.package) {
                    return self.loses(&lower.package, path, Resolution::TakeUpper);
                }
                if replaces(&lower.package, &upper.package) {
                    return self.loses(&upper.package, path, Resolution::KeepLower);
                }
                self.fail(lower, upper.package.name(), path)
            }
            Layer::Configured(base) => {
                let mut replaced = base.iter().filter(|b| replaces(&lower.package, &b.package));
                match replaced.next() {
                    Some(old) => self.loses(&old.package, path, Resolution::KeepLower),
                    None => self.fail(lower, "a package of the base", path),
                }
            }
        }
    }

    fn loses(&self, loser: &Package, path: String, resolution: Resolution) -> Resolution {
        self.lost.borrow_mut().push((loser.name().to_owned(), path));
        resolution
    }

    fn fail(&self, one: &Pooled, other: &str, path: String) -> Resolution {
        let (one, other) = (one.package.name().to_owned(), other.to_owned());
        self.failed.borrow_mut().get_or_insert(MergeError::Same { one, other, path });
        Resolution::Fail
    }
}

/// Whether one package may take over files of another (Debian Policy 7.6.1).
fn replaces(one: &Package, other: &Package) -> bool {
    one.replaces.iter().any(|relation| {
        let provided = other.provides.iter().filter(|p| p.name == relation.name);
        let mut versions = provided.map(|p| p.version.as_deref());
        (relation.name == other.name() && relation.accepts(other.version()))
            || versions.any(|version| relation.accepts_provided(version))
    })
}
