//! An object in a pack, read piece by piece in bounded memory.
//!
//! At most one block and, while it is unpacked, one prefix are held for each of the at most
//! [`MAX_DEPTH`](super::MAX_DEPTH) objects it is built upon. What is read is not checked against
//! the KID here: that is for whoever reads all of it.

use std::{fs::File, io, sync::Arc};

use super::{
    display,
    recipe::{Base, Piece, Source, Within},
    set::{Found, PackSet},
};
use crate::{
    Kid,
    object::Kind,
    store::{
        StoreError,
        pending::object_path,
        trash::Trash,
        verify::{ReadAt, hash_all},
    },
};

/// How often a base is looked for that moves meanwhile.
const BASE_TRIES: usize = 3;

/// Most bytes that are given by reference at once, where they have to be held: 1 MiB.
const HELD: usize = 1 << 20;

/// Where bases are looked for first. Loose files are quicker; packs alone are whole.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prefer {
    Loose,
    Packed,
}

/// An object of a pack, open for reading.
pub(crate) struct PackedBlob {
    set: Arc<PackSet>,
    kid: Kid,
    found: Found,
    /// Where each piece ends.
    ends: Vec<u64>,
    /// The block of this piece, unpacked.
    current: Option<(usize, Arc<Vec<u8>>)>,
    base: Option<OpenBase>,
    prefer: Prefer,
    /// What was read of a base, where it is asked for by reference.
    held: Vec<u8>,
}

enum OpenBase {
    Loose(File),
    Packed(Box<PackedBlob>),
}

impl PackedBlob {
    pub(crate) fn new(set: &Arc<PackSet>, kid: Kid, found: Found, prefer: Prefer) -> Self {
        let mut end = 0;
        let ends = found.recipe.pieces.iter().map(|piece| {
            end += piece.len;
            end
        });
        let ends = ends.collect();
        Self {
            set: set.clone(),
            kid,
            found,
            ends,
            current: None,
            base: None,
            prefer,
            held: Vec::new(),
        }
    }

    /// What it is, as its recipe says.
    pub(crate) fn kind(&self) -> Kind {
        self.found.recipe.kind
    }

    /// The KID that its bytes give.
    ///
    /// # Errors
    /// What is wrong with the pack.
    pub(crate) fn hash(&mut self) -> io::Result<Kid> {
        let mut hasher = self.kind().hasher();
        hash_all(self, &mut hasher)?;
        Ok(Kid::from(hasher.finalize()))
    }

    /// As its recipe says; checked by whoever reads to the end.
    pub(crate) fn size(&self) -> u64 {
        self.found.recipe.size
    }

    /// Says where something is wrong, for people.
    pub(crate) fn within(&self, what: &str) -> String {
        format!("in {}: {what}", display(&self.found.pack))
    }

