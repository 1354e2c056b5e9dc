//! The versions in which a name changed.

use super::{Change, NamesError, Trail};
use crate::{Keg, path::NamePath};

/// Versions in which a path changed, newest first. A version is compared with the one before it,
/// so the first version has nothing to differ from and never appears.
pub struct History {
    keg: Keg,
    path: NamePath,
    /// The version to look at next, and what the path was in it; `None`: not looked up yet.
    next: Option<u64>,
    now: Option<Trail>,
    /// The oldest version that keeps the path; `None`: not looked up yet.
    oldest: Option<u64>,
    failed: bool,
}

impl History {
    pub(crate) fn new(keg: Keg, path: NamePath) -> Self {
        Self { keg, path, next: None, now: None, oldest: None, failed: false }
    }

    /// The same from version `seq` back: what is later is left out.
    #[must_use]
    pub fn up_to(self, seq: u64) -> Self {
        Self { next: Some(seq), now: None, ..self }
    }

    /// After the last version was handed out: the oldest version that keeps the path, if there
    /// were older ones that the policy for history has let go of. What the path is in that version
    /// may be older still.
    pub fn compacted(&self) -> Option<u64> {
        self.oldest.filter(|oldest| *oldest > 0 && self.next == Some(*oldest))
    }

    fn step(&mut self) -> Result<Option<Change>, NamesError> {
        loop {
            let seq = match self.next {
                Some(next) => next,
                None => self.keg.master().latest()?.seq,
            };
            let oldest = match self.oldest {
                Some(oldest) => oldest,
                None => *self.oldest.insert(self.keg.oldest(&self.path)?),
            };
            if seq <= oldest {
                self.next = Some(oldest);
                return Ok(None);
            }
            let find = |seq: u64, known: Option<&Trail>| {
                let tree = self.keg.version(seq)?.tree;
                Ok::<_, NamesError>(Trail::find(self.keg.objects(), &self.path, &tree, known)?)
            };
            let new = match self.now.take() {
                Some(new) => new,
                None => find(seq, None)?,
            };
            let old = find(seq - 1, Some(&new))?;
            self.next = Some(seq - 1);
            let changed = old.entry != new.entry;
            let before = old.entry.clone();
            self.now = Some(old);
            if changed {
                let commit = self.keg.version(seq)?.commit;
                let path = self.path.clone();
                return Ok(Some(Change { seq, commit, path, old: before, new: new.entry }));
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
