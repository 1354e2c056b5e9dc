//! Where working copies are, and their directories.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, Timespec, Timestamps, Uid, flock};

use super::WorkingError;
use crate::Keg;
use crate::mount::table;
use crate::object::Attrs;

/// Most working copies of a Keg that are looked at.
const MAX_COPIES: usize = 10_000;

fn root_of(keg: &Keg) -> PathBuf {
    keg.home().join("work")
}

pub(super) fn directory_of(keg: &Keg, target: &Path) -> PathBuf {
    let name = blake3::hash(target.as_os_str().as_encoded_bytes()).to_hex();
    root_of(keg).join(&name[..16])
}

pub(super) fn directories(keg: &Keg) -> Result<Vec<PathBuf>, WorkingError> {
    directories_below(&root_of(keg))
}

pub(super) fn directories_below(root: &Path) -> Result<Vec<PathBuf>, WorkingError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", root)(error)),
    };
    let paths =
        entries.take(MAX_COPIES).map(|entry| Ok(entry.map_err(failed("list", root))?.path()));
    let dirs: Result<Vec<PathBuf>, WorkingError> = paths.collect();
    Ok(dirs?.into_iter().filter(|path| path.is_dir()).collect())
}

/// Held while copies come and go, so that no sweep meets a half-made one.
pub(super) fn lock(keg: &Keg) -> Result<File, WorkingError> {
    let root = root_of(keg);
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(&root);
    made.map_err(failed("make", &root))?;
    let path = root.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.map_err(failed("open", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| failed("lock", &path)(e.into()))?;
    Ok(file)
}

pub(super) fn remove(dir: &Path) -> Result<(), WorkingError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(error)),
        _ => Ok(()),
    }
}

pub(super) fn is_empty(dir: &Path) -> bool {
    !fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
}

/// The path of a directory where nothing of a Keg is mounted yet.
pub(in crate::mount) fn mount_point(target: &Path) -> Result<PathBuf, WorkingError> {
    let refuse = |reason: String| WorkingError::Target { target: target.to_owned(), reason };
    let path = target.canonicalize().map_err(|error| refuse(error.to_string()))?;
    if !path.is_dir() {
        return Err(refuse("it is not a directory".to_owned()));
    }
    if path.to_str().is_none() {
        return Err(refuse("its path is not UTF-8".to_owned()));
    }
    if table::keg_mount(&path)? {
        return Err(refuse("something of a Keg is mounted there".to_owned()));
    }
    Ok(path)
}

/// Gives the root of a mount the attributes that its entry has in the namespace.
pub(super) fn set_root(upper: &Path, attrs: &Attrs) -> Result<(), WorkingError> {
    let set = || {
        let (uid, gid) = (Uid::from_raw(attrs.uid), Gid::from_raw(attrs.gid));
        rustix::fs::chown(upper, Some(uid), Some(gid))?;
        rustix::fs::chmod(upper, Mode::from_raw_mode(attrs.mode))?;
        let time = Timespec { tv_sec: attrs.mtime, tv_nsec: i64::from(attrs.mtime_nsec) };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, upper, &times, AtFlags::SYMLINK_NOFOLLOW)
    };
    set().map_err(|errno| failed("set up", upper)(errno.into()))
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WorkingError {
    move |source| WorkingError::Io { action, path: path.to_owned(), source }
}

pub(super) mod path_text {
    //! A path as JSON text.

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::NamePath;

    pub fn serialize<S: Serializer>(path: &NamePath, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(path.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<NamePath, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
