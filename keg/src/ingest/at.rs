//! Directories by descriptor: nothing here follows a symbolic link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};

/// Attributes a tree keeps: others describe the file system rather than the file.
const KEPT_PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
/// Kept too: POSIX access control lists.
const KEPT_NAMES: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
/// The kernel's bounds on a list of names and on a value.
const MAX_XATTR: usize = 64 << 10;
/// Enough for almost every list and value.
const USUAL_XATTR: usize = 512;

/// An open directory.
pub struct Folder {
    fd: OwnedFd,
}

/// What `stat` says of a file; equal values mean it has not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Type and permissions.
    pub st_mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    pub mtime_nsec: u32,
    /// Seconds and nanoseconds of the last change of the inode.
    pub ctime: (i64, u64),
    /// Device and number of the inode.
    pub inode: (u64, u64),
    pub nlink: u64,
    pub rdev: u64,
}

impl Meta {
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.st_mode)
    }

    /// Permission bits.
    pub fn mode(&self) -> u32 {
        self.st_mode & 0o7777
    }

    pub fn major(&self) -> u32 {
        fs::major(self.rdev)
    }

    pub fn minor(&self) -> u32 {
        fs::minor(self.rdev)
    }
}

impl Folder {
    /// Opens a directory by its path, whose parents may be symbolic links.
    pub fn open(path: impl rustix::path::Arg) -> Result<Self> {
        Self::open_at(fs::CWD, path, OFlags::empty())
    }

    /// Opens a directory below this one.
    pub fn folder(&self, name: &[u8]) -> Result<Self> {
        Self::open_at(&self.fd, name, OFlags::NOFOLLOW)
    }

    fn open_at(at: impl AsFd, path: impl rustix::path::Arg, flags: OFlags) -> Result<Self> {
        let flags = flags | OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self { fd: fs::openat(at, path, flags, Mode::empty())? })
    }

    /// Opens a regular file for reading; a pipe that took its place does not block.
    pub fn file(&self, name: &[u8]) -> Result<std::fs::File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, name, flags | OFlags::RDONLY, Mode::empty())?.into())
    }

    /// Creates a file for writing; it must not be there yet.
    pub fn create(&self, name: &[u8]) -> Result<std::fs::File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(fs::openat(&self.fd, name, flags | OFlags::WRONLY, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// The names in it but `.` and `..`, sorted; at most `limit` (more: `E2BIG`).
    pub fn names(&self, limit: u64) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() as u64 >= limit {
                return Err(Errno::TOOBIG);
            }
            names.push(name.to_vec());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The attributes of an entry.
    pub fn stat(&self, name: &[u8]) -> Result<Meta> {
        Ok(meta(&fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// The attributes of the directory itself.
    pub fn own_stat(&self) -> Result<Meta> {
        Ok(meta(&fs::fstat(&self.fd)?))
    }

    /// The target of a symbolic link.
    pub fn link_target(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.fd, name, Vec::new())?.into_bytes())
    }

    /// The extended attributes of an entry that trees keep, sorted; `.` is the directory itself.
    pub fn xattrs(&self, name: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let path = self.path_of(name);
        let list = match grown(|buffer| fs::llistxattr(&path, buffer)) {
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            list => list?,
        };
        let mut found = Vec::new();
        for name in list.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
            match grown(|buffer| fs::lgetxattr(&path, name, buffer)) {
                Ok(value) => found.push((name.to_vec(), value)),
                // Removed in between, or without a value for us.
                Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(errno) => return Err(errno),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Sets an extended attribute of an entry.
    pub fn set_xattr(&self, name: &[u8], xattr: &[u8], value: &[u8]) -> Result<()> {
        fs::lsetxattr(self.path_of(name), xattr, value, fs::XattrFlags::empty())
    }

    /// A path of the entry that needs no walk: the calls for extended attributes know no
    /// descriptor of a directory before Linux 6.13.
    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = format!("/proc/self/fd/{}/", self.fd.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        path
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What `fstat` says of an open file.
pub fn meta_of(fd: impl AsFd) -> Result<Meta> {
    Ok(meta(&fs::fstat(fd)?))
}

fn meta(stat: &fs::Stat) -> Meta {
    Meta {
        st_mode: stat.st_mode,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: stat.st_mtime,
        // Below 1e9 by POSIX.
        mtime_nsec: stat.st_mtime_nsec as u32,
        ctime: (stat.st_ctime, stat.st_ctime_nsec),
        inode: (stat.st_dev, stat.st_ino),
        nlink: stat.st_nlink,
        rdev: stat.st_rdev,
    }
}

fn is_kept(name: &[u8]) -> bool {
    KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || KEPT_NAMES.contains(&name)
}

/// Calls with a small buffer, then with the largest there can be.
fn grown(mut call: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; USUAL_XATTR];
    match call(&mut small) {
        Ok(len) => Ok(small[..len].to_vec()),
        Err(Errno::RANGE) => {
            let mut buffer = vec![0; MAX_XATTR];
            let len = call(&mut buffer)?;
            buffer.truncate(len);
            Ok(buffer)
        }
        Err(errno) => Err(errno),
    }
}
