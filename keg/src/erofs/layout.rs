//! Where each inode, its data and the shared attributes lie in the image.

use std::collections::BTreeMap;

use super::dir;
use super::format::{
    BLOCK, COMPACT_LEN, DataLayout, EXTENDED_LEN, SLOT, SUPER_LEN, SUPER_OFFSET, chunk_count,
};
use super::model::{Image, Inode, InodeKind};
use super::xattr::Xattrs;
use super::{ErofsError, INLINE_MAX, MAX_IMAGE, MAX_INODES};

/// Tails up to this length lie beside their inode, longer ones get a block of their own: above it
/// the gap left before an inode that must not cross a block costs more than the rest of a block.
const TAIL_MAX: u64 = 3072;

/// The plan of an image.
pub struct Layout {
    /// By inode.
    pub places: Vec<Place>,
    /// Time of the compact inodes: the most frequent one.
    pub epoch: (i64, u32),
    /// Byte where the shared attributes start.
    pub shared: u64,
    /// First block after inodes and attributes.
    pub data_block: u64,
    /// Length of the image in blocks.
    pub blocks: u64,
}

/// Where one inode and its data are.
pub struct Place {
    /// Byte of the inode.
    pub offset: u64,
    /// 64 bytes rather than 32.
    pub extended: bool,
    /// How its data is kept.
    pub layout: DataLayout,
    /// Bytes of data.
    pub size: u64,
    /// First whole block of data, counted from [`Layout::data_block`].
    pub block: u64,
    /// Number of whole blocks.
    pub blocks: u64,
}

impl Place {
    /// The inode's number on disk.
    pub fn nid(&self) -> u64 {
        self.offset / SLOT
    }

    /// Bytes of data that follow the inode.
    pub fn tail(&self) -> u64 {
        if self.layout == DataLayout::Inline { self.size - self.blocks * BLOCK } else { 0 }
    }
}

/// Plans the image.
///
/// # Errors
/// [`ErofsError::TooLarge`], or [`ErofsError::Model`] if inode 0 is no directory or inline data is
/// too long.
pub fn layout(image: &Image, xattrs: &Xattrs) -> Result<Layout, ErofsError> {
    if image.inodes.len() > MAX_INODES {
        return Err(ErofsError::TooLarge { what: "inodes", limit: MAX_INODES as u64 });
    }
    if !matches!(image.inodes.first().map(|i| &i.kind), Some(InodeKind::Directory { .. })) {
        return Err(ErofsError::Model { inode: 0, reason: "the root is not a directory" });
    }
    let epoch = commonest_time(&image.inodes);
    let mut at = SUPER_OFFSET + SUPER_LEN;
    let mut block = 0;
    let mut places = Vec::with_capacity(image.inodes.len());
    for (number, inode) in image.inodes.iter().enumerate() {
        let size = data_size(inode)
            .ok_or(ErofsError::Model { inode: number, reason: "its inline data is too long" })?;
        let mut place = Place {
            offset: 0,
            extended: needs_extended(inode, size, epoch),
            layout: DataLayout::Plain,
            size,
            block,
            blocks: 0,
        };
        at = put(&mut place, inode, xattrs.inodes[number].len() as u64, at);
        block += place.blocks;
        places.push(place);
        if at + block * BLOCK > MAX_IMAGE {
            return Err(ErofsError::TooLarge { what: "bytes", limit: MAX_IMAGE });
        }
    }
    let shared = at.next_multiple_of(4);
    let data_block = (shared + xattrs.shared.len() as u64).div_ceil(BLOCK);
    if (data_block + block) * BLOCK > MAX_IMAGE {
        return Err(ErofsError::TooLarge { what: "bytes", limit: MAX_IMAGE });
    }
    Ok(Layout { places, epoch, shared, data_block, blocks: data_block + block })
}

/// Sets the place of an inode at or after `at`, and returns the byte after it.
fn put(place: &mut Place, inode: &Inode, xattrs: u64, at: u64) -> u64 {
    let start = at.next_multiple_of(SLOT);
    let head = if place.extended { EXTENDED_LEN } else { COMPACT_LEN } + xattrs;
    place.offset = start;
    if let InodeKind::Hole(size) = inode.kind
        && size > 0
    {
        place.layout = DataLayout::Chunked;
        return start + head + 4 * chunk_count(size);
    }
    let tail = place.size % BLOCK;
    if tail == 0 || tail > TAIL_MAX {
        place.blocks = place.size.div_ceil(BLOCK);
        return start + head;
    }
    // The tail must not cross a block (the kernel answers EUCLEAN); the inode itself may.
    let fits = |offset: &u64| (offset + head) % BLOCK + tail <= BLOCK;
    let offset = (start..start + BLOCK).step_by(SLOT as usize).find(fits);
    match offset {
        Some(offset) => {
            place.offset = offset;
            place.layout = DataLayout::Inline;
            place.blocks = place.size / BLOCK;
            offset + head + tail
        }
        None => {
            place.blocks = place.size.div_ceil(BLOCK);
            start + head
        }
    }
}

fn data_size(inode: &Inode) -> Option<u64> {
    match &inode.kind {
        InodeKind::Directory { entries, .. } => {
            let names = dir::with_dots(entries.iter().map(|entry| entry.name.as_slice()));
            Some(dir::size(names.into_iter()))
        }
        InodeKind::Inline(bytes) => Some(bytes.len() as u64).filter(|len| *len <= INLINE_MAX),
        InodeKind::Hole(size) => Some(*size),
        InodeKind::Symlink(target) => Some(target.len() as u64).filter(|len| *len < BLOCK),
        InodeKind::Device { .. } | InodeKind::Fifo => Some(0),
    }
}

fn needs_extended(inode: &Inode, size: u64, epoch: (i64, u32)) -> bool {
    (inode.mtime, inode.mtime_nsec) != epoch
        || size > u64::from(u32::MAX)
        || inode.uid.max(inode.gid).max(inode.nlink) > u32::from(u16::MAX)
}

fn commonest_time(inodes: &[Inode]) -> (i64, u32) {
    let mut counts: BTreeMap<(i64, u32), usize> = BTreeMap::new();
    for inode in inodes {
        *counts.entry((inode.mtime, inode.mtime_nsec)).or_default() += 1;
    }
    // Of equal counts the earliest, so that the bytes are determined.
    let commonest = counts.into_iter().max_by_key(|(time, n)| (*n, std::cmp::Reverse(*time)));
    commonest.map_or((0, 0), |(time, _)| time)
}
