//! What a mark did not reach, and since when.

use std::{fs, os::unix::fs::MetadataExt};

use super::{Amount, Report, kids::KidMap, mark::Marks};
use crate::{
    Kid,
    store::{FileStore, StoreError, io},
    time::now_ms,
};

/// One object that nothing needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unneeded {
    pub(super) bytes: u64,
    /// A file of its own, not in the log.
    pub(super) large: bool,
    /// Since when it is condemned, in milliseconds since 1970.
    pub(super) since: u64,
}

/// All that is not needed.
pub(super) struct Garbage {
    pub(super) unneeded: KidMap<Unneeded>,
    /// The newest segment of the log that was looked at.
    pub(super) upto: u32,
    generation: u64,
}

impl Garbage {
    /// Everything in sealed segments and in `objects/` that is not marked. What was condemned
    /// before and has not been refreshed keeps its time.
    pub(super) fn find(files: &FileStore, marks: &Marks) -> Result<Self, StoreError> {
        let table = files.log().fresh_condemned()?;
        let now = u64::try_from(now_ms()).unwrap_or(0);
        let mut unneeded: KidMap<Unneeded> = KidMap::default();
        let segments = files.log().sealed_segments();
        // The newest copy says whether somebody has put it again.
        for segment in segments.iter().rev() {
            files.log().sealed_objects(*segment, &mut |kid, place| {
                if !marks.contains(&kid) {
                    let before = table.since(&kid).filter(|_| *segment <= table.upto());
                    let since = before.unwrap_or(now);
                    let bytes = u64::from(place.len);
                    unneeded.entry(kid).or_insert(Unneeded { bytes, large: false, since });
                }
            });
        }
        each_large(files, &mut |kid, meta| {
            if !marks.contains(&kid) {
                let touched = touched_ms(meta);
                let before = table.since(&kid).filter(|since| touched < *since);
                let since = before.unwrap_or(now);
                unneeded.insert(kid, Unneeded { bytes: meta.len(), large: true, since });
            }
        })?;
        let upto = segments.last().copied().unwrap_or(0);
        Ok(Self { unneeded, upto, generation: table.generation() })
    }

    /// Tells everybody what is condemned.
    pub(super) fn publish(&self, files: &FileStore) -> Result<(), StoreError> {
        let mut rows: Vec<(Kid, u64)> =
            self.unneeded.iter().map(|(kid, one)| (*kid, one.since)).collect();
        rows.sort_unstable();
        files.log().condemned().publish(self.generation, self.upto, &rows)
    }

    /// From now on indexes of the log's segments that were read before are out of date.
    pub(super) fn next_generation(&mut self) {
        let now = u64::try_from(now_ms()).unwrap_or(0);
        self.generation = (self.generation + 1).max(now);
    }

    /// What is needed after all.
    pub(super) fn forget(&mut self, marks: &Marks) {
        self.unneeded.retain(|kid, _| !marks.contains(kid));
    }

    /// What may go: condemned at `horizon` or before.
    pub(super) fn is_due(&self, kid: &Kid, horizon: u64) -> bool {
        self.unneeded.get(kid).is_some_and(|one| one.since <= horizon)
    }

    /// Sums up for the report.
    pub(super) fn tell(&self, horizon: u64, grace_ms: u64, report: &mut Report) {
        let (mut all, mut due) = (Amount::default(), Amount::default());
        let mut next: Option<u64> = None;
        for one in self.unneeded.values() {
            all.add(one.bytes);
            if one.since <= horizon {
                due.add(one.bytes);
            } else {
                let at = one.since.saturating_add(grace_ms);
                next = Some(next.map_or(at, |next| next.max(at)));
            }
        }
        (report.garbage, report.swept, report.next_ms) = (all, due, next);
    }
}

/// Every file in `objects/` that is named as an object.
pub(super) fn each_large(
    files: &FileStore,
    visit: &mut dyn FnMut(Kid, &fs::Metadata),
) -> Result<(), StoreError> {
    for byte in 0..=255u8 {
        let fan = format!("{byte:02x}");
        let dir = files.home().join("objects").join(&fan);
        let what = || format!("listing {}", dir.display());
        for entry in fs::read_dir(&dir).map_err(io(what()))? {
            let entry = entry.map_err(io(what()))?;
            let name = entry.file_name();
            let kid = name.to_str().and_then(|rest| format!("K-{fan}{rest}").parse().ok());
            // What is no object is fsck's to name; what has gone meanwhile is gone.
            if let (Some(kid), Ok(meta)) = (kid, entry.metadata()) {
                visit(kid, &meta);
            }
        }
    }
    Ok(())
}

/// When a file was last written or refreshed, in milliseconds since 1970.
pub(super) fn touched_ms(meta: &fs::Metadata) -> u64 {
    let ms = meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000);
    u64::try_from(ms).unwrap_or(0)
}
