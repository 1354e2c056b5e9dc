//! Two versions of a large tree: taken in, kept, moved, mounted, beside the tools that people use
//! for one of those.
//!
//! All of it happens in a mount namespace of its own, so nothing stays mounted whatever happens.

mod cold;
mod commits;
mod disk;
mod flips;
mod near;
mod pages;
mod reading;
mod tools;
mod tree;
mod upper;

use keg::{Keg, Kid, NamePath};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

use crate::{
    Bench, kegs,
    sample::Sample,
    table::{Table, Unit},
};
use commits::Taken;
use tree::Versions;

/// Most runs: each takes minutes.
const RUNS: usize = 3;
/// Bytes that a check reads each second, with two processes.
const SCRUB_GOAL: f64 = 2e9;

/// Every table of it.
pub fn measure(bench: &Bench) -> Vec<Table> {
    own_namespace();
    let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
    let (place, runs) = (dir.path(), bench.runs.min(RUNS));
    let versions = Versions::make(bench.tree.as_deref(), place);
    let all = commits::all(&versions, place, runs);
    let mut tables = commits::tables(&all, &versions, place);
    tables.push(upper::table(&versions, place, runs));
    tables.extend(cold::tables(cold::measure(&versions, place), &all));
    tables.push(scrub(&all, &versions));
    versions.put(&versions.dir, 0);
    let keg = Keg::open(&place.join("Keg-0")).expect("because it was made");
    let [one, two] = both(&keg);
    tables.extend(reading::tables(&keg, &one, &versions, place));
    tables.push(pages::table(&keg, [&one, &two], &versions, place));
    tables.extend(near::tables(&keg, &one, &versions, place));
    tables.push(flips::table(place));
    tables
}

fn own_namespace() {
    // SAFETY: this process has one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("because this runs as root");
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).expect("because the namespace is new");
}

/// The two versions of the tree.
fn both(keg: &Keg) -> [Kid; 2] {
    let path: NamePath = "/tree".parse().expect("a path");
    let newest = keg.head().expect("a version").seq;
    [newest - 1, newest].map(|seq| {
        let version = keg.version(seq).expect("because it was committed");
        let entry = keg.get_at(&path, &version).expect("read").expect("because it was committed");
        entry.kid().expect("a tree")
    })
}

fn scrub(all: &[Taken], versions: &Versions) -> Table {
    let bytes = versions.bytes as f64;
    let mut table = Table::new("Everything read and checked", Unit::BytesPerSecond);
    for taken in all.iter().filter(|taken| taken.check.len() > 0) {
        // Keg's and ostree's objects are whole: those of the second version count as well.
        let of = match taken.tool.name {
            "Keg" | "ostree" => taken.least.median().unwrap_or(bytes),
            _ => bytes,
        };
        let rate: Sample = taken.check.values().map(|seconds| of / seconds).collect();
        match taken.tool.name {
            "Keg" => table.keg("keg fsck", Some(SCRUB_GOAL), rate),
            name => table.peer(name, rate),
        };
    }
    table.note(
        "Of what compresses: bytes of the tree each second, once, though both versions are \
                checked.",
    );
    table
}
