//! Large blobs on their way into `objects/`: written to `tmp/`, synced together, then renamed.
//!
//! Each process that writes has a directory of its own in `tmp/`, locked while it lives; what a
//! dead one left is removed by the next.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, RenameFlags};

use super::{
    StoreError,
    condemned::refresh,
    durable::{Flock, lock_file, start_writing, sync_dir},
    io, packs,
};
use crate::Kid;

/// How much of a blob is held in memory before it goes to the disk: what is there already and no
/// larger is never written again.
pub(crate) const HOLD: usize = 1 << 20;
/// From this many new files, or directories with new names, on, one `syncfs` is cheaper than syncing
/// each.
const SYNC_ALL_FROM: usize = 64;
/// How long after its birth an object's name may not be durable yet, in seconds: longer than any
/// file system's commit interval.
const FRESH: i64 = 120;
/// How often a file is tried to be placed where one is that is just being swept.
const PLACES: usize = 3;
/// The disk starts on pieces of at least this size while others are still read; smaller ones cost
/// less when the sync writes many of them at once.
const EARLY: usize = 128 << 10;
/// Zero bytes in runs of this length become holes.
const HOLE: usize = 64 << 10;

/// What this process has put and not yet synced.
#[derive(Default)]
pub(crate) struct Pending {
    dir: Option<OwnDir>,
    files: HashMap<Kid, Waiting>,
    /// Fan-out directories whose names are not known to be durable.
    unsynced_dirs: BTreeSet<u8>,
    /// Whether the names of packs are not.
    unsynced_packs: bool,
    next: u64,
    /// Where blobs are held: the same memory for each, until they are published.
    held: Vec<u8>,
}

struct OwnDir {
    path: PathBuf,
    /// Locked while this process lives.
    lock: File,
}

/// A file in `tmp/`.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

/// `objects/ab/cdef…`: the first two digits of the KID are the directory.
pub(crate) fn object_path(home: &Path, kid: &Kid) -> PathBuf {
    let hex = kid.to_hex();
    home.join("objects").join(&hex[..2]).join(&hex[2..])
}

impl Pending {
    pub(crate) fn get(&self, kid: &Kid) -> Option<&Waiting> {
        self.files.get(kid)
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Kid> {
        self.files.keys()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.unsynced_dirs.is_empty() && !self.unsynced_packs
    }

    /// Notes that an object is relied upon whose name may be too young to be durable.
    pub(crate) fn rely_on(&mut self, kid: &Kid, meta: &std::fs::Metadata) {
        if is_fresh(meta) {
            self.unsynced_dirs.insert(kid.as_bytes()[0]);
        }
    }

    /// Notes that an object is relied upon that is in a pack, whose names may be too young, too.
    pub(crate) fn rely_on_packs(&mut self, home: &Path) {
        let meta = std::fs::metadata(packs::directory(home));
        self.unsynced_packs |= meta.is_ok_and(|meta| is_fresh(&meta));
    }

    /// Memory to hold a blob in, empty. It is to be given back.
    pub(crate) fn take_held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Takes the memory back that a blob was held in.
    pub(crate) fn give_held(&mut self, mut held: Vec<u8>) {
        held.clear();
        self.held = held;
    }

    /// A path in this process's own directory.
    pub(crate) fn new_path(&mut self, home: &Path) -> Result<PathBuf, StoreError> {
        let dir = match &self.dir {
            Some(dir) => &dir.path,
            None => &self.dir.insert(OwnDir::create(&home.join("tmp"))?).path,
        };
        let path = dir.join(self.next.to_string());
        self.next += 1;
        Ok(path)
    }

    /// Takes a file that was written there.
    pub(crate) fn add(&mut self, kid: Kid, path: PathBuf, size: u64) {
        if let Some(twice) = self.files.insert(kid, Waiting { path, size }) {
            remove(&twice.path);
        }
    }

    /// Makes all of it durable and gives it its names. What fails is forgotten, to be put again: a
    /// kernel that could not write a file says so once, and a second sync would lie.
    pub(crate) fn publish(&mut self, home: &Path) -> Result<(), StoreError> {
        self.held = Vec::new();
        let published = self.sync_files(home).and_then(|()| self.rename_files(home));
        if published.is_err() {
            self.files.drain().for_each(|(_, waiting)| remove(&waiting.path));
        }
        published
    }

    fn sync_files(&self, home: &Path) -> Result<(), StoreError> {
        if self.files.len() >= SYNC_ALL_FROM {
            return self.sync_all(home);
        }
        for waiting in self.files.values() {
            let synced = File::open(&waiting.path).and_then(|file| file.sync_data());
            synced.map_err(io(format_args!("syncing {}", waiting.path.display())))?;
        }
        Ok(())
    }

    fn rename_files(&mut self, home: &Path) -> Result<(), StoreError> {
        if self.unsynced_packs {
            packs::settle(home)?;
            self.unsynced_packs = false;
        }
        let kids: Vec<Kid> = self.files.keys().copied().collect();
        for kid in kids {
            place(home, &self.files[&kid].path, &object_path(home, &kid))?;
            self.files.remove(&kid);
            self.unsynced_dirs.insert(kid.as_bytes()[0]);
        }
        if self.unsynced_dirs.len() >= SYNC_ALL_FROM {
            self.sync_all(home)?;
            self.unsynced_dirs.clear();
        }
        while let Some(byte) = self.unsynced_dirs.first().copied() {
            sync_dir(&home.join("objects").join(format!("{byte:02x}")))?;
            self.unsynced_dirs.remove(&byte);
        }
        Ok(())
    }

    /// Makes everything durable that was written to the Keg's file system.
    fn sync_all(&self, home: &Path) -> Result<(), StoreError> {
        let synced = match &self.dir {
            // It was open before anything was written: what the disk failed to write early, while
            // others were told of it, is an error here, too.
            Some(own) => rustix::fs::syncfs(&own.lock),
            None => {
                let dir = File::open(home);
                rustix::fs::syncfs(dir.map_err(io(format_args!("opening {}", home.display())))?)
            }
        };
        synced.map_err(io("syncing the Keg's file system"))
    }
}

/// Whether a name changed so shortly ago that it may not be durable yet.
fn is_fresh(meta: &std::fs::Metadata) -> bool {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs() as i64);
    (now - meta.ctime()).abs() < FRESH
}

