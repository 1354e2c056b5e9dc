//! The condemned: objects that a mark has not reached, and since when (`docs/store.md`, "Garbage").
//!
//! `gc/condemned`: `magic 8 | generation u64 | upto u32 | count u32 | count × (KID 32, since u64) |
//! BLAKE3 of all before, 32`, ascending by KID; `since` in milliseconds since 1970. Replaced by
//! rename. Whoever is about to rely on an object that is there already looks here first, and
//! refreshes it if it is listed: a small one is appended again, a large one gets a new time.

use std::{
    fs::{File, FileTimes},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use memmap2::Mmap;
use rustix::fs::FlockOperation;

use super::{
    StoreError,
    durable::{lock_file, replace_file},
    io,
};
use crate::{
    Kid,
    decoders::{Decoded, Decoder, LITTLE, seal_end},
};

const MAGIC: &[u8; 8] = b"keg-cnd\n";
const ROWS_AT: usize = 24;
const ROW: usize = 32 + 8;
const SUM: usize = 32;

/// What is condemned, as last published.
pub(crate) enum Table {
    /// Nothing was ever condemned.
    Empty,
    /// As the file says.
    Read(Listed),
    /// The file is damaged: everything may be condemned, so whoever relies refreshes.
    Unreadable,
}

/// The file, mapped.
pub(crate) struct Listed {
    map: Mmap,
    generation: u64,
    upto: u32,
    count: usize,
}

impl Table {
    /// Changes whenever segments of the log have been rewritten.
    pub(crate) fn generation(&self) -> u64 {
        match self {
            Self::Read(listed) => listed.generation,
            Self::Empty | Self::Unreadable => 0,
        }
    }

    /// Since when an object is condemned, in milliseconds since 1970.
    pub(crate) fn since(&self, kid: &Kid) -> Option<u64> {
        match self {
            Self::Empty => None,
            Self::Read(listed) => listed.since(kid),
            Self::Unreadable => Some(0),
        }
    }

    /// Whether the copy of a small object in this segment of the log is: later ones are not.
    pub(crate) fn covers(&self, kid: &Kid, segment: u32) -> bool {
        match self {
            Self::Empty => false,
            Self::Read(listed) => segment <= listed.upto && listed.since(kid).is_some(),
            Self::Unreadable => true,
        }
    }

    /// The newest segment that was looked at.
    pub(crate) fn upto(&self) -> u32 {
        match self {
            Self::Read(listed) => listed.upto,
            Self::Empty | Self::Unreadable => 0,
        }
    }
}

impl Listed {
    fn parse(map: Mmap) -> Option<Self> {
        let count = u32::from_le_bytes(*map.get(20..)?.first_chunk()?) as usize;
        if map.len() != ROWS_AT + count.checked_mul(ROW)? + SUM || !map.starts_with(MAGIC) {
            return None;
        }
        let (body, sum) = map.split_at(map.len() - SUM);
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let generation = u64::from_le_bytes(*map[8..].first_chunk()?);
        let upto = u32::from_le_bytes(*map[16..].first_chunk()?);
        Some(Self { map, generation, upto, count })
    }

    /// All that is listed, ascending.
    pub(crate) fn rows(&self) -> Vec<(Kid, u64)> {
        let rows = self.map[ROWS_AT..].chunks_exact(ROW).take(self.count);
        let row = |row: &[u8]| {
            let kid = Kid::from_bytes(*row.first_chunk()?);
            Some((kid, u64::from_le_bytes(*row[32..].first_chunk()?)))
        };
        rows.filter_map(row).collect()
    }

    fn since(&self, kid: &Kid) -> Option<u64> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let row = &self.map[ROWS_AT + middle * ROW..];
            match row[..32].cmp(kid.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return Some(u64::from_le_bytes(*row[32..].first_chunk()?));
                }
            }
        }
        None
    }
}

/// Reads the file (see [`crate::decoders`]).
pub(crate) const DECODER: Decoder =
    Decoder { name: "condemned", decode, seal: seal_end, memory: LITTLE };

