//! Following a subtree of the namespace: what changed in each version, in order, nothing missed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    Keg,
    gc::floors::Floors,
    inotify::Bell,
    names::{Change, NamesError, Trail, diff},
    path::NamePath,
    store::StoreError,
};

/// Most versions looked at in one call, so that catching up never blocks a service for long.
const VERSIONS_AT_ONCE: u64 = 256;

/// Why a watch cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The version to continue from is not kept (any more), or was never one of this Keg: list
    /// the names again and watch from now.
    #[error("version {since} is not in this Keg, which has {oldest} to {newest}: list again")]
    Compacted {
        /// Asked for.
        since: u64,
        /// The oldest version there is.
        oldest: u64,
        /// The newest.
        newest: u64,
    },
    /// Names could not be read.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The system's notification failed.
    #[error("waiting for changes of the Keg: {0}")]
    Wait(#[source] std::io::Error),
}

impl From<StoreError> for WatchError {
    fn from(error: StoreError) -> Self {
        Self::Names(error.into())
    }
}

/// Tells that the Keg has changed, not how: for those who share a [`Watch`].
#[derive(Clone)]
pub struct Rings(Arc<Bell>);

impl Rings {
    pub(crate) fn new(keg: &Keg) -> Result<Self, WatchError> {
        keg.bell().map(Self).map_err(WatchError::Wait)
    }

    /// How often it was heard so far: ask before looking at the watch.
    pub fn heard(&self) -> u64 {
        self.0.rings()
    }

    /// Waits until it was heard more often. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The system's notification failed.
    pub async fn after(&self, heard: u64) -> Result<(), WatchError> {
        self.0.rung(heard).await.map_err(WatchError::Wait)
    }
}

/// A follower of one path and everything below it.
///
/// Changes are computed by comparing versions, so a watch that was away, or is resumed by another
/// process from [`Watch::seq`], misses nothing. They are leaves: a tree that is new or gone is
/// one change at its path, a tree that differs is descended into, a commit is not.
pub struct Watch {
    keg: Keg,
    path: NamePath,
    /// The version up to which changes have been handed out, and what the path was in it.
    seq: u64,
    now: Trail,
    /// One for all watches of an open Keg: the system allows a user few of them.
    bell: Arc<Bell>,
}

impl Watch {
    pub(crate) fn new(keg: Keg, path: NamePath, since: Option<u64>) -> Result<Self, WatchError> {
        // Before the first look, so that no write can come between.
        let bell = keg.bell().map_err(WatchError::Wait)?;
        let newest = keg.master().latest()?.seq;
        let seq = since.unwrap_or(newest);
        let oldest = Floors::read(keg.home())?.of_subtree(&path);
        if seq > newest || seq < oldest || keg.master().root(seq)?.is_none() {
            return Err(WatchError::Compacted { since: seq, oldest, newest });
        }
        let now = Trail::find(keg.objects(), &path, &keg.version(seq)?.tree, None)?;
        Ok(Self { keg, path, seq, now, bell })
    }

    /// The version up to which changes have been handed out: resume from here.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The path that is followed.
    pub fn path(&self) -> &NamePath {
        &self.path
    }

    /// All changes since the last call, in order; none if there are none. Never waits.
    ///
    /// # Errors
    /// The store's; the next call tries again from the same version. [`WatchError::Compacted`]:
    /// that is not kept any more.
    pub fn try_next(&mut self) -> Result<Vec<Change>, WatchError> {
        loop {
            let newest = self.keg.master().latest()?.seq;
            let until = newest.min(self.seq.saturating_add(VERSIONS_AT_ONCE));
            let mut changes = Vec::new();
            while self.seq < until {
                self.step(&mut changes)?;
                if changes.len() >= VERSIONS_AT_ONCE as usize {
                    return Ok(changes);
                }
            }
            if !changes.is_empty() || self.seq >= newest {
                return Ok(changes);
            }
        }
    }

    /// Waits for changes, at most `timeout`; none if it passes without any. For processes that
    /// have nothing else to do.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>, WatchError> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let heard = self.bell.rings();
            let changes = self.try_next()?;
            let left =
                until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            if !changes.is_empty() || left.is_zero() {
                return Ok(changes);
            }
            self.bell.wait(heard, left).map_err(WatchError::Wait)?;
        }
    }

    /// Waits for changes; never returns none. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Watch::try_next`].
    pub async fn next(&mut self) -> Result<Vec<Change>, WatchError> {
        loop {
            let heard = self.bell.rings();
            let changes = self.try_next()?;
            if !changes.is_empty() {
                return Ok(changes);
            }
            self.bell.rung(heard).await.map_err(WatchError::Wait)?;
        }
    }

    fn step(&mut self, changes: &mut Vec<Change>) -> Result<(), WatchError> {
        self.try_step(changes).or_else(|error| {
            // So slow that history has been let go of meanwhile.
            let oldest = Floors::read(self.keg.home())?.of_subtree(&self.path);
            if self.seq >= oldest {
                return Err(error);
            }
            let newest = self.keg.master().latest()?.seq;
            Err(WatchError::Compacted { since: self.seq, oldest, newest })
        })
    }

    fn try_step(&mut self, changes: &mut Vec<Change>) -> Result<(), WatchError> {
        let seq = self.seq + 1;
        let version = self.keg.version(seq)?;
        let objects = self.keg.objects();
        let now = Trail::find(objects, &self.path, &version.tree, Some(&self.now))?;
        let found = diff(objects, &self.path, self.now.entry.clone(), now.entry.clone())?;
        let commit = version.commit;
        let found = found.into_iter();
        changes.extend(found.map(|(path, old, new)| Change { seq, commit, path, old, new }));
        (self.seq, self.now) = (seq, now);
        Ok(())
    }
}
