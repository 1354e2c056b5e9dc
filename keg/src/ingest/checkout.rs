//! A tree, written as plain files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{
    self, AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid,
};
use rustix::io::Errno;

use super::MAX_DEPTH;
use super::at::Folder;
use super::error::{IngestError, show};
use super::links::{LinkKey, join};
use crate::kid::Kid;
use crate::object::{Attrs, Entry, Tree, Value};
use crate::pointer;
use crate::store::Objects;

/// Blobs are copied in pieces of this size; a piece of zeros becomes a hole.
const PIECE: usize = 128 << 10;

/// Writes the files of a tree below `dir`, which is made if it is not there.
///
/// Nothing that is there already is replaced or followed: a name that exists is an error, so
/// nothing outside `dir` can be touched. Without root, everything belongs to the caller, and
/// devices and privileged attributes are refused by the kernel. Nothing is flushed to disk.
///
/// # Errors
/// A file cannot be written, an object is missing, or an entry cannot be a plain file.
pub fn checkout(objects: &dyn Objects, tree: &Kid, dir: &Path) -> Result<(), IngestError> {
    let failed = |action| {
        move |errno: Errno| IngestError::Io {
            action,
            path: dir.display().to_string(),
            source: errno.into(),
        }
    };
    match fs::mkdir(dir, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed("make the directory")(errno)),
    }
    let root = Folder::open(dir).map_err(failed("open the directory"))?;
    let owned = rustix::process::geteuid().is_root();
    let mut writer = Writer { objects, root: &root, links: HashMap::new(), owned };
    let tree = objects.tree(tree).map_err(IngestError::store(b""))?;
    writer.fill(&root, &tree, b"", 0)
}

struct Writer<'a> {
    objects: &'a dyn Objects,
    root: &'a Folder,
    /// The path of the first name of each inode with several.
    links: HashMap<LinkKey, Vec<u8>>,
    owned: bool,
}

