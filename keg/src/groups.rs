//! The upper part of a large blob's BLAKE3 tree: to verify it while it comes, and to hash once what
//! two blobs have in common.
//!
//! BLAKE3 is a tree over chunks of 1 KiB; the hash of an aligned subtree (a *group*, 2^n MiB) can
//! be computed from its bytes alone, and the groups' hashes give the root, which is the KID. That
//! is what Bao does at the granularity of groups: a wrong group is found at its own end.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::Kid;

/// Larger blobs have groups.
pub(crate) const GROUPED: u64 = 1 << 20;

/// Most groups of one blob: 32 KiB of hashes.
const MAX_GROUPS: u64 = 1024;

/// Bytes of a group of a blob of this size: a power of two, at least 1 MiB.
pub(crate) fn group_size(size: u64) -> u64 {
    size.div_ceil(MAX_GROUPS).checked_next_power_of_two().unwrap_or(1 << 63).max(GROUPED)
}

/// Number of groups of a blob of this size.
pub(crate) fn group_count(size: u64) -> usize {
    size.div_ceil(group_size(size)) as usize
}

/// Hashes a blob group by group.
pub(crate) struct GroupHasher {
    hasher: Box<blake3::Hasher>,
    group: u64,
    at: u64,
}

impl GroupHasher {
    /// From byte `at` on, the start of a group.
    pub(crate) fn new(group: u64, at: u64) -> Self {
        debug_assert!(at.is_multiple_of(group), "groups are hashed whole");
        Self { hasher: fresh(at), group, at }
    }

    /// How many bytes the current group can still take.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.group - self.at % self.group).unwrap_or(usize::MAX)
    }

    /// Takes bytes, at most [`Self::room`]; the group's hash if they complete it.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> Option<ChainingValue> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.at.is_multiple_of(self.group).then(|| self.finish())
    }

    /// The hash of a last group that is shorter.
    pub(crate) fn finish(&mut self) -> ChainingValue {
        let hash = self.hasher.finalize_non_root();
        self.hasher = fresh(self.at.next_multiple_of(self.group));
        hash
    }
}

fn fresh(at: u64) -> Box<blake3::Hasher> {
    let mut hasher = Box::new(blake3::Hasher::new());
    hasher.set_input_offset(at);
    hasher
}

/// The KID of a blob with these groups, of which there are at least two.
pub(crate) fn root(groups: &[ChainingValue]) -> Option<Kid> {
    if groups.len() < 2 {
        return None;
    }
    let (left, right) = groups.split_at(left_part(groups.len()));
    Some(merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).into())
}

/// At most 10 deep, for [`MAX_GROUPS`] groups.
fn subtree(groups: &[ChainingValue]) -> ChainingValue {
    match groups {
        [one] => *one,
        many => {
            let (left, right) = many.split_at(left_part(many.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left subtree is complete: the largest power of two that leaves something.
fn left_part(len: usize) -> usize {
    len.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    #[test]
    fn groups_give_the_kid() {
        for extra in [1, 1000, 1 << 20, (3 << 20) + 5, 4 << 20] {
            let bytes = noise(4, (1 << 20) + extra);
            let size = bytes.len() as u64;
            let group = group_size(size);
            let mut hasher = GroupHasher::new(group, 0);
            let mut found = Vec::new();
            for piece in bytes.chunks(1 << 18) {
                found.extend(hasher.update(piece));
            }
            if !size.is_multiple_of(group) {
                found.push(hasher.finish());
            }
            assert_eq!(found.len(), group_count(size));
            assert_eq!(root(&found), Some(Kid::of_blob(&bytes)), "{extra}");
            let mut second = GroupHasher::new(group, group);
            let end = bytes.len().min(2 << 20);
            let hash = second.update(&bytes[1 << 20..end]).unwrap_or_else(|| second.finish());
            assert_eq!(hash, found[1], "a group alone, {extra}");
            found[0][0] ^= 1;
            assert_ne!(root(&found), Some(Kid::of_blob(&bytes)));
        }
    }

    #[test]
    fn blobs_of_any_size_have_a_bounded_number_of_groups() {
        for (size, group) in [
            ((1 << 20) + 1, 1 << 20),
            (1 << 30, 1 << 20),
            ((1 << 30) + 1, 2 << 20),
            (1 << 40, 1 << 30),
            (u64::MAX, 1 << 54),
        ] {
            assert_eq!(group_size(size), group, "{size}");
            assert!((2..=1024).contains(&group_count(size)), "{size}");
        }
    }
}
