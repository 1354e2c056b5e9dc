//! From the policy to floors: how far back each subtree is kept.
//!
//! Versions are kept from some number on, so a subtree that changes rarely would keep every version
//! since its first value. Of the oldest value that is kept, one version is therefore enough.

use std::collections::BTreeMap;

use super::{GcError, floors::Floors, policy::Policy, regions::regions};
use crate::{
    NamePath,
    names::Trail,
    store::{Master, Objects, StoreError},
};

/// A subtree with a rule, while its versions are counted from the newest back.
struct Region {
    path: NamePath,
    /// In the version after the one that is looked at.
    later: Option<Trail>,
    /// Values met so far.
    values: u64,
    /// The newest version that has the value met last.
    met_at: u64,
    /// Until when the value was current, in milliseconds since 1970.
    until_ms: i64,
    floor: Option<u64>,
}

/// The floors that the policy wants, with those that are in force already.
pub(crate) fn plan(
    master: &dyn Master,
    policy: &Policy,
    old: &Floors,
    now_ms: i64,
) -> Result<Floors, GcError> {
    let newest = master.latest()?.seq;
    let region = |path: &NamePath| Region {
        path: path.clone(),
        later: None,
        values: 0,
        met_at: newest,
        until_ms: now_ms,
        floor: None,
    };
    let paths = regions(master, policy, old.oldest())?;
    let mut regions: Vec<Region> = paths.iter().map(region).collect();
    for seq in (old.oldest()..=newest).rev() {
        if regions.iter().all(|region| region.floor.is_some()) {
            break;
        }
        let root = master.root(seq)?.ok_or_else(|| StoreError::Log {
            place: "the log".to_owned(),
            what: format!("version {seq} is not there"),
        })?;
        let objects: &dyn Objects = master;
        let unread = |source| GcError::Unread { path: "/".to_owned(), seq, source };
        let commit = objects.commit(&root.commit).map_err(unread)?;
        for region in regions.iter_mut().filter(|region| region.floor.is_none()) {
            if old.of(&region.path) > seq {
                region.floor = Some(region.met_at);
                continue;
            }
            region.look(objects, policy, (seq, &commit.tree), now_ms).map_err(unread)?;
        }
        for region in &mut regions {
            region.until_ms = region.until_ms.min(commit.time_ms);
        }
    }
    let reached = |region: Region| {
        let all = policy.keep(&region.path).is_all();
        let first = if all { old.of(&region.path) } else { region.met_at };
        (region.path, region.floor.unwrap_or(first))
    };
    let wanted: BTreeMap<NamePath, u64> = regions.into_iter().map(reached).collect();
    let mut floors = old.clone();
    floors.raise(&wanted);
    Ok(floors)
}

impl Region {
    /// Counts the value that the subtree has in one version.
    fn look(
        &mut self,
        objects: &dyn Objects,
        policy: &Policy,
        (seq, tree): (u64, &crate::Kid),
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let trail = Trail::find(objects, &self.path, tree, self.later.as_ref())?;
        let same = self.later.as_ref().is_some_and(|later| later.entry == trail.entry);
        let values = self.values + u64::from(!same);
        if !policy.keep(&self.path).keeps(values, self.until_ms, now_ms) {
            self.floor = Some(self.met_at);
            return Ok(());
        }
        // One version is enough to have the oldest value that is kept, however long it lasted.
        if !same {
            (self.values, self.met_at) = (values, seq);
        }
        self.later = Some(trail);
        Ok(())
    }
}
