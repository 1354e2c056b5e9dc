//! The mount table, and taking mounts away.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::{MountError, io};

/// How often the table is read again until nothing is left.
const ROUNDS: usize = 4;
/// What the source of every mount of a Keg starts with.
pub(super) const LABEL: &[u8] = b"keg:";
const TABLE: &str = "/proc/self/mountinfo";

/// Takes away what is mounted at `target` (the topmost, if several are). If files in it are still
/// open it disappears at once, and ends when the last is closed.
///
/// # Errors
/// [`MountError::NotMounted`], or the kernel refuses.
pub fn unmount(target: &Path) -> Result<(), MountError> {
    let with = |flags| rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | flags);
    match with(UnmountFlags::empty()) {
        Err(Errno::BUSY) => with(UnmountFlags::DETACH),
        done => done,
    }
    .map_err(|errno| match errno {
        Errno::INVAL | Errno::NOENT => MountError::NotMounted { target: target.to_owned() },
        errno => io("unmount", target)(errno),
    })
}

/// As [`unmount`], but not while something in it is open.
///
/// # Errors
/// [`MountError::Busy`], [`MountError::NotMounted`], or the kernel refuses.
pub fn unmount_idle(target: &Path) -> Result<(), MountError> {
    rustix::mount::unmount(target, UnmountFlags::NOFOLLOW).map_err(|errno| match errno {
        Errno::BUSY => MountError::Busy { target: target.to_owned() },
        Errno::INVAL | Errno::NOENT => MountError::NotMounted { target: target.to_owned() },
        errno => io("unmount", target)(errno),
    })
}

/// Whether what is mounted at `target` is an overlay of a Keg. `target` is a path without symbolic
/// links.
///
/// # Errors
/// The mount table cannot be read.
pub fn keg_mount(target: &Path) -> Result<bool, MountError> {
    let failed = |source| MountError::Io { action: "read", path: TABLE.into(), source };
    let table = std::fs::read(TABLE).map_err(failed)?;
    Ok(source_at(&table, target).is_some_and(|source| source.starts_with(LABEL)))
}

/// The source of the topmost mount at a path.
fn source_at<'a>(table: &'a [u8], target: &Path) -> Option<&'a [u8]> {
    // The newest is the last, except where one was put beneath it, which only flips do.
    let mut lines = table.rsplit(|byte| *byte == b'\n');
    let line = lines.find(|line| {
        let point = line.split(|byte| *byte == b' ').nth(4);
        point.is_some_and(|point| unescape(point) == target)
    })?;
    // `… - type source options`: the fields before the dash vary in number.
    let mut fields = line.split(|byte| *byte == b' ').skip_while(|field| *field != b"-");
    fields.nth(2)
}

/// Takes away everything mounted below `dir` (not at `dir` itself), by whomever, and returns how
/// many mounts that were. So a new start cleans up after a crash.
///
/// # Errors
/// `dir` or the mount table cannot be read, or the kernel refuses.
pub fn unmount_all_below(dir: &Path) -> Result<usize, MountError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| MountError::Io { action, path, source }
    };
    let dir = dir.canonicalize().map_err(failed("find", dir))?;
    let mut gone = 0;
    let mut points = Vec::new();
    for _ in 0..ROUNDS {
        let table = std::fs::read(TABLE).map_err(failed("read", Path::new(TABLE)))?;
        points = below(&table, &dir);
        if points.is_empty() {
            return Ok(gone);
        }
        // The newest first: what is mounted on another mount comes after it in the table.
        for point in points.iter().rev() {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            match rustix::mount::unmount(point.as_path(), flags) {
                Ok(()) => gone += 1,
                // It went with the one it was on, or with its directory.
                Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(io("unmount", point)(errno)),
            }
        }
    }
    Err(MountError::Remaining { dir, left: points.len() })
}

/// The mount points of a table (`proc_pid_mountinfo(5)`) below `dir`, in its order.
fn below(table: &[u8], dir: &Path) -> Vec<PathBuf> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape)
        .filter(|point| point.starts_with(dir) && point != dir)
        .collect()
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, more)) = rest.split_first() {
        let code = more.get(..3).filter(|digits| {
            *byte == b'\\' && digits.iter().all(|digit| matches!(digit, b'0'..=b'7'))
        });
        match code {
            Some(digits) => {
                let value = digits.iter().fold(0_u32, |n, d| n * 8 + u32::from(d - b'0'));
                // Three octal digits of a byte, as the kernel writes them.
                out.push(value as u8);
                rest = &more[3..];
            }
            None => {
                out.push(*byte);
                rest = more;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_mount_of_a_path_counts() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/vda rw\n\
            2 1 8:1 / /a rw shared:1 master:2 - overlay keg:K-01234567 ro\n\
            3 1 0:9 / /b\\040c rw - overlay keg:K-89abcdef ro\n\
            4 2 0:7 / /a rw - tmpfs none rw\n";
        for (path, want) in [
            ("/a", Some(&b"none"[..])),
            ("/b c", Some(b"keg:K-89abcdef")),
            ("/", Some(b"/dev/vda")),
            ("/c", None),
        ] {
            assert_eq!(source_at(table, Path::new(path)), want, "{path}");
        }
    }
}
