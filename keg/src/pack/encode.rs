//! Objects into one pack: solid frames, patches behind a base, chunks.

use std::{collections::HashMap, path::PathBuf};

use super::{
    delta::{self, CHUNK, Op, chunk_name},
    mentions,
    report::Counts,
    select::{Item, Sort},
    sources::Sources,
};
use crate::{
    Kid,
    object::Kind,
    store::{
        StoreError, io,
        packs::{
            Base, MAX_BLOCK, MAX_DEPTH, MAX_OBJECTS, MAX_PREFIX, MAX_TABLE, MAX_WITHIN, PackSet,
            PackWriter, Piece, Recipe, Source, Within, bare, compress,
        },
    },
};

/// Objects from this size on are compared with their base, or cut into chunks.
pub(super) const LARGE: u64 = 1 << 20;
/// How hard zstd looks for what a small object and its base have in common.
const PATCH_LEVEL: i32 = 15;
/// And for parts of large ones, which are many bytes.
const PART_LEVEL: i32 = 6;
/// Packed alone, quickly, an object says what a patch is worth.
const ALONE_LEVEL: i32 = 1;
/// What a patch costs besides its frame: its recipe, and its base in the list.
const PATCH_COST: usize = 44;
/// An open frame of this many bytes is not filled up with objects of another sort: who reads all
/// small files of a tree unpacks few others.
const FRAME_MIN: usize = 1 << 20;
/// Most chunks that are remembered to be used again: 64 GiB, 90 MB of memory.
const MAX_CHUNKS: usize = 1 << 21;
/// Room in the table for one more object of any size that fits into a pack.
pub(super) const TABLE_ROOM: usize = MAX_TABLE / 2;

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
    /// Its loose file or its record is not what its KID says; left alone.
    Damaged,
    /// It is gone.
    Gone,
}

/// A pack being filled.
pub(super) struct Encoder<'a> {
    from: &'a Sources<'a>,
    bounds: &'a HashMap<Kid, u8>,
    /// The KIDs of all that is packed in this run, sorted.
    own: &'a [Kid],
    level: i32,
    writer: PackWriter,
    /// The open frame, and what came last.
    frame: Vec<u8>,
    sort: Sort,
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

impl<'a> Encoder<'a> {
    /// A new pack, written to `path` until it is finished.
    pub(super) fn new(
        from: &'a Sources<'a>,
        bounds: &'a HashMap<Kid, u8>,
        own: &'a [Kid],
        path: PathBuf,
        level: i32,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            from,
            bounds,
            own,
            level,
            writer: PackWriter::create(path)?,
            frame: Vec::with_capacity(MAX_BLOCK),
            sort: Sort::Large,
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

    /// Adds an object; returns how, and its size in bytes.
    ///
    /// # Errors
    /// The disk's, or zstd's.
    pub(super) fn add(&mut self, item: &Item) -> Result<(Packed, u64), StoreError> {
        let Some(bytes) = self.from.object(item)? else { return Ok((Packed::Gone, 0)) };
        let size = bytes.len() as u64;
        let fits = item.kind == Kind::Tree || size == item.size;
        if !fits || bytes.is_empty() || item.kind.kid_of(&bytes) != item.kid {
            return Ok((Packed::Damaged, 0));
        }
        if item.sort() != self.sort && self.frame.len() >= FRAME_MIN {
            self.close_frame()?;
        }
        self.sort = item.sort();
        let base = self.base_of(item);
        let (kind, kid) = (item.kind, item.kid);
        let (pieces, within) = (Vec::new(), Within::default());
        let mut recipe = Recipe { kind, size, base, pieces, within };
        let packed = if self.patch(&bytes, &mut recipe)? {
            Packed::Patched
        } else {
            recipe.base = None;
            if size >= LARGE {
                self.cut(&bytes, &mut recipe.pieces)?;
                Packed::Chunked
            } else {
                let place = self.push(&bytes)?;
                add_slice(&mut recipe.pieces, place, bytes.len());
                Packed::Solid
            }
        };
        self.depths.insert(kid, recipe.depth());
        let Within { names, frame } = &recipe.within;
        self.table += 96 + recipe.pieces.len() * 16 + names.len() * 36 + frame.len();
        self.recipes.push((kid, recipe));
        Ok((packed, size))
    }

    /// What had its path before, or after, if that is in a pack and not too deep.
    fn base_of(&self, item: &Item) -> Option<Base> {
        let bound = self.bounds.get(&item.kid).copied().unwrap_or(MAX_DEPTH + 1);
        let mut found = [item.before, item.after].into_iter().flatten().filter_map(|kid| {
            let depth = match self.depths.get(&kid) {
                Some(depth) => *depth,
                None => self.from.set.find(&kid).ok()??.recipe.depth(),
            };
            (depth + 1 < bound).then_some(Base { kid, depth: depth + 1 })
        });
        found.next()
    }

    /// Makes a recipe that builds upon its base, if that pays.
    fn patch(&mut self, bytes: &[u8], recipe: &mut Recipe) -> Result<bool, StoreError> {
        let Some(base) = recipe.base else { return Ok(false) };
        // One that cannot be read is no base, and fsck names it.
        let Some(before) = self.from.base(&base.kid)? else { return Ok(false) };
        if bytes.len() < LARGE as usize {
            return self.patch_small(&before, bytes, recipe);
        }
        let Some(ops) = delta::plan(&before, bytes) else { return Ok(false) };
        let pieces = &mut recipe.pieces;
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
        recipe: &mut Recipe,
    ) -> Result<bool, StoreError> {
        if before.len() > MAX_PREFIX {
            return Ok(false);
        }
        let mut frame = pack(before, bytes, PATCH_LEVEL)?;
        let alone = pack(&[], bytes, ALONE_LEVEL)?;
        // A solid frame does better than one object alone.
        if (frame.len() + PATCH_COST) * 2 > alone.len() {
            return Ok(false);
        }
        if recipe.kind == Kind::Tree {
            let names = mentions::new(before, bytes, self.own);
            let prefix = [before, names.as_flattened()].concat();
            if !names.is_empty() && prefix.len() <= MAX_PREFIX {
                frame = pack(&prefix, bytes, PATCH_LEVEL)?;
                recipe.within.names = names.into_iter().map(Kid::from_bytes).collect();
            }
        }
        if bare(&frame).len() > MAX_WITHIN {
            if !recipe.within.names.is_empty() {
                recipe.within.names.clear();
                frame = pack(before, bytes, PATCH_LEVEL)?;
            }
            self.add_patch(&frame, bytes.len(), &(0..before.len()), &mut recipe.pieces)?;
            return Ok(true);
        }
        recipe.within.frame = bare(&frame).to_vec();
        let source = Source::Within { prefix: before.len() as u32 };
        recipe.pieces.push(Piece { len: bytes.len() as u64, source });
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
        Ok(Some((self.writer.finish(self.from.home)?, kids)))
    }
}

pub(super) fn pack(prefix: &[u8], raw: &[u8], level: i32) -> Result<Vec<u8>, StoreError> {
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
