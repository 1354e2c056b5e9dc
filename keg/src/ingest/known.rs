//! The stat cache: which blob a file was, as long as its inode says that it has not changed.
//!
//! A file is taken for unchanged if device, inode, size, modification and change time are those it
//! had when it was read. The change time cannot be set by programs, but it has a grain: a file
//! written twice within a grain looks the same. So a file that changed shortly before it was read
//! is not remembered ("racily clean" in git's `Documentation/technical/racy-git.txt`).
//!
//! The file is derived: one that is missing, damaged or of another format counts as empty.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use super::{MAX_ENTRIES, at::Meta};
use crate::{Kid, time::now_ms};

/// First bytes of the file: what it is, and its format.
const MAGIC: &[u8; 8] = b"kegstat2";
/// Device, inode, size, times of modification and change as (seconds, nanoseconds), KID, and 1 if
/// the file has no extended attributes.
const RECORD: usize = 3 * 8 + 2 * (8 + 4) + 32 + 1;
/// Bytes of the BLAKE3 over all that is before it.
const SUM: usize = 32;
/// A file must have been left alone for so long to be remembered: longer than the grain of the
/// clock that file systems use (a jiffy, at most 10 ms).
const GRAIN_MS: i64 = 20;

/// What is remembered of one file, besides its inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
    kid: Kid,
    /// It has no extended attributes that a tree keeps. They come and go with the change time.
    plain: bool,
}

/// Files read by earlier ingests, and by this one.
#[derive(Default)]
pub struct KnownFiles {
    before: HashMap<(u64, u64), Known>,
    /// Those seen by this ingest: the others are forgotten when it is saved.
    seen: RefCell<HashMap<(u64, u64), Known>>,
}

impl KnownFiles {
    /// Reads what [`KnownFiles::save`] wrote.
    pub fn load(path: &Path) -> Self {
        let before = read(path).and_then(|bytes| parse(&bytes)).unwrap_or_default();
        Self { before, seen: RefCell::default() }
    }

    /// Writes what this ingest saw, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let seen = self.seen.borrow();
        let mut bytes = Vec::with_capacity(MAGIC.len() + seen.len() * RECORD + SUM);
        bytes.extend_from_slice(MAGIC);
        for ((device, inode), known) in seen.iter() {
            for number in [*device, *inode, known.size] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for (seconds, nanoseconds) in [known.mtime, known.ctime] {
                bytes.extend_from_slice(&seconds.to_le_bytes());
                bytes.extend_from_slice(&nanoseconds.to_le_bytes());
            }
            bytes.extend_from_slice(known.kid.as_bytes());
            bytes.push(u8::from(known.plain));
        }
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        let dir = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        let mut draft = tempfile::NamedTempFile::new_in(dir)?;
        draft.write_all(&bytes)?;
        draft.persist(path)?;
        Ok(())
    }

    /// How many files earlier ingests remember.
    pub(super) fn len(&self) -> usize {
        self.before.len()
    }

    /// Files of this ingest that were not read again.
    pub fn reused(&self) -> usize {
        let seen = self.seen.borrow();
        seen.iter().filter(|(inode, known)| self.before.get(inode) == Some(known)).count()
    }

    /// Its blob, and whether it has no extended attributes.
    pub(super) fn find(&self, meta: &Meta) -> Option<(Kid, bool)> {
        let same = |known: &&Known| **known == of(meta, known.kid, known.plain);
        let known = self.before.get(&meta.inode).filter(same)?;
        self.seen.borrow_mut().insert(meta.inode, *known);
        Some((known.kid, known.plain))
    }

    pub(super) fn note(&self, meta: &Meta, kid: Kid, plain: bool) {
        let known = of(meta, kid, plain);
        let changed_ms = known.ctime.0.saturating_mul(1000) + i64::from(known.ctime.1 / 1_000_000);
        if now_ms() - changed_ms > GRAIN_MS {
            self.seen.borrow_mut().insert(meta.inode, known);
        }
    }
}

fn of(meta: &Meta, kid: Kid, plain: bool) -> Known {
    Known {
        size: meta.size,
        mtime: (meta.mtime, meta.mtime_nsec),
        // Below 1e9 by POSIX.
        ctime: (meta.ctime.0, meta.ctime.1 as u32),
        kid,
        plain,
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = MAX_ENTRIES * RECORD as u64;
    File::open(path).ok()?.take(limit).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn parse(bytes: &[u8]) -> Option<HashMap<(u64, u64), Known>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    if blake3::hash(body).as_bytes() != sum {
        return None;
    }
    let records = body.strip_prefix(MAGIC)?.chunks_exact(RECORD);
    if !records.remainder().is_empty() {
        return None;
    }
    records.map(record).collect()
}

fn record(bytes: &[u8]) -> Option<((u64, u64), Known)> {
    let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let time = |at: usize| Some((long(at)?.cast_signed(), short(at + 8)?));
    let kid = Kid::from_bytes(bytes.get(48..80)?.try_into().ok()?);
    let plain = bytes.get(80)? == &1;
    let known = Known { size: long(16)?, mtime: time(24)?, ctime: time(36)?, kid, plain };
    Some(((long(0)?, long(8)?), known))
}
