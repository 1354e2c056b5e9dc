//! The trash: what was swept and may still come back (`docs/store.md`, "Garbage").
//!
//! `trash/<milliseconds since 1970>/` holds what one collection swept: large objects by the hex of
//! their KIDs, and the segments of the log that it rewrote, as they were, with their indexes.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::fs::{CWD, RenameFlags};

use super::{StoreError, condemned::refresh, io, packs, pending::object_path};
use crate::Kid;

/// Most collections whose sweepings are looked through.
const MAX_RUNS: usize = 4096;

/// A change of the directory within this time may not show in its modification time.
const SETTLED: Duration = Duration::from_secs(1);

/// What one collection swept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Run {
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) dir: PathBuf,
}

impl Run {
    /// Segments of the log in it.
    pub(crate) fn segments(&self) -> Vec<u32> {
        let Ok(list) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let names = list.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut found: Vec<u32> =
            names.filter_map(|name| name.strip_suffix(".seg")?.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    /// What is in packs in it.
    pub(crate) fn packed(&self) -> Vec<Kid> {
        packs::aside_kids(&self.dir)
    }

    /// Large objects in it.
    pub(crate) fn objects(&self) -> Vec<Kid> {
        let Ok(list) = std::fs::read_dir(&self.dir) else { return Vec::new() };
        let names = list.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| format!("K-{name}").parse().ok()).collect()
    }
}

/// The trash of a Keg, as one process sees it.
pub(crate) struct Trash {
    home: PathBuf,
    known: Mutex<((i64, i64), Vec<Run>)>,
}

impl Trash {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), known: Mutex::default() }
    }

    /// What collections swept, the newest first.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let dir = self.home.join("trash");
        let Ok(meta) = std::fs::metadata(&dir) else { return Vec::new() };
        let time = (meta.mtime(), meta.mtime_nsec());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.0 != time {
            // A directory that has just changed may change again without its time showing it.
            let settled = meta.modified().ok().and_then(|then| then.elapsed().ok());
            let settled = settled.is_some_and(|age| age > SETTLED);
            *known = (if settled { time } else { (0, 0) }, list(&dir));
        }
        known.1.clone()
    }

    /// Brings an object back that is in the trash, by itself or in a pack. `false`: it is not.
    pub(crate) fn revive_any(&self, kid: &Kid) -> Result<bool, StoreError> {
        if self.revive(kid)? {
            return Ok(true);
        }
        let dirs: Vec<PathBuf> = self.runs().into_iter().map(|run| run.dir).collect();
        packs::revive(&self.home, &dirs, kid)
    }

    /// Puts a large object back in its place. `false`: it is not in the trash.
    pub(crate) fn revive(&self, kid: &Kid) -> Result<bool, StoreError> {
        let to = object_path(&self.home, kid);
        for run in self.runs() {
            let from = run.dir.join(kid.to_hex());
            match rustix::fs::renameat_with(CWD, &from, CWD, &to, RenameFlags::NOREPLACE) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {
                    // As if just put: a collection under way must not take it again.
                    return refresh(&self.home, &to, 0);
                }
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(io(format_args!("reviving {kid}"))(error)),
            }
        }
        Ok(false)
    }
}

fn list(dir: &Path) -> Vec<Run> {
    let Ok(list) = std::fs::read_dir(dir) else { return Vec::new() };
    let run = |entry: std::fs::DirEntry| {
        let at_ms = entry.file_name().to_str()?.parse().ok()?;
        Some(Run { at_ms, dir: entry.path() })
    };
    let mut runs: Vec<Run> = list.flatten().filter_map(run).take(MAX_RUNS).collect();
    runs.sort_unstable_by(|left, right| right.cmp(left));
    runs
}