/// Gives a synced file its name. One that is there is kept, since mounts may be using it, unless
/// it has another size: then it is damaged, and this heals it.
fn place(home: &Path, from: &Path, to: &Path) -> Result<(), StoreError> {
    let what = || format!("storing {}", to.display());
    let cwd = rustix::fs::CWD;
    for _ in 0..PLACES {
        match rustix::fs::renameat_with(cwd, from, cwd, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io(what())(error)),
        }
        let same_size = match std::fs::metadata(to) {
            Ok(there) => std::fs::metadata(from).map_err(io(what()))?.len() == there.len(),
            // Just swept: then this one takes its place.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io(what())(error)),
        };
        if !same_size {
            return std::fs::rename(from, to).map_err(io(what()));
        }
        if refresh(home, to, 0)? {
            remove(from);
            return Ok(());
        }
    }
    std::fs::rename(from, to).map_err(io(what()))
}

/// Writes what is held and the rest of `from` (there is one if [`HOLD`] bytes are held) to a new
/// file; returns its KID and size in bytes. A file that could not be written whole is removed.
pub(crate) fn write_file(
    path: &Path,
    held: &mut Vec<u8>,
    from: &mut dyn Read,
) -> Result<(Kid, u64), StoreError> {
    let mut file = NewFile::create(path)?;
    file.add(held)?;
    while held.len() == HOLD {
        held.clear();
        let read = from.take(HOLD as u64).read_to_end(held);
        read.map_err(io("reading what is to be stored"))?;
        file.add(held)?;
    }
    file.finish()
}

/// A file that is written and hashed from its start to its end. One that is not finished is removed.
pub(crate) struct NewFile<'a> {
    path: &'a Path,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
    /// Whether it ends in a hole: then its length is to be set.
    hole: bool,
    finished: bool,
}

impl<'a> NewFile<'a> {
    /// Starts a file that is not there yet.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn create(path: &'a Path) -> Result<Self, StoreError> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o444).open(path);
        let file = opened.map_err(io(format_args!("writing {}", path.display())))?;
        let hasher = blake3::Hasher::new();
        Ok(Self { path, file, hasher, size: 0, hole: false, finished: false })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.hasher.update(piece);
        let written = write_sparse(&mut self.file, piece);
        self.hole = written.map_err(io(format_args!("writing {}", self.path.display())))?;
        if piece.len() >= EARLY {
            start_writing(&self.file, self.size, piece.len() as u64);
        }
        self.size += piece.len() as u64;
        Ok(())
    }

    /// Its KID and its size in bytes.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn finish(mut self) -> Result<(Kid, u64), StoreError> {
        if self.hole {
            let set = self.file.set_len(self.size);
            set.map_err(io(format_args!("writing {}", self.path.display())))?;
        }
        self.finished = true;
        Ok((Kid::from(self.hasher.finalize()), self.size))
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.finished {
            remove(self.path);
        }
    }
}

/// Writes at the end of a file, runs of zeros as holes; returns whether it ends in one: then its
/// length is for the caller to set.
pub(crate) fn write_sparse(file: &mut File, bytes: &[u8]) -> std::io::Result<bool> {
    let mut written = 0;
    for (number, piece) in bytes.chunks_exact(HOLE).enumerate() {
        if piece.iter().all(|byte| *byte == 0) {
            let at = number * HOLE;
            file.write_all(&bytes[written..at])?;
            file.seek(SeekFrom::Current(HOLE as i64))?;
            written = at + HOLE;
        }
    }
    file.write_all(&bytes[written..])?;
    Ok(written == bytes.len())
}

/// What cannot be removed is found again when `tmp/` is next cleaned.
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

impl OwnDir {
    fn create(tmp: &Path) -> Result<Self, StoreError> {
        let lock = lock_file(&tmp.join("lock"))?;
        let _cleaning = Flock::exclusive(&lock)?;
        remove_dead(tmp);
        let made = tempfile::Builder::new().prefix("put-").tempdir_in(tmp);
        let path = made.map_err(io(format_args!("writing to {}", tmp.display())))?.keep();
        let dir = File::open(&path).map_err(io(format_args!("opening {}", path.display())))?;
        rustix::fs::flock(&dir, FlockOperation::LockExclusive)
            .map_err(io(format_args!("locking {}", path.display())))?;
        Ok(Self { path, lock: dir })
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes the directories of processes that are gone. Best effort: they only take space.
fn remove_dead(tmp: &Path) {
    let Ok(list) = std::fs::read_dir(tmp) else { return };
    for entry in list.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with("put-"));
        let Ok(dir) = File::open(entry.path()) else { continue };
        let free = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok();
        if ours && free {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
