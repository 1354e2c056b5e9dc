//! Adding many versions at once: what a clone has brought.

use super::{Advance, FileStore, Master, Objects, Root, log::NewObject};
use crate::{Kid, names::CommitError};

/// Adds versions one by one, for stores that know no better way.
pub(super) fn one_by_one(
    store: &(impl Master + ?Sized),
    from: &Kid,
    commits: &[Kid],
) -> Result<Root, CommitError> {
    let mut before = *from;
    let mut newest = store.latest()?;
    for next in commits {
        newest = store.advance(&mut |objects, latest: Root| {
            if latest.commit != before {
                return Ok(None);
            }
            Ok(Some(Advance { objects: vec![objects.get(next)?], commit: *next }))
        })?;
        if newest.commit != *next {
            break;
        }
        before = *next;
    }
    Ok(newest)
}

impl FileStore {
    /// Adds versions with one sync for all of them. A crash leaves some of the first.
    pub(super) fn extend_log(&self, from: &Kid, commits: &[Kid]) -> Result<Root, CommitError> {
        self.check_writable()?;
        self.publish()?;
        let (newest, end) = {
            let appender = self.log().appender()?;
            let (mut newest, mut end) = (appender.latest(), self.log().known_end());
            let expected = newest.commit == *from;
            for commit in commits.iter().filter(|_| expected) {
                let object = self.get(commit)?;
                newest = Root { seq: newest.seq + 1, commit: *commit };
                end = appender.append(&[NewObject::from(&object)], Some(newest))?;
            }
            (newest, end)
        };
        self.log().sync_to(end)?;
        Ok(newest)
    }
}
