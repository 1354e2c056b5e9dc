//! The bytes of an image.

use std::borrow::Cow;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::format::{
    BLOCK, CHECKSUM_OFFSET, DataLayout, DiskInode, SUPER_OFFSET, Super, checksum, chunk_bits,
    chunk_count, device_number,
};
use super::layout::{Layout, Place, layout};
use super::model::{Image, Inode, InodeKind};
use super::xattr::{self, Xattrs};
use super::{ErofsError, dir};
use crate::kid::Kid;

/// Length of [`Header`], before the superblock.
pub const HEADER_LEN: u64 = SUPER_OFFSET;
/// The first bytes of an image; the last digit counts versions of the writer.
const HEADER_MAGIC: [u8; 8] = *b"KEGIMG\0\x02";
/// A hole in a chunk index.
const HOLE: [u8; 4] = u32::MAX.to_le_bytes();

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Length in bytes.
    pub bytes: u64,
    /// Number of inodes.
    pub inodes: u64,
}

/// What an image says of itself in the bytes before the superblock, which EROFS leaves free: it
/// tells a whole image from one torn by a power cut, since images are written without `fsync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the image, header included.
    pub bytes: u64,
    /// BLAKE3 of everything after this field.
    pub digest: [u8; 32],
    /// For a delta image: what has to lie below it.
    pub base: Option<Base>,
}

/// What a delta image stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// The tree whose image has to lie below it.
    pub tree: Kid,
    /// How many entries were compared to make it: what the next delta costs at least that has the
    /// same base.
    pub compared: u64,
}

/// Where the digest starts, and where it ends: what it is of starts there.
const DIGEST: std::ops::Range<usize> = 16..48;

impl Header {
    /// Reads the header of an image; `None` if it is none that this version writes.
    ///
    /// # Errors
    /// Reading failed.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
        from.take(HEADER_LEN).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != HEADER_LEN || !bytes.starts_with(&HEADER_MAGIC) {
            return Ok(None);
        }
        let (mut length, mut digest) = ([0; 8], [0; 32]);
        let (mut base, mut compared) = ([0; 32], [0; 8]);
        length.copy_from_slice(&bytes[8..DIGEST.start]);
        digest.copy_from_slice(&bytes[DIGEST]);
        let rest = &bytes[DIGEST.end..];
        base.copy_from_slice(&rest[..32]);
        compared.copy_from_slice(&rest[32..40]);
        let base = (base != [0; 32])
            .then(|| Base { tree: Kid::from_bytes(base), compared: u64::from_le_bytes(compared) });
        Ok(Some(Self { bytes: u64::from_le_bytes(length), digest, base }))
    }

    /// Whether the rest of the image, which `from` now stands at, is what the header says.
    ///
    /// # Errors
    /// Reading failed.
    pub fn matches(&self, from: &mut impl Read) -> io::Result<bool> {
        let mut hasher = hasher(self.base.as_ref());
        let length = io::copy(from, &mut hasher)?;
        Ok(length + HEADER_LEN == self.bytes && *hasher.finalize().as_bytes() == self.digest)
    }

    fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut out = [0; HEADER_LEN as usize];
        out[..8].copy_from_slice(&HEADER_MAGIC);
        out[8..DIGEST.start].copy_from_slice(&self.bytes.to_le_bytes());
        out[DIGEST].copy_from_slice(&self.digest);
        out[DIGEST.end..].copy_from_slice(&rest_of_header(self.base.as_ref()));
        out
    }
}

/// The header after its digest.
fn rest_of_header(base: Option<&Base>) -> [u8; HEADER_LEN as usize - DIGEST.end] {
    let mut out = [0; HEADER_LEN as usize - DIGEST.end];
    if let Some(base) = base {
        out[..32].copy_from_slice(base.tree.as_bytes());
        out[32..40].copy_from_slice(&base.compared.to_le_bytes());
    }
    out
}

/// The hasher of an image that has read the header.
fn hasher(base: Option<&Base>) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&rest_of_header(base));
    hasher
}

/// Writes an image from the start of `out`.
///
/// # Errors
/// [`ErofsError::TooLarge`], [`ErofsError::Model`] or [`ErofsError::Write`].
pub fn write(image: &Image, out: &mut (impl Write + Seek)) -> Result<Written, ErofsError> {
    write_over(image, None, out)
}

/// Writes a delta image, which needs the image of the base below it.
///
/// # Errors
/// As [`write()`].
pub fn write_delta(
    image: &Image,
    base: &Base,
    out: &mut (impl Write + Seek),
) -> Result<Written, ErofsError> {
    write_over(image, Some(base), out)
}

fn write_over(
    image: &Image,
    base: Option<&Base>,
    out: &mut (impl Write + Seek),
) -> Result<Written, ErofsError> {
    let xattrs = xattr::plan(&image.inodes)?;
    let layout = layout(image, &xattrs)?;
    let mut sink = Sink { out, first: Vec::new(), at: 0, hasher: hasher(base) };
    sink.pad_to(SUPER_OFFSET)?;
    sink.write(&superblock(image, &layout)?.encode())?;
    let mut buffer = Vec::new();
    let mut order: Vec<usize> = (0..layout.places.len()).collect();
    order.sort_unstable_by_key(|number| layout.places[*number].offset);
    for number in order {
        buffer.clear();
        encode_inode(image, &layout, &xattrs, number, &mut buffer);
        sink.pad_to(layout.places[number].offset)?;
        sink.write(&buffer)?;
    }
    sink.pad_to(layout.shared)?;
    sink.write(&xattrs.shared)?;
    for (number, place) in layout.places.iter().enumerate().filter(|(_, place)| place.blocks > 0) {
        sink.pad_to((layout.data_block + place.block) * BLOCK)?;
        let data = data(image, &layout, number);
        let whole = data.len().min((place.blocks * BLOCK) as usize);
        sink.write(&data[..whole])?;
    }
    sink.pad_to(layout.blocks * BLOCK)?;
    let digest = *sink.hasher.finalize().as_bytes();
    let header = Header { bytes: sink.at, digest, base: base.copied() };
    sink.out.seek(SeekFrom::Start(0))?;
    sink.out.write_all(&header.encode())?;
    sink.out.flush()?;
    Ok(Written { bytes: header.bytes, inodes: image.inodes.len() as u64 })
}

