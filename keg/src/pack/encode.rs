//! Objects into one pack: solid frames, patches behind a base, chunks.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use memmap2::Mmap;

use super::{
    delta::{self, CHUNK, Op, chunk_name},
    report::Counts,
    select::Item,
};
use crate::{
    Kid,
    store::{
        StoreError, io,
        packs::{
            Base, MAX_BLOCK, MAX_DEPTH, MAX_OBJECTS, MAX_PREFIX, MAX_TABLE, PackSet, PackWriter,
            PackedBlob, Piece, Prefer, Recipe, Source, compress,
        },
        pending::object_path,
        verify::Verifying,
    },
};

/// Objects from this size on are compared with their base, or cut into chunks.
const LARGE: u64 = 1 << 20;
/// How hard zstd looks for what a small object and its base have in common.
const PATCH_LEVEL: i32 = 15;
/// And for parts of large ones, which are many bytes.
const PART_LEVEL: i32 = 6;
/// Packed alone, quickly, an object says what a patch is worth.
const ALONE_LEVEL: i32 = 1;
/// What a patch costs besides its frame: recipe, base and block.
const PATCH_COST: usize = 64;
/// Most chunks that are remembered to be used again: 64 GiB, 90 MB of memory.
const MAX_CHUNKS: usize = 1 << 21;
/// Room in the table for one more object of any size that fits into a pack.
const TABLE_ROOM: usize = MAX_TABLE / 2;

/// How deep objects may be at most, less one: those that something in a pack is built upon, but
/// that are perhaps in no pack themselves any more.
///
/// # Errors
/// The disk's.
pub(super) fn bounds(set: &PackSet) -> Result<HashMap<Kid, u8>, StoreError> {
    let mut bounds: HashMap<Kid, u8> = HashMap::new();
    for pack in set.all()?.0 {
        for base in pack.bases() {
            let bound = bounds.entry(base.kid).or_insert(base.depth);
            *bound = base.depth.min(*bound);
        }
    }
    Ok(bounds)
}

/// What packing one object came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packed {
    /// In a solid frame.
    Solid,
    /// As a difference to its base.
    Patched,
    /// Cut into chunks.
    Chunked,
    /// Its loose file is not what its KID says; left alone.
    Damaged,
    /// Its loose file is gone.
    Gone,
}

/// A pack being filled.
pub(super) struct Encoder<'a> {
    home: &'a Path,
    set: &'a Arc<PackSet>,
    bounds: &'a HashMap<Kid, u8>,
    scratch: PathBuf,
    level: i32,
    writer: PackWriter,
    /// The open frame.
    frame: Vec<u8>,
    /// Where the closed ones are.
    frames: Vec<u64>,
    chunks: HashMap<[u8; 16], Place>,
    /// Slices name their frame by its number until all are closed.
    recipes: Vec<(Kid, Recipe)>,
    depths: HashMap<Kid, u8>,
    table: usize,
}

/// Where bytes are: number of the frame, offset in it.
#[derive(Clone, Copy)]
struct Place {
    frame: u32,
    start: u32,
}

