//! Whether one commit follows another.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
};

use gix_hash::ObjectId;
use gix_object::{CommitRefIter, Kind};

use crate::pack::{Budget, PackError, PackSet};

/// Most commits looked at. A push that follows main meets it in the first few.
const MAX_COMMITS: usize = 100_000;

/// Whether `ancestor` is `commit` or among those it follows; commits are visited newest first.
/// `None`: not within [`MAX_COMMITS`].
///
/// # Errors
/// Packs that cannot be read.
pub(crate) fn follows(
    packs: &mut PackSet,
    commit: ObjectId,
    ancestor: ObjectId,
) -> Result<Option<bool>, PackError> {
    let mut budget = Budget::for_bytes(1 << 20);
    let mut seen = HashSet::from([commit]);
    let mut queue = BinaryHeap::from([(i64::MAX, Reverse(commit))]);
    while let Some((_, Reverse(id))) = queue.pop() {
        if id == ancestor {
            return Ok(Some(true));
        }
        if seen.len() > MAX_COMMITS {
            return Ok(None);
        }
        let Some(object) = packs.read(&id, &mut budget)? else { continue };
        if object.kind != Kind::Commit {
            continue;
        }
        for parent in CommitRefIter::from_bytes(&object.bytes, gix_hash::Kind::Sha1).parent_ids() {
            if seen.insert(parent) {
                queue.push((time(packs, parent, &mut budget)?, Reverse(parent)));
            }
        }
    }
    Ok(Some(false))
}

/// When a commit was made; 0 if it does not say.
fn time(packs: &mut PackSet, id: ObjectId, budget: &mut Budget) -> Result<i64, PackError> {
    let Some(object) = packs.read(&id, budget)? else { return Ok(0) };
    let commit = CommitRefIter::from_bytes(&object.bytes, gix_hash::Kind::Sha1);
    Ok(commit.committer().ok().and_then(|who| who.time().ok()).map_or(0, |time| time.seconds))
}
