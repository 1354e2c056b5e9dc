//! Where each inode, its data and the shared attributes lie in the image.

use std::collections::{BTreeMap, VecDeque};

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
/// This many inodes may wait for a place that leaves no gap.
const MAX_WAITING: usize = 32;

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
    let mut places = Vec::with_capacity(image.inodes.len());
    let mut lengths = Vec::with_capacity(image.inodes.len());
    let mut block = 0;
    for (number, (inode, xattrs)) in image.inodes.iter().zip(&xattrs.inodes).enumerate() {
        let size = data_size(inode)
            .ok_or(ErofsError::Model { inode: number, reason: "its inline data is too long" })?;
        let (mut place, length) = shape(inode, size, xattrs.len() as u64, epoch);
        place.block = block;
        block += place.blocks;
        places.push(place);
        lengths.push(length);
    }
    let shared = put(&mut places, &lengths).next_multiple_of(4);
    let data_block = (shared + xattrs.shared.len() as u64).div_ceil(BLOCK);
    if (data_block + block).saturating_mul(BLOCK) > MAX_IMAGE {
        return Err(ErofsError::TooLarge { what: "bytes", limit: MAX_IMAGE });
    }
    Ok(Layout { places, epoch, shared, data_block, blocks: data_block + block })
}

/// Bytes that an inode takes in the inode area.
#[derive(Clone, Copy)]
struct Length {
    /// Inode, attributes and chunk index: these may cross a block.
    head: u64,
    /// The tail of its data, which must not (the kernel answers EUCLEAN).
    tail: u64,
}

impl Length {
    /// The first place at or after `at`.
    fn place(self, at: u64) -> u64 {
        let start = at.next_multiple_of(SLOT);
        let data = start + self.head;
        if data % BLOCK + self.tail <= BLOCK {
            return start;
        }
        // At the next block, which TAIL_MAX always leaves room for.
        (data.next_multiple_of(BLOCK) - self.head).next_multiple_of(SLOT)
    }
}

/// How an inode is kept, but not where.
fn shape(inode: &Inode, size: u64, xattrs: u64, epoch: (i64, u32)) -> (Place, Length) {
    let extended = needs_extended(inode, size, epoch);
    let head = if extended { EXTENDED_LEN } else { COMPACT_LEN } + xattrs;
    let mut place =
        Place { offset: 0, extended, layout: DataLayout::Plain, size, block: 0, blocks: 0 };
    if let InodeKind::Hole(size) = inode.kind
        && size > 0
    {
        place.layout = DataLayout::Chunked;
        return (place, Length { head: head + 4 * chunk_count(size), tail: 0 });
    }
    let tail = size % BLOCK;
    if tail == 0 || tail > TAIL_MAX {
        place.blocks = size.div_ceil(BLOCK);
        return (place, Length { head, tail: 0 });
    }
    place.layout = DataLayout::Inline;
    place.blocks = size / BLOCK;
    (place, Length { head, tail })
}

/// Gives every inode its place, the root the first, and returns the byte after the last. An inode
/// that would leave a gap waits while a few others go before it.
fn put(places: &mut [Place], lengths: &[Length]) -> u64 {
    let mut at = SUPER_OFFSET + SUPER_LEN;
    let mut waiting: VecDeque<usize> = VecDeque::new();
    for number in 0..places.len() {
        waiting.push_back(number);
        // The root must be near the start; of the others, whichever leaves no gap.
        while let Some(index) = waiting.iter().position(|number| {
            *number == 0 || lengths[*number].place(at) == at.next_multiple_of(SLOT)
        }) {
            at = put_one(places, lengths, waiting.remove(index), at);
        }
        if waiting.len() > MAX_WAITING {
            at = put_one(places, lengths, waiting.pop_front(), at);
        }
    }
    while !waiting.is_empty() {
        at = put_one(places, lengths, waiting.pop_front(), at);
    }
    at
}

fn put_one(places: &mut [Place], lengths: &[Length], number: Option<usize>, at: u64) -> u64 {
    let Some(number) = number else { return at };
    let length = lengths[number];
    places[number].offset = length.place(at);
    places[number].offset + length.head + length.tail
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::model::Dirent;
    use crate::erofs::xattr;

    /// Inline files of all lengths with attributes of all lengths, so that heads and tails meet
    /// block boundaries at every distance.
    fn many() -> Image {
        let root = Inode {
            kind: InodeKind::Directory { entries: Vec::new(), parent: 0 },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nsec: 0,
            nlink: 2,
            xattrs: Vec::new(),
        };
        let mut inodes = vec![root.clone()];
        for number in 1..20_000_u32 {
            let kind = match number % 3 {
                0 => InodeKind::Hole(u64::from(number) << 20),
                1 => InodeKind::Symlink(vec![b'x'; number as usize * 11 % 4095 + 1]),
                _ => InodeKind::Inline(vec![1; number as usize * 7 % 2049]),
            };
            let value = vec![number as u8; (number * 13 % 700) as usize];
            let xattrs = match number % 5 {
                0 => vec![(format!("user.{number}").into_bytes(), value)],
                _ => Vec::new(),
            };
            inodes.push(Inode { kind, xattrs, mtime: i64::from(number % 2), ..root.clone() });
        }
        let entries = (1..20_000).map(|inode| Dirent { name: format!("{inode:05}").into(), inode });
        inodes[0].kind = InodeKind::Directory { entries: entries.collect(), parent: 0 };
        Image { inodes, uuid: [0; 16], lacks: false }
    }

    #[test]
    fn nothing_overlaps_and_no_tail_crosses_a_block() {
        let image = many();
        let xattrs = xattr::plan(&image.inodes).unwrap();
        let layout = layout(&image, &xattrs).unwrap();
        let mut spans: Vec<(u64, u64)> = Vec::new();
        let mut used = 0;
        for ((place, inode), xattrs) in layout.places.iter().zip(&image.inodes).zip(&xattrs.inodes)
        {
            let chunks = match inode.kind {
                InodeKind::Hole(size) => 4 * chunk_count(size),
                _ => 0,
            };
            let own = if place.extended { EXTENDED_LEN } else { COMPACT_LEN };
            let data = place.offset + own + xattrs.len() as u64 + chunks;
            assert_eq!(place.offset % SLOT, 0);
            assert!(data % BLOCK + place.tail() <= BLOCK, "{} {}", place.offset, place.tail());
            spans.push((place.offset, data + place.tail()));
            used += data + place.tail() - place.offset;
        }
        assert_eq!(layout.places[0].nid(), (SUPER_OFFSET + SUPER_LEN) / SLOT);
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "inodes overlap");
        let end = spans.last().expect("inodes").1;
        assert!(end <= layout.shared);
        let gaps = end - used;
        assert!(gaps < end / 20, "gaps of {gaps} in {end} bytes");
        let blocks = layout.places.iter().map(|place| place.blocks).sum::<u64>();
        assert_eq!(layout.data_block + blocks, layout.blocks);
    }
}
