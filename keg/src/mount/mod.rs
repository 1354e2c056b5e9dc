//! Trees as file systems: a tree's metadata as an EROFS image, and one overlay that takes the bytes
//! of larger files straight from the object store (composefs).
//!
//! ```text
//! target                   overlay, read-only or with upper/ and work/
//!  ├─ lower: img/TREE.erofs      names, attributes, small files (made once, kept); or only what
//!  │         img/BASE.erofs      differs from the image below it
//!  └─ data:  objects/            raw objects, reached by redirects in the image
//! ```
//!
//! There is no loop device and no copy: two versions of a tree share the page cache of every file
//! they have in common. Both parts are mounted detached and attached to the target in one step, so
//! that nobody sees a half-made mount. One overlay level is used, one is left for whoever stacks
//! another on top.
//!
//! Images are derived: any of them may be deleted at any time, mounted or not. They are written
//! without `fsync`; an image from before the last boot is checked against its own digest once, the
//! others when the Keg is checked.
//!
//! Needs root, and Linux 6.12 or newer. The Keg must be on a real file system: the kernel mounts
//! no image from a file on overlayfs or tmpfs.

mod bases;
mod cache;
#[cfg(test)]
mod cache_tests;
pub(crate) mod decoders;
#[cfg(test)]
mod delta_tests;
#[cfg(test)]
pub(crate) mod fixture;
mod kernel;
mod lacking;
mod layers;
pub mod live;
mod table;
#[cfg(test)]
mod tests;
pub mod working;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags, UnmountFlags, move_mount};

use crate::erofs::ErofsError;
use crate::store::StoreError;
use crate::{Keg, Kid};

pub use lacking::forget as forget_lacking;
pub use live::{Live, LiveError};
pub use table::{keg_mount, unmount, unmount_all_below};
pub use working::{Committed, Record, WorkingCopy, WorkingError};

/// Tells of the images of a Keg that are not what was written: which file, and what is wrong. The
/// next mount makes them again.
///
/// # Errors
/// They cannot be listed.
pub(crate) fn audit_images(home: &Path, visit: &mut dyn FnMut(&str, &str)) -> std::io::Result<()> {
    cache::Images::new(home).audit(visit)
}

/// Mounts trees of a Keg.
#[derive(Clone)]
pub struct Mounts {
    keg: Keg,
    images: cache::Images,
    mounted: layers::Mounted,
    like: Option<Kid>,
}

/// What a mount allows; by default everything that its files do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// Set-id bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Device files cannot be opened.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
    /// Writable mounts only: `sync` and `fsync` do nothing. The upper directory is worthless
    /// after a crash of the machine, which suits builds that start over.
    pub volatile: bool,
}

/// Why something could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The image could not be made.
    #[error("cannot make the image of {tree}")]
    Image {
        /// Of which tree.
        tree: Kid,
        /// Why not.
        #[source]
        source: Box<ErofsError>,
    },
    /// A system call on a file failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The store failed.
    #[error("cannot make the objects of {tree} ready to be mounted")]
    Store {
        /// Of which tree.
        tree: Kid,
        /// Why not.
        #[source]
        source: Box<StoreError>,
    },
    /// The kernel refused.
    #[error("the kernel cannot {action} ({log})")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What it said.
        log: String,
        /// Its answer.
        #[source]
        source: std::io::Error,
    },
    /// A directory is on a file system that cannot be used.
    #[error(
        "{path} is on {fs}, which the kernel cannot use for this; keep the Keg on a real file \
         system such as ext4, xfs or btrfs (in a container: a volume)"
    )]
    FileSystem {
        /// The directory.
        path: PathBuf,
        /// The file system.
        fs: &'static str,
    },
    /// Not root.
    #[error("mounting needs root; run as root, or with CAP_SYS_ADMIN in the first user namespace")]
    NotRoot,
    /// Nothing is mounted there.
    #[error("nothing is mounted at {target}")]
    NotMounted {
        /// Where.
        target: PathBuf,
    },
    /// Something in it is open.
    #[error(
        "{target} is in use: a program has files open in it, or works in one of its directories"
    )]
    Busy {
        /// Where.
        target: PathBuf,
    },
    /// Mounts keep coming back.
    #[error("{left} mounts below {dir} are still there; does something mount there meanwhile?")]
    Remaining {
        /// Below which directory.
        dir: PathBuf,
        /// How many.
        left: usize,
    },
}

