//! The kernel's mount interface: `fsopen`, `fsconfig`, `fsmount` (`fsopen(2)` and the kernel's
//! `Documentation/filesystems/overlayfs.rst`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, unmount,
};

use super::cache::{ATTACHED, Layer};
use super::{MountError, io, unsuitable};

/// Most that is read of what the kernel says about a failure.
const LOG_MAX: usize = 4096;

/// Mounts an image read-only, straight from its file.
pub fn image(layer: &Layer) -> Result<OwnedFd, MountError> {
    let action = "mount the image";
    let fs = open("erofs", action)?;
    let mount = || {
        fsconfig_set_flag(&fs, "ro")?;
        let source = format!("/proc/self/fd/{}", layer.file.as_raw_fd());
        fsconfig_set_string(&fs, "source", source)?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    mount().map_err(|errno| match (errno, unsuitable(&layer.path)) {
        (Errno::NOTBLK | Errno::INVAL, Ok(Some(kind))) => {
            MountError::FileSystem { path: layer.path.clone(), fs: kind }
        }
        _ => refused(action, &fs, errno),
    })
}

/// What an overlay is made of.
pub struct Overlay<'a> {
    /// What the mount table shows as its source.
    pub label: &'a str,
    /// The mounted images, the top one first.
    pub images: Vec<BorrowedFd<'a>>,
    /// The store's raw objects.
    pub objects: BorrowedFd<'a>,
    /// For writable mounts: `upper/` and `work/`.
    pub upper: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// No flushing.
    pub volatile: bool,
    /// Of the mount.
    pub attributes: MountAttrFlags,
}

/// Makes the overlay, attached nowhere. Before Linux 6.15 the image has to be attached somewhere
/// for a moment, for which a directory is made in `temporary`.
pub fn overlay(overlay: &Overlay<'_>, temporary: &Path) -> Result<OwnedFd, MountError> {
    match overlay.make(&overlay.images, |fs, key, layer| fsconfig_set_fd(fs, key, layer)) {
        Err(MountError::Kernel { source, .. })
            if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()) =>
        {
            overlay.make_by_path(temporary)
        }
        made => made,
    }
}

impl Overlay<'_> {
    fn make(
        &self,
        images: &[BorrowedFd<'_>],
        set: impl Fn(BorrowedFd<'_>, &'static str, BorrowedFd<'_>) -> Result<(), Errno>,
    ) -> Result<OwnedFd, MountError> {
        let action = "make the overlay of the image and the objects";
        let fs = open("overlay", action)?;
        let mount = || {
            let fs = fs.as_fd();
            fsconfig_set_string(fs, "source", self.label)?;
            // Always both: one layer would do without, several would not, which hides the mistake.
            fsconfig_set_string(fs, "metacopy", "on")?;
            fsconfig_set_string(fs, "redirect_dir", "on")?;
            if let Some((upper, work)) = self.upper {
                set(fs, "upperdir", upper)?;
                set(fs, "workdir", work)?;
                if self.volatile {
                    fsconfig_set_flag(fs, "volatile")?;
                }
            }
            for image in images {
                set(fs, "lowerdir+", *image)?;
            }
            set(fs, "datadir+", self.objects)?;
            fsconfig_create(fs)?;
            fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)
        };
        mount().map_err(|errno| refused(action, &fs, errno))
    }

    /// For kernels that take neither descriptors nor detached mounts as layers.
    pub(super) fn make_by_path(&self, temporary: &Path) -> Result<OwnedFd, MountError> {
        let attached = self.images.iter().map(|image| Attached::new(*image, temporary));
        let attached = attached.collect::<Result<Vec<_>, _>>()?;
        let images: Vec<BorrowedFd<'_>> = attached.iter().map(|image| image.fd.as_fd()).collect();
        self.make(&images, |fs, key, layer| {
            fsconfig_set_string(fs, key, format!("/proc/self/fd/{}", layer.as_raw_fd()))
        })
    }
}

/// A mount that is attached to a directory of its own for as long as this lives.
struct Attached {
    dir: tempfile::TempDir,
    fd: OwnedFd,
}

impl Attached {
    fn new(mount: BorrowedFd<'_>, temporary: &Path) -> Result<Self, MountError> {
        let dir = tempfile::Builder::new().prefix(ATTACHED).tempdir_in(temporary);
        let dir = dir.map_err(|source| MountError::Io {
            action: "make a directory in",
            path: temporary.to_owned(),
            source,
        })?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(mount, "", CWD, dir.path(), flags).map_err(io("mount at", dir.path()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(dir.path(), flags, Mode::empty()) {
            Ok(fd) => Ok(Self { dir, fd }),
            Err(errno) => {
                detach(dir.path());
                Err(io("open", dir.path())(errno))
            }
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        detach(self.dir.path());
    }
}

fn detach(path: &Path) {
    // If it fails, the mount stays visible until `unmount_all_below` finds it at the next start.
    let _ = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
}

fn open(kind: &'static str, action: &'static str) -> Result<OwnedFd, MountError> {
    fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| match errno {
        Errno::PERM => MountError::NotRoot,
        Errno::NODEV => {
            let log = format!("it has no {kind}; load or build that module");
            MountError::Kernel { action, log, source: errno.into() }
        }
        errno => MountError::Kernel { action, log: kind.to_owned(), source: errno.into() },
    })
}

/// The error with what the kernel wrote about it into the descriptor.
fn refused(action: &'static str, fs: &OwnedFd, errno: Errno) -> MountError {
    if errno == Errno::PERM {
        return MountError::NotRoot;
    }
    let mut log = Vec::new();
    let mut line = [0; 512];
    while log.len() < LOG_MAX {
        match rustix::io::read(fs, &mut line) {
            Ok(0) | Err(_) => break,
            Ok(len) => {
                // Each starts with its level: "e ", "w " or "i ".
                log.extend_from_slice(line[..len].get(2..).unwrap_or_default());
                log.extend_from_slice(b"; ");
            }
        }
    }
    let text = String::from_utf8_lossy(&log).replace('\n', "");
    let log = match text.trim_end_matches([';', ' ']) {
        "" => "it does not say why".to_owned(),
        text => text.to_owned(),
    };
    MountError::Kernel { action, log, source: errno.into() }
}
