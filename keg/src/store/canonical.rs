//! What every store checks, and what every store starts with.

use super::{Object, StoreError};
use crate::object::{Commit, Kind, Tree, shards::Node};

/// The objects of version 0, the commit last: an empty tree, made at time 0 so that all new Kegs
/// are equal.
pub(super) fn genesis() -> Vec<Object> {
    let empty = Tree::default().encode().expect("an empty tree is encodable");
    let commit = Commit {
        tree: Kind::Tree.kid_of(&empty),
        parents: Vec::new(),
        author: "keg".to_owned(),
        time_ms: 0,
        message: "An empty Keg".to_owned(),
        extra: serde_json::Map::new(),
    };
    let commit = commit.encode().expect("a small commit is encodable");
    vec![Object { kind: Kind::Tree, bytes: empty }, Object { kind: Kind::Commit, bytes: commit }]
}

/// Refuses bytes that are not a canonical tree or commit.
pub(super) fn check_canonical(kind: Kind, bytes: &[u8]) -> Result<(), StoreError> {
    let checked = match kind {
        Kind::Blob => Ok(()),
        Kind::Tree => Node::decode(bytes).map(drop),
        Kind::Commit => Commit::decode(bytes).map(drop),
    };
    checked.map_err(|source| StoreError::Invalid { kind, source })
}
