//! The directory a build works in: mount points, what its sandbox writes, its records.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use keg::{Keg, path::AppName};
use rustix::{
    fs::{FlockOperation, Gid, Mode, OFlags, Uid, chown, flock, open},
    process::{Pid, Signal, kill_process},
};

use crate::run::APP_UID;

/// How long a container left by a crash may take to end once it is killed.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest file read from what a sandbox wrote, in bytes.
const MAX_READ: u64 = 1 << 20;

/// `$KEG_HOME/run/build/<app>/<pid>/`, made at the start and removed at the end. The directory is
/// this process's own, because the container of a killed build may still write to its.
pub struct WorkDir {
    path: PathBuf,
}

/// Only one process builds an app at a time; freed when it is dropped, or the process dies.
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Waits until no other process builds the app.
    ///
    /// # Errors
    /// The system's.
    pub fn take(keg: &Keg, app: &AppName) -> io::Result<Self> {
        let dir = keg.run_dir().join("build");
        fs::create_dir_all(&dir)?;
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(format!("{app}.lock")))?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done.map(|()| Self { _file: file })?),
            }
        }
    }
}

impl WorkDir {
    /// An empty directory for a build of the app; what a crash left in it is ended and unmounted
    /// first. The [`Lock`] shows that nobody else is in it.
    ///
    /// # Errors
    /// The system's.
    pub fn create(keg: &Keg, app: &AppName, _lock: &Lock) -> io::Result<Self> {
        let builds = keg.run_dir().join("build").join(app.as_str());
        fs::create_dir_all(&builds)?;
        for left in fs::read_dir(&builds)? {
            let left = left?.path();
            // A container that is only starting may put something back; the next build removes it.
            let _ = end_leftovers(&left).and_then(|()| clear(&left));
        }
        let path = builds.join(std::process::id().to_string());
        if fs::exists(&path)? {
            clear(&path)?;
        }
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// A new directory in it, owned by us.
    ///
    /// # Errors
    /// The system's.
    pub fn dir(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    /// A new directory in it that the sandbox may write to.
    ///
    /// # Errors
    /// The system's.
    pub fn writable_dir(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir(name)?;
        chown(&path, Some(Uid::from_raw(APP_UID)), Some(Gid::from_raw(APP_UID)))?;
        Ok(path)
    }
}

/// Ends what a killed builder left running: its container's first process, and with it all of the
/// container and the shim that waits for it.
fn end_leftovers(path: &Path) -> io::Result<()> {
    for run in fs::read_dir(path)? {
        let state = run?.path().join("state");
        let Ok(containers) = fs::read_dir(&state) else { continue };
        for container in containers {
            let outcome = sandbox::record::outcome(&container?.path());
            let Ok(sandbox::record::Outcome::Started(record)) = outcome else { continue };
            let until = Instant::now() + LEFTOVER_TIMEOUT;
            while (record.alive() || record.shim_alive()) && Instant::now() < until {
                if let Some(pid) = Pid::from_raw(record.pid).filter(|_| record.alive()) {
                    // It may end by itself in this moment.
                    let _ = kill_process(pid, Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
    Ok(())
}

fn clear(path: &Path) -> io::Result<()> {
    keg::mount::unmount_all_below(path).map_err(io::Error::other)?;
    fs::remove_dir_all(path)
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next build of the app.
        let _ = clear(&self.path);
    }
}

/// A file that a sandbox may have written, as text; `None` where there is none. No link is
/// followed, and nothing but a regular file is read.
///
/// # Errors
/// The system's, or it has more than 1 MiB.
pub fn read_foreign(path: &Path) -> io::Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => fs::File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_READ {
        let path = path.display();
        return Err(io::Error::other(format!("{path} is no file of at most {MAX_READ} bytes")));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_READ), &mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_small_files_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "text").expect("written");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("linked");
        fs::write(path("large"), vec![b'x'; MAX_READ as usize + 1]).expect("written");
        assert_eq!(read_foreign(&path("file")).expect("read"), Some("text".to_owned()));
        assert_eq!(read_foreign(&path("none")).expect("read"), None);
        for bad in ["link", "large", "."] {
            assert!(read_foreign(&path(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let keg = Keg::create(dir.path()).expect("a Keg");
        let app: AppName = "blog".parse().expect("a name");
        let lock = Lock::take(&keg, &app).expect("the lock");
        let other = fs::File::open(keg.run_dir().join("build/blog.lock")).expect("there");
        let busy = flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(busy, Err(rustix::io::Errno::AGAIN));
        drop(lock);
        flock(&other, FlockOperation::NonBlockingLockExclusive).expect("free");
    }
}
