//! The cold side of a Keg: large objects that nothing uses move into packs, and come back.
//!
//! [`pack`] follows all versions, oldest first, and writes what is cold in the order of its paths:
//! small objects together in frames of up to 4 MiB, what had a predecessor at its path as a
//! difference to that (at most eight in a row), large objects without one as content-defined
//! chunks, each once. A pack is durable, and was read back, before the loose files are removed; so
//! every object is in at least one place, whenever the process dies. Objects that no version has
//! are left alone: they are being ingested, or garbage.
//!
//! Reading needs none of this: the store looks into packs by itself. Only mounting needs loose
//! files; [`crate::mount`] asks for them.

mod delta;
mod encode;
mod hot;
mod rehydrate;
mod remove;
mod report;
mod select;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::Instant,
};

use encode::{Encoder, Packed};
pub use hot::Removing;
pub(crate) use hot::{Loose, keep_loose, keep_loose_after};
use remove::Remover;
pub use report::{
    Counts, PackError, PackInfo, PackOptions, Phase, Progress, Rehydrated, Report, Swept, Which,
};
use select::{History, Item, large_below};
pub use sweep::sweep;

use crate::{
    Keg, Kid,
    store::{
        Objects, StoreError,
        durable::lock_file,
        format, io,
        packs::{self, PackSet},
        pending::{Pending, object_path},
    },
};

/// Moves what is cold into packs. One process at a time does; others may read and write
/// meanwhile.
///
/// # Errors
/// [`PackError::Busy`], or the store's. What was packed before it stopped stays packed.
pub fn pack(
    keg: &Keg,
    options: &PackOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, PackError> {
    let started = Instant::now();
    let home = keg.home();
    let mut report = Report::default();
    if !home.join("objects").exists() {
        // A Keg in memory has nothing to pack.
        return Ok(report);
    }
    keg.objects().sync()?;
    let _alone = alone(home)?;
    // Before anything is where other programs do not look.
    format::require(home, packs::FEATURE)?;
    report.indexes = mend(home)?;
    let mut looking = |objects| progress(Progress { objects, ..Progress::default() });
    let hot = hot_blobs(keg, options)?;
    let loose = |kid: &Kid| object_path(home, kid).exists();
    report.hot = hot.keys().filter(|kid| loose(kid)).count() as u64;
    let wanted = |kid: &Kid| !hot.contains_key(kid) && loose(kid);
    let history = History::of(keg, &wanted, &mut looking)?;
    report.unreadable = history.unreadable;
    let mut cold: Vec<Item> = history.items.into_values().collect();
    cold.sort_unstable_by_key(|item| item.order);
    let mut run = Run { home, options, set: PackSet::new(home), report, progress };
    run.pack(keg.objects(), &cold)?;
    let mut report = run.report;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Makes all large blobs below a tree, through commits, loose files again, durably. They stay in
/// their packs, too. [`crate::mount`] does it by itself.
///
/// # Errors
/// A blob is missing or damaged, or the store's.
pub fn rehydrate(
    keg: &Keg,
    tree: &Kid,
    progress: &mut dyn FnMut(Progress),
) -> Result<Rehydrated, PackError> {
    Ok(rehydrate::tree(keg, tree, progress)?)
}

/// Makes single blobs loose files again, durably, where a pack has them: for a repair, after what
/// was damaged has been moved away.
///
/// # Errors
/// One is in no pack, or damaged there, too, or the store's.
pub fn restore(keg: &Keg, blobs: &[Kid]) -> Result<Rehydrated, PackError> {
    let wanted: Vec<(Kid, Option<u64>)> = blobs.iter().map(|kid| (*kid, None)).collect();
    Ok(rehydrate::blobs(keg.home(), &wanted, &mut |_| {})?)
}

/// The packs of a Keg, sorted by name.
///
/// # Errors
/// The store's.
pub fn list(keg: &Keg) -> Result<Vec<PackInfo>, PackError> {
    let (packs, broken) = PackSet::new(keg.home()).all()?;
    let whole = packs.iter().map(|pack| PackInfo {
        name: pack.name().to_hex(),
        objects: pack.len() as u64,
        bytes: pack.disk_bytes(keg.home()),
        damage: None,
    });
    let broken = broken.into_iter().map(|(name, what)| PackInfo {
        name: name.to_hex(),
        objects: 0,
        bytes: 0,
        damage: Some(what),
    });
    let mut infos: Vec<PackInfo> = whole.chain(broken).collect();
    infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(infos)
}

/// The KIDs of all packed objects, each once.
///
/// # Errors
/// The store's.
pub fn packed(keg: &Keg) -> Result<BTreeSet<Kid>, PackError> {
    let (packs, _) = PackSet::new(keg.home()).all()?;
    Ok(packs.iter().flat_map(|pack| pack.kids().collect::<Vec<_>>()).collect())
}

/// Keeps other processes from writing and removing packs, until it is closed.
fn alone(home: &Path) -> Result<File, PackError> {
    let lock = lock_file(&home.join("tmp/packing"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| PackError::Busy)?;
    Ok(lock)
}

/// Removes what a killed process left, and makes indexes again that are lost or damaged.
fn mend(home: &Path) -> Result<u64, StoreError> {
    let dir = packs::directory(home);
    let what = format!("listing {}", dir.display());
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io(what)(error)),
    };
    let (mut made, mut left) = (0, Vec::new());
    for entry in entries {
        let name = entry.map_err(io(&what))?.file_name();
        let Some(name) = name.to_str() else { continue };
        match name.split_once('.') {
            Some((_, kind)) if kind.starts_with("tmp-") => left.push(dir.join(name)),
            Some((hex, "pack")) => {
                let Ok(kid) = format!("K-{hex}").parse::<Kid>() else { continue };
                // One whose data is damaged is named by fsck, not here.
                if packs::Pack::open(home, &kid).is_err()
                    && packs::rebuild_index(home, &kid).is_ok()
                {
                    made += 1;
                }
            }
            _ => {}
        }
    }
    for path in left {
        // It only takes space.
        let _ = fs::remove_file(path);
    }
    Ok(made)
}

/// The large blobs that stay loose, mounted ones aside.
fn hot_blobs(keg: &Keg, options: &PackOptions) -> Result<HashMap<Kid, u64>, PackError> {
    let mut trees = options.keep.clone();
    if options.which == Which::Cold {
        trees.push(keg.head()?.tree);
    }
    Ok(large_below(keg.objects(), &trees)?)
}

/// One run of packing.
struct Run<'a> {
    home: &'a Path,
    options: &'a PackOptions,
    set: Arc<PackSet>,
    report: Report,
    progress: &'a mut dyn FnMut(Progress),
}

