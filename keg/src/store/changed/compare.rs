//! Where a file differs from the blob that it was, found in one pass over both.
//!
//! Both are hashed: the file for its KID, the blob because what is a difference to damaged bytes
//! would be damaged once those are mended. What both have in common is hashed once, as BLAKE3 is a
//! tree: groups of bytes at the same place that are equal have the same hash.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

use crate::{
    Kid,
    groups::{GroupHasher, group_count, group_size, root},
};

/// How much of both is read at a time: what a processor's cache holds.
const PIECE: usize = 128 << 10;
/// How much is compared at once.
const GRAIN: usize = 4 << 10;
/// What is nearer together than this is one change: a piece costs about as much.
const NEAR: u64 = 16;
/// At most one byte in so many may be new…
const SHARE: u64 = 16;
/// …and so many bytes, which are held in memory,
const MAX_BYTES: usize = 16 << 20;
/// …in so many places.
const MAX_RANGES: usize = 1 << 14;

/// Where a file differs.
#[derive(Debug)]
pub(super) struct Difference {
    /// The KID of all of it.
    pub(super) kid: Kid,
    /// In order, none of them empty.
    pub(super) ranges: Vec<Range>,
    /// What is in the ranges, one after the other.
    pub(super) bytes: Vec<u8>,
}

/// Some bytes that are not what was at that place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) len: u64,
}

/// Compares a file of `size` bytes with the blob `kid`. `None`: too much is new, one of them is
/// shorter than it was, or the blob is damaged.
pub(super) fn compare(
    (new, size): (&File, u64),
    (old, old_size, kid): (&File, u64, &Kid),
) -> io::Result<Option<Difference>> {
    let group = group_size(size.max(old_size));
    // The hash of one group alone is not a part of a larger tree.
    if size.min(old_size) <= group || size.abs_diff(old_size) > size / SHARE {
        return Ok(None);
    }
    let mut comparing = Comparing { most: most(size), ranges: Vec::new(), bytes: Vec::new() };
    let mut groups = (Vec::with_capacity(group_count(size)), Vec::new());
    let mut buffers = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while at < size.max(old_size) {
        let ends = ((at + group).min(size), (at + group).min(old_size));
        let mut hasher = GroupHasher::new(group, at);
        let (mut hash, mut same) = (None, ends.0 == ends.1);
        let mut from = at;
        while from < ends.0 {
            let len = (ends.0 - from).min(PIECE as u64) as usize;
            let there = (ends.1.saturating_sub(from) as usize).min(len);
            let (piece, before) = (&mut buffers.0[..len], &mut buffers.1[..there]);
            if !fill(new, piece, from)? || !fill(old, before, from)? {
                return Ok(None);
            }
            same &= comparing.piece(from, piece, before);
            if comparing.is_too_much() {
                return Ok(None);
            }
            hash = hasher.update(piece);
            from += len as u64;
        }
        if at < size {
            let hash = hash.unwrap_or_else(|| hasher.finish());
            groups.0.push(hash);
            if same {
                groups.1.push(hash);
            }
        }
        if !same && at < old_size {
            let Some(hash) = hash_group(old, (at, ends.1, group), &mut buffers.1)? else {
                return Ok(None);
            };
            groups.1.push(hash);
        }
        at += group;
    }
    if root(&groups.1) != Some(*kid) {
        return Ok(None);
    }
    let Comparing { ranges, bytes, .. } = comparing;
    Ok(root(&groups.0).map(|kid| Difference { kid, ranges, bytes }))
}

/// How many bytes of so many may be new.
fn most(size: u64) -> usize {
    usize::try_from(size / SHARE).unwrap_or(MAX_BYTES).min(MAX_BYTES)
}

fn hash_group(
    file: &File,
    (from, to, group): (u64, u64, u64),
    buffer: &mut [u8],
) -> io::Result<Option<blake3::hazmat::ChainingValue>> {
    let mut hasher = GroupHasher::new(group, from);
    let (mut at, mut hash) = (from, None);
    while at < to {
        let len = (to - at).min(buffer.len() as u64) as usize;
        let piece = &mut buffer[..len];
        if !fill(file, piece, at)? {
            return Ok(None);
        }
        hash = hasher.update(piece);
        at += len as u64;
    }
    Ok(Some(hash.unwrap_or_else(|| hasher.finish())))
}

/// Fills a buffer; `false`: the file ends before.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, at) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// What has been found so far.
struct Comparing {
    most: usize,
    ranges: Vec<Range>,
    bytes: Vec<u8>,
}

impl Comparing {
    /// Notes where a piece differs from what was there, which may be shorter; whether it does not.
    fn piece(&mut self, at: u64, piece: &[u8], before: &[u8]) -> bool {
        if piece == before {
            return true;
        }
        let mut start = 0;
        for grain in piece.chunks(GRAIN) {
            let before = &before[start.min(before.len())..(start + grain.len()).min(before.len())];
            if grain != before && !self.is_too_much() {
                self.grain(at + start as u64, grain, before);
            }
            start += grain.len();
        }
        false
    }

    fn grain(&mut self, at: u64, grain: &[u8], before: &[u8]) {
        let mut differing = grain
            .iter()
            .enumerate()
            .filter(|(index, byte)| before.get(*index) != Some(byte))
            .map(|(index, _)| index);
        let Some(first) = differing.next() else { return };
        let (mut start, mut end) = (first, first + 1);
        for index in differing {
            if (index - end) as u64 >= NEAR {
                self.add(at + start as u64, &grain[start..end]);
                start = index;
            }
            end = index + 1;
        }
        self.add(at + start as u64, &grain[start..end]);
    }

    fn add(&mut self, start: u64, bytes: &[u8]) {
        let len = bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        match self.ranges.last_mut() {
            Some(last) if last.start + last.len == start => last.len += len,
            _ => self.ranges.push(Range { start, len }),
        }
    }

    fn is_too_much(&self) -> bool {
        self.bytes.len() > self.most || self.ranges.len() > MAX_RANGES
    }
}
