//! Taking out of packs what nobody needs any more: for a collection, which knows what that is.

use std::{collections::HashSet, path::Path, sync::Arc};

use super::{
    join::{Joined, Joiner},
    report::{LEVEL, Phase, Progress, Swept},
};
use crate::{
    Kid,
    store::{
        StoreError,
        packs::{Pack, PackSet, Piece, Recipe, Source, alone, put_aside},
        pending::Pending,
    },
};

/// What an object costs besides its bytes: recipe, row of the index.
const OBJECT: u64 = 100;
/// A patch is about this part of what it makes.
const PATCH_PART: u64 = 16;

/// What a collection lets go of.
pub(crate) struct Sweep<'a> {
    /// Whether an object may go.
    pub(crate) due: &'a dyn Fn(&Kid) -> bool,
    /// The packs that were looked at when it was decided what may go; others are left alone.
    pub(crate) packs: &'a HashSet<Kid>,
    /// Where old packs go: a directory in the trash.
    pub(crate) aside: &'a Path,
    /// Packs of which so many percent can go are written anew.
    pub(crate) waste_percent: u8,
}

/// Writes the packs anew of which much can go, without it; the old ones go to the trash, those of
/// which all can go without a successor. What something is built upon that stays, stays. Readers
/// and writers are not disturbed: who relies on what may go has taken a copy of it before.
///
/// `None`: somebody packs just now.
///
/// # Errors
/// The disk's. Wherever it ends, all that is needed is there.
pub(crate) fn sweep(
    home: &Path,
    what: &Sweep<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Option<Swept>, StoreError> {
    let Some(_alone) = alone(home)? else { return Ok(None) };
    let set = PackSet::new(home);
    let (all, broken) = set.all()?;
    let mut swept = Swept { packs: all.len() as u64, ..Swept::default() };
    if !broken.is_empty() {
        // Nobody knows what those are built upon.
        swept.damaged = broken.keys().map(Kid::to_hex).collect();
        return Ok(Some(swept));
    }
    let wasteful = |keep: &dyn Fn(&Kid, &Pack, &Recipe) -> bool| {
        let worth = |pack: &&Arc<Pack>| {
            let (whole, dead) = weigh(pack, keep);
            let percent = u64::from(what.waste_percent);
            what.packs.contains(pack.name()) && dead > 0 && dead * 100 >= whole * percent
        };
        all.iter().filter(worth).cloned().collect::<Vec<_>>()
    };
    let unneeded = |kid: &Kid, pack: &Pack, recipe: &Recipe| {
        (what.due)(kid) || is_elsewhere(&all, kid, pack, recipe)
    };
    let chosen = wasteful(&|kid, pack, recipe| !unneeded(kid, pack, recipe));
    let bases = bases_of_the_rest(&set, &all, &chosen, what.due);
    let keep = |kid: &Kid, pack: &Pack, recipe: &Recipe| {
        !unneeded(kid, pack, recipe)
            || (bases.contains(kid) && !is_elsewhere(&all, kid, pack, recipe))
    };
    let chosen: HashSet<Kid> = chosen.iter().map(|pack| *pack.name()).collect();
    let (mut files, mut made) = (Pending::default(), HashSet::new());
    for pack in wasteful(&keep).iter().filter(|pack| chosen.contains(pack.name())) {
        // One was just made that is the same to the byte: what others have of it relies on it now.
        if made.contains(pack.name()) {
            continue;
        }
        let joiner = Joiner { home, set: &set, level: LEVEL };
        let path = files.new_path(home)?;
        let before = pack.disk_bytes(home);
        match joiner.join(std::slice::from_ref(pack), &keep, path)? {
            Joined::Damaged => {
                swept.damaged.push(pack.name().to_hex());
                continue;
            }
            Joined::Into(name) if name == *pack.name() => continue,
            Joined::Into(name) => {
                swept.rewritten += 1;
                made.insert(name);
                swept.bytes_after += Pack::open(home, &name).map_or(0, |new| new.disk_bytes(home));
            }
            Joined::Nothing => swept.removed += 1,
        }
        put_aside(home, pack.name(), what.aside)?;
        swept.bytes_before += before;
        let objects = swept.rewritten + swept.removed;
        progress(Progress { phase: Phase::Joining, objects, ..Progress::default() });
    }
    Ok(Some(swept))
}

/// Whether another pack has an object, no deeper: one of them has to keep it.
fn is_elsewhere(all: &[Arc<Pack>], kid: &Kid, pack: &Pack, recipe: &Recipe) -> bool {
    all.iter().filter(|other| other.name() != pack.name()).any(|other| match other.find(kid) {
        Some(Ok(there)) => (there.depth(), other.name()) < (recipe.depth(), pack.name()),
        _ => false,
    })
}

/// What stays because something is built upon it that stays, and can go otherwise.
fn bases_of_the_rest(
    set: &Arc<PackSet>,
    all: &[Arc<Pack>],
    chosen: &[Arc<Pack>],
    due: &dyn Fn(&Kid) -> bool,
) -> HashSet<Kid> {
    let chosen: HashSet<&Kid> = chosen.iter().map(|pack| pack.name()).collect();
    let mut bases = HashSet::new();
    for pack in all {
        for (kid, recipe) in pack.recipes() {
            if chosen.contains(pack.name()) && due(&kid) {
                continue;
            }
            let mut next = recipe.ok().and_then(|recipe| recipe.base);
            while let Some(base) = next
                && bases.insert(base.kid)
            {
                let found = set.find(&base.kid).ok().flatten();
                next = found.and_then(|found| found.recipe.base);
            }
        }
    }
    bases
}

/// About how many bytes a pack has, and how many of them are not kept.
fn weigh(pack: &Pack, keep: &dyn Fn(&Kid, &Pack, &Recipe) -> bool) -> (u64, u64) {
    let (mut whole, mut dead) = (0u64, 0u64);
    for (kid, recipe) in pack.recipes() {
        // One that is damaged keeps its pack: it is left as it is then.
        let Ok(recipe) = recipe else { continue };
        let weight = recipe.pieces.iter().map(weight_of).fold(OBJECT, u64::saturating_add);
        whole = whole.saturating_add(weight);
        if !keep(&kid, pack, &recipe) {
            dead = dead.saturating_add(weight);
        }
    }
    (whole, dead)
}

fn weight_of(piece: &Piece) -> u64 {
    match piece.source {
        Source::Slice { .. } => piece.len,
        Source::Patch { .. } | Source::Within { .. } => piece.len / PATCH_PART,
        Source::Copy { .. } => 0,
    }
}
