//! Leases: values that stay although no name holds them, for as long as somebody works on them.
//!
//! `leases/<name>`: `{"what": "…", "since": 0, "until": 0 | null, "kids": ["K-…"], "sum": "…"}`, times
//! in milliseconds since 1970. Without `until` it lasts as long as its owner, who holds a `flock` on
//! the file, lives; and nothing goes that was condemned after `since`, so that whatever its owner
//! puts or relies upon meanwhile stays.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::{
    Keg, Kid,
    store::{StoreError, durable::sync_dir, io, summed},
    time::now_ms,
};

/// Most leases a collection looks at.
const MAX_LEASES: usize = 100_000;
/// What the names of leases begin with that last until a moment. One of them that cannot be read is
/// damage; one of the others is what a process left that died.
const DATED: &str = "until-";
/// Largest file of a lease in bytes: about 100,000 KIDs.
const MAX_BYTES: u64 = 8 << 20;

/// What to do about a damaged lease.
const DAMAGED: &str = "this lease cannot be read, so nobody knows what it keeps: nothing is \
                       collected until the file is removed, and with it the lease";

/// What a lease says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseInfo {
    /// What it is for, in words.
    pub what: String,
    /// When it began, in milliseconds since 1970.
    pub since: u64,
    /// When it ends, in milliseconds since 1970; `None`: with its owner.
    pub until: Option<u64>,
    /// What it keeps.
    pub kids: Vec<Kid>,
}

/// A lease that lasts until it is dropped, or its process dies.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    /// Locked.
    _file: File,
}

impl Lease {
    /// Keeps these values, and everything that is put or relied upon from now on, until the lease
    /// is dropped: for work that takes longer than the grace period before it commits.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if a value is not here or not whole, or the disk's.
    pub fn hold(keg: &Keg, what: &str, kids: &[Kid]) -> Result<Self, StoreError> {
        let (path, file) = write(keg, what, None, kids)?;
        let lease = Self { path, _file: file };
        retain(keg, kids)?;
        Ok(lease)
    }

    /// Keeps these values until a moment, in milliseconds since 1970, whoever dies meanwhile.
    /// Returns the lease's file: removing it ends the lease.
    ///
    /// # Errors
    /// As [`Lease::hold`].
    pub fn until(
        keg: &Keg,
        what: &str,
        until_ms: u64,
        kids: &[Kid],
    ) -> Result<PathBuf, StoreError> {
        let (path, _) = write(keg, what, Some(until_ms), kids)?;
        retain(keg, kids)?;
        Ok(path)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Without its lock it is over; the next collection removes what stays of it.
        let _ = fs::remove_file(&self.path);
    }
}

/// After the lease is there: what was condemned before it is refreshed.
fn retain(keg: &Keg, kids: &[Kid]) -> Result<(), StoreError> {
    for kid in kids {
        if !keg.objects().retain(kid)? {
            return Err(StoreError::Missing { kid: *kid });
        }
    }
    Ok(())
}

fn write(
    keg: &Keg,
    what: &str,
    until: Option<u64>,
    kids: &[Kid],
) -> Result<(PathBuf, File), StoreError> {
    let dir = keg.home().join("leases");
    let doing = || format!("writing a lease in {}", dir.display());
    fs::create_dir_all(&dir).map_err(io(doing()))?;
    let since = u64::try_from(now_ms()).unwrap_or(0);
    let info = LeaseInfo { what: what.to_owned(), since, until, kids: kids.to_vec() };
    let text = summed::to_text(&info).expect("KIDs and numbers are JSON");
    let made = tempfile::Builder::new().prefix(".new-").tempfile_in(&dir);
    let mut made = made.map_err(io(doing()))?;
    made.write_all(text.as_bytes()).map_err(io(doing()))?;
    if until.is_some() {
        made.as_file().sync_all().map_err(io(doing()))?;
    } else {
        // Locked before it has a name that anybody looks at.
        rustix::fs::flock(made.as_file(), FlockOperation::LockExclusive).map_err(io(doing()))?;
    }
    let unique = made.path().file_name().unwrap_or_default().to_string_lossy();
    let kind = if until.is_some() { DATED } else { "" };
    let path = dir.join(format!("{kind}{}", unique.trim_start_matches(".new-")));
    let file = made.persist(&path).map_err(|error| io(doing())(error.error))?;
    if until.is_some() {
        sync_dir(&dir)?;
        sync_dir(keg.home())?;
    }
    Ok((path, file))
}

/// The leases there are. What is left of those that are over is removed if `tidy`.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn leases(home: &Path, tidy: bool) -> Result<Vec<LeaseInfo>, StoreError> {
    let dir = home.join("leases");
    let list = match fs::read_dir(&dir) {
        Ok(list) => list,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(format_args!("listing {}", dir.display()))(error)),
    };
    let mut found = Vec::new();
    for entry in list.take(MAX_LEASES) {
        let entry = entry.map_err(io(format_args!("listing {}", dir.display())))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        match read(&file) {
            Some(info) if is_live(&file, &info) => found.push(info),
            None if is_dated(&entry.file_name()) => {
                let place = format!("leases/{}", entry.file_name().to_string_lossy());
                return Err(StoreError::Log { place, what: DAMAGED.to_owned() });
            }
            // Whatever its owner relies on is not told any more: nothing goes.
            None if is_locked(&file) => found.push(LeaseInfo {
                what: "a lease that cannot be read".to_owned(),
                since: 0,
                until: None,
                kids: Vec::new(),
            }),
            _ if tidy => {
                let _ = fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Leases until a moment that cannot be read, and what that means.
pub(crate) fn damaged_leases(home: &Path) -> Result<Vec<(String, String)>, StoreError> {
    match leases(home, false) {
        Err(StoreError::Log { place, what }) => Ok(vec![(place, what)]),
        other => other.map(|_| Vec::new()),
    }
}

fn is_dated(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(DATED.as_bytes())
}

/// Whether somebody has a lock on it.
pub(super) fn is_locked(file: &File) -> bool {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_err()
}

pub(super) fn read(file: &File) -> Option<LeaseInfo> {
    let mut text = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut text).ok()?;
    summed::from_text(&text).ok()
}

fn is_live(file: &File, info: &LeaseInfo) -> bool {
    match info.until {
        Some(until) => until > u64::try_from(now_ms()).unwrap_or(0),
        None => is_locked(file),
    }
}
