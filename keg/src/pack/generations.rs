//! Few packs instead of many: like the levels of a log-structured merge tree.
//!
//! A pack belongs to a generation by its size: below 4 MiB, 16 MiB, 64 MiB, …. As soon as
//! [`FANOUT`] packs are of one generation they become one, which is then mostly of the next. So
//! each byte is copied at most once for each generation, and there are at most `FANOUT - 1` packs
//! of each, besides those that are full.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::SystemTime};

use super::{
    encode::TABLE_ROOM,
    join::{Joined, Joiner},
    report::{JoinReport, Phase, Progress},
};
use crate::store::{
    StoreError,
    packs::{MAX_OBJECTS, Pack, PackSet, data_path, remove_pack},
    pending::Pending,
};

/// So many packs of a generation become one.
const FANOUT: usize = 4;
/// Packs below this many bytes are of the youngest generation.
const YOUNGEST: u64 = 4 << 20;
/// Most joins of one run.
const MOST: usize = 64;

/// Joins packs until no generation has too many. Nobody else may write or remove packs meanwhile.
///
/// # Errors
/// The disk's. What was joined before stays so; what was not is as it was.
pub(super) fn join_all(
    home: &Path,
    level: i32,
    max_pack: u64,
    files: &mut Pending,
    progress: &mut dyn FnMut(Progress),
) -> Result<JoinReport, StoreError> {
    let mut report = JoinReport::default();
    for _ in 0..MOST {
        let set = PackSet::new(home);
        let Some(group) = next_group(home, &set, max_pack, &report)? else { break };
        let bytes =
            |packs: &[Arc<Pack>]| packs.iter().map(|pack| pack.disk_bytes(home)).sum::<u64>();
        let before = bytes(&group);
        progress(Progress {
            phase: Phase::Joining,
            objects: report.packs,
            bytes: report.bytes_before,
            ..Progress::default()
        });
        let joiner = Joiner { home, set: &set, level };
        let path = files.new_path(home)?;
        let Joined::Into(name) = joiner.join(&group, &|_, _, _| true, path)? else {
            report.left.extend(group.iter().map(|pack| pack.name().to_hex()));
            continue;
        };
        for pack in group.iter().filter(|pack| *pack.name() != name) {
            remove_pack(home, pack.name())?;
        }
        report.packs += group.len() as u64;
        report.into += 1;
        report.bytes_before += before;
        report.bytes_after += Pack::open(home, &name).map_or(0, |pack| pack.disk_bytes(home));
    }
    Ok(report)
}

/// The packs to be joined next, the oldest first.
fn next_group(
    home: &Path,
    set: &PackSet,
    max_pack: u64,
    report: &JoinReport,
) -> Result<Option<Vec<Arc<Pack>>>, StoreError> {
    let mut generations: BTreeMap<u32, Vec<Arc<Pack>>> = BTreeMap::new();
    for pack in set.all()?.0 {
        let full = pack.data_bytes() >= max_pack / 2;
        if !full && !report.left.contains(&pack.name().to_hex()) {
            generations.entry(generation(pack.data_bytes())).or_default().push(pack);
        }
    }
    for (_, mut packs) in generations {
        packs.sort_by_cached_key(|pack| {
            let path = data_path(home, pack.name());
            let made = fs::metadata(path).and_then(|meta| meta.modified());
            (made.unwrap_or(SystemTime::UNIX_EPOCH), *pack.name())
        });
        let (mut bytes, mut objects, mut table) = (0, 0, 0);
        let fits = |pack: &Arc<Pack>| {
            bytes += pack.data_bytes();
            objects += pack.len();
            table += pack.table_bytes();
            bytes <= max_pack && objects <= MAX_OBJECTS && table <= TABLE_ROOM
        };
        let group: Vec<Arc<Pack>> = packs.into_iter().take_while(fits).collect();
        if group.len() >= FANOUT {
            return Ok(Some(group));
        }
    }
    Ok(None)
}

fn generation(bytes: u64) -> u32 {
    (bytes / YOUNGEST).checked_ilog(4).map_or(0, |log| log + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_four_times_as_large() {
        let mib = |n: u64| generation(n << 20);
        assert_eq!([0, 3, 4, 15, 16, 63, 64, 1000].map(mib), [0, 0, 1, 1, 2, 2, 3, 4]);
    }
}
