//! Garbage collection: what no name, no kept version, no lease and no mount needs goes, without
//! stopping anybody (`docs/store.md`, "Garbage").
//!
//! ```text
//! gc/lock         one collection at a time
//! gc/history.json how far back each subtree reads
//! gc/condemned    what the last mark did not reach, and since when
//! gc/sweep        keeps a batch of renames apart from those who refresh what they rely on
//! leases/…        values that stay while somebody works on them
//! trash/<ms>/…    what one collection swept, for as long as it can come back
//! quarantine/…    damaged bytes that were replaced
//! ```
//! The one rule: an object goes only if two marks, at least the grace period apart, did not reach
//! it, and nobody has relied on it in between. Whoever relies on an object that is there already
//! (a put that finds it, a name set to it, a mount, a lease) refreshes it if it is condemned.

pub(crate) mod decoders;
mod du;
pub(crate) mod floors;
mod garbage;
mod going;
mod held;
mod ingests;
mod kids;
mod lease;
mod mark;
mod plan;
pub mod policy;
mod regions;
mod repair;
mod report;
mod roots;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    Keg, Kid,
    kid::KidPrefix,
    object::Kind,
    store::{
        FileStore, StoreError,
        durable::{Flock, lock_file},
        format, io,
    },
    time::now_ms,
};

pub use du::{Du, DuEntry, du};
use floors::Floors;
use garbage::Garbage;
pub use going::Going;
use held::Held;
pub use held::{Holder, Kept};
pub use ingests::Ingest;
use ingests::Ingests;
pub(crate) use lease::damaged_leases;
pub use lease::{Lease, LeaseInfo};
use mark::{Marker, Marks};
pub use policy::{Keep, Policy, PolicyError};
pub use repair::{RepairReport, Repaired, Source, SourceError, repair};
pub use report::{Amount, Options, Phase, Progress, Report};

/// How often versions that were made meanwhile are marked, too, before the next collection gets
/// the rest.
const CATCH_UPS: usize = 8;
/// How many large objects a dry run explains.
pub(crate) const EXPLAINED: usize = 1000;

/// Why nothing was collected, or not all.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The policy cannot be followed.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Something needed cannot be read, so nobody knows what else is needed: nothing is collected.
    #[error("nothing was collected: {path} cannot be read: {source}; run `keg fsck`")]
    Unread {
        /// A name that leads to it.
        path: String,
        /// In which version of the namespace; 0: any.
        seq: u64,
        /// Why not.
        source: StoreError,
    },
    /// Another collection or check is under way.
    #[error("another collection or check of this Keg is under way; try again when it is done")]
    Busy,
    /// The store is not on files.
    #[error("this Keg is not in a directory, so there is nothing to collect")]
    NoFiles,
}

/// Collects the garbage of a Keg once. What is found to be garbage now goes with a later
/// collection, after the policy's grace period.
///
/// # Errors
/// [`GcError`]. Wherever it ends, everything needed is there, and the next collection goes on.
pub fn collect(
    keg: &Keg,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, GcError> {
    let started = Instant::now();
    let files = keg.master().files().ok_or(GcError::NoFiles)?;
    let home = files.home();
    let lock;
    let _alone = if options.dry_run {
        None
    } else {
        files.check_writable()?;
        prepare(home)?;
        lock = lock_file(&home.join("gc/lock"))?;
        crate::sync::remove_old_parts(keg);
        Some(Flock::try_exclusive(&lock)?.ok_or(GcError::Busy)?)
    };
    let mut policy = Policy::of(keg)?;
    policy.grace_ms = options.grace_ms.unwrap_or(policy.grace_ms);
    policy.trash_ms = options.trash_ms.unwrap_or(policy.trash_ms);
    let run = Collection { keg, files, options, policy, now_ms: now_ms() };
    let mut report = run.run(progress)?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// Keeps collections away while something else reads or repairs all there is. `None`: this Keg
/// has never been collected, or cannot be written.
pub(crate) fn hold_off(home: &Path) -> Option<fs::File> {
    let lock = lock_file(&home.join("gc/lock")).ok()?;
    let held = rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive);
    held.is_ok().then_some(lock)
}

/// Makes what a collection needs, and says in the format that there are collections.
pub(crate) fn prepare(home: &Path) -> Result<(), StoreError> {
    for name in ["gc", "leases", "trash", "quarantine"] {
        let dir = home.join(name);
        fs::create_dir_all(&dir).map_err(io(format_args!("making {}", dir.display())))?;
    }
    lock_file(&home.join("gc/sweep"))?;
    // What is decided in `gc/` must not be lost with its directory; this makes that durable, too.
    format::require(home, format::GC)
}

/// What the generation of `gc/condemned` is after segments were rewritten.
pub(crate) fn next_generation(generation: u64) -> u64 {
    (generation + 1).max(u64::try_from(now_ms()).unwrap_or(0))
}

/// One collection.
struct Collection<'a> {
    keg: &'a Keg,
    files: &'a FileStore,
    options: &'a Options,
    policy: Policy,
    now_ms: i64,
}

