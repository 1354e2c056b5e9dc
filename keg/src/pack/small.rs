//! Cold trees and small blobs: out of the log, once they are in packs.
//!
//! They are found by their KIDs wherever they are, so this moves nothing for readers. The log's
//! segments are rewritten without them, as a collection does it, and only while none is under way.

use std::{collections::HashSet, fs, path::Path};

use super::select::{Item, Sort};
use crate::{
    Kid,
    gc::{self, floors::Floors},
    object::Kind,
    store::{
        FileStore, StoreError,
        condemned::Table,
        durable::{Flock, lock_file},
        io,
        log::{Place, Rewrite},
        pending::Pending,
    },
};

/// Smaller trees take as much room in a pack as in the log.
const SMALLEST_TREE: u32 = 256;
/// Any blob takes less room in a pack: some 55 bytes for its KID, its row in the index and its
/// recipe, and a third of its own. In the log it is all of its own, 45 for the record and 41 for
/// the row in the segment's index. But one without bytes has no recipe.
const SMALLEST_BLOB: u32 = 1;
/// A tail with fewer bytes than this is left as it is: what is in it moves another time.
const SEAL_FROM: u64 = 256 << 10;
/// With fewer bytes of small blobs than this they stay in the log until there are more. Each takes
/// some 100 bytes of a pack, mostly KIDs, so a pack of an increment is a quarter smaller without.
const BLOBS_FROM: u64 = 128 << 10;
/// A segment is rewritten when so many percent of it can go.
const WASTE_PERCENT: u8 = 10;

/// Whether an object of the log is of those that move.
fn is_worth(place: &Place) -> bool {
    match place.kind {
        Kind::Tree => place.len >= SMALLEST_TREE,
        Kind::Blob => place.len >= SMALLEST_BLOB,
        Kind::Commit => false,
    }
}

/// Seals the tail of the log if there is enough in it that can leave it then.
///
/// # Errors
/// The disk's.
pub(super) fn seal(files: &FileStore) -> Result<(), StoreError> {
    files.log().latest()?;
    let mut bytes = 0;
    files.log().tail_objects(&mut |_, place| {
        bytes += if is_worth(place) { u64::from(place.len) } else { 0 };
    });
    if bytes >= SEAL_FROM { files.log().seal_tail() } else { Ok(()) }
}

/// Whether a tree, or a small blob of this size, can move: it is in a segment that is sealed.
pub(super) fn is_movable(files: &FileStore, kid: &Kid, kind: Kind, size: u64) -> bool {
    let tail = files.log().known_end().segment;
    let found = files.log().find(kid).ok().flatten();
    // What an entry says of it may be a lie.
    let is_it =
        |place: &Place| place.kind == kind && (kind == Kind::Tree || u64::from(place.len) == size);
    found.is_some_and(|place| is_it(&place) && is_worth(&place) && place.at.segment < tail)
}

/// Leaves small blobs out of what is to be packed if they are few.
pub(super) fn leave_few(cold: &mut Vec<Item>) {
    let small = cold.iter().filter(|item| item.sort() == Sort::Small);
    if small.map(|item| item.size).sum::<u64>() < BLOBS_FROM {
        cold.retain(|item| item.sort() != Sort::Small);
    }
}

/// Rewrites the log without what is in packs, whole. Returns its bytes before and after. Nothing is
/// done while a collection is under way; the next packing comes to it then.
///
/// # Errors
/// The disk's. Wherever it ends, each object is in the log, in a pack, or both.
pub(super) fn leave_log(
    files: &FileStore,
    packed: &HashSet<Kid>,
    pending: &mut Pending,
) -> Result<(u64, u64), StoreError> {
    let (home, log) = (files.home(), files.log());
    if packed.is_empty() {
        return Ok((0, 0));
    }
    gc::prepare(home)?;
    let lock = lock_file(&home.join("gc/lock"))?;
    let Some(_alone) = Flock::try_exclusive(&lock)? else { return Ok((0, 0)) };
    let table = log.fresh_condemned()?;
    // Whoever relies on what is condemned may have put it into the log again.
    let goes = |kid: &Kid| packed.contains(kid) && table.since(kid).is_none();
    let rows = match &*table {
        Table::Empty => Vec::new(),
        Table::Read(listed) => listed.rows(),
        Table::Unreadable => return Ok((0, 0)),
    };
    let upto = log.sealed_segments().last().copied().unwrap_or(0);
    let runs = log.runs(upto, WASTE_PERCENT, &|kid, _| goes(kid))?;
    let aside = pending.new_path(home)?;
    fs::create_dir(&aside).map_err(io(format_args!("making {}", aside.display())))?;
    let rewritten = rewrite(files, &runs, &goes, &aside);
    // All that was in the segments is in the new ones, or in packs. What cannot be removed goes
    // with the directory it is in.
    let _ = fs::remove_dir_all(&aside);
    let (before, after) = rewritten?;
    if before > 0 {
        log.condemned().publish(gc::next_generation(table.generation()), table.upto(), &rows)?;
    }
    Ok((before, after))
}

fn rewrite(
    files: &FileStore,
    runs: &[Vec<u32>],
    goes: &dyn Fn(&Kid) -> bool,
    aside: &Path,
) -> Result<(u64, u64), StoreError> {
    let oldest = Floors::read(files.home())?.oldest();
    let keep = |kid: &Kid, _: u32| !goes(kid);
    let (mut before, mut after) = (0, 0);
    for run in runs {
        let plan = Rewrite { run, keep: &keep, oldest, aside, drop_damaged: false };
        // One with damage stays as it is; `keg fsck` names it.
        if let Some(done) = files.log().rewrite(&plan)? {
            before += done.bytes_before;
            after += done.bytes_after;
        }
    }
    Ok((before, after))
}
