//! Packs in the trash, and back: `trash/<ms>/<hex>.pack` and `.idx`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    directory,
    open::{Pack, data_path, index_path},
    write::{beside, remove_pack},
};
use crate::{
    Kid,
    store::{StoreError, durable::sync_dir, io},
};

/// Most packs of one collection that are looked through.
const MAX_ASIDE: usize = 100_000;

/// Moves a pack to a directory of the trash. It has second names there before it loses its own, so
/// whenever a process dies it is in one of the two places.
///
/// # Errors
/// The disk's.
pub(crate) fn put_aside(home: &Path, name: &Kid, aside: &Path) -> Result<(), StoreError> {
    for from in [data_path(home, name), index_path(home, name)] {
        let to = aside.join(from.file_name().unwrap_or_default());
        link(&from, &to)?;
    }
    sync_dir(aside)?;
    remove_pack(home, name)
}

/// Brings the pack back that has an object, from the first of these directories that has one.
/// `false`: none has.
///
/// # Errors
/// The disk's.
pub(crate) fn revive(home: &Path, dirs: &[PathBuf], kid: &Kid) -> Result<bool, StoreError> {
    for dir in dirs {
        for pack in packs(dir) {
            if pack.find(kid).is_some() && bring_back(home, dir, pack.name())? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What is in packs in a directory of the trash.
pub(crate) fn aside_kids(dir: &Path) -> Vec<Kid> {
    packs(dir).flat_map(|pack| pack.kids().collect::<Vec<_>>()).collect()
}

/// As a new pack is placed: its index first, under a name that does not count. `false`: it is being
/// removed for good.
fn bring_back(home: &Path, dir: &Path, name: &Kid) -> Result<bool, StoreError> {
    let (data, index) = (data_path(home, name), index_path(home, name));
    if index.exists() {
        return Ok(true);
    }
    let from = |path: &Path| dir.join(path.file_name().unwrap_or_default());
    let unfinished = beside(home, name);
    let linked = link(&from(&index), &unfinished).and_then(|()| link(&from(&data), &data));
    match linked {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            // It may be another process's by now, whose index is there, too.
            let _ = fs::remove_file(&unfinished);
            return Ok(false);
        }
        linked => linked?,
    }
    sync_dir(&directory(home))?;
    let what = format!("taking {} back from the trash", super::display(name));
    fs::rename(&unfinished, &index).map_err(io(what))?;
    sync_dir(&directory(home))?;
    Ok(true)
}

fn link(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        linked => {
            linked.map_err(io(format_args!("linking {} to {}", from.display(), to.display())))
        }
    }
}

/// One that is damaged is as good as none.
fn packs(dir: &Path) -> impl Iterator<Item = Pack> {
    let dir = dir.to_owned();
    let list = fs::read_dir(&dir).into_iter().flatten().flatten().take(MAX_ASIDE);
    list.filter_map(move |entry| {
        let name = entry.file_name();
        let hex = name.to_str()?.strip_suffix(".idx")?;
        let kid: Kid = format!("K-{hex}").parse().ok()?;
        Pack::open_in(&dir, &kid).ok()
    })
}