impl Run<'_> {
    fn pack(&mut self, objects: &dyn Objects, cold: &[Item]) -> Result<(), StoreError> {
        let mut remover = Remover::new(self.home, objects)?;
        let all = cold.len();
        let cold: Vec<&Item> = cold.iter().filter(|item| !remover.is_mounted(&item.kid)).collect();
        self.report.hot += (all - cold.len()) as u64;
        let mut told = Progress {
            phase: Phase::Packing,
            of_objects: cold.len() as u64,
            of_bytes: cold.iter().map(|item| item.size).sum(),
            ..Progress::default()
        };
        let mut files = Pending::default();
        let mut open: Option<Encoder<'_>> = None;
        let (set, level) = (self.set.clone(), self.options.level.clamp(1, 19));
        let bounds = encode::bounds(&set)?;
        let mut batch: Vec<Kid> = Vec::new();
        for item in cold {
            told.objects += 1;
            told.bytes += item.size;
            (self.progress)(told);
            if self.set.find(&item.kid).is_ok_and(|found| found.is_some()) {
                self.report.already += 1;
                batch.push(item.kid);
                continue;
            }
            let encoder = match &mut open {
                Some(encoder) => encoder,
                None => {
                    let path = files.new_path(self.home)?;
                    open.insert(Encoder::new(self.home, &set, &bounds, path, level)?)
                }
            };
            let packed = encoder.add(item)?;
            self.report.counts.add(packed, item.size);
            match packed {
                Packed::Gone => {}
                Packed::Damaged => self.report.damaged.push(item.kid),
                _ => {
                    self.report.objects += 1;
                    self.report.bytes += item.size;
                    if encoder.is_full(self.options.max_pack)
                        && let Some(full) = open.take()
                    {
                        self.finish(full, &mut remover, std::mem::take(&mut batch))?;
                    }
                }
            }
        }
        match open {
            Some(encoder) => self.finish(encoder, &mut remover, batch),
            None => self.remove(&mut remover, &batch),
        }
    }

    fn finish(
        &mut self,
        encoder: Encoder<'_>,
        remover: &mut Remover<'_>,
        already: Vec<Kid>,
    ) -> Result<(), StoreError> {
        let mut kids = already;
        if let Some((name, packed)) = encoder.finish()? {
            let pack = packs::Pack::open(self.home, &name)
                .map_err(|what| StoreError::Pack { pack: packs::display(&name), what })?;
            self.report.packs.push(name.to_hex());
            self.report.packed_bytes += pack.disk_bytes(self.home);
            kids.extend(packed);
        }
        self.remove(remover, &kids)
    }

    /// Reads packed objects back, and removes the loose files of those that are whole.
    fn remove(&mut self, remover: &mut Remover<'_>, kids: &[Kid]) -> Result<(), StoreError> {
        let (whole, damaged) = remover.check(kids, self.progress)?;
        self.report.damaged.extend(damaged);
        let (removed, bytes) = remover.remove(&whole, self.progress)?;
        self.report.removed += removed;
        self.report.removed_bytes += bytes;
        Ok(())
    }
}