    /// Reads some bytes at an offset; 0 at the end.
    ///
    /// # Errors
    /// What is wrong with the pack.
    pub(crate) fn read_some(&mut self, buf: &mut [u8], at: u64) -> Result<usize, String> {
        let Some((index, piece, within)) = self.piece_at(at) else { return Ok(0) };
        let n = usize::try_from(piece.len - within).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..n];
        if let Source::Copy { from } = piece.source {
            self.read_base(buf, from + within)?;
        } else {
            buf.copy_from_slice(self.part(index, &piece, within, n)?);
        }
        Ok(n)
    }

    /// Some bytes at an offset, not copied if they are in a block; none at the end.
    ///
    /// # Errors
    /// What is wrong with the pack.
    pub(crate) fn bytes_at(&mut self, at: u64) -> Result<&[u8], String> {
        let Some((index, piece, within)) = self.piece_at(at) else { return Ok(&[]) };
        let n = usize::try_from(piece.len - within).unwrap_or(usize::MAX).min(HELD);
        let Source::Copy { from } = piece.source else {
            return self.part(index, &piece, within, n);
        };
        let mut held = std::mem::take(&mut self.held);
        held.resize(n, 0);
        let read = self.read_base(&mut held, from + within);
        self.held = held;
        read.map(|()| &self.held[..])
    }

    /// Number of the piece that has the byte at an offset, the piece, and where in it that is.
    fn piece_at(&self, at: u64) -> Option<(usize, Piece, u64)> {
        let index = self.ends.partition_point(|end| *end <= at);
        let piece = self.found.recipe.pieces.get(index)?;
        Some((index, *piece, at - (self.ends[index] - piece.len)))
    }

    /// `n` bytes at an offset of a piece that is in a block.
    fn part(
        &mut self,
        index: usize,
        piece: &Piece,
        within: u64,
        n: usize,
    ) -> Result<&[u8], String> {
        let (block, start) = match piece.source {
            Source::Slice { block, start } => (block, u64::from(start)),
            Source::Patch { block, .. } => (block, 0),
            // It has no place but in the recipe.
            Source::Within { .. } => (0, 0),
            Source::Copy { .. } => return Err("what is copied is in no block".to_owned()),
        };
        let bytes = self.block(index, piece)?;
        let at = usize::try_from(start + within).unwrap_or(usize::MAX);
        let part = at.checked_add(n).and_then(|end| bytes.get(at..end));
        part.ok_or_else(|| format!("the block at {block} is too short"))
    }

    /// The block of a piece, unpacked if it is not the one at hand.
    fn block(&mut self, index: usize, piece: &Piece) -> Result<&[u8], String> {
        if self.current.as_ref().is_none_or(|(known, _)| *known != index) {
            self.current = None;
            let bytes = match piece.source {
                Source::Slice { block, .. } => self.set.block(&self.found, block)?,
                Source::Patch { block, from, prefix } => {
                    let bytes = self.patched(block, from, prefix as usize)?;
                    if bytes.len() as u64 != piece.len {
                        return Err(format!(
                            "the block at {block} has another length than its use"
                        ));
                    }
                    Arc::new(bytes)
                }
                Source::Within { prefix } => {
                    Arc::new(self.unpack_within(prefix as usize, piece.len)?)
                }
                Source::Copy { .. } => Arc::default(),
            };
            self.current = Some((index, bytes));
        }
        Ok(self.current.as_ref().map_or(&[], |(_, bytes)| bytes))
    }

    fn patched(&mut self, block: u64, from: u64, prefix: usize) -> Result<Vec<u8>, String> {
        let stored = self.found.data.block(block, Vec::new())?;
        let mut before = vec![0; prefix];
        self.read_base(&mut before, from)?;
        self.set.behind(&stored, &before).map_err(|what| format!("the block at {block}: {what}"))
    }

    fn unpack_within(&mut self, prefix: usize, len: u64) -> Result<Vec<u8>, String> {
        let names = self.found.recipe.within.names.len() * 32;
        let mut before = Vec::with_capacity(prefix + names);
        before.resize(prefix, 0);
        self.read_base(&mut before, 0)?;
        let Within { names, frame } = &self.found.recipe.within;
        names.iter().for_each(|name| before.extend_from_slice(name.as_bytes()));
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(super::NARROW);
        let unpacked = self.set.within(frame, len, &before);
        unpacked.map_err(|what| format!("the frame in its recipe: {what}"))
    }

    /// Fills `buf` from the base.
    fn read_base(&mut self, buf: &mut [u8], at: u64) -> Result<(), String> {
        let Some(base) = self.found.recipe.base else { return Err("it has no base".to_owned()) };
        if self.base.is_none() {
            self.base = Some(self.open_base(&base)?);
        }
        let told = |what: String| format!("its base {}: {what}", base.kid);
        let mut filled = 0;
        while filled < buf.len() {
            let (rest, at) = (&mut buf[filled..], at + filled as u64);
            let n = match self.base.as_mut() {
                Some(OpenBase::Packed(blob)) => blob.read_some(rest, at).map_err(told)?,
                Some(OpenBase::Loose(file)) => {
                    file.read_at(rest, at).map_err(|error| told(error.to_string()))?
                }
                None => 0,
            };
            if n == 0 {
                return Err(told("it is shorter than its use".to_owned()));
            }
            filled += n;
        }
        Ok(())
    }

    fn open_base(&self, base: &Base) -> Result<OpenBase, String> {
        let loose = || File::open(object_path(self.set.home(), &base.kid)).map(OpenBase::Loose);
        if self.prefer == Prefer::Loose
            && let Ok(file) = loose()
        {
            return Ok(file);
        }
        let missing = |_| format!("its base {} is not here", base.kid);
        for _ in 0..BASE_TRIES {
            // Each is less deep than what is built upon it, so this ends, whatever they say.
            match self.set.find_less_deep(&base.kid, base.depth) {
                Ok(Some(found)) => {
                    let blob = Self::new(&self.set, base.kid, found, self.prefer);
                    return Ok(OpenBase::Packed(Box::new(blob)));
                }
                Ok(None) => match loose() {
                    Ok(file) => return Ok(file),
                    // A collection that is under way may have taken it.
                    Err(_)
                        if Trash::new(self.set.home()).revive_any(&base.kid).is_ok_and(|it| it) => {
                    }
                    Err(error) => return Err(missing(error)),
                },
                Err(error) => {
                    return loose().map_err(|_| format!("its base {}: {error}", base.kid));
                }
            }
        }
        loose().map_err(missing)
    }

    /// Reads all of it into memory; for objects whose size is known to be bounded.
    ///
    /// # Errors
    /// What is wrong with the pack, or that it is not the KID's.
    pub(crate) fn read_whole(&mut self) -> Result<Vec<u8>, StoreError> {
        let corrupt = |blob: &Self, what: &str| StoreError::Corrupt {
            kid: blob.kid,
            what: blob.within(what),
        };
        let mut bytes = Vec::new();
        let mut at = 0usize;
        while (at as u64) < self.size() {
            // As pieces come, so that a size that lies costs nothing.
            let next = self.ends[self.ends.partition_point(|end| *end <= at as u64)] as usize;
            bytes.resize(next.min(at + super::MAX_BLOCK), 0);
            at += match self.read_some(&mut bytes[at..], at as u64) {
                Ok(n) => n,
                Err(what) => return Err(corrupt(self, &what)),
            };
            bytes.truncate(at);
        }
        if self.kind().kid_of(&bytes) != self.kid {
            return Err(corrupt(self, "its bytes hash to another KID"));
        }
        Ok(bytes)
    }
}

impl ReadAt for PackedBlob {
    fn read_at(&mut self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.read_some(buf, at).map_err(|what| {
            let text = format!("{} is damaged {}", self.kid, self.within(&what));
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}
