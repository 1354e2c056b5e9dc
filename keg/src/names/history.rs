//! The versions in which a name changed.

use super::{Change, NamesError};
use crate::{Keg, object::Entry, path::NamePath};

/// Versions in which a path changed, newest first. A version is compared with the one before it,
/// so the first version has nothing to differ from and never appears.
pub struct History {
    keg: Keg,
    path: NamePath,
    /// The version to look at next, and what the path was in it; `None`: not looked up yet.
    next: Option<u64>,
    now: Option<Option<Entry>>,
    failed: bool,
}

impl History {
    pub(crate) fn new(keg: Keg, path: NamePath) -> Self {
        Self { keg, path, next: None, now: None, failed: false }
    }

    fn entry(&self, seq: u64) -> Result<Option<Entry>, NamesError> {
        let version = self.keg.version(seq)?;
        self.keg.get_at(&self.path, &version)
    }

    fn step(&mut self) -> Result<Option<Change>, NamesError> {
        loop {
            let seq = match self.next {
                Some(next) => next,
                None => self.keg.master().latest()?.seq,
            };
            if seq == 0 {
                return Ok(None);
            }
            let new = match self.now.take() {
                Some(new) => new,
                None => self.entry(seq)?,
            };
            let old = self.entry(seq - 1)?;
            self.next = Some(seq - 1);
            self.now = Some(old.clone());
            if old != new {
                let commit = self.keg.version(seq)?.commit;
                return Ok(Some(Change { seq, commit, path: self.path.clone(), old, new }));
            }
        }
    }
}

impl Iterator for History {
    type Item = Result<Change, NamesError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}
