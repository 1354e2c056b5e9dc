//! What an app finds in its root besides the image: its own user, names for itself, a place to
//! write. The image is hostile: every path is resolved inside the root, and no link is followed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, chownat, mkdirat, openat2};
use rustix::io::Errno;

/// Largest `passwd` or `group` that is edited; a longer one is left as it is.
const MAX_ACCOUNTS: u64 = 1 << 20;
/// Name of the app's user inside.
const USER: &str = "app";
/// Mode of directories that are made, and of `/tmp`.
const PLAIN: Mode = Mode::from_raw_mode(0o755);
const SHARED: Mode = Mode::from_raw_mode(0o1777);

/// What is put into a root.
pub struct Furniture<'a> {
    /// The app's user and group id.
    pub uid: u32,
    /// The container's host name.
    pub hostname: &'a str,
    /// The working directory, which becomes the user's own (not what is in it).
    pub workdir: &'a str,
    /// Whether it may reach other machines, and so has a name server (see `egress`).
    pub egress: bool,
}

/// Furnishes the mounted `root`.
///
/// # Errors
/// The working directory is not one, or the disk's.
pub fn furnish(root: &Path, furniture: &Furniture<'_>) -> io::Result<()> {
    let root = rustix::fs::open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    make_directory(&root, "etc", PLAIN)?;
    make_directory(&root, "tmp", SHARED)?;
    let host = furniture.hostname;
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost\n127.0.1.1 {host}\n");
    write(&root, "etc/hosts", &hosts)?;
    write(&root, "etc/hostname", &format!("{host}\n"))?;
    write(&root, "etc/resolv.conf", if furniture.egress { "nameserver 127.0.0.1\n" } else { "" })?;
    let uid = furniture.uid;
    let workdir = furniture.workdir;
    account(&root, "etc/passwd", &format!("{USER}:x:{uid}:{uid}::{workdir}:/bin/sh"))?;
    account(&root, "etc/group", &format!("{USER}:x:{uid}:"))?;
    own_workdir(&root, workdir, uid)
}

fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mode =
        if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
    openat2(root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, mode, resolve)
}

fn make_directory(root: &OwnedFd, name: &str, mode: Mode) -> io::Result<()> {
    match mkdirat(root, name, mode) {
        // The mode given to mkdir is cut by this process's mask.
        Ok(()) => Ok(rustix::fs::chmodat(root, name, mode, AtFlags::empty())?),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Puts a small file there. Where the image has a link, a directory, a pipe or a device there, the
/// image's own choice stays.
fn write(root: &OwnedFd, path: &str, text: &str) -> io::Result<()> {
    match open(root, path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK) {
        Ok(file) => File::from(file).write_all(text.as_bytes()),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NOTDIR | Errno::NXIO | Errno::ACCESS) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Makes `line` the one of the app's user, in a file that has such lines.
fn account(root: &OwnedFd, path: &str, line: &str) -> io::Result<()> {
    let mut text = String::new();
    match open(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => {
            let file = File::from(file);
            let meta = file.metadata()?;
            if !meta.is_file() || meta.len() > MAX_ACCOUNTS {
                return Ok(());
            }
            if file.take(MAX_ACCOUNTS).read_to_string(&mut text).is_err() {
                return Ok(());
            }
        }
        Err(Errno::NOENT) => {}
        Err(Errno::LOOP | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    }
    let own = |other: &&str| !other.starts_with(&format!("{USER}:"));
    let mut lines: Vec<&str> = text.lines().filter(own).collect();
    lines.push(line);
    write(root, path, &(lines.join("\n") + "\n"))
}

fn own_workdir(root: &OwnedFd, workdir: &str, uid: u32) -> io::Result<()> {
    let relative = workdir.trim_start_matches('/');
    if relative.is_empty() {
        return Ok(());
    }
    let missing = |what: &str| {
        io::Error::new(io::ErrorKind::NotFound, format!("the working directory {workdir} {what}"))
    };
    let dir =
        open(root, relative, OFlags::RDONLY | OFlags::DIRECTORY).map_err(|errno| match errno {
            Errno::NOENT => missing("is not in the image"),
            Errno::LOOP | Errno::NOTDIR => missing("is not a plain directory in the image"),
            errno => errno.into(),
        })?;
    let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
    Ok(chownat(dir.as_fd(), "", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn furniture() -> Furniture<'static> {
        Furniture { uid: 20_007, hostname: "blog", workdir: "/app", egress: false }
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn an_app_finds_its_user_and_names() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("app")).unwrap();
        fs::write(root.join("app/main.py"), "x").unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/app:/bin/sh\n";
        fs::write(root.join("etc/passwd"), passwd).unwrap();
        furnish(root, &furniture()).unwrap();
        furnish(root, &furniture()).unwrap();
        let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
        let want = "root:x:0:0::/root:/bin/sh\napp:x:20007:20007::/app:/bin/sh\n";
        assert_eq!(read("etc/passwd"), want);
        assert_eq!(read("etc/group"), "app:x:20007:\n");
        assert!(read("etc/hosts").contains("127.0.1.1 blog"));
        assert_eq!(fs::metadata(root.join("app")).unwrap().uid(), 20_007);
        assert_eq!(fs::metadata(root.join("app/main.py")).unwrap().uid(), 0);
        assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    }

    #[test]
    fn links_in_a_hostile_image_lead_nowhere() {
        if !is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("passwd"), "theirs").unwrap();
        for name in ["passwd", "group", "hosts", "resolv.conf"] {
            symlink(outside.join("passwd"), root.join("etc").join(name)).unwrap();
        }
        symlink(&outside, root.join("app")).unwrap();
        let error = furnish(&root, &furniture()).unwrap_err();
        assert!(error.to_string().contains("not a plain directory"), "{error}");
        assert_eq!(fs::read_to_string(outside.join("passwd")).unwrap(), "theirs");
        assert_eq!(fs::metadata(&outside).unwrap().uid(), 0);
        fs::remove_file(root.join("app")).unwrap();
        assert!(furnish(&root, &furniture()).unwrap_err().to_string().contains("not in the image"));
        fs::remove_dir_all(root.join("etc")).unwrap();
        symlink(&outside, root.join("etc")).unwrap();
        let _ = furnish(&root, &furniture());
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "nothing was written outside");
    }
}
