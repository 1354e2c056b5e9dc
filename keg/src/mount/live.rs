//! The live namespace: a mount in which each name is its current value.
//!
//! A version of the namespace (or of a directory in it) is one image, made as a delta over the one
//! before, so it costs what has changed. When a name moves, the new image goes beneath the mount, and
//! the old one is taken away from above it: whoever looks up a path finds the old version or the new
//! one, never neither, and all names are always of one version. What is open stays as it was.
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
    /// It cannot be shown (what was shown before still is), or something else was done to the mount:
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
            None => crate::pack::keep_loose(&keg, &tree)?,
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
        self.bell.wait(timeout).map_err(LiveError::Wait)
    }

    /// Waits until the namespace may have changed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LiveError::Wait`].
    pub async fn changed(&mut self) -> Result<(), LiveError> {
        self.bell.rung().await.map_err(LiveError::Wait)
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
mod tests {
    use super::*;
    use crate::Txn;
    use crate::mount::fixture::{Scratch, noise};
    use crate::mount::unmount_all_below;

    fn set(keg: &Keg, path: &str, bytes: &[u8]) {
        let entry = keg.objects().put_bytes(bytes).expect("put");
        let path: NamePath = path.parse().expect("a path");
        keg.commit(Txn::new("test", "set").set(path, entry)).expect("commit");
    }

    #[test]
    fn each_name_is_its_current_value() {
        let scratch = Scratch::new();
        let keg = scratch.keg();
        let target = scratch.dir("live");
        set(&keg, "/a/one", b"1");
        let mounts = Mounts::new(&keg);
        let mut live = Live::new(&mounts, &NamePath::root(), &target).expect("mount");
        assert!(live.refresh().unwrap().is_none(), "nothing changed");
        let open = File::open(target.join("a/one")).unwrap();
        for round in 0..40_u64 {
            set(&keg, "/a/one", &noise(3000, round));
            set(&keg, &format!("/b/{round}"), b"new");
            assert!(live.wait(Duration::from_secs(5)).unwrap(), "the bell rings");
            let flip = live.refresh().unwrap().expect("a flip");
            assert_eq!(flip.tree, keg.head().unwrap().tree);
            assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(3000, round));
            assert_eq!(fs::read_dir(target.join("b")).unwrap().count() as u64, round + 1);
        }
        assert_eq!(io::read_to_string(open).unwrap(), "1", "what is open stays");
        let images = fs::read_dir(keg.home().join("img")).unwrap().count();
        assert!(images < 8, "{images} images are left");
        drop(live);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        assert_eq!(unmount_all_below(keg.home()).unwrap(), 0);
        assert_eq!(records(&keg).unwrap().len(), 0);
    }

    #[test]
    fn what_was_packed_comes_back_before_it_shows() {
        let scratch = Scratch::new();
        let keg = scratch.keg();
        let target = scratch.dir("live");
        for round in 0..3 {
            set(&keg, "/a/one", &noise(300_000, round));
        }
        let options = crate::pack::PackOptions::default();
        crate::pack::pack(&keg, &options, &mut |_| {}).expect("packed");
        let mut live = Live::new(&Mounts::new(&keg), &NamePath::root(), &target).expect("mount");
        assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(300_000, 2));
        let old = keg.version(1).unwrap();
        let path: NamePath = "/a/one".parse().unwrap();
        let entry = keg.get_at(&path, &old).unwrap().expect("it was there");
        let dir = keg.get_at(&"/a".parse().unwrap(), &keg.version(2).unwrap()).unwrap().unwrap();
        let object = crate::erofs::compose::object_path(&entry.kid().unwrap());
        assert!(!keg.home().join("objects").join(&object[1..]).exists(), "it is packed");
        let txn = Txn::new("test", "revert").set(path, entry);
        keg.commit(txn.set("/b".parse().unwrap(), dir)).unwrap();
        live.refresh().unwrap().expect("a flip");
        assert_eq!(fs::read(target.join("a/one")).unwrap(), noise(300_000, 0));
        assert_eq!(fs::read(target.join("b/one")).unwrap(), noise(300_000, 1));
    }

    #[test]
    fn a_directory_may_come_and_go_and_be_a_file() {
        let scratch = Scratch::new();
        let keg = scratch.keg();
        let target = scratch.dir("live");
        let path: NamePath = "/a".parse().unwrap();
        let mut live = Live::new(&Mounts::new(&keg), &path, &target).expect("mount");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        set(&keg, "/a/x", b"1");
        live.refresh().unwrap().expect("a flip");
        keg.commit(Txn::new("test", "rm").remove(path.clone())).unwrap();
        set(&keg, "/a", b"a file");
        let error = live.refresh().expect_err("a file");
        assert!(matches!(error, LiveError::NotADirectory { .. }), "{error:?}");
        assert!(target.join("x").exists(), "it shows what it was");
        keg.commit(Txn::new("test", "rm").remove(path)).unwrap();
        live.refresh().unwrap().expect("a flip");
        assert!(!target.join("x").exists());
        unmount(&target).unwrap();
        set(&keg, "/a/x", b"1");
        let error = live.refresh().expect_err("taken away");
        assert!(matches!(error, LiveError::Mount(MountError::NotMounted { .. })), "{error:?}");
    }
}
