//! Writing so that it lasts: beside, sync, rename, sync the directory. And advisory locks.

use std::{
    borrow::Borrow,
    fs::{File, OpenOptions},
    io::{IoSlice, Seek, SeekFrom, Write},
    os::fd::AsRawFd,
    path::Path,
};

use rustix::{
    fs::FlockOperation,
    io::{Errno, ReadWriteFlags},
};

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
/// later finds little left to do (`sync_file_range(2)`, 0 for all of it).
pub(crate) fn start_writing(file: &File) {
    // SAFETY: a plain system call on a descriptor that is open. It is a hint: a file system that
    // does not know it writes when it is synced, and what fails to be written then fails the sync.
    unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Pieces of at least this size go to the disk at once, past what the kernel keeps in memory. Smaller
/// ones cost less when a sync writes many of them together, and are more often read soon.
const EARLY: usize = 128 << 10;

/// A file that is written from its start to its end, and durable soon. Large pieces of it do not
/// stay in the page cache when the disk has them (`RWF_DONTCACHE`, Linux 6.14), so that a large tree does not
/// push out what is running, and little memory is used twice; an older kernel keeps them.
pub(crate) struct Streamed<F: Borrow<File>>(pub(crate) F);

impl<F: Borrow<File>> Write for Streamed<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        /// The file's own position, `pwritev2(2)`.
        const HERE: u64 = u64::MAX;
        let mut file: &File = self.0.borrow();
        if bytes.len() < EARLY {
            return file.write(bytes);
        }
        let uncached = ReadWriteFlags::from_bits_retain(libc::RWF_DONTCACHE.cast_unsigned());
        match rustix::io::pwritev2(file, &[IoSlice::new(bytes)], HERE, uncached) {
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => {
                let written = file.write(bytes)?;
                start_writing(file);
                Ok(written)
            }
            written => Ok(written?),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.borrow().flush()
    }
}

impl<F: Borrow<File>> Seek for Streamed<F> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.borrow().seek(to)
    }
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
