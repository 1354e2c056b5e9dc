//! Taking out of packs what nobody needs any more: for a collection that knows what is needed.

use std::{collections::HashSet, time::Instant};

use super::{
    alone, rehydrate,
    report::{PackError, Progress, Swept},
};
use crate::{
    Keg, Kid,
    store::{
        StoreError,
        packs::{self, Pack, PackSet},
    },
};

/// A pack goes when at least one in this many of its bytes, unpacked, is not needed.
const SHARE: u64 = 4;

/// Removes packs of which a quarter or more is not needed. What is needed of them, also as a base
/// of what is needed in other packs, becomes loose first, durably; the next [`super::pack`] packs
/// it again. Readers are not disturbed.
///
/// `keep` says what is needed. Whoever puts an object relies on packs that have it, so `keep` must
/// be true for what may be on its way in.
///
/// # Errors
/// [`PackError::Busy`], or the store's.
pub fn sweep(
    keg: &Keg,
    keep: &dyn Fn(&Kid) -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Swept, PackError> {
    let started = Instant::now();
    let home = keg.home();
    let _alone = alone(home)?;
    let set = PackSet::new(home);
    let (all, _) = set.all()?;
    let mut needed = HashSet::new();
    for kid in all.iter().flat_map(|pack| pack.kids()).filter(keep) {
        let mut next = Some(kid);
        while let Some(kid) = next
            && needed.insert(kid)
        {
            // One that is damaged keeps its pack, below.
            let found = set.find(&kid).ok().flatten();
            next = found.and_then(|found| found.recipe.base).map(|base| base.kid);
        }
    }
    let mut swept = Swept { packs: all.len() as u64, ..Swept::default() };
    for pack in &all {
        let (kept, whole, dead) = divide(pack, &needed);
        if dead == 0 || dead < whole / SHARE {
            continue;
        }
        match rehydrate::blobs(home, &kept, progress) {
            Ok(done) => swept.rehydrated += done.objects,
            Err(StoreError::Corrupt { .. } | StoreError::Pack { .. }) => {
                swept.damaged.push(pack.name().to_hex());
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        swept.removed_bytes += pack.disk_bytes(home);
        swept.removed += 1;
        packs::remove_pack(home, pack.name())?;
    }
    swept.seconds = started.elapsed().as_secs_f64();
    Ok(swept)
}

/// What of a pack is needed, how many bytes it has in all, and how many are not needed.
fn divide(pack: &Pack, needed: &HashSet<Kid>) -> (Vec<(Kid, Option<u64>)>, u64, u64) {
    let (mut kept, mut whole, mut dead) = (Vec::new(), 0u64, 0u64);
    for kid in pack.kids() {
        let size = match pack.find(&kid) {
            Some(Ok(recipe)) => recipe.size,
            _ => 0,
        };
        whole = whole.saturating_add(size);
        if needed.contains(&kid) {
            kept.push((kid, None));
        } else {
            dead = dead.saturating_add(size.max(1));
        }
    }
    (kept, whole, dead)
}
