//! Working copies: a name of the namespace mounted so that it can be written.
//!
//! ```text
//! work/<id>/          id: the first 16 digits of the BLAKE3 of the mount point's path
//!   copy.json         what is mounted where, and what it started from
//!   upper/            what was written since (overlayfs), the only copy of it
//!   work/             overlayfs' own
//! ```
//!
//! A commit reads `upper/` over the tree that the mount stands on. The mount goes on as it is:
//! whoever has files open in it, or works in one of its directories, sees no change and loses
//! nothing. So `upper/` holds all that was written since the mount was made, committed or not, and
//! the stat cache keeps what has not changed since the last commit from being read again.
//!
//! What a crash leaves: a copy that is mounted nowhere. If nothing was written it is removed by
//! the next start; otherwise it stays, since it is somebody's work, until it is mounted again at
//! the same place, or discarded.

mod place;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::table::{self, unmount_idle};
use super::{MountError, MountOptions, Mounts};
use crate::ingest::{IngestError, IngestOptions, KnownFiles, ingest_overlay_upper};
use crate::names::{CommitError, Expected, NamesError, Txn, Version};
use crate::object::{Attrs, Entry, Tree};
use crate::store::StoreError;
use crate::{Keg, Kid, NamePath, machine, users};

pub(super) use place::mount_point;
use place::{directories, directory_of, failed, is_empty, lock, remove, set_root};

/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 10;
const RECORD: &str = "copy.json";

/// What can go wrong with a working copy.
#[derive(Debug, thiserror::Error)]
pub enum WorkingError {
    /// The mount point cannot be used.
    #[error("{target} cannot be a mount point: {reason}")]
    Target {
        /// Where.
        target: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Something else is there.
    #[error("{target} is a working copy of {path} already, with changes that are not committed")]
    Taken {
        /// Where.
        target: PathBuf,
        /// Of what.
        path: NamePath,
    },
    /// Only directories can be mounted.
    #[error("{path} is no directory, so it cannot be mounted")]
    NotADirectory {
        /// What was to be mounted.
        path: NamePath,
    },
    /// A file of the copy itself.
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
    /// The mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// What was written could not be read.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The name could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The commit was not made; if it is a conflict, it says what both sides have.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known about a working copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it is mounted.
    pub target: PathBuf,
    /// The name it is of.
    #[serde(with = "place::path_text")]
    pub path: NamePath,
    /// The tree that the mount stands on.
    pub base: Kid,
    /// What the name was when it was last the same as the copy: a commit is made only if it still
    /// is. `None`: it was not there.
    pub seen: Option<Kid>,
    /// The tree that the name led to then.
    pub committed: Kid,
    /// The boot in which it was mounted.
    pub boot: String,
    /// The process that mounted it.
    pub pid: u32,
}

/// A working copy.
pub struct WorkingCopy {
    keg: Keg,
    dir: PathBuf,
    record: Record,
}

/// What a commit of a working copy did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The newest version of the namespace.
    pub version: Version,
    /// What the name was before.
    pub old: Option<Kid>,
    /// What it is now.
    pub entry: Entry,
    /// Files that had not changed since the last commit and were not read.
    pub reused: usize,
}

impl WorkingCopy {
    /// Mounts a name at `target`, an existing directory, so that it can be written. A name that is
    /// not there yet starts empty. If there is a copy of the same name from before, unmounted with
    /// changes in it, that is mounted again.
    ///
    /// # Errors
    /// The name is no directory, something else is at `target`, or the mount's.
    pub fn mount(mounts: &Mounts, path: &NamePath, target: &Path) -> Result<Self, WorkingError> {
        let keg = mounts.keg();
        let target = mount_point(target)?;
        let dir = directory_of(keg, &target);
        let _lock = lock(keg)?;
        if let Some(copy) = Self::read(keg, &dir)? {
            return copy.mount_again(mounts, path);
        }
        let found = keg.get(path)?;
        let base = match &found {
            None => keg.objects().put_tree(&Tree::default())?.kid(),
            Some(entry) => keg.objects().directory_of(entry)?,
        };
        let base = base.ok_or_else(|| WorkingError::NotADirectory { path: path.clone() })?;
        let seen = found.as_ref().and_then(Entry::kid);
        let (boot, pid) = (machine::boot_id(), std::process::id());
        let path = path.clone();
        let record = Record { target, path, base, seen, committed: base, boot, pid };
        // What a crash left before it had a record.
        remove(&dir)?;
        let copy = Self { keg: keg.clone(), dir, record };
        let made = fs::DirBuilder::new().mode(0o700).create(&copy.dir);
        made.map_err(failed("make", &copy.dir))?;
        copy.save()?;
        let mounted = copy.attach(mounts, found.as_ref().map(|entry| &entry.attrs));
        if mounted.is_err() {
            remove(&copy.dir)?;
        }
        mounted.map(|()| copy)
    }

    fn mount_again(mut self, mounts: &Mounts, path: &NamePath) -> Result<Self, WorkingError> {
        let Record { target, path: before, .. } = &self.record;
        if self.is_mounted()? || before != path {
            let (target, path) = (target.clone(), before.clone());
            return Err(WorkingError::Taken { target, path });
        }
        self.record.boot = machine::boot_id();
        self.record.pid = std::process::id();
        self.save()?;
        self.attach(mounts, None)?;
        Ok(self)
    }

    fn attach(&self, mounts: &Mounts, attrs: Option<&Attrs>) -> Result<(), WorkingError> {
        let options = MountOptions { nosuid: true, nodev: true, ..MountOptions::default() };
        let Record { base, target, .. } = &self.record;
        mounts.writable_with(base, &self.dir, target, options)?;
        match attrs {
            Some(attrs) => set_root(&self.upper(), attrs),
            None => Ok(()),
        }
    }

