//! The root file system of packages that are in the Keg: chosen, united, mounted.

use std::{fs, path::Path, rc::Rc};

use importer::{
    Base, Request,
    debian::{
        import::choose,
        index::{Index, Package},
        pool::{Pooled, find},
        rootfs::Rootfs,
        snapshot,
    },
    request::DebianWant,
};
use keg::{
    Keg, Kid,
    mount::{Mounts, unmount},
};
use keg_tests::process::run;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::{
    Bench, kegs,
    sample::{Sample, time},
    table::{Table, Unit},
};

/// Seconds from the packages' names to the root's KID.
const GOAL: f64 = 0.030;
/// Seconds for one mount of it.
const MOUNT_GOAL: f64 = 0.001;
/// Things of a few milliseconds are done so many times as often.
const OFTEN: usize = 5;
/// Mounts for each run.
const MOUNTS: usize = 20;

/// Both halves.
pub fn measure(bench: &Bench) -> Vec<Table> {
    let keg = Keg::open(&bench.template.home()).expect("because it was made");
    let (union, root) = united(bench, &keg);
    vec![union, mounted(bench, &keg, &root)]
}

/// From names to a KID. What is measured is what the importer does for a new set of packages that
/// it has all fetched, but for running their scripts.
fn united(bench: &Bench, keg: &Keg) -> (Table, Kid) {
    let request = Request::debian(kegs::SUITE, &kegs::PACKAGES, Base::Essential);
    let want = request.debian.expect("because it asks for Debian packages");
    let mut parts = <[Sample; 4]>::default();
    let mut total = Sample::default();
    let (mut count, mut root) = (0, None);
    for n in 0..=bench.runs * OFTEN {
        let ((took, packages, kid), all) = time(|| once(keg, &want));
        (count, root) = (packages, Some(kid));
        // The first one stores the trees that are new.
        if n > 0 {
            total.push(all.as_secs_f64());
            parts.iter_mut().zip(took).for_each(|(part, took)| part.push(took));
        }
    }
    let title = format!("{count} packages in the Keg: their names to the KID of their union");
    let mut table = Table::new(&title, Unit::Seconds);
    table.keg("resolve, union, KID", Some(GOAL), total);
    let names = [
        "the suite's index opened",
        "resolved as apt would",
        "their trees found by name",
        "union, dpkg's database, KID",
    ];
    for (name, part) in names.into_iter().zip(parts) {
        table.part(name, part);
    }
    let (mut again, key) =
        (Sample::default(), [&["import", "debian", kegs::SUITE][..], &kegs::PACKAGES].concat());
    for _ in 0..bench.runs {
        again.push(bench.template.keg(&key).took.as_secs_f64());
    }
    table.keg("keg import of what is imported, the whole command", None, again);
    table.note("No peer does this alone: mmdebstrap takes seconds, as it unpacks each time.");
    (table, root.expect("because it was done once"))
}

/// One time: seconds of the parts, packages, KID.
fn once(keg: &Keg, want: &DebianWant) -> ([f64; 4], usize, Kid) {
    let (index, opened) = time(|| {
        let snapshot = snapshot::stored(keg, &want.suite).expect("readable").expect("imported");
        Index::open(keg.objects(), &snapshot.index).expect("readable")
    });
    let (all, resolved) = time(|| -> Vec<Rc<Package>> {
        choose(&index, want).expect("because it was chosen before").all()
    });
    let (pooled, found) = time(|| -> Vec<Pooled> {
        let found = find(keg, &want.suite, &all).expect("readable");
        found.into_iter().map(|one| one.expect("because it was imported")).collect()
    });
    let (root, united) = time(|| {
        let rootfs = Rootfs { keg, suite: &want.suite };
        rootfs.unpacked(&pooled).expect("because it was united before")
    });
    let kid = root.kid().expect("because trees have KIDs");
    ([opened, resolved, found, united].map(|d| d.as_secs_f64()), all.len(), kid)
}

/// From a KID to files.
fn mounted(bench: &Bench, keg: &Keg, tree: &Kid) -> Table {
    let dir = tempfile::tempdir_in(kegs::place()).expect("a directory");
    let place = |name: &str| {
        let place = dir.path().join(name);
        fs::create_dir(&place).expect("made");
        place
    };
    let (target, plain, other) = (place("target"), place("plain"), place("other"));
    let mounts = Mounts::new(keg);
    let image = keg.home().join("img").join(format!("{}.erofs", tree.to_hex()));
    let mount = |_: usize| {
        let (done, took) = time(|| mounts.read_only(tree, &target));
        done.expect("mounted");
        unmount(&target).expect("unmounted");
        took
    };
    let first = Sample::of(bench.runs, |n| {
        let _ = fs::remove_file(&image);
        mount(n)
    });
    let mut table = Table::new("That root as a file system, read-only", Unit::Seconds);
    table.keg("mounted", Some(MOUNT_GOAL), Sample::of(bench.runs * MOUNTS, mount));

    keg::ingest::checkout(keg.objects(), tree, &plain).expect("checked out");
    let plainly = |_: usize| {
        let (done, took) = time(|| overlay(&[&plain, &other], &target));
        done.expect("mounted");
        rustix::mount::unmount(&target, UnmountFlags::empty()).expect("unmounted");
        took
    };
    let name = "overlayfs of a plain directory that is there, mount(2)";
    table.peer(name, Sample::of(bench.runs * MOUNTS, plainly));
    table.keg("mounted for the first time: its image is made", None, first);
    let copied = Sample::of(bench.runs.min(3), |n| {
        let copy = dir.path().join(format!("copy-{n}"));
        let mut cp = std::process::Command::new("cp");
        run(cp.arg("-a").arg(&plain).arg(copy)).took
    });
    table.peer("cp -a of the plain directory", copied);
    table
}

fn overlay(lower: &[&Path], target: &Path) -> rustix::io::Result<()> {
    let lower: Vec<String> = lower.iter().map(|dir| dir.display().to_string()).collect();
    let options = format!("lowerdir={}", lower.join(":"));
    let options = std::ffi::CString::new(options).expect("because paths have no zero bytes");
    rustix::mount::mount("overlay", target, "overlay", MountFlags::RDONLY, options.as_c_str())
}
