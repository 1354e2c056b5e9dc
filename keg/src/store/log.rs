//! The log: one append-only sequence of records in segments, shared by many processes.
//!
//! It holds every small object and every move of the namespace's root; the bytes, the locks and
//! what happens after a crash are in `docs/store.md`, "The log".
//!
//! ```text
//! log/00000001.seg  sealed: synced, indexed by 00000001.idx (00000001.idx-new: soon to be)
//! log/00000002.seg  the tail: appended to under log/lock, indexed in memory by each process
//! log/HEAD          how far the log is durable; readers believe no record beyond it
//! log/synclock      who syncs; the others wait and find their records synced
//! ```

mod append;
mod audit;
mod compact;
pub(crate) mod decoders;
mod index;
mod moves;
mod record;
mod recover;
mod reload;
mod runs;
mod segment;
mod tail;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Root, StoreError,
    condemned::Condemned,
    durable::{lock_file, replace_file},
    io,
};
use crate::{Kid, kid::KidPrefix};

pub(crate) use append::{Appender, NewObject};
pub(crate) use compact::Rewrite;
use index::{SealedIndex, settle_index};
pub(crate) use index::{read_swept, swept_objects};
pub(crate) use moves::Move;
pub(crate) use record::{Check, FEATURE};
use record::{OVERHEAD, Record, RecordKind};
use segment::{MAGIC, Trust, segment_path, segments};
pub(crate) use segment::{Place, Position};
use tail::{State, Tail};

/// How many sealed segments are kept open for reading.
const OPEN_SEGMENTS: usize = 8;

/// How long the disk has for a new index before it is synced: then there is nothing to wait for.
const SETTLE_AFTER: Duration = Duration::from_millis(50);

/// The log of one Keg, as one process sees it.
pub(crate) struct Log {
    dir: PathBuf,
    lock: File,
    sync_lock: File,
    head: File,
    head_path: PathBuf,
    /// `flock` does not keep apart what shares a descriptor: these do, within the process.
    appending: Mutex<()>,
    syncing: Mutex<()>,
    state: Mutex<State>,
    condemned: Condemned,
    /// How records of objects are checked that are written here.
    by: Check,
    failed: AtomicBool,
    /// A segment that this process has sealed and whose index is not durable, and since when.
    unsettled: Mutex<Option<(u32, Instant)>>,
}

/// What `log/HEAD` says: durable up to here, with this many versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Head {
    pub(crate) position: Position,
    pub(crate) seq: u64,
}

impl Log {
    /// Makes the log of a new Keg: its first segment, with version 0 and its objects. One that is
    /// there already (a creation that was interrupted) is kept.
    pub(crate) fn create(dir: &Path, root: Root, objects: &[NewObject]) -> Result<(), StoreError> {
        if segments(dir)?.is_empty() {
            let mut bytes = MAGIC.to_vec();
            record::push(&mut bytes, RecordKind::Base, &root.commit, &root.seq.to_le_bytes());
            for new in objects {
                record::push(&mut bytes, RecordKind::Object(new.kind), &new.kid, new.bytes);
            }
            replace_file(&segment_path(dir, 1), &bytes)?;
        }
        if !dir.join("HEAD").exists() {
            replace_file(&dir.join("HEAD"), &[0; 16])?;
        }
        Ok(())
    }

    /// Opens the log, and makes durable what an interrupted process left whole beyond the head.
    pub(crate) fn open(dir: &Path, by: Check) -> Result<Self, StoreError> {
        let damaged = |what: &str| StoreError::Log {
            place: dir.display().to_string(),
            what: what.to_owned(),
        };
        if segments(dir)?.is_empty() {
            return Err(damaged("it has no segments"));
        }
        let condemned = Condemned::new(dir.parent().unwrap_or(dir));
        let generation = condemned.current()?.generation();
        let (sealed, tail) = reload::load(dir, None)?;
        let tail = tail.ok_or_else(|| damaged("it has no tail"))?;
        let newest = tail.number;
        let state = State { sealed, tail, open: Vec::new(), generation };
        let head_path = dir.join("HEAD");
        let head = lock_file(&head_path)?;
        let log = Self {
            dir: dir.to_owned(),
            lock: lock_file(&dir.join("lock"))?,
            sync_lock: lock_file(&dir.join("synclock"))?,
            head,
            head_path,
            appending: Mutex::default(),
            syncing: Mutex::default(),
            state: Mutex::new(state),
            condemned,
            by,
            failed: AtomicBool::new(false),
            unsettled: Mutex::default(),
        };
        log.recover(newest)?;
        Ok(log)
    }

    /// The file that is written to when the log has grown durably.
    pub(crate) fn head_path(&self) -> &Path {
        &self.head_path
    }

