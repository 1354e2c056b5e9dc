//! The live namespace: a mount in which each name is its current value.
//!
//! A version of the namespace (or of a directory in it) is one image, made as a delta over an
//! earlier one, so it costs what has changed. When a name moves, the new image goes beneath the
//! mount, and the old one is taken away from above it: whoever looks up a path finds the old version
//! or the new one, never neither, and all names are always of one version. What is open stays.
//!
//! A file `run/live/<id>` says where a live mount is and which process keeps it, so that the next
//! start can take away what a killed one left.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::cache::{Stack, Wanted};
use super::table::{self, unmount};
use super::{MountError, MountOptions, Mounts, WorkingError, working};
use crate::inotify::Bell;
use crate::names::NamesError;
use crate::object::Tree;
use crate::process::start_ticks;
use crate::store::StoreError;
use crate::{Keg, Kid, NamePath, machine};

/// Most records that are looked at.
const MAX_RECORDS: usize = 10_000;
/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 10;
/// Most mounts on top of each other that are taken away where a live mount was: two, if it was
/// killed between the steps of a flip.
const MAX_STACKED: usize = 8;

/// Why a live mount cannot be made or go on.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The mount point cannot be used.
    #[error(transparent)]
    Target(#[from] Box<WorkingError>),
    /// The name stands for something else than a directory now. The mount shows what it was.
    #[error("{path} is no directory, so it cannot be mounted")]
    NotADirectory {
        /// Which.
        path: NamePath,
    },
    /// The mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Names could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The system's notification failed.
    #[error("waiting for changes of the Keg")]
    Wait(#[source] io::Error),
    /// Its record.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl From<StoreError> for LiveError {
    fn from(error: StoreError) -> Self {
        Self::Names(error.into())
    }
}

/// Where a live mount is, and who keeps it.
#[derive(Serialize, Deserialize)]
struct Record {
    target: PathBuf,
    pid: u32,
    start_ticks: Option<u64>,
    boot: String,
    /// Its mount namespace: in another, nothing can be told or done about it.
    namespace: PathBuf,
}

impl Record {
    fn is_alive(&self) -> bool {
        self.boot == machine::boot_id()
            && self.start_ticks.is_some()
            && start_ticks(self.pid) == self.start_ticks
    }
}

/// A flip: what is shown now, and what it took.
#[derive(Clone, Copy, Debug)]
pub struct Flip {
    /// The version of the namespace.
    pub seq: u64,
    /// The tree that is shown.
    pub tree: Kid,
    /// To make the image and mount it, nowhere yet.
    pub image: Duration,
    /// To put it in place.
    pub swap: Duration,
}

/// A live mount, taken away when this is dropped.
pub struct Live {
    mounts: Mounts,
    path: NamePath,
    target: PathBuf,
    record: PathBuf,
    bell: Bell,
    /// The images of what is shown.
    shown: Stack,
}

impl Live {
    /// Mounts what a name stands for (`/`: the whole namespace) at `target`, an existing directory.
    /// A name that is not there is an empty directory until it is.
    ///
    /// # Errors
    /// The name is no directory, something of a Keg is at `target`, or the mount's.
    pub fn new(mounts: &Mounts, path: &NamePath, target: &Path) -> Result<Self, LiveError> {
        let keg = mounts.keg();
        let target = working::mount_point(target).map_err(Box::new)?;
        // Before the first look, so that no change can come between.
        let bell = Bell::on(keg.master().bell()).map_err(LiveError::Wait)?;
        let dir = directory(keg);
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        let id = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
        let record = dir.join(&id[..16]);
        let (mounts, path) = (mounts.clone(), path.clone());
        let mut live = Self { mounts, path, target, record, bell, shown: Stack::new() };
        live.save()?;
        live.refresh()?;
        Ok(live)
    }

    fn save(&self) -> Result<(), LiveError> {
        let pid = std::process::id();
        let record = Record {
            target: self.target.clone(),
            pid,
            start_ticks: start_ticks(pid),
            boot: machine::boot_id(),
            namespace: namespace(),
        };
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(directory(self.mounts.keg()))?;
            serde_json::to_writer(&mut file, &record)?;
            file.persist(&self.record).map_err(|error| error.error)
        };
        write().map(drop).map_err(failed("write", &self.record))
    }

    /// Where it is.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Shows the newest version, if it is another. Never waits.
    ///
    /// # Errors
    /// It cannot be shown (what was shown before still is), or something else took the mount away:
    /// [`MountError::NotMounted`].
    pub fn refresh(&mut self) -> Result<Option<Flip>, LiveError> {
        let keg = self.mounts.keg().clone();
        let head = keg.head()?;
        let tree =
            if self.path == NamePath::root() { head.tree } else { self.tree_at(&keg, &head)? };
        if self.shown.first().is_some_and(|top| top.tree == tree) {
            return Ok(None);
        }
        let like = self.shown.iter().find(|layer| layer.is_base()).map(|layer| layer.tree);
        let options = MountOptions { nosuid: true, nodev: true, ..MountOptions::default() };
        let begun = Instant::now();
        // Until it shows.
        let _loose = match self.shown.first() {
            Some(before) => crate::pack::keep_loose_after(&keg, &before.tree, &tree)?,
            None => crate::pack::keep_loose(&keg, &tree, || None)?,
        };
        // Versions of the namespace come by the thousand.
        let wanted = Wanted { tree: &tree, like: like.as_ref(), passing: true };
        let stack = self.mounts.images.stack_of(keg.objects(), wanted)?;
        let mount = self.mounts.detached_over(&stack, None, options)?;
        let image = begun.elapsed();
        let begun = Instant::now();
        match self.shown.is_empty() {
            true => mount.attach(&self.target)?,
            false => mount.replace(&self.target)?,
        }
        let swap = begun.elapsed();
        self.mounts.images.forget(&self.shown, &stack);
        self.shown = stack;
        Ok(Some(Flip { seq: head.seq, tree, image, swap }))
    }

    fn tree_at(&self, keg: &Keg, head: &crate::Version) -> Result<Kid, LiveError> {
        let tree = match keg.get_at(&self.path, head)? {
            Some(entry) => keg.objects().directory_of(&entry)?,
            None => keg.objects().put_tree(&Tree::default())?.kid(),
        };
        tree.ok_or_else(|| LiveError::NotADirectory { path: self.path.clone() })
    }

    /// Waits until the namespace may have changed, at most so long. For processes that have nothing
    /// else to do.
    ///
    /// # Errors
    /// [`LiveError::Wait`].
    pub fn wait(&self, timeout: Duration) -> Result<bool, LiveError> {
        self.bell.wait(self.bell.rings(), timeout).map_err(LiveError::Wait)
    }

    /// Waits until the namespace may have changed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LiveError::Wait`].
    pub async fn changed(&mut self) -> Result<(), LiveError> {
        self.bell.rung(self.bell.rings()).await.map_err(LiveError::Wait)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // If it fails, the record stays and the next start does it.
        let gone = match self.shown.is_empty() {
            true => Ok(()),
            false => unmount(&self.target),
        };
        if matches!(gone, Ok(()) | Err(MountError::NotMounted { .. })) {
            let _ = fs::remove_file(&self.record);
        }
    }
}

