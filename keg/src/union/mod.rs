//! Trees laid over one another, and trees changed at some paths.
//!
//! Nothing here reads a blob, and a directory is read only where layers differ: where one layer
//! alone has a directory, or all have the same, its KID is taken over. The work grows with the
//! directories the layers share, not with their files.

mod edit;
mod merge;
#[cfg(test)]
mod tests;

use crate::kid::Kid;
use crate::object::Entry;
use crate::store::{Objects, StoreError};

pub use edit::{Edit, edit, remove_paths, with_prefix};

/// Deepest directory that is merged or changed.
pub const MAX_DEPTH: usize = 512;
/// Most layers of one union.
pub const MAX_LAYERS: usize = 1 << 16;
/// Most entries read for one union.
pub const MAX_ENTRIES: u64 = 1 << 24;

/// Two layers that disagree about a path.
#[derive(Clone, Debug)]
pub struct Conflict {
    /// The path below the root, without `/` at either end.
    pub path: Vec<u8>,
    /// What the layers below have.
    pub lower: Entry,
    /// Index of the layer that `lower` is from.
    pub lower_layer: usize,
    /// What this layer has.
    pub upper: Entry,
    /// Index of the layer that `upper` is from.
    pub layer: usize,
}

impl Conflict {
    /// The path for people.
    pub fn path_lossy(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// Whether the values are the same, and only attributes (say, the time) differ.
    pub fn same_value(&self) -> bool {
        self.lower.value == self.upper.value
    }
}

/// What to do about a [`Conflict`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// The upper layer's entry stands.
    TakeUpper,
    /// The lower entry stays.
    KeepLower,
    /// The union fails.
    Fail,
}

/// Why trees could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// A tree could not be read or stored.
    #[error("cannot read or store the directory {path:?}")]
    Store {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Layers disagree, and the policy said to fail.
    #[error("layers {lower} and {upper} both have {path:?}, and they differ")]
    Conflict {
        /// The path.
        path: String,
        /// Index of the lower layer.
        lower: usize,
        /// Index of the upper layer.
        upper: usize,
    },
    /// A path that cannot be in a tree.
    #[error("{path:?} is not a path in a tree: {reason}")]
    Path {
        /// What was given.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A path through something that is no directory.
    #[error("{path:?} is not a directory, so nothing can be put below it")]
    NotADirectory {
        /// The path.
        path: String,
    },
    /// A bound was passed.
    #[error("there are more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
}

impl UnionError {
    fn store(path: &[u8]) -> impl FnOnce(StoreError) -> Self {
        let path = String::from_utf8_lossy(path).into_owned();
        move |source| Self::Store { path, source }
    }
}

/// Merges trees, `layers[0]` lowest. No layer gives the empty tree.
///
/// Directories over directories merge, with the upper one's attributes. The same value with the
/// same attributes is no conflict. Everything else is: the policy decides. An upper entry that
/// wins over a directory hides all of it.
///
/// Link groups are kept as they are: layers that number them by [`crate::ingest::link_group`] do
/// not mix them up.
///
/// # Errors
/// A tree is missing or damaged, the policy fails a conflict, or a bound is passed.
pub fn union(
    objects: &dyn Objects,
    layers: &[Kid],
    policy: &dyn Fn(&Conflict) -> Resolution,
) -> Result<Entry, UnionError> {
    merge::merge(objects, layers, policy)
}

/// Merges trees so that the uppermost layer always wins.
///
/// # Errors
/// As [`union`], but for conflicts.
pub fn overlay(objects: &dyn Objects, layers: &[Kid]) -> Result<Entry, UnionError> {
    union(objects, layers, &|_| Resolution::TakeUpper)
}