fn superblock(image: &Image, layout: &Layout) -> Result<Super, ErofsError> {
    let too_large = |_| ErofsError::TooLarge { what: "blocks", limit: u64::from(u32::MAX) };
    let root = u16::try_from(layout.places[0].nid()).map_err(|_| ErofsError::Model {
        inode: 0,
        reason: "the root is too far from the start",
    })?;
    Ok(Super {
        root,
        inodes: image.inodes.len() as u64,
        epoch: layout.epoch.0,
        epoch_nsec: layout.epoch.1,
        blocks: u32::try_from(layout.blocks).map_err(too_large)?,
        xattr_block: u32::try_from(layout.shared / BLOCK).map_err(too_large)?,
        uuid: image.uuid,
        chunked: layout.places.iter().any(|place| place.layout == DataLayout::Chunked),
    })
}

/// Appends an inode with what follows it: attributes, then its tail or chunk index.
fn encode_inode(image: &Image, layout: &Layout, xattrs: &Xattrs, number: usize, out: &mut Vec<u8>) {
    let inode = &image.inodes[number];
    let place = &layout.places[number];
    let disk = DiskInode {
        extended: place.extended,
        layout: place.layout,
        xattr_count: xattrs.inodes[number].count(),
        mode: inode.kind.type_bits() | (inode.mode & 0o7777) as u16,
        size: place.size,
        union: union_field(layout, inode, place),
        // MAX_INODES fits.
        ino: number as u32 + 1,
        uid: inode.uid,
        gid: inode.gid,
        mtime: inode.mtime,
        mtime_nsec: inode.mtime_nsec,
        nlink: inode.nlink,
    };
    disk.encode(out);
    // Below one block.
    let base = (layout.shared % BLOCK / 4) as u32;
    xattrs.inodes[number].encode(base, out);
    match place.layout {
        DataLayout::Plain => {}
        DataLayout::Chunked => (0..chunk_count(place.size)).for_each(|_| out.extend(HOLE)),
        DataLayout::Inline => {
            let data = data(image, layout, number);
            out.extend(&data[data.len() - place.tail() as usize..]);
        }
    }
}

fn union_field(layout: &Layout, inode: &Inode, place: &Place) -> u32 {
    match inode.kind {
        InodeKind::Device { major, minor, .. } => device_number(major, minor),
        InodeKind::Hole(size) if size > 0 => chunk_bits(size),
        // The layout keeps blocks below MAX_IMAGE.
        _ if place.blocks > 0 => (layout.data_block + place.block) as u32,
        _ => 0,
    }
}

/// The bytes of a directory, an inline file or a symbolic link.
fn data<'a>(image: &'a Image, layout: &Layout, number: usize) -> Cow<'a, [u8]> {
    match &image.inodes[number].kind {
        InodeKind::Inline(bytes) | InodeKind::Symlink(bytes) => bytes.into(),
        InodeKind::Directory { entries, parent } => {
            let names = dir::with_dots(entries.iter().map(|entry| entry.name.as_slice()));
            let mut rest = entries.iter();
            let lines: Vec<dir::Line<'_>> = names
                .into_iter()
                .map(|name| {
                    let number = match name {
                        b"." => number,
                        b".." => *parent as usize,
                        _ => rest.next().map_or(0, |entry| entry.inode as usize),
                    };
                    let file_type = image.inodes[number].kind.file_type();
                    dir::Line { name, nid: layout.places[number].nid(), file_type }
                })
                .collect();
            dir::encode(&lines).into()
        }
        _ => [].as_slice().into(),
    }
}

/// Writes in order, hashing what follows the header, and puts the checksum into the first block.
struct Sink<'a, W> {
    out: &'a mut W,
    first: Vec<u8>,
    at: u64,
    hasher: blake3::Hasher,
}

impl<W: Write> Sink<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let missing = (BLOCK as usize).saturating_sub(self.first.len());
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        self.at += bytes.len() as u64;
        if !head.is_empty() {
            self.first.extend(head);
            if self.first.len() as u64 == BLOCK {
                self.finish_first()?;
            }
        }
        self.hasher.update(rest);
        self.out.write_all(rest)
    }

    fn finish_first(&mut self) -> io::Result<()> {
        let start = SUPER_OFFSET as usize;
        let sum = checksum(&self.first[start..]).to_le_bytes();
        self.first[start + CHECKSUM_OFFSET..][..4].copy_from_slice(&sum);
        self.hasher.update(&self.first[start..]);
        self.out.write_all(&self.first)
    }

    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while self.at < offset {
            let len = (offset - self.at).min(BLOCK) as usize;
            self.write(&ZEROS[..len])?;
        }
        Ok(())
    }
}