    /// The copy that belongs to a mount point, mounted or not.
    ///
    /// # Errors
    /// Its record cannot be read.
    pub fn at(keg: &Keg, target: &Path) -> Result<Option<Self>, WorkingError> {
        match target.canonicalize() {
            Ok(target) => Self::read(keg, &directory_of(keg, &target)),
            Err(_) => Ok(None),
        }
    }

    /// All copies, in no order.
    ///
    /// # Errors
    /// They cannot be listed, or a record cannot be read.
    pub fn all(keg: &Keg) -> Result<Vec<Self>, WorkingError> {
        let mut copies = Vec::new();
        for dir in directories(keg)? {
            copies.extend(Self::read(keg, &dir)?);
        }
        Ok(copies)
    }

    fn read(keg: &Keg, dir: &Path) -> Result<Option<Self>, WorkingError> {
        let record = read_record(dir)?;
        Ok(record.map(|record| Self { keg: keg.clone(), dir: dir.to_owned(), record }))
    }

    fn save(&self) -> Result<(), WorkingError> {
        let path = self.dir.join(RECORD);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
            serde_json::to_writer(&mut file, &self.record)?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(|error| error.error)
        };
        write().map(drop).map_err(failed("write", &path))
    }

    /// What is known about it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Whether it is mounted, in the mount namespace of this process.
    ///
    /// # Errors
    /// The mount table cannot be read.
    pub fn is_mounted(&self) -> Result<bool, WorkingError> {
        Ok(self.record.boot == machine::boot_id() && table::keg_mount(&self.record.target)?)
    }

    fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    fn stat_cache(&self) -> PathBuf {
        self.dir.join("stat")
    }

    /// Whether something was written and not committed to the name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_changed(&self) -> Result<bool, WorkingError> {
        if is_empty(&self.upper()) {
            return Ok(false);
        }
        let entry = self.entry(&KnownFiles::load(&self.stat_cache()))?;
        Ok(entry.kid() != Some(self.record.committed))
    }

    /// What the copy shows, as a value, in time proportional to what was written since it was
    /// mounted.
    fn entry(&self, known: &KnownFiles) -> Result<Entry, WorkingError> {
        let options = IngestOptions { known: Some(known), ..IngestOptions::default() };
        let Record { base, .. } = &self.record;
        Ok(ingest_overlay_upper(self.keg.objects(), base, &self.upper(), &options)?)
    }

    /// Makes the copy the newest version of its name, if that is still what the copy started from
    /// (or was last committed as); with `force` in any case. The copy stays as it is.
    ///
    /// # Errors
    /// [`CommitError::Conflict`] says what the name was expected to be and what it is.
    pub fn commit(
        &mut self,
        author: &str,
        message: &str,
        force: bool,
    ) -> Result<Committed, WorkingError> {
        let known = KnownFiles::load(&self.stat_cache());
        let entry = self.entry(&known)?;
        let path = self.record.path.clone();
        let expected = match self.record.seen {
            _ if force => Expected::Any,
            Some(kid) => Expected::Kid(kid),
            None => Expected::Absent,
        };
        let old = self.record.seen;
        let txn = Txn::new(author, message).expect(path.clone(), expected);
        let version = users::commit(&self.keg, txn.set(path, entry.clone()), None)?;
        if let Some(kid) = entry.kid() {
            (self.record.seen, self.record.committed) = (Some(kid), kid);
        }
        self.save()?;
        // Without it the next commit reads more, nothing else.
        let _ = known.save(&self.stat_cache());
        Ok(Committed { version, old, entry, reused: known.reused() })
    }

    /// Takes it away: the mount, and everything that was written.
    ///
    /// # Errors
    /// It is in use, or cannot be removed.
    pub fn discard(self) -> Result<(), WorkingError> {
        let _lock = lock(&self.keg)?;
        if self.is_mounted()? {
            unmount_idle(&self.record.target)?;
        }
        remove(&self.dir)
    }
}

fn read_record(dir: &Path) -> Result<Option<Record>, WorkingError> {
    let path = dir.join(RECORD);
    let mut text = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_RECORD).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", &path)(error)),
    }
    let record = serde_json::from_slice(&text);
    record.map(Some).map_err(|error| failed("understand", &path)(error.into()))
}

/// What working copies stand on and were last committed as, with their mount points: no collection
/// may take it, mounted or not.
pub(crate) fn held(home: &Path) -> Vec<(Kid, String)> {
    let mut held = Vec::new();
    for dir in place::directories_below(&home.join("work")).unwrap_or_default() {
        if let Ok(Some(Record { target, base, seen, committed, .. })) = read_record(&dir) {
            let kids = [Some(base), seen, Some(committed)].into_iter().flatten();
            held.extend(kids.map(|kid| (kid, target.display().to_string())));
        }
    }
    held
}

/// Removes the copies that are mounted nowhere and in which nothing was written: what crashes
/// leave. Returns how many.
///
/// # Errors
/// They cannot be listed or removed.
pub fn sweep(keg: &Keg) -> Result<usize, WorkingError> {
    let mut gone = 0;
    let _lock = lock(keg)?;
    for dir in directories(keg)? {
        let mounted = match WorkingCopy::read(keg, &dir) {
            Ok(Some(copy)) => copy.is_mounted()?,
            Ok(None) => false,
            // Nobody can tell what it was: a person has to look.
            Err(_) => true,
        };
        if !mounted && is_empty(&dir.join("upper")) {
            remove(&dir)?;
            gone += 1;
        }
    }
    Ok(gone)
}
