//! A large file that has changed in places is stored as a difference: a pack with what is new, and
//! with copies of the blob that it was (`docs/store.md`, "Packs").
//!
//! So eight bytes changed in a file of 100 MiB cost reading it, not writing it. Nothing that is read
//! later needs to know: the store looks into packs by itself, and who mounts makes loose files.

mod compare;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fs::File};

use compare::{Difference, Range};

use super::{
    FileStore, StoreError, io,
    packs::{
        self, Base, MAX_DEPTH, NARROW, PackWriter, Piece, Recipe, Removing, Source, Within,
        compress,
    },
    pending::object_path,
};
use crate::{Kid, object::Kind};

/// Smaller files are written whole: that takes less than the syncs of a pack.
pub(crate) const LEAST: u64 = 8 << 20;
/// With so many packs nobody ever joins them (`keg pack` does): then files are written whole.
const MAX_PACKS: usize = 256;
/// Most objects in packs that are looked through for what is built upon a new one.
const MAX_LOOKED: usize = 100_000;
/// How hard zstd tries: somebody waits.
const LEVEL: i32 = 3;

/// What a file is compared with: a loose object.
struct Old {
    kid: Kid,
    file: File,
    size: u64,
}

impl FileStore {
    /// Stores what a file holds as a difference to `before`, or to what that is a difference to.
    /// `None`: it has too little in common with it, or cannot be stored so now.
    pub(super) fn put_difference(
        &self,
        file: &File,
        before: &Kid,
    ) -> Result<Option<(Kid, u64)>, StoreError> {
        self.check_writable()?;
        let size = file.metadata().map_err(io("looking at what is to be stored"))?.len();
        if size < LEAST {
            return Ok(None);
        }
        let Some(old) = self.old(before)? else { return Ok(None) };
        let compared = compare::compare((file, size), (&old.file, old.size, &old.kid));
        let Some(found) = compared.map_err(io("reading what is to be stored"))? else {
            return Ok(None);
        };
        if self.relies_on(&found.kid, size)? {
            return Ok(Some((found.kid, size)));
        }
        // What is condemned is condemned in any pack, and the same pack may be there: written whole
        // it is a file that is younger.
        let condemned = self.log().condemned().current()?.since(&found.kid).is_some();
        let written = !condemned && self.write_difference(&old, &found, size)?;
        Ok(written.then_some((found.kid, size)))
    }

    /// The blob that a file was, or the one that this is a difference to, whichever is loose.
    fn old(&self, before: &Kid) -> Result<Option<Old>, StoreError> {
        let base = |kid: &Kid| Some(self.packs.find(kid).ok()??.recipe.base?.kid);
        let kids = [Some(*before), base(before)];
        for kid in kids.into_iter().flatten() {
            let Ok(file) = File::open(object_path(&self.home, &kid)) else { continue };
            let size = file.metadata().map_err(io(format_args!("reading {kid}")))?.len();
            if size >= LEAST && self.relies_on(&kid, size)? {
                return Ok(Some(Old { kid, file, size }));
            }
        }
        Ok(None)
    }

    /// Writes a pack of one object, durably. `false`: not now.
    fn write_difference(
        &self,
        old: &Old,
        found: &Difference,
        size: u64,
    ) -> Result<bool, StoreError> {
        let home = &self.home;
        // Else the blob that it was might be packed meanwhile, deeper than what is built upon it.
        let Some(_alone) = packs::alone_now(home)? else { return Ok(false) };
        let Some(depth) = self.depth_over(&old.kid, &found.kid)? else { return Ok(false) };
        // Who mounts looks whether all is loose, from now on.
        if packs::epoch(home)? == 0 {
            drop(Removing::begin(home)?);
        }
        let path = self.pending().new_path(home)?;
        let mut writer = PackWriter::create(path)?;
        let pieces = write_pieces(&mut writer, found, size)?;
        let base = Some(Base { kid: old.kid, depth });
        let (kind, within) = (Kind::Blob, Within::default());
        writer.object(found.kid, &Recipe { kind, size, base, pieces, within });
        writer.finish(home)?;
        Ok(true)
    }

    /// How deep something is that is built upon a loose object; `None`: too deep, or upon itself.
    fn depth_over(&self, old: &Kid, new: &Kid) -> Result<Option<u8>, StoreError> {
        let (all, broken) = self.packs.all()?;
        let objects: usize = all.iter().map(|pack| pack.len()).sum();
        let loose = object_path(&self.home, old).exists();
        if !loose || !broken.is_empty() || all.len() >= MAX_PACKS || objects > MAX_LOOKED {
            return Ok(None);
        }
        let (mut depth, mut bases) = (0, HashSet::new());
        for pack in &all {
            if let Some(recipe) = pack.find(old) {
                depth = depth.max(recipe.map_or(MAX_DEPTH, |recipe| recipe.depth()));
            }
            bases.extend(pack.bases().map(|base| base.kid));
        }
        // Something is built upon what was lost, and is whole again once that is written whole.
        Ok((depth < MAX_DEPTH && !bases.contains(new)).then_some(depth + 1))
    }
}

/// What is new in frames of its own, the rest copies.
fn write_pieces(
    writer: &mut PackWriter,
    found: &Difference,
    size: u64,
) -> Result<Vec<Piece>, StoreError> {
    // Nobody has asked for a pack here that older programs refuse.
    let mut blocks = Vec::new();
    for bytes in found.bytes.chunks(NARROW) {
        let frame = compress(&[], bytes, LEVEL)
            .map_err(|what| io("packing")(std::io::Error::other(what)))?;
        blocks.push(writer.block(bytes.len(), &frame)?);
    }
    let (mut pieces, mut at, mut taken) = (Vec::new(), 0, 0);
    let copy = |from: u64, to: u64| {
        (from < to).then_some(Piece { len: to - from, source: Source::Copy { from } })
    };
    for Range { start, len } in &found.ranges {
        pieces.extend(copy(at, *start));
        at = start + len;
        let end = taken + *len as usize;
        while taken < end {
            let (block, start) = (blocks[taken / NARROW], taken % NARROW);
            let len = (end - taken).min(NARROW - start);
            let source = Source::Slice { block, start: start as u32 };
            pieces.push(Piece { len: len as u64, source });
            taken += len;
        }
    }
    pieces.extend(copy(at, size));
    Ok(pieces)
}
