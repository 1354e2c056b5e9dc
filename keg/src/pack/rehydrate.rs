//! From packs back to loose files.

use std::{io::Read, path::Path, sync::Arc, time::Instant};

use super::{
    report::{Phase, Progress, Rehydrated},
    select::large_below,
};
use crate::{
    Keg, Kid,
    store::{
        StoreError, io,
        packs::{Found, PackSet, PackedBlob, Prefer, Source},
        pending::{HOLD, Pending, object_path, write_file},
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
        missing.push((place(&found), *kid, packed));
    }
    // In the order in which they are in the packs, so that each block is unpacked once.
    missing.sort_unstable();
    let told = Progress {
        phase: Phase::Unpacking,
        of_objects: missing.len() as u64,
        of_bytes: missing.iter().map(|(_, _, size)| size).sum(),
        ..Progress::default()
    };
    let (pending, start) = (Pending::default(), Vec::with_capacity(HOLD));
    let mut writer = Writer { home, set, pending, told, start, files: 0, bytes: 0 };
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

/// Where an object begins in its pack.
fn place(found: &Found) -> (Kid, u64, u32) {
    let (block, start) = match found.recipe.pieces.first().map(|piece| piece.source) {
        Some(Source::Slice { block, start }) => (block, start),
        Some(Source::Patch { block, .. }) => (block, 0),
        Some(Source::Copy { .. }) | None => (u64::MAX, 0),
    };
    (found.pack, block, start)
}

struct Writer<'a> {
    home: &'a Path,
    set: Arc<PackSet>,
    pending: Pending,
    told: Progress,
    /// How each object begins.
    start: Vec<u8>,
    /// Since the last publishing.
    files: u64,
    bytes: u64,
}

impl Writer<'_> {
    fn write(&mut self, kid: &Kid, size: u64) -> Result<(), StoreError> {
        let found = self.set.find(kid)?.ok_or(StoreError::Missing { kid: *kid })?;
        let mut from =
            InOrder { blob: PackedBlob::new(&self.set, *kid, found, Prefer::Loose), at: 0 };
        let corrupt = |blob: &PackedBlob, what: &str| StoreError::Corrupt {
            kid: *kid,
            what: blob.within(what),
        };
        self.start.clear();
        let read = (&mut from).take(HOLD as u64).read_to_end(&mut self.start);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => {
                StoreError::Corrupt { kid: *kid, what: error.to_string() }
            }
            _ => io(format_args!("unpacking {kid}"))(error),
        })?;
        let path = self.pending.new_path(self.home)?;
        let (made, written) = write_file(&path, &self.start, &mut from)?;
        if made != *kid || written != size {
            // What cannot be removed goes with its directory.
            let _ = std::fs::remove_file(&path);
            return Err(corrupt(&from.blob, "its bytes hash to another KID"));
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

/// A packed blob, read in order; whoever writes it hashes it.
struct InOrder {
    blob: PackedBlob,
    at: u64,
}

impl Read for InOrder {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.blob.read_some(buf, self.at).map_err(|what| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, self.blob.within(&what))
        })?;
        self.at += n as u64;
        Ok(n)
    }
}
