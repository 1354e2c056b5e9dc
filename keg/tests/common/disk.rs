//! A little tmpfs, unmounted when dropped.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`: only root can.
    pub fn mount(bytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let mounted = mount("keg-test", dir.path(), "tmpfs", MountFlags::empty(), Some(&*size));
        mounted.ok().map(|()| Self(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}