impl Writer<'_> {
    fn fill(
        &mut self,
        folder: &Folder,
        tree: &Tree,
        path: &[u8],
        depth: usize,
    ) -> Result<(), IngestError> {
        if depth > MAX_DEPTH {
            return Err(IngestError::TooDeep { path: show(path), limit: MAX_DEPTH });
        }
        for (name, entry) in &tree.entries {
            let name = name.as_bytes();
            let at = join(path, name);
            let entry = &*pointer::seen(self.objects, entry).map_err(IngestError::store(&at))?;
            let key = LinkKey::of(entry);
            if let Some(first) = key.as_ref().and_then(|key| self.links.get(key)) {
                self.link(folder, name, first).map_err(IngestError::io("link", &at))?;
                continue;
            }
            let directory = self.objects.directory_of(entry).map_err(IngestError::store(&at))?;
            match directory {
                Some(kid) => self.directory(folder, name, &kid, &at, depth)?,
                None => self.leaf(folder, name, entry, &at)?,
            }
            self.finish(folder, name, entry).map_err(IngestError::io("set attributes of", &at))?;
            if let Some(key) = key {
                self.links.insert(key, at);
            }
        }
        Ok(())
    }

    fn directory(
        &mut self,
        folder: &Folder,
        name: &[u8],
        kid: &Kid,
        path: &[u8],
        depth: usize,
    ) -> Result<(), IngestError> {
        fs::mkdirat(folder, name, Mode::RWXU).map_err(IngestError::io("make", path))?;
        let below = folder.folder(name).map_err(IngestError::io("open", path))?;
        let tree = self.objects.tree(kid).map_err(IngestError::store(path))?;
        self.fill(&below, &tree, path, depth + 1)
    }

    fn leaf(
        &self,
        folder: &Folder,
        name: &[u8],
        entry: &Entry,
        path: &[u8],
    ) -> Result<(), IngestError> {
        let node = |kind, device| {
            let made = fs::mknodat(folder, name, kind, Mode::RUSR | Mode::WUSR, device);
            made.map_err(IngestError::io("make", path))
        };
        match &entry.value {
            Value::File { kid, size } => {
                let file = folder.create(name).map_err(IngestError::io("make", path))?;
                self.copy(kid, *size, file, path)
            }
            Value::Symlink { target } => {
                let made = fs::symlinkat(target.as_slice(), folder, name);
                made.map_err(IngestError::io("make", path))
            }
            Value::Fifo => node(FileType::Fifo, 0),
            Value::Device { block: false, major: 0, minor: 0 } => {
                Err(IngestError::Whiteout { path: show(path) })
            }
            Value::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                node(kind, fs::makedev(*major, *minor))
            }
            // A submodule of git, of which nothing is here: what git leaves of one, too.
            Value::Pointer { kid: None, .. } => {
                fs::mkdirat(folder, name, Mode::RWXU).map_err(IngestError::io("make", path))
            }
            Value::Tree { .. } | Value::Commit { .. } | Value::Pointer { .. } => {
                let reason = "it points to a value that is not here; read it first".to_owned();
                Err(IngestError::Unsupported { path: show(path), reason })
            }
        }
    }

    fn copy(&self, kid: &Kid, size: u64, mut to: File, path: &[u8]) -> Result<(), IngestError> {
        let failed = |source| IngestError::Io { action: "write", path: show(path), source };
        if size <= PIECE as u64 {
            let bytes = self.objects.blob(kid).map_err(IngestError::store(path))?;
            same_size(bytes.len() as u64, size, path)?;
            return to.write_all(&bytes).map_err(failed);
        }
        let mut from = self.objects.open_blob(kid).map_err(IngestError::store(path))?;
        let mut piece = vec![0; PIECE];
        let mut written: u64 = 0;
        loop {
            let mut rest = (&mut from).take(PIECE as u64);
            let len = read_full(&mut rest, &mut piece).map_err(failed)?;
            if len == 0 {
                break;
            }
            written += len as u64;
            same_size(written.min(size), written, path)?;
            if piece[..len].iter().all(|byte| *byte == 0) {
                to.seek(SeekFrom::Current(len as i64)).map_err(failed)?;
            } else {
                to.write_all(&piece[..len]).map_err(failed)?;
            }
        }
        same_size(written, size, path)?;
        to.set_len(size).map_err(failed)
    }

    /// Owner, extended attributes, mode and time, in this order: changing the owner clears set-id
    /// bits and capabilities, and anything changes the time.
    fn finish(&self, folder: &Folder, name: &[u8], entry: &Entry) -> Result<(), Errno> {
        let Attrs { uid, gid, mode, mtime, mtime_nsec, xattrs, .. } = &entry.attrs;
        if self.owned {
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            fs::chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        for (xattr, value) in xattrs {
            folder.set_xattr(name, xattr, value)?;
        }
        let mode = match entry.value {
            Value::Symlink { .. } => None,
            // A commit's entry has the mode of a file; as a directory, it must be entered.
            Value::Commit { .. } => Some(0o755),
            _ => Some(mode & 0o7777),
        };
        if let Some(mode) = mode {
            fs::chmodat(folder, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        let time = Timespec { tv_sec: *mtime, tv_nsec: i64::from(*mtime_nsec) };
        let times = Timestamps { last_access: time, last_modification: time };
        fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn link(&self, folder: &Folder, name: &[u8], first: &[u8]) -> Result<(), Errno> {
        let (parent, last) = match first.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&first[..at], &first[at + 1..]),
            None => (b".".as_slice(), first),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let parent = fs::openat2(self.root, parent, flags, Mode::empty(), beneath)?;
        fs::linkat(&parent, last, folder, name, AtFlags::empty())
    }
}

fn read_full(from: &mut impl Read, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    loop {
        match from.read(&mut piece[len..])? {
            0 => return Ok(len),
            more => len += more,
        }
    }
}

fn same_size(found: u64, expected: u64, path: &[u8]) -> Result<(), IngestError> {
    if found == expected {
        return Ok(());
    }
    let reason =
        format!("its tree says {expected} bytes and its blob has another size; run `keg fsck`");
    Err(IngestError::Unsupported { path: show(path), reason })
}
