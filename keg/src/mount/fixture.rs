//! A directory with everything a tree can hold, and what can be seen of a directory.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use crate::Keg;
use crate::mount::unmount_all_below;

/// A directory for a test; its mounts go with it.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("keg-test-").tempdir_in("/tmp");
        Self { dir: dir.expect("/tmp is writable") }
    }

    /// A directory in it, made if it is not there.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("make a directory");
        path
    }

    /// A Keg in it.
    pub fn keg(&self) -> Keg {
        Keg::open_or_create(&self.dir.path().join("home")).expect("make a Keg")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = unmount_all_below(self.dir.path()) {
            eprintln!("{error}");
        }
    }
}

/// Deterministic bytes that do not compress.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Fills a directory with one of each kind of file, and one with 5,000 entries.
pub fn fill(dir: &Path) {
    fill_few(dir);
    let many = dir.join("many");
    fs::create_dir(&many).unwrap();
    for i in 0..5000 {
        File::create(many.join(format!("{:x}-{i}", i * 7919 % 5000))).unwrap();
    }
}

/// One of each kind of file, in the sizes around every boundary.
pub fn fill_few(dir: &Path) {
    for (seed, size) in [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 100_000].into_iter().enumerate()
    {
        fs::write(dir.join(format!("file-{size}")), noise(size, seed as u64)).unwrap();
    }
    fs::create_dir_all(dir.join("deep/er/est")).unwrap();
    fs::write(dir.join("deep/er/est/leaf"), "leaf\n").unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    let odd = std::ffi::OsString::from_vec(b"!\xff\xfe not \x01 UTF-8\n".to_vec());
    fs::write(dir.join(odd), "odd").unwrap();
    fs::write(dir.join("n".repeat(255)), "long name").unwrap();
    symlink("deep/er", dir.join("link")).unwrap();
    symlink("x/".repeat(2000), dir.join("long-link")).unwrap();
    symlink("/nowhere", dir.join("dangling")).unwrap();
    fill_special(dir);
    sparse(&dir.join("sparse"), 3 << 20);
    fs::set_permissions(dir.join("deep/er"), PermissionsExt::from_mode(0o2750)).unwrap();
    set_time(&dir.join("file-1"), -5, 1);
    set_time(&dir.join("file-2048"), 5_000_000_000, 999_999_999);
}

fn fill_special(dir: &Path) {
    let mode = Mode::from_raw_mode(0o640);
    let node = |name: &str, kind, device| {
        rustix::fs::mknodat(CWD, dir.join(name), kind, mode, device).expect("mknod")
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node("disk", FileType::BlockDevice, rustix::fs::makedev(259, 70_000));
    node("socket", FileType::Socket, 0);
    fs::write(dir.join("hard-a"), noise(5000, 77)).unwrap();
    fs::hard_link(dir.join("hard-a"), dir.join("deep/hard-b")).unwrap();
    fs::hard_link(dir.join("hard-a"), dir.join("hard-c")).unwrap();
    fs::write(dir.join("small-a"), "small").unwrap();
    fs::hard_link(dir.join("small-a"), dir.join("small-b")).unwrap();
    // The other name of this one is outside.
    fs::write(dir.join("single"), "single").unwrap();
    let outside = dir.with_file_name("outside-of-the-tree");
    let _ = fs::remove_file(&outside);
    fs::hard_link(dir.join("single"), outside).unwrap();
    fs::write(dir.join("setuid"), "#!/bin/sh\n").unwrap();
    rustix::fs::chown(dir.join("setuid"), Some(uid(1000)), Some(gid(70_000))).unwrap();
    fs::set_permissions(dir.join("setuid"), PermissionsExt::from_mode(0o6755)).unwrap();
    fs::write(dir.join("capable"), noise(3000, 5)).unwrap();
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    set_xattr(&dir.join("capable"), "security.capability", &capability);
    set_xattr(&dir.join("capable"), "user.note", b"mine");
    set_xattr(&dir.join("file-100000"), "user.big", &noise(3000, 3));
    set_xattr(&dir.join("file-1"), "user.note", b"mine");
    set_xattr(&dir.join("file-1"), "user.empty", b"");
    set_xattr(&dir.join("file-1"), "trusted.overlay.opaque", b"y");
    set_xattr(&dir.join("deep"), "trusted.overlay.redirect", b"/elsewhere");
    set_xattr(&dir.join("link"), "trusted.on.link", b"yes");
    // u::rw-, u:1000:r--, g::r--, m::r--, o::---
    let acl = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
        255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
    ];
    set_xattr(&dir.join("file-2047"), "system.posix_acl_access", &acl);
}

/// A file that is mostly a hole.
pub fn sparse(path: &Path, size: u64) {
    let mut file = File::create(path).unwrap();
    file.seek(SeekFrom::Start(size / 2)).unwrap();
    file.write_all(b"data in the middle").unwrap();
    file.set_len(size).unwrap();
}

pub fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

pub fn uid(id: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(id)
}

pub fn gid(id: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(id)
}

/// Everything that can be seen below a directory, but sockets and the root's own attributes: a
/// line for each path.
pub fn describe(dir: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut seen = BTreeMap::new();
    let mut inodes = HashMap::new();
    describe_below(dir, Path::new(""), &mut seen, &mut inodes);
    for paths in inodes.into_values().filter(|paths: &Vec<Vec<u8>>| paths.len() > 1) {
        let first = String::from_utf8_lossy(paths.iter().min().expect("not empty")).into_owned();
        for path in paths {
            seen.get_mut(&path).expect("seen").push_str(&format!(" same inode as {first}"));
        }
    }
    seen
}

fn describe_below(
    dir: &Path,
    below: &Path,
    seen: &mut BTreeMap<Vec<u8>, String>,
    inodes: &mut HashMap<(u64, u64), Vec<Vec<u8>>>,
) {
    for entry in fs::read_dir(dir.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let full = dir.join(&path);
        let meta = full.symlink_metadata().unwrap();
        let kind = FileType::from_raw_mode(meta.mode());
        let content = match kind {
            FileType::Socket => continue,
            FileType::RegularFile => {
                let bytes = fs::read(&full).unwrap();
                assert_eq!(bytes.len() as u64, meta.len(), "{path:?}");
                format!("{} {}", bytes.len(), blake3::hash(&bytes))
            }
            FileType::Symlink => format!("{:?}", fs::read_link(&full).unwrap()),
            _ => format!("{:x}", meta.rdev()),
        };
        let key = path.as_os_str().as_bytes().to_vec();
        let line = format!(
            "{:o} {}:{} {}.{:09} {content} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            xattrs(&full)
        );
        seen.insert(key.clone(), line);
        if kind == FileType::Directory {
            describe_below(dir, &path, seen, inodes);
        } else {
            inodes.entry((meta.dev(), meta.ino())).or_default().push(key);
        }
    }
}

/// All extended attributes of a path, by a way of its own.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let names = list[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            value.truncate(len);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Fails with the differing paths only.
pub fn assert_same(left: &BTreeMap<Vec<u8>, String>, right: &BTreeMap<Vec<u8>, String>) {
    let keys: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differ: Vec<String> = keys
        .into_iter()
        .filter(|key| left.get(*key) != right.get(*key))
        .map(|key| {
            let name = String::from_utf8_lossy(key);
            format!("{name}\n  {:?}\n  {:?}", left.get(key), right.get(key))
        })
        .collect();
    assert!(differ.is_empty(), "{} paths differ:\n{}", differ.len(), differ.join("\n"));
}
