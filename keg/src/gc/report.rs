//! How to collect, how far it is, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{going::Going, held::Kept, ingests::Ingest};

/// How to collect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Changes nothing; says what would go, and why large things stay.
    pub dry_run: bool,
    /// Instead of the policy's, in milliseconds. 0 sweeps at once what is garbage now: only where
    /// nobody else writes, as what is put and not yet named goes, too.
    pub grace_ms: Option<u64>,
    /// Instead of the policy's, in milliseconds.
    pub trash_ms: Option<u64>,
    /// The tail of the log is sealed when it has this many bytes and enough garbage.
    pub seal_from: u64,
    /// Segments of the log are rewritten when this many percent of them can go.
    pub waste_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dry_run: false,
            grace_ms: None,
            trash_ms: None,
            seal_from: 1 << 20,
            waste_percent: 25,
        }
    }
}

/// What a collection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Following names.
    Mark,
    /// Taking back from the trash what is needed after all.
    Revive,
    /// Emptying the trash of what has been there for long enough.
    Empty,
    /// Saying what is condemned.
    Condemn,
    /// Moving large objects to the trash.
    Sweep,
    /// Rewriting segments of the log.
    Rewrite,
    /// Rewriting packs.
    Packs,
    /// Deleting images.
    Images,
}

/// How far a collection has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What it is at.
    pub phase: Phase,
    /// Objects, or steps, of this phase that are done.
    pub done: u64,
}

/// A number of objects and their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their sizes.
    pub bytes: u64,
}

impl Amount {
    pub(super) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What a collection did, or would do.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Nothing was changed.
    pub dry_run: bool,
    /// The newest version.
    pub newest: u64,
    /// The oldest version of which anything is kept.
    pub oldest: u64,
    /// Subtrees that are kept from another version on than what is above them.
    pub floors: BTreeMap<String, u64>,
    /// Objects that are needed.
    pub needed: u64,
    /// Leases in force.
    pub leases: u64,
    /// Trees mounted.
    pub mounts: u64,
    /// Everything that is not needed and still in its place.
    pub garbage: Amount,
    /// Of this: what goes now, because it has been garbage for the grace period.
    pub swept: Amount,
    /// When the rest can go, in milliseconds since 1970, if nobody comes to need it.
    pub next_ms: Option<u64>,
    /// What came back from the trash because it is needed.
    pub revived: u64,
    /// What was removed from the trash for good.
    pub removed: Amount,
    /// What is in the trash now.
    pub trash: Amount,
    /// Bytes of the log's segments before and after those that were rewritten.
    pub log: (u64, u64),
    /// Packs that went or were written anew.
    pub packs: crate::pack::Swept,
    /// Packs were left for the next collection, as `keg pack` was under way.
    pub packs_busy: bool,
    /// Images that were deleted, as nobody needs their trees.
    pub images: Amount,
    /// Segments that have damage and are left as they are; `keg fsck` names it.
    pub damaged_segments: Vec<u32>,
    /// Only in a dry run: the largest objects that stay, and why; at most 1,000.
    pub kept: Vec<Kept>,
    /// Only in a dry run: who puts things that nothing names yet.
    #[serde(default)]
    pub ingests: Vec<Ingest>,
    /// Only in a dry run: the largest objects that go, now or later; at most 1,000.
    pub going: Vec<Going>,
    /// How long it took.
    pub seconds: f64,
}
