//! Who may write packs, and who may take loose objects away.
//!
//! | file | held by |
//! |---|---|
//! | `tmp/packing` | who writes or removes packs, alone |
//! | `objects/lock` | who mounts, shared; who removes loose objects, alone |

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::directory;
use crate::store::{
    StoreError,
    durable::{lock_file, replace_file},
    io,
};

/// How often, and after how long, the right to write packs is asked for again: whoever stores a
/// difference has it for milliseconds.
const TRIES: usize = 25;
const AGAIN: Duration = Duration::from_millis(20);

/// Keeps other processes from writing and removing packs, until it is closed. `None`: another does.
pub(crate) fn alone(home: &Path) -> Result<Option<File>, StoreError> {
    for _ in 1..TRIES {
        let lock = alone_now(home)?;
        if lock.is_some() {
            return Ok(lock);
        }
        thread::sleep(AGAIN);
    }
    alone_now(home)
}

/// As [`alone`], without waiting.
pub(crate) fn alone_now(home: &Path) -> Result<Option<File>, StoreError> {
    let lock = lock_file(&home.join("tmp/packing"))?;
    Ok(flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(lock))
}

/// What is locked by who mounts, and by who removes loose objects.
pub(crate) fn objects_lock(home: &Path) -> PathBuf {
    home.join("objects/lock")
}

fn epoch_path(home: &Path) -> PathBuf {
    directory(home).join("epoch")
}

/// How often loose objects were removed, or stored without one; 0: never.
pub(crate) fn epoch(home: &Path) -> Result<u64, StoreError> {
    let path = epoch_path(home);
    match fs::read(&path) {
        Ok(bytes) => Ok(bytes.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io(format_args!("reading {}", path.display()))(error)),
    }
}

/// Taken by whoever removes loose objects, also for other reasons than packing: nobody mounts
/// meanwhile, and who mounts later looks whether the blobs are loose.
pub struct Removing {
    /// Locked until it is closed.
    _lock: File,
}

impl Removing {
    /// Waits until nobody mounts, and makes all know that trees have to be looked at again.
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(home: &Path) -> Result<Self, StoreError> {
        let lock = lock_file(&objects_lock(home))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(io("locking the Keg's objects"))?;
        let next = epoch(home)?.wrapping_add(1).max(1);
        fs::create_dir_all(directory(home)).map_err(io("making packs/"))?;
        replace_file(&epoch_path(home), &next.to_le_bytes())?;
        Ok(Self { _lock: lock })
    }
}