/// The process that keeps the live mount at `target`, if there is one.
///
/// # Errors
/// Records cannot be read.
pub fn keeper(keg: &Keg, target: &Path) -> Result<Option<u32>, LiveError> {
    let alive = records(keg)?.into_iter().map(|(_, record)| record).filter(Record::is_alive);
    let mut here = alive.filter(|record| record.target == target);
    Ok(here.next().map(|record| record.pid))
}

/// Takes away the live mounts whose processes are gone, in the mount namespace of this process.
/// Returns how many.
///
/// # Errors
/// Records cannot be read or removed, or a mount cannot be taken away.
pub fn sweep(keg: &Keg) -> Result<usize, WorkingError> {
    let io = |error| match error {
        LiveError::Io { action, path, source } => WorkingError::Io { action, path, source },
        error => WorkingError::Io {
            action: "read",
            path: directory(keg),
            source: io::Error::other(error.to_string()),
        },
    };
    let mut gone = 0;
    for (path, record) in records(keg).map_err(io)? {
        let this_boot = record.boot == machine::boot_id();
        if record.is_alive() || this_boot && record.namespace != namespace() {
            continue;
        }
        for _ in 0..MAX_STACKED {
            if !this_boot || !table::keg_mount(&record.target)? {
                break;
            }
            unmount(&record.target)?;
        }
        fs::remove_file(&path).map_err(failed("remove", &path)).map_err(io)?;
        gone += 1;
    }
    Ok(gone)
}

fn records(keg: &Keg) -> Result<Vec<(PathBuf, Record)>, LiveError> {
    let dir = directory(keg);
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", &dir)(error)),
    };
    let mut records = Vec::new();
    for entry in entries.take(MAX_RECORDS) {
        let path = entry.map_err(failed("list", &dir))?.path();
        let mut text = Vec::new();
        // One that goes meanwhile, or that a crash left half-made, is none.
        let read = File::open(&path).and_then(|f| f.take(MAX_RECORD).read_to_end(&mut text));
        if read.is_ok()
            && let Ok(record) = serde_json::from_slice(&text)
        {
            records.push((path, record));
        }
    }
    Ok(records)
}

/// Whether these bytes are the record of a live mount.
pub(super) fn is_record(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Record>(bytes).is_ok()
}

fn directory(keg: &Keg) -> PathBuf {
    keg.run_dir().join("live")
}

fn namespace() -> PathBuf {
    fs::read_link("/proc/self/ns/mnt").unwrap_or_default()
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LiveError {
    move |source| LiveError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
