//! The cold side of a Keg: objects that nothing uses move into packs, and come back.
//!
//! [`pack`] follows all versions, oldest first, and writes what is cold in the order of its paths:
//! small objects together in frames of up to 8 MiB, what had a predecessor at its path as a
//! difference to that (at most eight in a row), large objects without one as content-defined
//! chunks, each once. A pack is durable, and was read back, before the loose files are removed, and
//! the log is rewritten without trees and small blobs; so every object is in at least one place,
//! whenever the process dies. Objects that no version has are left alone: they are being ingested,
//! or garbage.
//!
//! Reading needs none of this: the store looks into packs by itself. Only mounting needs loose
//! files; [`crate::mount`] asks for them.

mod below;
mod delta;
mod encode;
mod generations;
mod hot;
mod join;
mod mentions;
mod rehydrate;
mod remove;
mod report;
mod run;
mod select;
mod small;
mod sources;
mod sweep;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use below::{Below, all_below};
pub(crate) use hot::{Loose, keep_loose, keep_loose_after};
pub use report::{
    Counts, JoinReport, PackError, PackInfo, PackOptions, Phase, Progress, Rehydrated, Report,
    Swept, Which,
};
use run::Run;
use select::{History, Item, is_large};
pub(crate) use sweep::{Sweep, sweep};

pub use crate::store::Removing;
use crate::{
    Keg, Kid,
    object::Kind,
    store::{
        StoreError, format, io,
        packs::{self, PackSet, alone},
        pending::object_path,
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
    let _alone = alone(home)?.ok_or(PackError::Busy)?;
    // Before anything is where other programs do not look.
    format::require(home, packs::FEATURE)?;
    report.indexes = mend(home)?;
    let files = keg.master().files().filter(|files| files.check_writable().is_ok());
    if let Some(files) = files {
        small::seal(files)?;
    }
    let mut looking = |objects| progress(Progress { objects, ..Progress::default() });
    let hot = hot(keg, options)?;
    let loose = |kid: &Kid| object_path(home, kid).exists();
    report.hot = hot.large.keys().filter(|kid| loose(kid)).count() as u64;
    let wanted = |kid: &Kid, kind, size| {
        let large = kind == Kind::Blob && is_large(size);
        let in_log = || files.is_some_and(|files| small::is_movable(files, kid, kind, size));
        !hot.has(kid) && if large { loose(kid) } else { in_log() }
    };
    let history = History::of(keg, &wanted, &mut looking)?;
    report.unreadable = history.unreadable;
    let mut cold: Vec<Item> = history.items.into_values().collect();
    small::leave_few(&mut cold);
    cold.sort_unstable_by_key(|item| (item.sort(), item.order));
    if cold.iter().any(|item| item.kind == Kind::Tree) {
        format::require(home, packs::TREES)?;
    }
    let run = Run::new(home, options, keg.objects(), report, progress);
    let mut report = run.all(&cold, files)?;
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

/// What stays loose and in the log, mounted blobs aside.
fn hot(keg: &Keg, options: &PackOptions) -> Result<Below, PackError> {
    let mut trees = options.keep.clone();
    if options.which == Which::Cold {
        trees.push(keg.head()?.tree);
    }
    let mut hot = all_below(keg.objects(), &trees)?;
    keep_bases(keg.home(), &mut hot)?;
    Ok(hot)
}

/// What a large hot blob that is in a pack is a difference to is hot, too: reading it needs that.
/// What others are a difference to is in a pack itself.
fn keep_bases(home: &Path, hot: &mut Below) -> Result<(), StoreError> {
    let set = PackSet::new(home);
    let mut bases = Vec::new();
    for kid in hot.large.keys().filter(|kid| !object_path(home, kid).exists()) {
        let mut next = set.find(kid).ok().flatten().and_then(|found| found.recipe.base);
        while let Some(base) = next {
            let found = set.find(&base.kid).ok().flatten();
            bases.push(base.kid);
            next = found.and_then(|found| found.recipe.base);
        }
    }
    for kid in bases {
        hot.large.entry(kid).or_default();
    }
    Ok(())
}
