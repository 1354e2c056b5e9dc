//! A working mount in which files were changed, committed.

use std::{fs, path::Path};

use keg::Keg;

use super::{tools::keg, tree::Versions};
use crate::{
    machine,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Seconds for the commit.
const GOAL: f64 = 0.15;

/// A copy for each run, as the objects of a version are new only once.
pub fn table(versions: &Versions, place: &Path, runs: usize) -> Table {
    let home = place.join("upper-keg");
    Keg::create(&home).expect("a Keg");
    versions.put(&versions.dir, 0);
    keg(&home, &["commit", versions.dir.to_str().expect("UTF-8"), "/tree"]);
    let dir = place.join("upper");
    fs::create_dir(&dir).expect("a directory");
    let target = dir.to_str().expect("UTF-8");
    let [mut commit, mut again] = <[Sample; 2]>::default();
    for run in 0..runs {
        let name = format!("/copy-{run}");
        keg(&home, &["cp", "/tree", &name]);
        keg(&home, &["mount", "--rw", &name, target]);
        versions.put(&dir, 1 + run as u8);
        machine::touch(versions.bytes);
        commit.push(time(|| keg(&home, &["commit", target, &name])).1.as_secs_f64());
        again.push(time(|| keg(&home, &["commit", target, &name])).1.as_secs_f64());
        keg(&home, &["unmount", target, "--discard"]);
    }
    let (bytes, files) = versions.changed();
    let title = format!("Commit of a working mount: {bytes} bytes changed in {files} files");
    let mut table = Table::new(&title, Unit::Seconds);
    table.keg("keg commit, durable", Some(GOAL), commit);
    table.keg("keg commit when nothing changed since", None, again);
    table.note("overlayfs has copied each changed file whole, the one of 105 MB, too.");
    table.note("No peer commits a mount.");
    table
}
