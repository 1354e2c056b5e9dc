//! Putting blobs, and finding large ones: not synced yet, loose, or in a pack.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

use super::{
    FileStore, INLINE_MAX, StoreError, io,
    packs::{Found, PackedBlob, Prefer},
    pending::{HOLD, object_path, write_file},
};
use crate::{Kid, object::Kind};

/// How often a large blob is looked for before it is missing.
const MOVES: usize = 3;

/// A large blob, opened.
pub(super) enum Large {
    Loose(File, u64),
    Packed(Box<PackedBlob>),
}

impl FileStore {
    /// Puts a blob; `held` is empty memory for as much of it as is held.
    pub(super) fn put_held(
        &self,
        held: &mut Vec<u8>,
        from: &mut dyn Read,
    ) -> Result<(Kid, u64), StoreError> {
        from.take(HOLD as u64).read_to_end(held).map_err(io("reading what is to be stored"))?;
        let size = held.len() as u64;
        if held.len() <= INLINE_MAX {
            return Ok((self.put_small(Kind::Blob, held)?, size));
        }
        let whole = held.len() < HOLD;
        if whole {
            let kid = Kid::of_blob(held);
            if self.relies_on(&kid, size)? {
                return Ok((kid, size));
            }
        }
        let path = self.pending().new_path(&self.home)?;
        let (kid, size) = write_file(&path, held, from)?;
        if !whole && self.relies_on(&kid, size)? {
            // What cannot be removed goes with its directory.
            let _ = fs::remove_file(&path);
        } else {
            self.pending().add(kid, path, size);
        }
        Ok((kid, size))
    }

    /// The file of a large blob, and its size.
    pub(super) fn large(&self, kid: &Kid) -> Result<Option<(PathBuf, u64)>, StoreError> {
        if let Some(waiting) = self.pending().get(kid) {
            return Ok(Some((waiting.path.clone(), waiting.size)));
        }
        let path = object_path(&self.home, kid);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some((path, meta.len()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(format_args!("reading {}", path.display()))(error)),
        }
    }

    pub(super) fn open_large(&self, kid: &Kid) -> Result<Large, StoreError> {
        // Again: it may get its final name, or move into a pack or out of one, between being
        // looked up and opened.
        for _ in 0..MOVES {
            if let Some((path, size)) = self.large(kid)? {
                match File::open(&path) {
                    Ok(file) => return Ok(Large::Loose(file, size)),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => {
                        return Err(io(format_args!("reading {}", path.display()))(error));
                    }
                }
            } else if let Some(found) = self.packs.find(kid)? {
                let blob = PackedBlob::new(&self.packs, *kid, found, Prefer::Loose);
                return Ok(Large::Packed(Box::new(blob)));
            } else if self.trash().revive_any(kid)? {
                continue;
            } else if self.packs.never_any() {
                break;
            }
        }
        Err(StoreError::Missing { kid: *kid })
    }

    /// A packed object that no collection is about to take away.
    pub(super) fn packed_safe(&self, kid: &Kid) -> Result<Option<Found>, StoreError> {
        // Each small object that is put is looked for here.
        if !self.packs.may_be_any() {
            return Ok(None);
        }
        // In this order: what is swept in between is listed no more, but nor is it there.
        if self.log().condemned().current()?.since(kid).is_some() {
            return Ok(None);
        }
        // A pack that is damaged does not keep anything from being written again.
        Ok(self.packs.find_now(kid).ok().flatten())
    }

    /// What an object is that is not in the log, and its size: loose or packed.
    pub(super) fn large_size(&self, kid: &Kid) -> Result<Option<(Kind, u64)>, StoreError> {
        for _ in 0..MOVES {
            if let Some((_, size)) = self.large(kid)? {
                return Ok(Some((Kind::Blob, size)));
            }
            if let Some(found) = self.packs.find(kid)? {
                return Ok(Some((found.recipe.kind, found.recipe.size)));
            }
            if self.packs.never_any() {
                break;
            }
        }
        Ok(None)
    }
}
