//! What a mark did not reach, and since when.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt};

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
    /// A file of its own.
    pub(super) loose: bool,
    /// In a pack, perhaps besides.
    pub(super) packed: bool,
    /// Since when it is condemned, in milliseconds since 1970.
    pub(super) since: u64,
}

/// All that is not needed.
pub(super) struct Garbage {
    pub(super) unneeded: KidMap<Unneeded>,
    /// The newest segment of the log that was looked at.
    pub(super) upto: u32,
    /// The packs that were looked at.
    pub(super) packs: HashSet<Kid>,
    generation: u64,
}

impl Garbage {
    /// Everything in sealed segments, in `objects/` and in packs that is not marked; with the
    /// unsealed end of the log, too, if `tail`. What was condemned before and has not been
    /// refreshed keeps its time.
    pub(super) fn find(files: &FileStore, marks: &Marks, tail: bool) -> Result<Self, StoreError> {
        let table = files.log().fresh_condemned()?;
        let now = u64::try_from(now_ms()).unwrap_or(0);
        let log = files.log();
        let segments = log.sealed_segments();
        let upto = segments.last().copied().unwrap_or(0);
        // A collection that died may have rewritten segments without saying so. What it dropped is
        // listed no more from now on: so nobody may believe indexes from before.
        let generation = super::next_generation(table.generation());
        let (unneeded, packs) = (KidMap::default(), HashSet::new());
        let mut garbage = Self { unneeded, upto, packs, generation };
        garbage.find_packed(files, marks, &|kid| table.since(kid).unwrap_or(now))?;
        for segment in &segments {
            log.sealed_objects(*segment, &mut |kid, place| {
                if !marks.contains(&kid) {
                    // A newer copy says that somebody has put it again.
                    let before = table.since(&kid).filter(|_| *segment <= table.upto());
                    let (bytes, since) = (u64::from(place.len), before.unwrap_or(now));
                    garbage.note(kid, Unneeded { bytes, loose: false, packed: false, since });
                }
            });
        }
        if tail {
            log.latest()?;
            log.tail_objects(&mut |kid, place| {
                if !marks.contains(kid) {
                    let bytes = u64::from(place.len);
                    let one = Unneeded { bytes, loose: false, packed: false, since: now };
                    garbage.note(*kid, one);
                }
            });
        }
        each_large(files, &mut |kid, meta| {
            if !marks.contains(&kid) {
                let touched = touched_ms(meta);
                let before = table.since(&kid).filter(|since| touched < *since);
                let (bytes, since) = (meta.len(), before.unwrap_or(now));
                garbage.note(kid, Unneeded { bytes, loose: true, packed: false, since });
            }
        })?;
        Ok(garbage)
    }

    fn find_packed(
        &mut self,
        files: &FileStore,
        marks: &Marks,
        since: &dyn Fn(&Kid) -> u64,
    ) -> Result<(), StoreError> {
        for pack in files.packs().all()?.0 {
            self.packs.insert(*pack.name());
            for kid in pack.kids().filter(|kid| !marks.contains(kid)) {
                let bytes = pack.find(&kid).and_then(Result::ok).map_or(0, |recipe| recipe.size);
                let one = Unneeded { bytes, loose: false, packed: true, since: since(&kid) };
                self.note(kid, one);
            }
        }
        Ok(())
    }

    /// An object may be in several places; the youngest counts.
    fn note(&mut self, kid: Kid, one: Unneeded) {
        let known = self.unneeded.entry(kid).or_insert(one);
        known.loose |= one.loose;
        known.packed |= one.packed;
        known.since = known.since.max(one.since);
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
        self.generation = super::next_generation(self.generation);
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
