//! An object in a pack, read piece by piece in bounded memory.
//!
//! At most one block and, while it is unpacked, one prefix are held for each of the at most
//! [`MAX_DEPTH`](super::MAX_DEPTH) objects it is built upon. What is read is not checked against
//! the KID here: that is for whoever reads all of it.

use std::{fs::File, io, sync::Arc};

use super::{
    display,
    recipe::{Base, Source},
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
        Self { set: set.clone(), kid, found, ends, current: None, base: None, prefer }
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
        let index = self.ends.partition_point(|end| *end <= at);
        let Some(piece) = self.found.recipe.pieces.get(index).copied() else { return Ok(0) };
        let within = at - (self.ends[index] - piece.len);
        let n = usize::try_from(piece.len - within).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..n];
        match piece.source {
            Source::Copy { from } => self.read_base(buf, from + within)?,
            Source::Slice { block, start } => {
                let bytes = self.block(index, |blob| blob.set.block(&blob.found, block))?;
                copy(&bytes, u64::from(start) + within, buf, block)?;
            }
            Source::Patch { block, from, prefix } => {
                let bytes = self.block(index, |blob| {
                    let bytes = blob.patched(block, from, prefix as usize)?;
                    let fits = bytes.len() as u64 == piece.len;
                    let wrong = || format!("the block at {block} has another length than its use");
                    fits.then(|| Arc::new(bytes)).ok_or_else(wrong)
                })?;
                copy(&bytes, within, buf, block)?;
            }
        }
        Ok(n)
    }

    /// The block of a piece, made if it is not the one at hand.
    fn block(
        &mut self,
        index: usize,
        make: impl FnOnce(&mut Self) -> Result<Arc<Vec<u8>>, String>,
    ) -> Result<Arc<Vec<u8>>, String> {
        if let Some((known, bytes)) = &self.current
            && *known == index
        {
            return Ok(bytes.clone());
        }
        self.current = None;
        let bytes = make(self)?;
        self.current = Some((index, bytes.clone()));
        Ok(bytes)
    }

    fn patched(&mut self, block: u64, from: u64, prefix: usize) -> Result<Vec<u8>, String> {
        let stored = self.found.data.block(block, Vec::new())?;
        let mut before = vec![0; prefix];
        self.read_base(&mut before, from)?;
        self.set.behind(&stored, &before).map_err(|what| format!("the block at {block}: {what}"))
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

fn copy(bytes: &[u8], at: u64, buf: &mut [u8], block: u64) -> Result<(), String> {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let from = at.checked_add(buf.len()).and_then(|end| bytes.get(at..end));
    buf.copy_from_slice(from.ok_or_else(|| format!("the block at {block} is too short"))?);
    Ok(())
}
