//! Writing the index of a pack, version 2.
//!
//! Format: <https://git-scm.com/docs/pack-format#_version_2_pack_idx_files_support_packs_larger_than_4_gib>.

use gix_hash::ObjectId;

use super::receive::Item;

/// Offsets from here on go to the table of 64-bit offsets.
const LARGE_OFFSET: u64 = 1 << 31;

/// The index of `items`, which are sorted by id, for the pack with `checksum`.
pub(super) fn encode(items: &[Item], checksum: &ObjectId) -> Vec<u8> {
    let mut out = Vec::with_capacity(1072 + items.len() * 28);
    out.extend_from_slice(b"\xfftOc");
    out.extend_from_slice(&2u32.to_be_bytes());
    for first in 0..=255u8 {
        let count = items.partition_point(|item| item.id.first_byte() <= first);
        out.extend_from_slice(&(count as u32).to_be_bytes());
    }
    for item in items {
        out.extend_from_slice(item.id.as_slice());
    }
    for item in items {
        out.extend_from_slice(&item.crc.to_be_bytes());
    }
    let mut large = Vec::new();
    for item in items {
        let short = if item.offset < LARGE_OFFSET {
            item.offset as u32
        } else {
            large.push(item.offset);
            (large.len() - 1) as u32 | (1 << 31)
        };
        out.extend_from_slice(&short.to_be_bytes());
    }
    for offset in large {
        out.extend_from_slice(&offset.to_be_bytes());
    }
    out.extend_from_slice(checksum.as_slice());
    let mut hash = gix_hash::hasher(gix_hash::Kind::Sha1);
    hash.update(&out);
    // The index is of our own making: a collision attack cannot be in it, and git checks this sum
    // only against accidents.
    let sum = hash.try_finalize().unwrap_or(ObjectId::null(gix_hash::Kind::Sha1));
    out.extend_from_slice(sum.as_slice());
    out
}