fn decode(bytes: &[u8]) -> Decoded {
    let file = crate::decoders::file_of(bytes);
    // SAFETY: nobody else has the file.
    let map = unsafe { Mmap::map(&file) };
    let Some(listed) = map.ok().and_then(Listed::parse) else { return Decoded::Refused };
    let rows = (0..listed.count).filter_map(|row| listed.map[ROWS_AT + row * ROW..].first_chunk());
    // A file that is not sorted may not find what it lists; looking for it ends all the same.
    let found = rows.filter(|kid| listed.since(&Kid::from_bytes(**kid)).is_some()).count();
    assert!(found <= listed.count);
    Decoded::Read
}

/// Inode, size, and time of last change in seconds and nanoseconds.
type FileId = (u64, u64, i64, i64);

/// The file as one process sees it: looked at again whenever it matters.
pub(crate) struct Condemned {
    path: PathBuf,
    known: Mutex<(Option<FileId>, Arc<Table>)>,
}

impl Condemned {
    pub(crate) fn new(home: &Path) -> Self {
        let known = Mutex::new((None, Arc::new(Table::Empty)));
        Self { path: home.join("gc/condemned"), known }
    }

    /// What is condemned at this moment: one `stat` unless it has changed.
    pub(crate) fn current(&self) -> Result<Arc<Table>, StoreError> {
        let what = || format!("reading {}", self.path.display());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match std::fs::metadata(&self.path) {
            Ok(meta) => Some(id_of(&meta)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(what())(error)),
        };
        if known.0 != id {
            *known = match id {
                None => (None, Arc::new(Table::Empty)),
                Some(_) => {
                    let file = File::open(&self.path).map_err(io(what()))?;
                    let id = id_of(&file.metadata().map_err(io(what()))?);
                    // SAFETY: the file is replaced by rename, never changed.
                    let map = unsafe { Mmap::map(&file) }.map_err(io(what()))?;
                    let table = Listed::parse(map).map_or(Table::Unreadable, Table::Read);
                    (Some(id), Arc::new(table))
                }
            };
        }
        Ok(known.1.clone())
    }

    /// Publishes what is condemned from now on. `rows` ascend by KID.
    pub(crate) fn publish(
        &self,
        generation: u64,
        upto: u32,
        rows: &[(Kid, u64)],
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(ROWS_AT + rows.len() * ROW + SUM);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&upto.to_le_bytes());
        bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        for (kid, since) in rows {
            bytes.extend_from_slice(kid.as_bytes());
            bytes.extend_from_slice(&since.to_le_bytes());
        }
        let sum = blake3::hash(&bytes);
        bytes.extend_from_slice(sum.as_bytes());
        replace_file(&self.path, &bytes)
    }
}

fn id_of(meta: &std::fs::Metadata) -> FileId {
    (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec())
}

/// Keeps sweeping and refreshing apart: `gc/sweep`, held shared for one refresh or exclusively for
/// one batch of renames into the trash.
pub(crate) struct SweepLock(File);

impl SweepLock {
    /// Nothing moves into the trash meanwhile. `None`: this Keg was never collected.
    pub(crate) fn shared(home: &Path) -> Result<Option<Self>, StoreError> {
        match File::open(home.join("gc/sweep")) {
            Ok(file) => Self::take(file, FlockOperation::LockShared).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("opening gc/sweep")(error)),
        }
    }

    /// Nothing is refreshed meanwhile.
    pub(crate) fn exclusive(home: &Path) -> Result<Self, StoreError> {
        Self::take(lock_file(&home.join("gc/sweep"))?, FlockOperation::LockExclusive)
    }

    fn take(file: File, operation: FlockOperation) -> Result<Self, StoreError> {
        loop {
            match rustix::fs::flock(&file, operation) {
                Ok(()) => return Ok(Self(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io("locking gc/sweep")(error)),
            }
        }
    }
}

impl Drop for SweepLock {
    fn drop(&mut self) {
        // The lock goes with the descriptor in any case.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Gives a large object's file a time not before `since` (milliseconds since 1970), so that it is
/// not swept. `false`: it is not there (any more).
pub(crate) fn refresh(home: &Path, path: &Path, since: u64) -> Result<bool, StoreError> {
    let _still = SweepLock::shared(home)?;
    let what = || format!("keeping {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io(what())(error)),
    };
    let least = SystemTime::UNIX_EPOCH + Duration::from_millis(since);
    let time = FileTimes::new().set_modified(SystemTime::now().max(least));
    file.set_times(time).map_err(io(what()))?;
    Ok(true)
}
