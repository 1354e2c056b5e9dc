//! Writing to the log: appending under one lock, syncing for everybody under another.

use std::{
    os::unix::fs::FileExt,
    sync::{MutexGuard, atomic::Ordering},
    time::Instant,
};

use super::{
    Head, Log,
    index::write_new_index,
    lock,
    record::{self, RecordKind},
    segment::{MAGIC, Place, Position, ROLL_AT, Trust, segment_path},
};
use crate::{
    Kid,
    object::{Kind, MAX_OBJECT},
    store::{
        Root, StoreError,
        durable::{Flock, replace_file, sync_dir},
        io,
    },
};

/// Most bytes one append may have: a commit with very many or very large changed trees.
pub(super) const MAX_APPEND: usize = 1 << 30;

/// The right to append: nobody else in any process does meanwhile.
pub(crate) struct Appender<'a> {
    pub(super) log: &'a Log,
    // Dropped in this order: a thread that had the mutex first would find the lock of this
    // process's descriptor held, and lose it a moment later.
    _machine: Flock<'a>,
    _process: MutexGuard<'a, ()>,
}

/// An object on its way into the log.
pub(crate) struct NewObject<'a> {
    pub(crate) kind: Kind,
    pub(crate) kid: Kid,
    pub(crate) bytes: &'a [u8],
}

impl Log {
    /// Waits for the right to append, and follows the log to its very end.
    pub(crate) fn appender(&self) -> Result<Appender<'_>, StoreError> {
        self.check_failed()?;
        let process = lock(&self.appending);
        let machine = Flock::exclusive(&self.lock)?;
        let appender = Appender { log: self, _process: process, _machine: machine };
        appender.catch_up()?;
        Ok(appender)
    }

    /// Makes the log durable up to `wanted`, and everything appended meanwhile by others.
    pub(crate) fn sync_to(&self, wanted: Position) -> Result<(), StoreError> {
        self.check_failed()?;
        if self.head()?.position >= wanted {
            return Ok(());
        }
        let _process = lock(&self.syncing);
        let _machine = Flock::exclusive(&self.sync_lock)?;
        if self.head()?.position >= wanted {
            return Ok(());
        }
        let (file, head) = {
            let appender = self.appender()?;
            let seq = appender.latest().seq;
            let state = self.state();
            (state.tail.file.clone(), Head { position: state.end(), seq })
        };
        if let Err(error) = file.sync_data() {
            // The kernel may have dropped the pages: a second sync would lie.
            self.failed.store(true, Ordering::Relaxed);
            return Err(io("syncing the Keg's log")(error));
        }
        let mut bytes = head.position.to_u64().to_le_bytes().to_vec();
        bytes.extend_from_slice(&head.seq.to_le_bytes());
        self.head.write_all_at(&bytes, 0).map_err(io("writing the Keg's log/HEAD"))
    }
}

impl Appender<'_> {
    /// The newest version, durable or not.
    pub(crate) fn latest(&self) -> Root {
        let state = self.log.state();
        let last = state.tail.roots.last().map(|(root, _)| *root);
        last.unwrap_or(Root { seq: 0, commit: Kid::from_bytes([0; 32]) })
    }

    /// Appends the objects that are not there yet, and the root; returns where they end.
    pub(crate) fn append(
        &self,
        objects: &[NewObject<'_>],
        root: Option<Root>,
    ) -> Result<Position, StoreError> {
        self.write(objects, root, false)
    }

    /// Appends objects whether they are there or not.
    pub(crate) fn append_all(&self, objects: &[NewObject<'_>]) -> Result<Position, StoreError> {
        self.write(objects, None, true)
    }

    fn write(
        &self,
        objects: &[NewObject<'_>],
        root: Option<Root>,
        again: bool,
    ) -> Result<Position, StoreError> {
        self.make_room()?;
        let condemned = self.log.fresh_condemned()?;
        let mut state = self.log.state();
        let (end, segment) = (state.tail.end, state.tail.number);
        let mut bytes = Vec::new();
        let mut places = Vec::new();
        let relied = |new: &&NewObject<'_>| match state.find(&new.kid) {
            Some(place) => !condemned.covers(&new.kid, place.at.segment),
            None => false,
        };
        for new in objects.iter().filter(|new| again || !relied(new)) {
            let at = Position { segment, offset: end + bytes.len() as u32 };
            places.push((new.kid, Place { at, kind: new.kind, len: new.bytes.len() as u32 }));
            record::push_object(&mut bytes, self.log.by, new.kind, &new.kid, new.bytes);
            if bytes.len() > MAX_APPEND || new.bytes.len() > MAX_OBJECT {
                let limit = MAX_APPEND as u64;
                return Err(StoreError::TooBig { bytes: bytes.len() as u64, limit });
            }
        }
        if let Some(root) = root {
            record::push(&mut bytes, RecordKind::Root, &root.commit, &root.seq.to_le_bytes());
        }
        if bytes.is_empty() {
            return Ok(state.end());
        }
        let file = state.tail.file.clone();
        if let Err(error) = file.write_all_at(&bytes, u64::from(end)) {
            // Cut what was written of it; if that fails, the next writer does.
            let _ = file.set_len(u64::from(end));
            return Err(io("appending to the Keg's log")(error));
        }
        let end = end + bytes.len() as u32;
        state.tail.grow(end, places, root.map(|root| (root, end)));
        Ok(state.end())
    }

    /// Begins a new segment if the tail is full.
    pub(super) fn make_room(&self) -> Result<(), StoreError> {
        let full = u64::from(self.log.state().tail.end) >= ROLL_AT;
        if full { self.roll() } else { Ok(()) }
    }

    /// Follows the log to its end; cuts off what a dying process left unfinished there.
    fn catch_up(&self) -> Result<(), StoreError> {
        let head = self.log.head()?.position;
        let mut state = self.log.state();
        self.log.follow(&mut state, head)?;
        let known = state.tail.number;
        while segment_path(&self.log.dir, state.tail.number + 1).exists() {
            self.log.next_segment(&mut state)?;
        }
        if state.tail.number != known {
            // Whoever made it may have died before its name was durable.
            sync_dir(&self.log.dir)?;
        }
        let size = state.tail.size()?;
        if size > state.tail.end {
            state.tail.index(size, Trust::MayBeTorn)?;
            if state.tail.end < size {
                let cut = state.tail.file.set_len(u64::from(state.tail.end));
                cut.map_err(io("cutting an unfinished record off the Keg's log"))?;
            }
        }
        Ok(())
    }

    /// Seals the tail and begins a new segment with the current root. Its index is written from
    /// memory, and made durable later: others wait meanwhile.
    pub(crate) fn roll(&self) -> Result<(), StoreError> {
        let latest = self.latest();
        self.log.settle_sealed(Instant::now());
        let mut state = self.log.state();
        let number = state.tail.number;
        if let Err(error) = state.tail.file.sync_data() {
            self.log.fail();
            return Err(io("syncing a full segment of the Keg's log")(error));
        }
        write_new_index(&self.log.dir, &state.tail)?;
        let mut bytes = MAGIC.to_vec();
        record::push(&mut bytes, RecordKind::Base, &latest.commit, &latest.seq.to_le_bytes());
        replace_file(&segment_path(&self.log.dir, number + 1), &bytes)?;
        *lock(&self.log.unsettled) = Some((number, Instant::now()));
        self.log.next_segment(&mut state)
    }
}