/// An object's bytes.
enum Bytes {
    Held(Vec<u8>),
    Mapped(Mmap),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Held(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

impl<'a> Encoder<'a> {
    /// A new pack, written to `path` until it is finished; `scratch` is a directory.
    pub(super) fn new(
        home: &'a Path,
        set: &'a Arc<PackSet>,
        bounds: &'a HashMap<Kid, u8>,
        path: PathBuf,
        level: i32,
    ) -> Result<Self, StoreError> {
        let scratch = path.parent().unwrap_or(home).to_owned();
        Ok(Self {
            home,
            set,
            bounds,
            scratch,
            level,
            writer: PackWriter::create(path)?,
            frame: Vec::with_capacity(MAX_BLOCK),
            frames: Vec::new(),
            chunks: HashMap::new(),
            recipes: Vec::new(),
            depths: HashMap::new(),
            table: 0,
        })
    }

    /// Whether another pack should be begun, as this one has `max` bytes of data.
    pub(super) fn is_full(&self, max: u64) -> bool {
        self.writer.bytes() + self.frame.len() as u64 >= max
            || self.recipes.len() >= MAX_OBJECTS
            || self.table >= TABLE_ROOM
    }

    /// Adds an object.
    ///
    /// # Errors
    /// The disk's, or zstd's.
    pub(super) fn add(&mut self, item: &Item) -> Result<Packed, StoreError> {
        let Some(bytes) = self.loose(&item.kid)? else { return Ok(Packed::Gone) };
        if bytes.len() as u64 != item.size || Kid::of_blob(&bytes) != item.kid {
            return Ok(Packed::Damaged);
        }
        let mut pieces = Vec::new();
        let base = self.base_of(item);
        let patched = match &base {
            Some(base) => self.patch(base, item, &bytes, &mut pieces)?,
            None => false,
        };
        let packed = if patched {
            Packed::Patched
        } else if item.size >= LARGE {
            self.cut(&bytes, &mut pieces)?;
            Packed::Chunked
        } else {
            let place = self.push(&bytes)?;
            add_slice(&mut pieces, place, bytes.len());
            Packed::Solid
        };
        let base = base.filter(|_| patched);
        self.depths.insert(item.kid, base.map_or(0, |base| base.depth));
        self.table += 64 + pieces.len() * 16;
        self.recipes.push((item.kid, Recipe { size: item.size, base, pieces }));
        Ok(packed)
    }

    /// What had its path before, or after, if that is in a pack and not too deep.
    fn base_of(&self, item: &Item) -> Option<Base> {
        let bound = self.bounds.get(&item.kid).copied().unwrap_or(MAX_DEPTH + 1);
        let mut found = [item.before, item.after].into_iter().flatten().filter_map(|kid| {
            let depth = match self.depths.get(&kid) {
                Some(depth) => *depth,
                None => self.set.find(&kid).ok()??.recipe.depth(),
            };
            (depth + 1 < bound).then_some(Base { kid, depth: depth + 1 })
        });
        found.next()
    }

    fn patch(
        &mut self,
        base: &Base,
        item: &Item,
        bytes: &[u8],
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, StoreError> {
        // One that cannot be read is no base, and fsck names it.
        let Some(before) = self.read_base(&base.kid)? else { return Ok(false) };
        if item.size < LARGE {
            return self.patch_small(&before, bytes, pieces);
        }
        let Some(ops) = delta::plan(&before, bytes) else { return Ok(false) };
        for op in ops {
            match op {
                Op::Copy { from, len } => {
                    let source = Source::Copy { from: from as u64 };
                    pieces.push(Piece { len: len as u64, source });
                }
                Op::Pack { new, base } if base.is_empty() => self.cut(&bytes[new], pieces)?,
                Op::Pack { new, base } => {
                    let frame = pack(&before[base.clone()], &bytes[new.clone()], PART_LEVEL)?;
                    self.add_patch(&frame, new.len(), &base, pieces)?;
                }
            }
        }
        Ok(true)
    }

    fn patch_small(
        &mut self,
        before: &[u8],
        bytes: &[u8],
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, StoreError> {
        if before.len() > MAX_PREFIX {
            return Ok(false);
        }
        let frame = pack(before, bytes, PATCH_LEVEL)?;
        let alone = pack(&[], bytes, ALONE_LEVEL)?;
        // A solid frame does better than one object alone.
        if (frame.len() + PATCH_COST) * 2 > alone.len() {
            return Ok(false);
        }
        self.add_patch(&frame, bytes.len(), &(0..before.len()), pieces)?;
        Ok(true)
    }

    fn add_patch(
        &mut self,
        frame: &[u8],
        len: usize,
        base: &std::ops::Range<usize>,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), StoreError> {
        let block = self.writer.block(len, frame)?;
        let (from, prefix) = (base.start as u64, base.len() as u32);
        pieces.push(Piece { len: len as u64, source: Source::Patch { block, from, prefix } });
        Ok(())
    }

    /// Cuts bytes into chunks and packs those that are new.
    fn cut(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<(), StoreError> {
        for chunk in delta::chunks(bytes) {
            let chunk = &bytes[chunk];
            let name = (chunk.len() >= CHUNK.0).then(|| chunk_name(chunk));
            let known = name.and_then(|name| self.chunks.get(&name).copied());
            let place = match known {
                Some(place) => place,
                None => self.push(chunk)?,
            };
            if let Some(name) = name.filter(|_| self.chunks.len() < MAX_CHUNKS) {
                self.chunks.insert(name, place);
            }
            add_slice(pieces, place, chunk.len());
        }
        Ok(())
    }

    /// Adds bytes to the open frame, or to a new one.
    fn push(&mut self, bytes: &[u8]) -> Result<Place, StoreError> {
        if self.frame.len() + bytes.len() > MAX_BLOCK {
            self.close_frame()?;
        }
        let place = Place { frame: self.frames.len() as u32, start: self.frame.len() as u32 };
        self.frame.extend_from_slice(bytes);
        Ok(place)
    }

    fn close_frame(&mut self) -> Result<(), StoreError> {
        if !self.frame.is_empty() {
            let packed = pack(&[], &self.frame, self.level)?;
            self.frames.push(self.writer.block(self.frame.len(), &packed)?);
            self.frame.clear();
        }
        Ok(())
    }

    /// Gives the pack its name, durably; returns it, and what is in it in the order in which it
    /// was added. `None`: nothing is in it.
    ///
    /// # Errors
    /// The disk's; then there is no pack.
    pub(super) fn finish(mut self) -> Result<Option<(Kid, Vec<Kid>)>, StoreError> {
        if self.recipes.is_empty() {
            return Ok(None);
        }
        self.close_frame()?;
        let mut kids = Vec::with_capacity(self.recipes.len());
        for (kid, mut recipe) in std::mem::take(&mut self.recipes) {
            for piece in &mut recipe.pieces {
                if let Source::Slice { block, .. } = &mut piece.source {
                    *block = self.frames[*block as usize];
                }
            }
            self.writer.object(kid, &recipe);
            kids.push(kid);
        }
        Ok(Some((self.writer.finish(self.home)?, kids)))
    }

    /// The bytes of a loose object; `None`: there is none.
    fn loose(&self, kid: &Kid) -> Result<Option<Bytes>, StoreError> {
        let what = || format!("reading {kid}");
        match File::open(object_path(self.home, kid)) {
            Ok(mut file) => {
                let size = file.metadata().map_err(io(what()))?.len();
                if size >= LARGE {
                    return map(&file).map(Some).map_err(io(what()));
                }
                let mut bytes = Vec::with_capacity(size as usize);
                (&mut file).take(LARGE).read_to_end(&mut bytes).map_err(io(what()))?;
                Ok(Some(Bytes::Held(bytes)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(what())(error)),
        }
    }

    /// The bytes of a base, loose or packed; checked. `None`: it cannot be read.
    fn read_base(&self, kid: &Kid) -> Result<Option<Bytes>, StoreError> {
        if let Some(bytes) = self.loose(kid)? {
            return Ok((Kid::of_blob(&bytes) == *kid).then_some(bytes));
        }
        let Ok(Some(found)) = self.set.find(kid) else { return Ok(None) };
        let mut blob = PackedBlob::new(self.set, *kid, found, Prefer::Loose);
        let size = blob.size();
        if size < LARGE {
            return Ok(blob.read_whole().ok().map(Bytes::Held));
        }
        let what = format!("unpacking {kid} to {}", self.scratch.display());
        let mut file = tempfile::tempfile_in(&self.scratch).map_err(io(&what))?;
        let mut from = Verifying::new(blob, *kid, size);
        let mut chunk = vec![0; MAX_BLOCK];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => file.write_all(&chunk[..n]).map_err(io(&what))?,
                Err(_) => return Ok(None),
            }
        }
        map(&file).map(Some).map_err(io(what))
    }
}

fn map(file: &File) -> std::io::Result<Bytes> {
    // SAFETY: loose objects never change, they are only replaced by renaming or removed, and
    // nobody else has the temporary files.
    unsafe { Mmap::map(file) }.map(Bytes::Mapped)
}

fn pack(prefix: &[u8], raw: &[u8], level: i32) -> Result<Vec<u8>, StoreError> {
    compress(prefix, raw, level).map_err(|what| io("packing")(std::io::Error::other(what)))
}

/// Adds a slice; one that goes on where the last ends becomes part of it.
fn add_slice(pieces: &mut Vec<Piece>, place: Place, len: usize) {
    let Place { frame, start } = place;
    if let Some(Piece { len: last, source: Source::Slice { block, start: from } }) =
        pieces.last_mut()
        && *block == u64::from(frame)
        && u64::from(*from) + *last == u64::from(start)
    {
        *last += len as u64;
        return;
    }
    let source = Source::Slice { block: u64::from(frame), start };
    pieces.push(Piece { len: len as u64, source });
}

impl Counts {
    pub(super) fn add(&mut self, packed: Packed, bytes: u64) {
        let (objects, sum) = match packed {
            Packed::Solid => (&mut self.solid, &mut self.solid_bytes),
            Packed::Patched => (&mut self.patched, &mut self.patched_bytes),
            Packed::Chunked => (&mut self.chunked, &mut self.chunked_bytes),
            Packed::Damaged | Packed::Gone => return,
        };
        *objects += 1;
        *sum += bytes;
    }
}
