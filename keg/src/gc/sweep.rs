//! Sweeping: into the trash, back from it, and out of it.

use std::fs;

use super::{
    Collection, GcError, Phase, Progress, Report,
    floors::Floors,
    garbage::{Garbage, touched_ms},
    mark::Marks,
    roots,
};
use crate::{
    Kid,
    object::Kind,
    pack::{self, Removing},
    store::{
        StoreError,
        condemned::SweepLock,
        durable::sync_dir,
        io,
        log::{Place, Rewrite, swept_objects},
        pending::object_path,
    },
    time::now_ms,
};

/// Large objects that are moved while nobody can refresh any.
const BATCH: usize = 64;

impl Collection<'_> {
    /// Takes back from the trash what is needed and no longer in its place.
    pub(super) fn revive(
        &self,
        marks: &Marks,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), GcError> {
        let objects = self.keg.objects();
        for run in self.files.trash().runs() {
            let mut wanted: Vec<Kid> =
                run.objects().into_iter().filter(|kid| marks.contains(kid)).collect();
            wanted.extend(run.packed().into_iter().filter(|kid| marks.contains(kid)));
            for segment in run.segments() {
                let swept = swept_objects(&run.dir, segment)?.into_iter();
                wanted.extend(swept.filter(|kid| marks.contains(kid)));
            }
            for kid in wanted {
                if objects.kind(&kid)?.is_none() {
                    report.revived += u64::from(objects.retain(&kid)?);
                    progress(Progress { phase: Phase::Revive, done: report.revived });
                }
            }
        }
        if report.revived > 0 {
            objects.sync()?;
        }
        Ok(())
    }

    /// Removes what has been in the trash for long enough. What is needed has been taken back.
    pub(super) fn empty_trash(
        &self,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), GcError> {
        let now = u64::try_from(now_ms()).unwrap_or(0);
        for run in self.files.trash().runs() {
            if run.at_ms.saturating_add(self.policy.trash_ms) > now {
                continue;
            }
            for entry in fs::read_dir(&run.dir).map_err(io("listing the trash"))?.flatten() {
                let bytes = entry.metadata().map_or(0, |meta| meta.len());
                match fs::remove_file(entry.path()) {
                    Ok(()) => report.removed.add(bytes),
                    // It has been revived, or removed by hand.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(error) => Err(io("emptying the trash")(error))?,
                }
                progress(Progress { phase: Phase::Empty, done: report.removed.objects });
            }
            match fs::remove_dir(&run.dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(io("emptying the trash")(error))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Seals the tail of the log if much of it is garbage, so that it can be rewritten; or if a
    /// tree or commit in it is, since only what is sealed can be condemned, and whoever relies on
    /// a tree that is not takes what is below it for safe.
    pub(super) fn seal_tail(&self, marks: &Marks) -> Result<(), GcError> {
        self.files.log().latest()?;
        let (mut garbage, mut names_others) = (0, false);
        let size = self.files.log().tail_objects(&mut |kid, place| {
            if !marks.contains(kid) {
                garbage += u64::from(place.len);
                names_others |= place.kind != Kind::Blob;
            }
        });
        let much = size >= self.options.seal_from && self.is_waste(garbage, size);
        if names_others || (garbage > 0 && much) {
            self.files.log().seal_tail()?;
        }
        Ok(())
    }

    fn is_waste(&self, garbage: u64, size: u64) -> bool {
        garbage.saturating_mul(100) >= size.saturating_mul(u64::from(self.options.waste_percent))
    }

    /// Moves what is due to the trash, and says what is still condemned.
    pub(super) fn sweep(
        &self,
        garbage: &mut Garbage,
        horizon: u64,
        floors: &Floors,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), GcError> {
        if report.swept.objects == 0 {
            return Ok(());
        }
        let aside = self.files.home().join("trash").join(self.now_ms.to_string());
        fs::create_dir_all(&aside).map_err(io("making a directory in the trash"))?;
        sync_dir(&self.files.home().join("trash"))?;
        self.sweep_large(garbage, horizon, &aside, progress)?;
        let rewritten =
            self.rewrite_segments(garbage, horizon, floors, &aside, report, progress)?;
        self.sweep_packs(garbage, horizon, &aside, report, progress)?;
        // One that nothing went to is not kept.
        let _ = fs::remove_dir(&aside);
        if rewritten {
            garbage.next_generation();
        }
        self.drop_gone(garbage, horizon)?;
        garbage.publish(self.files)?;
        progress(Progress { phase: Phase::Condemn, done: 2 });
        Ok(())
    }

    fn sweep_large(
        &self,
        garbage: &Garbage,
        horizon: u64,
        aside: &std::path::Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        let home = self.files.home();
        let due = |one: &super::garbage::Unneeded| one.loose && one.since <= horizon;
        let due: Vec<(Kid, u64)> = garbage
            .unneeded
            .iter()
            .filter(|(_, one)| due(one))
            .map(|(kid, one)| (*kid, one.since))
            .collect();
        if !due.is_empty() {
            // Whoever mounts from now on looks at each file, and refreshes what is condemned
            // before; so nobody has to wait until all is moved.
            drop(Removing::begin(home)?);
        }
        let mut done = 0;
        for batch in due.chunks(BATCH) {
            let _alone = SweepLock::exclusive(home)?;
            for (kid, since) in batch {
                let path = object_path(home, kid);
                let Ok(meta) = fs::metadata(&path) else { continue };
                // Somebody relies on it since it was condemned.
                if touched_ms(&meta) >= *since {
                    continue;
                }
                fs::rename(&path, aside.join(kid.to_hex()))
                    .map_err(io(format_args!("moving {kid} to the trash")))?;
                done += 1;
                progress(Progress { phase: Phase::Sweep, done });
            }
        }
        Ok(())
    }

    /// Rewrites the segments that have much to drop; returns whether any was.
    fn rewrite_segments(
        &self,
        garbage: &Garbage,
        horizon: u64,
        floors: &Floors,
        aside: &std::path::Path,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<bool, StoreError> {
        let log = self.files.log();
        let keep = |kid: &Kid, segment: u32| {
            let newer = || match log.find(kid) {
                Ok(Some(place)) => place.at.segment > segment && place.at.segment <= garbage.upto,
                _ => false,
            };
            !garbage.is_due(kid, horizon) && !newer()
        };
        let waste = self.options.waste_percent;
        let due = |kid: &Kid, _: &Place| garbage.is_due(kid, horizon);
        let runs = log.runs(garbage.upto, waste, &due)?;
        let mut rewritten = false;
        for (step, run) in runs.iter().enumerate() {
            let oldest = floors.oldest();
            let plan = Rewrite { run, keep: &keep, oldest, aside, drop_damaged: false };
            match log.rewrite(&plan)? {
                Some(done) => {
                    report.log.0 += done.bytes_before;
                    report.log.1 += done.bytes_after;
                    rewritten = true;
                }
                None => report.damaged_segments.extend(run),
            }
            progress(Progress { phase: Phase::Rewrite, done: step as u64 + 1 });
        }
        Ok(rewritten)
    }

    /// Lets go of what is due in packs. While somebody packs, they wait for the next collection.
    fn sweep_packs(
        &self,
        garbage: &Garbage,
        horizon: u64,
        aside: &std::path::Path,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        if garbage.packs.is_empty() {
            return Ok(());
        }
        let what = pack::Sweep {
            due: &|kid| garbage.is_due(kid, horizon),
            packs: &garbage.packs,
            aside,
            waste_percent: self.options.waste_percent,
        };
        let swept = pack::sweep(self.files.home(), &what, &mut |done| {
            progress(Progress { phase: Phase::Packs, done: done.objects });
        })?;
        report.packs_busy = swept.is_none();
        report.packs = swept.unwrap_or_default();
        Ok(())
    }

    /// Forgets what is in its place no more.
    fn drop_gone(&self, garbage: &mut Garbage, horizon: u64) -> Result<(), StoreError> {
        let mut failed = None;
        let home = self.files.home();
        garbage.unneeded.retain(|kid, one| {
            if one.since > horizon {
                return true;
            }
            if one.loose && object_path(home, kid).exists() {
                return true;
            }
            let in_pack = || self.files.packs().find(kid).is_ok_and(|found| found.is_some());
            if one.packed && in_pack() {
                return true;
            }
            match self.files.log().find(kid) {
                Ok(place) => place.is_some_and(|place| place.at.segment <= garbage.upto),
                Err(error) => {
                    failed = Some(error);
                    true
                }
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Deletes images of trees that nothing needs, and notes about trees, once they are not used.
    /// The kernel keeps images that are mounted, and mounted trees are needed.
    pub(super) fn sweep_images(
        &self,
        marks: &Marks,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), GcError> {
        let grace = std::time::Duration::from_millis(self.policy.grace_ms);
        let home = self.files.home();
        for image in roots::images(home, grace).chain(roots::loose_notes(home, grace)) {
            if !image.fresh && !marks.contains(&image.tree) && fs::remove_file(&image.path).is_ok()
            {
                report.images.add(image.bytes);
                progress(Progress { phase: Phase::Images, done: report.images.objects });
            }
        }
        Ok(())
    }

    /// What is in the trash, for the report.
    pub(super) fn measure_trash(&self, report: &mut Report) {
        for run in self.files.trash().runs() {
            let Ok(list) = fs::read_dir(&run.dir) else { continue };
            for entry in list.flatten() {
                report.trash.add(entry.metadata().map_or(0, |meta| meta.len()));
            }
        }
    }
}
