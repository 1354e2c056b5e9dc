//! A mounted version read, beside the same files on ext4.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use keg::{Keg, Kid, mount::Mounts};

use super::tree::Versions;
use crate::{
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Reading takes so many times as long: 0.95 of the speed.
const READ_GOAL: f64 = 1.0 / 0.95;
/// Listing and looking at everything.
const WALK_GOAL: f64 = 1.35;
/// Opening, reading and closing small files.
const OPEN_GOAL: f64 = 1.6;
/// Passes of each kind, in turns.
const PASSES: usize = 9;
/// Small files that are opened.
const SMALL: usize = 10_000;
/// Largest of them, bytes.
const SMALL_BYTES: u64 = 16 << 10;
/// Read at once.
const BUFFER: usize = 128 << 10;

/// What a pass does with a directory; how long it took.
type Pass<'a> = &'a dyn Fn(&Path) -> Duration;

/// All of it is in the page cache and in the cache of names.
pub fn tables(keg: &Keg, tree: &Kid, versions: &Versions, place: &Path) -> Vec<Table> {
    let target = place.join("read");
    fs::create_dir(&target).expect("a directory");
    Mounts::new(keg).read_only(tree, &target).expect("mounted");
    let inside = |path: &PathBuf| path.strip_prefix(&versions.dir).expect("inside").to_owned();
    let all: Vec<PathBuf> = versions.files.iter().map(inside).collect();
    let is_small = |path: &&PathBuf| {
        fs::metadata(versions.dir.join(path)).is_ok_and(|meta| meta.len() <= SMALL_BYTES)
    };
    let small: Vec<PathBuf> = all.iter().filter(is_small).take(SMALL).cloned().collect();
    let read = |dir: &Path| all.iter().map(|path| read_all(&dir.join(path))).sum();
    let open_each = |files: &[PathBuf], dir: &Path| {
        time(|| files.iter().map(|path| read_all(&dir.join(path))).sum::<Duration>()).1
    };
    let open = |dir: &Path| open_each(&small, dir);
    let open_all = |dir: &Path| open_each(&all, dir);
    let walk = |dir: &Path| time(|| walk(dir)).1;
    let megabytes = versions.bytes as f64 / 1e6;
    let rows: [(String, Option<f64>, Pass<'_>); 4] = [
        (format!("all {megabytes:.0} MB read, once the files are open"), Some(READ_GOAL), &read),
        ("walk: each directory listed, each name looked at".to_owned(), Some(WALK_GOAL), &walk),
        (format!("{} small files opened, read, closed", small.len()), Some(OPEN_GOAL), &open),
        (format!("all {} files opened, read, closed", all.len()), None, &open_all),
    ];
    let mut times = Table::new("A mounted version, everything in memory", Unit::Seconds);
    let mut ratios = Table::new("The same, so many times as long as on ext4", Unit::Times);
    for (what, goal, pass) in rows {
        let [mut ours, mut plain, mut ratio] = <[Sample; 3]>::default();
        pass(&target);
        pass(&versions.dir);
        for _ in 0..PASSES {
            let (mounted, ext4) = (pass(&target), pass(&versions.dir));
            ours.push(mounted.as_secs_f64());
            plain.push(ext4.as_secs_f64());
            ratio.push(mounted.as_secs_f64() / ext4.as_secs_f64());
        }
        times.keg(&what, None, ours).peer("ext4", plain);
        ratios.keg(&what, goal, ratio);
    }
    ratios.note("Reading goes by the speed: 0.95 of ext4's is 1.05 times as long.");
    keg::mount::unmount(&target).expect("unmounted");
    vec![times, ratios]
}

/// Opens, reads and closes a file; how long the reading took.
fn read_all(path: &Path) -> Duration {
    let mut file = File::open(path).expect("a file");
    let mut buffer = [0; BUFFER];
    time(|| while file.read(&mut buffer).expect("read") > 0 {}).1
}

fn walk(dir: &Path) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        // lstat, of what is not known to be a directory, too.
        if entry.metadata().expect("attributes").is_dir() {
            walk(&entry.path());
        }
    }
}