impl Mounts {
    /// For the trees of this Keg.
    pub fn new(keg: &Keg) -> Self {
        let images = cache::Images::new(keg.home());
        Self { keg: keg.clone(), images, mounted: layers::Mounted::default(), like: None }
    }

    /// Whose trees it mounts.
    pub fn keg(&self) -> &Keg {
        &self.keg
    }

    /// The same, with a hint: a tree that most of those mounted with it are probably the same as,
    /// such as the version before. Their images then hold only what differs. Without a hint, one is
    /// looked for among the last images.
    #[must_use]
    pub fn like(&self, tree: &Kid) -> Self {
        Self { like: Some(*tree), ..self.clone() }
    }

    /// Mounts a tree read-only at `target`, an existing directory.
    ///
    /// # Errors
    /// The tree is not whole or cannot be shown, or the kernel refuses.
    pub fn read_only(&self, tree: &Kid, target: &Path) -> Result<(), MountError> {
        self.read_only_with(tree, target, MountOptions::default())
    }

    /// As [`Mounts::read_only`], with options.
    ///
    /// # Errors
    /// As there.
    pub fn read_only_with(
        &self,
        tree: &Kid,
        target: &Path,
        options: MountOptions,
    ) -> Result<(), MountError> {
        let _loose = self.keep_loose(tree)?;
        self.detached(tree, None, options)?.attach(target)
    }

    /// Mounts a tree at `target` so that it can be written. What changes goes to `upper`, a
    /// directory in which `upper/` and `work/` are made, on a real file system of any kind.
    /// [`crate::ingest::ingest_overlay_upper`] turns `upper/` into a tree.
    ///
    /// # Errors
    /// As [`Mounts::read_only`].
    pub fn writable(&self, tree: &Kid, upper: &Path, target: &Path) -> Result<(), MountError> {
        self.writable_with(tree, upper, target, MountOptions::default())
    }

    /// As [`Mounts::writable`], with options.
    ///
    /// # Errors
    /// As there.
    pub fn writable_with(
        &self,
        tree: &Kid,
        upper: &Path,
        target: &Path,
        options: MountOptions,
    ) -> Result<(), MountError> {
        let _loose = self.keep_loose(tree)?;
        self.detached(tree, Some(upper), options)?.attach(target)
    }

    /// Large files come from loose objects, which must stay until the mount shows.
    fn keep_loose(&self, tree: &Kid) -> Result<crate::pack::Loose, MountError> {
        let failed = |source: StoreError| MountError::Store { tree: *tree, source: source.into() };
        // No collection may be about to move them, or have them in the trash.
        self.keg.objects().retain(tree).map_err(failed)?;
        let near = || self.images.near(self.keg.objects(), tree, self.like.as_ref());
        crate::pack::keep_loose(&self.keg, tree, near).map_err(failed)
    }

    /// Makes the whole mount without showing it anywhere.
    fn detached(
        &self,
        tree: &Kid,
        upper: Option<&Path>,
        options: MountOptions,
    ) -> Result<Detached, MountError> {
        let wanted = cache::Wanted { tree, like: self.like.as_ref(), passing: false };
        let stack = self.images.stack_of(self.keg.objects(), wanted)?;
        self.detached_over(&stack, upper, options)
    }

    /// The same with images that are there.
    fn detached_over(
        &self,
        stack: &cache::Stack,
        upper: Option<&Path>,
        options: MountOptions,
    ) -> Result<Detached, MountError> {
        let images = self.mounted.all(stack)?;
        let objects = open_directory(&self.keg.home().join("objects"))?;
        let upper = upper.map(upper_directories).transpose()?;
        let label = stack.first().map_or(String::new(), |top| format!("keg:{}", top.tree.short()));
        let overlay = kernel::Overlay {
            label: &label,
            images: images.iter().map(|image| image.as_fd()).collect(),
            objects: objects.as_fd(),
            upper: upper.as_ref().map(|(upper, work)| (upper.as_fd(), work.as_fd())),
            volatile: options.volatile,
            attributes: attributes(options, upper.is_some()),
        };
        Ok(Detached { fd: kernel::overlay(&overlay, &self.keg.home().join("tmp"))? })
    }
}

