//! From packs back to loose files.

use std::{path::Path, sync::Arc, time::Instant};

use super::{
    below::large_below,
    report::{Phase, Progress, Rehydrated},
};
use crate::{
    Keg, Kid,
    store::{
        StoreError,
        packs::{Found, PackSet, PackedBlob, Prefer, Source},
        pending::{NewFile, Pending, object_path},
    },
};

/// So many bytes, or files, are made durable at once.
const BATCH_BYTES: u64 = 1 << 30;
const BATCH_FILES: u64 = 1 << 15;

/// Makes every large blob below a tree, through commits, a loose file.
///
/// # Errors
/// A blob is missing or damaged, or the disk's.
pub(super) fn tree(
    keg: &Keg,
    tree: &Kid,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rehydrated, StoreError> {
    let wanted = large_below(keg.objects(), &[*tree])?;
    let wanted: Vec<(Kid, Option<u64>)> =
        wanted.into_iter().map(|(kid, size)| (kid, Some(size))).collect();
    // What this process has put is not in place before it is synced.
    keg.objects().sync()?;
    blobs(keg.home(), &wanted, progress)
}

/// Unpacks blobs, each with the size that a name says.
pub(super) fn blobs(
    home: &Path,
    wanted: &[(Kid, Option<u64>)],
    progress: &mut dyn FnMut(Progress),
) -> Result<Rehydrated, StoreError> {
    let started = Instant::now();
    let set = PackSet::new(home);
    let mut missing = Vec::new();
    for (kid, size) in wanted {
        if object_path(home, kid).exists() {
            continue;
        }
        let found = set.find(kid)?.ok_or(StoreError::Missing { kid: *kid })?;
        let packed = found.recipe.size;
        if let Some(size) = size.filter(|size| *size != packed) {
            let what = format!("it has {packed} bytes in its pack, but a name says {size}");
            return Err(StoreError::Corrupt { kid: *kid, what });
        }
        missing.push((place(&set, &found), *kid, packed));
    }
    // In the order of what they are built upon, so that each block is unpacked about once.
    missing.sort_unstable();
    let told = Progress {
        phase: Phase::Unpacking,
        of_objects: missing.len() as u64,
        of_bytes: missing.iter().map(|(_, _, size)| size).sum(),
        ..Progress::default()
    };
    let pending = Pending::default();
    let mut writer = Writer { home, set, pending, told, files: 0, bytes: 0 };
    for (_, kid, size) in missing {
        writer.write(&kid, size)?;
        progress(writer.told);
    }
    writer.pending.publish(home)?;
    Ok(Rehydrated {
        needed: wanted.len() as u64,
        objects: writer.told.objects,
        bytes: writer.told.bytes,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// Where what an object is built upon in the end begins: pack, block, offset in that; then how deep
/// the object is.
fn place(set: &PackSet, found: &Found) -> (Kid, u64, u32, u8) {
    let depth = found.recipe.depth();
    let mut lowest = found.clone();
    while let Some(base) = lowest.recipe.base {
        match set.find_less_deep(&base.kid, base.depth) {
            Ok(Some(found)) => lowest = found,
            // It is loose, or reading it will say what is wrong.
            Ok(None) | Err(_) => break,
        }
    }
    let (block, start) = match lowest.recipe.pieces.first().map(|piece| piece.source) {
        Some(Source::Slice { block, start }) => (block, start),
        Some(Source::Patch { block, .. }) => (block, 0),
        Some(Source::Copy { .. } | Source::Within { .. }) | None => (u64::MAX, 0),
    };
    (lowest.pack, block, start, depth)
}

struct Writer<'a> {
    home: &'a Path,
    set: Arc<PackSet>,
    pending: Pending,
    told: Progress,
    /// Since the last publishing.
    files: u64,
    bytes: u64,
}

impl Writer<'_> {
    fn write(&mut self, kid: &Kid, size: u64) -> Result<(), StoreError> {
        let found = self.set.find(kid)?.ok_or(StoreError::Missing { kid: *kid })?;
        let mut blob = PackedBlob::new(&self.set, *kid, found, Prefer::Loose);
        let corrupt = |blob: &PackedBlob, what: &str| StoreError::Corrupt {
            kid: *kid,
            what: blob.within(what),
        };
        let path = self.pending.new_path(self.home)?;
        let mut file = NewFile::create(&path)?;
        let mut at = 0;
        loop {
            match blob.bytes_at(at) {
                Ok([]) => break,
                Ok(bytes) => {
                    file.add(bytes)?;
                    at += bytes.len() as u64;
                }
                Err(what) => return Err(corrupt(&blob, &what)),
            }
        }
        let (made, written) = file.finish()?;
        if made != *kid || written != size {
            // What cannot be removed goes with its directory.
            let _ = std::fs::remove_file(&path);
            return Err(corrupt(&blob, "its bytes hash to another KID"));
        }
        self.pending.add(*kid, path, size);
        self.told.objects += 1;
        self.told.bytes += size;
        self.files += 1;
        self.bytes += size;
        if self.files >= BATCH_FILES || self.bytes >= BATCH_BYTES {
            self.pending.publish(self.home)?;
            (self.files, self.bytes) = (0, 0);
        }
        Ok(())
    }
}