    /// What `log/HEAD` says; zeros if it was lost.
    pub(crate) fn head(&self) -> Result<Head, StoreError> {
        let mut bytes = [0; 16];
        match self.head.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Err(io("reading the Keg's log/HEAD")(error)),
        }
        let half =
            |at: usize| bytes[at..].first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
        Ok(Head { position: Position::from_u64(half(0)), seq: half(8) })
    }

    /// The newest durable version.
    pub(crate) fn latest(&self) -> Result<Root, StoreError> {
        let head = self.head()?;
        let mut state = self.state();
        self.follow(&mut state, head.position)?;
        let visible =
            |end: u32| Position { segment: state.tail.number, offset: end } <= head.position;
        // Whatever is before the tail is durable, so the tail's base is.
        let base = state.tail.roots.first();
        let newest = state.tail.roots.iter().rev().find(|(_, end)| visible(*end)).or(base);
        match newest {
            Some((root, _)) if root.seq >= head.seq => Ok(*root),
            _ => Err(StoreError::Log {
                place: head.position.to_string(),
                what: format!("the record of version {} is not there", head.seq),
            }),
        }
    }

    /// Version `seq`, if it is in the log as far as this process has followed it.
    pub(crate) fn root(&self, seq: u64) -> Option<Root> {
        let state = self.state();
        let roots = &state.tail.roots;
        if let Ok(index) = roots.binary_search_by_key(&seq, |(root, _)| root.seq) {
            return Some(roots[index].0);
        }
        state.sealed.iter().rev().find_map(|sealed| sealed.root(seq))
    }

    /// Where an object is; `None`: not in the log.
    pub(crate) fn find(&self, kid: &Kid) -> Result<Option<Place>, StoreError> {
        let mut state = self.state();
        if let Some(place) = state.find(kid) {
            return Ok(Some(place));
        }
        let head = self.head()?.position;
        if head <= state.end() {
            return Ok(None);
        }
        self.follow(&mut state, head)?;
        Ok(state.find(kid))
    }

    /// The bytes of an object, as they are: the caller checks them against the KID.
    pub(crate) fn read(&self, kid: &Kid, place: &Place) -> Result<Vec<u8>, StoreError> {
        let file = self.segment_file(place.at.segment)?;
        let mut bytes = vec![0; place.len as usize + OVERHEAD];
        match file.read_exact_at(&mut bytes, u64::from(place.at.offset)) {
            // Another file of that number: rewritten, and shorter.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                let what = format!("the log ends before {}", place.at);
                return Err(StoreError::Corrupt { kid: *kid, what });
            }
            read => read.map_err(io(format_args!("reading {kid} from the log at {}", place.at)))?,
        }
        let record = Record::parse(&bytes)
            .filter(|record| record.kid == *kid && record.kind == RecordKind::Object(place.kind));
        if record.is_none_or(|record| record.payload.len() != place.len as usize) {
            let what = format!("the log at {} holds something else", place.at);
            return Err(StoreError::Corrupt { kid: *kid, what });
        }
        bytes.truncate(bytes.len() - record::CHECK);
        bytes.drain(..record::HEADER);
        Ok(bytes)
    }

    /// KIDs that start with a prefix, unsorted.
    pub(crate) fn candidates(&self, prefix: &KidPrefix, found: &mut Vec<Kid>, limit: usize) {
        let state = self.state();
        for sealed in &state.sealed {
            sealed.candidates(prefix, found, limit);
        }
        let tail = state.tail.objects.keys().filter(|kid| prefix.matches(kid));
        found.extend(tail.take(limit));
    }

    /// Up to where this process knows the log, durable or not.
    pub(crate) fn known_end(&self) -> Position {
        self.state().end()
    }

    /// Refuses all further writes of this process.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    fn with_index(&self, segment: u32, visit: &mut dyn FnMut(&SealedIndex)) {
        self.state().sealed.iter().filter(|sealed| sealed.segment == segment).for_each(visit);
    }

    fn segment_file(&self, number: u32) -> Result<Arc<File>, StoreError> {
        let mut state = self.state();
        if number == state.tail.number {
            return Ok(state.tail.file.clone());
        }
        if let Some((_, file)) = state.open.iter().find(|(open, _)| *open == number) {
            return Ok(file.clone());
        }
        let path = segment_path(&self.dir, number);
        let file = File::open(&path).map_err(io(format_args!("opening {}", path.display())))?;
        if state.open.len() == OPEN_SEGMENTS {
            state.open.remove(0);
        }
        let file = Arc::new(file);
        state.open.push((number, file.clone()));
        Ok(file)
    }

    /// Indexes the log up to `to`, which was durable, so all of it was once whole.
    fn follow(&self, state: &mut State, to: Position) -> Result<(), StoreError> {
        while state.tail.number < to.segment {
            if let Err(error) = self.next_segment(state) {
                // A segment in between has been rewritten into a later one.
                let gone = reload::is_gone(&error);
                if !gone {
                    return Err(error);
                }
                self.reload(state)?;
            }
        }
        if state.tail.number == to.segment {
            state.tail.index(to.offset, Trust::Whole)?;
        }
        Ok(())
    }

    fn next_segment(&self, state: &mut State) -> Result<(), StoreError> {
        let number = state.tail.number;
        let sealed = SealedIndex::open_new(&self.dir, number)?;
        let tail = Tail::open(&self.dir, number + 1)?;
        state.tail.give_way(tail);
        state.sealed.push(sealed);
        Ok(())
    }

    /// Makes the index of a segment durable that this process has sealed before a moment. If that
    /// fails, who opens the Keg next makes it.
    fn settle_sealed(&self, before: Instant) {
        let due = lock(&self.unsettled).take_if(|(_, since)| *since <= before);
        if let Some((segment, _)) = due {
            let _ = settle_index(&self.dir, segment);
        }
    }

    /// The same, if it was some time ago.
    pub(crate) fn settle_old(&self) {
        if let Some(then) = Instant::now().checked_sub(SETTLE_AFTER) {
            self.settle_sealed(then);
        }
    }

    fn check_failed(&self) -> Result<(), StoreError> {
        if self.failed.load(Ordering::Relaxed) { Err(StoreError::Poisoned) } else { Ok(()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.settle_sealed(Instant::now());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