/// Takes away what crashes have left of live mounts and of working copies nobody wrote to, in the
/// mount namespace of this process. Returns how many.
///
/// # Errors
/// As [`live::sweep`] and [`working::sweep`].
pub fn sweep(keg: &Keg) -> Result<usize, WorkingError> {
    cache::sweep_drafts(&keg.home().join("tmp"));
    Ok(live::sweep(keg)? + working::sweep(keg)?)
}

/// A mount that is nowhere yet; dropping it takes it away.
struct Detached {
    fd: OwnedFd,
}

impl Detached {
    /// Shows it at `target`, over what is there.
    fn attach(self, target: &Path) -> Result<(), MountError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&self.fd, "", CWD, target, flags).map_err(io("mount at", target))
    }

    /// Shows it at `target` in place of the mount that is there, without a moment in between: it
    /// goes beneath that one, which is then taken away (`MOVE_MOUNT_BENEATH`, Linux 6.5). Files
    /// that are open stay as they were.
    fn replace(self, target: &Path) -> Result<(), MountError> {
        let beneath = MoveMountFlags::from_bits_retain(MOVE_MOUNT_BENEATH);
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | beneath;
        let moved = move_mount(&self.fd, "", CWD, target, flags);
        moved.map_err(|errno| match errno {
            Errno::INVAL => MountError::NotMounted { target: target.to_owned() },
            errno => io("mount at", target)(errno),
        })?;
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        rustix::mount::unmount(target, flags).map_err(io("unmount", target))
    }
}

/// `linux/mount.h`.
const MOVE_MOUNT_BENEATH: u32 = 0x200;

fn attributes(options: MountOptions, writable: bool) -> MountAttrFlags {
    [
        (!writable, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (options.nosuid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (options.nodev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (options.noexec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .collect()
}

/// `upper/` and `work/` in a directory, made if they are not there. A new `upper/` has the
/// attributes that the root of an image has, as it is what shows.
fn upper_directories(dir: &Path) -> Result<(OwnedFd, OwnedFd), MountError> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    fs::create_dir_all(dir).map_err(|source| MountError::Io {
        action: "make",
        path: dir.to_owned(),
        source,
    })?;
    if make(&upper)? {
        rustix::fs::chmod(&upper, Mode::from_raw_mode(0o755)).map_err(io("set up", &upper))?;
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let times = Timestamps { last_access: zero, last_modification: zero };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, &upper, &times, flags).map_err(io("set up", &upper))?;
    }
    make(&work)?;
    if let Some("overlayfs") = unsuitable(&upper)? {
        return Err(MountError::FileSystem { path: upper, fs: "overlayfs" });
    }
    Ok((open_directory(&upper)?, open_directory(&work)?))
}

fn make(dir: &Path) -> Result<bool, MountError> {
    match rustix::fs::mkdir(dir, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(io("make", dir)(errno)),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, MountError> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(io("open", path))
}

/// The name of the file system of `path`, if the kernel mounts no image from it.
fn unsuitable(path: &Path) -> Result<Option<&'static str>, MountError> {
    /// Magic numbers of `linux/magic.h`.
    const KINDS: [(i64, &str); 3] =
        [(0x794c_7630, "overlayfs"), (0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
    let magic = rustix::fs::statfs(path).map_err(io("look at", path))?.f_type;
    Ok(KINDS.iter().find(|(kind, _)| *kind == magic).map(|(_, name)| *name))
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> MountError {
    move |errno| match errno {
        Errno::PERM if action.starts_with("mount") => MountError::NotRoot,
        errno => MountError::Io { action, path: path.to_owned(), source: errno.into() },
    }
}
