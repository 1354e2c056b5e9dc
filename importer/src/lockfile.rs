//! Files in the Keg's `run/` that one process at a time holds. A process that dies lets go.

use std::{
    fs::{File, OpenOptions},
    io,
    path::PathBuf,
};

use keg::Keg;
use rustix::fs::{FlockOperation, flock};

/// Why a lock file cannot be held.
#[derive(Debug, thiserror::Error)]
#[error("the lock file {} cannot be held", path.display())]
pub struct LockfileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A held lock file.
#[derive(Debug)]
pub struct Lockfile {
    _file: File,
}

impl Lockfile {
    /// Holds `run/import-<name>.lock`, waiting for whoever holds it.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(keg: &Keg, name: &str) -> Result<Self, LockfileError> {
        let (path, file) = open(keg, name)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(LockfileError { path, source: e.into() }),
            }
        }
    }

    /// Holds it if nobody else does.
    ///
    /// # Errors
    /// The system's.
    pub fn attempt(keg: &Keg, name: &str) -> Result<Option<Self>, LockfileError> {
        let (path, file) = open(keg, name)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(LockfileError { path, source: e.into() }),
        }
    }
}

fn open(keg: &Keg, name: &str) -> Result<(PathBuf, File), LockfileError> {
    let path = keg.run_dir().join(format!("import-{name}.lock"));
    match OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(LockfileError { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_at_a_time() {
        let keg = Keg::in_memory();
        let held = Lockfile::attempt(&keg, "x").expect("possible").expect("free");
        assert!(Lockfile::attempt(&keg, "x").expect("possible").is_none());
        assert!(Lockfile::attempt(&keg, "y").expect("possible").is_some());
        drop(held);
        Lockfile::wait(&keg, "x").expect("free again");
    }
}
