//! Writing so that it lasts: beside, sync, rename, sync the directory. And advisory locks.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    os::fd::AsRawFd,
    path::Path,
};

use rustix::fs::FlockOperation;

use super::{StoreError, io};

/// Puts a whole file in place: readers see the old one or the new one, also after power loss.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let what = format!("writing {}", path.display());
    let beside = path.with_extension(format!("tmp-{}", std::process::id()));
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if let Err(error) = written {
        // What is left beside is garbage either way; the error below is the one to report.
        let _ = std::fs::remove_file(&beside);
        return Err(io(what)(error));
    }
    sync_dir(path.parent().unwrap_or(path))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(io(format_args!("syncing {}", dir.display())))
}

/// Tells the disk to start on what was written to a file, without waiting for it: so that a sync
/// later finds little left to do (`sync_file_range(2)`).
pub(crate) fn start_writing(file: &File, from: u64, len: u64) {
    let (from, len) = (from.cast_signed(), len.cast_signed());
    // SAFETY: a plain system call on a descriptor that is open. It is a hint: a file system that
    // does not know it writes when it is synced, and what fails to be written then fails the sync.
    unsafe { libc::sync_file_range(file.as_raw_fd(), from, len, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Opens (creating it) a file that is only there to be locked.
pub(crate) fn lock_file(path: &Path) -> Result<File, StoreError> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    opened.map_err(io(format_args!("opening {}", path.display())))
}

/// An exclusive `flock`, released when dropped, and by the kernel when the process dies.
pub(crate) struct Flock<'a>(&'a File);

impl<'a> Flock<'a> {
    /// Waits for the lock.
    pub(crate) fn exclusive(file: &'a File) -> Result<Self, StoreError> {
        Self::wait(file, FlockOperation::LockExclusive)
    }

    fn wait(file: &'a File, how: FlockOperation) -> Result<Self, StoreError> {
        loop {
            match rustix::fs::flock(file, how) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io("locking the Keg")(error)),
            }
        }
    }

    /// Takes the lock if nobody has it.
    pub(crate) fn try_exclusive(file: &'a File) -> Result<Option<Self>, StoreError> {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(io("locking the Keg")(error)),
        }
    }
}

impl Drop for Flock<'_> {
    fn drop(&mut self) {
        // The lock goes with the descriptor in any case.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

/// Waits for a shared `flock` on a file and keeps it while the file is open.
pub(crate) fn lock_shared(file: File) -> Result<File, StoreError> {
    std::mem::forget(Flock::wait(&file, FlockOperation::LockShared)?);
    Ok(file)
}
