//! Where jobs have their Kegs: copies of one that was prepared.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::jobs::Job;

/// A directory with what a job needs, and copies of it.
pub struct Place {
    dir: tempfile::TempDir,
    in_memory: bool,
}

impl Place {
    /// Prepares a job. What dies is a process, not the machine, so memory does for a disk; only
    /// the kernel's images have to be on a real one.
    pub fn prepare(job: Job, in_memory: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("keg-faults-").tempdir_in("/tmp").unwrap();
        let size = Some(c"size=256m");
        let in_memory = in_memory
            && rustix::mount::mount("keg-test", dir.path(), "tmpfs", MountFlags::empty(), size)
                .is_ok();
        let place = Self { dir, in_memory };
        std::fs::create_dir(place.root("base")).unwrap();
        (job.prepare)(&place.root("base"));
        place
    }

    /// The directory of a copy.
    pub fn root(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A fresh copy of what was prepared; returns its Keg's directory.
    pub fn fresh(&self) -> PathBuf {
        let root = self.root("run");
        if root.exists() {
            std::fs::remove_dir_all(&root).unwrap();
        }
        copy(&self.root("base"), &root);
        root.join("keg")
    }

    /// Gives this process mounts of its own, which end with it.
    pub fn leave_mounts() {
        // SAFETY: no thread of this process minds where another's file systems are.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.in_memory {
            let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
        }
    }
}

/// Copies a directory with its modification times.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().unwrap();
        if meta.is_dir() {
            copy(&from, &to);
        } else if meta.is_file() {
            std::fs::copy(&from, &to).unwrap();
            let file = std::fs::File::open(&to).unwrap();
            file.set_modified(meta.modified().unwrap()).unwrap();
        }
    }
}