impl Collection<'_> {
    fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report, GcError> {
        let home = self.files.home();
        // One that died may have rewritten segments without saying so.
        self.files.log().relist()?;
        let old = Floors::read(home)?;
        let mut floors = plan::plan(self.keg.master(), &self.policy, &old, self.now_ms)?;
        let mut report = Report { dry_run: self.options.dry_run, ..Report::default() };
        let mut marked = self.mark(&floors, &mut report, progress)?;
        floors.cut = marked.marks.cut().collect();
        report.oldest = floors.oldest();
        report.floors =
            floors.floors.iter().map(|(path, floor)| (path.to_string(), *floor)).collect();
        if self.options.dry_run {
            let garbage = Garbage::find(self.files, &marked.marks, true)?;
            let horizon = self.horizon(&marked.leases);
            garbage.tell(horizon, self.policy.grace_ms, &mut report);
            let due = (horizon, self.policy.grace_ms);
            let largest = going::largest(self.keg, &garbage, &marked.marks, old.oldest(), due)?;
            let ingests = Ingests::find(home);
            let (going, put) = going::tell_from_put(home, largest, &garbage, &ingests);
            report.going = going;
            report.kept = marked.held.into_sorted_with(put);
            report.ingests = ingests.into_all();
            return Ok(report);
        }
        // Before anything can go: whoever misses it is told why.
        floors.write(home)?;
        self.revive(&marked.marks, &mut report, progress)?;
        self.empty_trash(&mut report, progress)?;
        self.seal_tail(&marked.marks)?;
        let mut garbage = Garbage::find(self.files, &marked.marks, false)?;
        garbage.publish(self.files)?;
        progress(Progress { phase: Phase::Condemn, done: 1 });
        // What was named since the mark, by somebody who relied on it before it was condemned.
        self.catch_up(&floors, &mut marked, progress)?;
        garbage.forget(&marked.marks);
        let horizon = self.horizon(&lease::leases(home, false)?);
        garbage.tell(horizon, self.policy.grace_ms, &mut report);
        self.sweep(&mut garbage, horizon, &floors, &mut report, progress)?;
        self.sweep_images(&marked.marks, &mut report, progress)?;
        self.measure_trash(&mut report);
        Ok(report)
    }

    /// What was condemned at this moment or before may go, in milliseconds since 1970.
    fn horizon(&self, leases: &[LeaseInfo]) -> u64 {
        let now = u64::try_from(now_ms()).unwrap_or(0);
        let open = leases.iter().filter(|lease| lease.until.is_none());
        let oldest = open.map(|lease| lease.since.saturating_sub(1)).min().unwrap_or(u64::MAX);
        now.saturating_sub(self.policy.grace_ms).min(oldest)
    }

    fn mark(
        &self,
        floors: &Floors,
        report: &mut Report,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Marked, GcError> {
        let home = self.files.home();
        let master = self.keg.master();
        let held = Held::new(if self.options.dry_run { EXPLAINED } else { 0 });
        let (objects, rules) = (self.keg.objects(), (floors, &self.policy));
        let mut marker = Marker::new(objects, rules, self.now_ms, held, progress);
        let newest = master.latest()?;
        report.newest = newest.seq;
        for seq in (floors.oldest()..=newest.seq).rev() {
            let root = master.root(seq)?.ok_or_else(|| StoreError::Log {
                place: "the log".to_owned(),
                what: format!("version {seq} is not there; run `keg fsck`"),
            })?;
            marker.version(root, seq == newest.seq)?;
        }
        let leases = lease::leases(home, !self.options.dry_run)?;
        report.leases = leases.len() as u64;
        for lease in &leases {
            for kid in &lease.kids {
                marker.value(kid, Holder::Lease { what: lease.what.clone() })?;
            }
        }
        for mounted in roots::mounted() {
            for tree in self.trees(&mounted.tree)? {
                let holder = Holder::Mount { target: mounted.target.clone() };
                report.mounts += u64::from(marker.value(&tree, holder)?);
            }
        }
        for (kid, target) in crate::mount::working::held(home) {
            marker.value(&kid, Holder::Mount { target })?;
        }
        let grace = Duration::from_millis(self.policy.grace_ms);
        for image in roots::images(home, grace).filter(|image| image.fresh) {
            marker.value(&image.tree, Holder::Image)?;
        }
        for (id, kid) in roots::sealed_streams(home) {
            marker.value(&kid, Holder::Stream { id })?;
        }
        let Marker { mut marks, held, .. } = marker;
        self.mark_bases(&mut marks)?;
        let mut marked = Marked { marks, held, leases, upto: newest.seq };
        self.catch_up(floors, &mut marked, progress)?;
        report.needed = marked.marks.len();
        Ok(marked)
    }

    /// What something needed is a difference to stays, too; and loose files that anything in a pack
    /// is a difference to, needed or not.
    fn mark_bases(&self, marks: &mut Marks) -> Result<(), GcError> {
        let set = self.files.packs();
        let (packs, broken) = set.all()?;
        let damaged = |kid: Kid, what: String| StoreError::Corrupt { kid, what };
        if let Some((pack, what)) = broken.into_iter().next() {
            return Err(damaged(pack, format!("a pack that cannot be opened: {what}")).into());
        }
        for pack in &packs {
            for (kid, recipe) in pack.recipes() {
                let mut next = recipe.map_err(|what| damaged(kid, what))?.base;
                while let Some(base) = next {
                    let found = set.find(&base.kid)?;
                    if found.is_none() || marks.contains(&kid) {
                        marks.keep(base.kid);
                    }
                    next = found.and_then(|found| found.recipe.base);
                }
            }
        }
        Ok(())
    }

    fn trees(&self, prefix: &KidPrefix) -> Result<Vec<Kid>, StoreError> {
        let candidates = self.keg.objects().candidates(prefix)?;
        let is_tree = |kid: &Kid| Ok(self.keg.objects().kind(kid)? == Some(Kind::Tree));
        candidates
            .into_iter()
            .filter_map(|kid| match is_tree(&kid) {
                Ok(true) => Some(Ok(kid)),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            })
            .collect()
    }

    /// Marks versions that were made since the newest that is marked.
    fn catch_up(
        &self,
        floors: &Floors,
        marked: &mut Marked,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), GcError> {
        let master = self.keg.master();
        for _ in 0..CATCH_UPS {
            let newest = master.latest()?;
            if newest.seq == marked.upto {
                break;
            }
            let (objects, rules) = (self.keg.objects(), (floors, &self.policy));
            let mut marker = Marker::new(objects, rules, self.now_ms, Held::new(0), progress);
            marker.marks = std::mem::take(&mut marked.marks);
            for seq in marked.upto + 1..=newest.seq {
                if let Some(root) = master.root(seq)? {
                    marker.version(root, true)?;
                }
            }
            marked.marks = marker.marks;
            marked.upto = newest.seq;
        }
        Ok(())
    }
}

/// What a mark found.
struct Marked {
    marks: Marks,
    held: Held,
    leases: Vec<LeaseInfo>,
    /// The newest version that is marked.
    upto: u64,
}
